// Package limit bounds how often one caller may ask one tenant (verification
// protocol §0.2).
//
// A caller's first request opens a window; after as many requests as the limit the
// caller waits for the window to end. Requests that are refused do not count.
//
// Counting is per process and in memory: it costs no round trip and no shared row.
// Callers are known by a keyed digest whose key dies with the process, so that no
// network address is kept. Under a flood of callers the ones not seen for longest
// are forgotten, which lets them ask again: memory is bounded, always.
package limit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/tenant"
)

// Window is the time over which requests are counted.
const Window = time.Minute

const maxCallers = 100_000

// Limiter counts requests. It is safe for concurrent use.
type Limiter struct {
	perWindow int
	now       func() time.Time
	key       []byte

	mu      sync.Mutex
	callers *lru.Cache[caller, count] // guarded by mu
}

type caller [sha256.Size]byte

// count is how many requests were made in the window that began at start.
type count struct {
	start    time.Time
	requests int
}

// New returns a limiter of perWindow requests, at least 1, in each [Window].
func New(perWindow int, now func() time.Time) *Limiter {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	callers, err := lru.New[caller, count](maxCallers)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &Limiter{perWindow: perWindow, now: now, key: key, callers: callers}
}

// Decision is what a caller may do, and what its answer tells it.
type Decision struct {
	Allowed bool
	// Limit is the number of requests in a window, Remaining how many are left.
	Limit, Remaining int
	// Reset is when the window ends.
	Reset time.Time
}

// Allow counts a request of a caller, given by any text that tells callers apart.
func (l *Limiter) Allow(id tenant.ID, address string) Decision { return l.allow(l.digest(id, address)) }

func (l *Limiter) allow(who caller) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.current(who)
	allowed := c.requests < l.perWindow
	if allowed {
		c.requests++
		l.callers.Add(who, c)
	}
	return l.decision(c, allowed)
}

// Peek tells where a caller stands without counting a request.
func (l *Limiter) Peek(id tenant.ID, address string) Decision { return l.peek(l.digest(id, address)) }

func (l *Limiter) peek(who caller) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.current(who)
	return l.decision(c, c.requests < l.perWindow)
}

// asked is how many requests of the caller count in this window.
func (l *Limiter) asked(who caller) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current(who).requests
}

// current is the caller's count in the window of this moment.
func (l *Limiter) current(who caller) count {
	now := l.now()
	c, known := l.callers.Get(who)
	if !known || now.Sub(c.start) >= Window || now.Before(c.start) {
		return count{start: now}
	}
	return c
}

func (l *Limiter) decision(c count, allowed bool) Decision {
	return Decision{
		Allowed: allowed, Limit: l.perWindow, Remaining: l.perWindow - c.requests,
		Reset: c.start.Add(Window),
	}
}

func (l *Limiter) digest(id tenant.ID, address string) caller {
	mac := hmac.New(sha256.New, l.key)
	mac.Write(id[:])
	mac.Write([]byte(address))
	return caller(mac.Sum(nil))
}
