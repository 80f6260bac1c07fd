// Package guess keeps the guessing of codes hopeless, without shutting out anybody who
// holds one.
//
// A process counts the unknown codes that are sent to a tenant, whoever sends them and
// however many at once, and shares the numbers with the others by appending rows
// ([Counter]). Whoever issues codes reads them and makes new codes longer, by as many
// digits as keep a day of guessing below a fixed chance ([Lengths]). A job raises the
// alarm ([Watch]).
//
// While unknown codes come faster than people mistype, callers that send little else
// have to wait. A caller is refused for what came from its own network, never for what
// others did, and every right code buys it another attempt: a campus behind one address
// stays in. The mathematics are in deploy/docs/limits.md.
package guess

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/tenant"
	"carillon/tenant/limit"
)

// Bounds are how many unknown codes a process looks up for a tenant in a
// [limit.Window].
type Bounds struct {
	// Tenant is for all callers together. Up to it nobody has to wait. It is more than
	// two addresses can send (verification protocol §0.2), so that it takes three to
	// make anybody wait.
	Tenant int
	// Caller and Network are what each caller and each neighbourhood may send in
	// addition, when the tenant's bound is reached.
	Caller, Network int
}

// DefaultBounds leave a person five mistakes a minute, in the middle of an attack.
func DefaultBounds() Bounds { return Bounds{Tenant: 300, Caller: 5, Network: 10} }

// Outcome is what an attempt turned out to be.
type Outcome int

// The outcomes.
const (
	// Neither says nothing about the caller: the code has expired, or nothing was
	// looked up.
	Neither Outcome = iota
	// Wrong is a code that is unknown or spent.
	Wrong
	// Right is a code that was claimed.
	Right
)

const (
	maxCallers  = 100_000
	maxNetworks = 50_000
)

// Counter counts one process's unknown codes. It is safe for concurrent use; a nil one
// counts nothing and lets everybody through.
type Counter struct {
	bounds Bounds
	now    func() time.Time
	db     *tenant.DB
	seed   maphash.Seed // so that callers are not kept by their addresses

	mu         sync.Mutex
	tenants    map[tenant.ID]*record
	callers    *lru.Cache[uint64, *record]
	networks   *lru.Cache[uint64, *record]
	unreported map[tenant.ID]int
}

// NewCounter returns a counter that reports through db, a handle under the role
// carillon_device.
func NewCounter(db *tenant.DB, b Bounds, now func() time.Time) *Counter {
	return &Counter{
		bounds: b, now: now, db: db, seed: maphash.MakeSeed(),
		tenants: map[tenant.ID]*record{}, unreported: map[tenant.ID]int{},
		callers: bounded(maxCallers), networks: bounded(maxNetworks),
	}
}

func bounded(size int) *lru.Cache[uint64, *record] {
	c, err := lru.New[uint64, *record](size)
	if err != nil {
		panic(err) // only for a size below one
	}
	return c
}

// record is what is known of one source of attempts.
type record struct {
	start time.Time
	// wrong are attempts of this window that were wrong, or are not known to be
	// anything else yet; right are successes, older ones counting less.
	wrong, right int
}

// at moves the record on to the window of a moment.
func (r *record) at(now time.Time) *record {
	if past := now.Sub(r.start); past >= limit.Window || past < 0 {
		if past < 0 || past >= 10*limit.Window {
			r.right = 0
		}
		r.start, r.wrong, r.right = now, 0, (r.right+1)/2
	}
	return r
}

// Attempt is one try at a code, admitted and not yet judged.
type Attempt struct {
	counter *Counter
	tenant  tenant.ID
	sources [3]source // tenant, caller, neighbourhood
	// Reset is when whoever was refused may come again.
	Reset time.Time
}

// source is a record and the window in which the attempt counts there.
type source struct {
	*record
	window time.Time
}

// Try asks for an attempt, which counts as wrong until [Attempt.Done] says otherwise:
// so many at once gain nothing.
func (c *Counter) Try(id tenant.ID, from netip.Addr) (a *Attempt, admitted bool) {
	if c == nil {
		return nil, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	of, caller, network := c.ofTenant(id).at(now), c.of(c.callers, id, limit.CallerOf(from)).at(now), c.of(c.networks, id, limit.NetworkOf(from)).at(now)
	a = &Attempt{counter: c, tenant: id, Reset: of.start.Add(limit.Window)}
	if of.wrong >= c.bounds.Tenant && (caller.wrong >= c.bounds.Caller+caller.right || network.wrong >= c.bounds.Network+network.right) {
		return a, false
	}
	for i, r := range []*record{of, caller, network} {
		r.wrong++
		a.sources[i] = source{r, r.start}
	}
	return a, true
}

func (c *Counter) ofTenant(id tenant.ID) *record {
	r := c.tenants[id]
	if r == nil {
		r = &record{}
		c.tenants[id] = r
	}
	return r
}

func (c *Counter) of(known *lru.Cache[uint64, *record], id tenant.ID, name string) *record {
	k := maphash.Comparable(c.seed, struct {
		id   tenant.ID
		name string
	}{id, name})
	r, found := known.Get(k)
	if !found {
		r = &record{}
		known.Add(k, r)
	}
	return r
}

// Done says what an attempt turned out to be, once.
func (a *Attempt) Done(o Outcome) {
	if a == nil {
		return
	}
	a.counter.mu.Lock()
	defer a.counter.mu.Unlock()
	if o == Wrong {
		a.counter.unreported[a.tenant]++
		return
	}
	for _, r := range a.sources {
		if r.start.Equal(r.window) {
			r.wrong--
		}
		if o == Right {
			r.right++
		}
	}
}
