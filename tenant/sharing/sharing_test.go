package sharing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/onboarding"
	"carillon/tenant/sharing"
	"carillon/tenant/tenanttest"
)

var robin = authz.Subject{Kind: authz.Person, ID: "robin", Name: "Robin", Roles: []authz.Role{authz.Owner}}

// fixture is three health authorities, and the clock of their world.
type fixture struct {
	*tenanttest.World
	t                  *testing.T
	directory          *tenant.Directory
	north, south, east *tenant.Tenant
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	w.SetNow(time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC))
	hourly := func(s *onboarding.Spec) { s.Truncate = time.Hour }
	return &fixture{
		World: w, t: t, directory: tenant.NewDirectory(w.Jobs),
		north: w.Create("north", hourly), south: w.Create("south", hourly), east: w.Create("east", hourly),
	}
}

// as runs an act of a tenant's staff.
func (f *fixture) as(of *tenant.Tenant, fn func(context.Context, *tenant.Tx) error) error {
	return f.Portal.In(f.t.Context(), of.ID, func(tx *tenant.Tx) error { return fn(f.t.Context(), tx) })
}

func (f *fixture) offer(from *tenant.Tenant, to string, terms sharing.Terms) (id uuid.UUID, err error) {
	return id, f.as(from, func(ctx context.Context, tx *tenant.Tx) (err error) {
		id, err = sharing.Offer(ctx, tx, from, robin, to, terms, f.Now())
		return err
	})
}

func (f *fixture) mustOffer(from, to *tenant.Tenant, terms sharing.Terms) uuid.UUID {
	f.t.Helper()
	id, err := f.offer(from, string(to.Slug), terms)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

type answer func(context.Context, *tenant.Tx, *tenant.Tenant, authz.Subject, uuid.UUID, time.Time) error

func (f *fixture) act(of *tenant.Tenant, do answer, offer uuid.UUID) error {
	return f.as(of, func(ctx context.Context, tx *tenant.Tx) error { return do(ctx, tx, of, robin, offer, f.Now()) })
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// shared makes a share that is in force.
func (f *fixture) shared(from, to *tenant.Tenant, terms sharing.Terms) uuid.UUID {
	f.t.Helper()
	id := f.mustOffer(from, to, terms)
	f.must(f.act(to, sharing.Accept, id))
	return id
}

// lists are what a tenant's staff see, as "slug state".
func (f *fixture) lists(of *tenant.Tenant) (outgoing, incoming []string) {
	f.t.Helper()
	f.must(f.as(of, func(ctx context.Context, tx *tenant.Tx) error {
		out, err := sharing.Outgoing(ctx, tx)
		if err != nil {
			return err
		}
		in, err := sharing.Incoming(ctx, tx)
		for _, s := range out {
			outgoing = append(outgoing, fmt.Sprintf("%s %s", s.Peer, s.State()))
		}
		for _, s := range in {
			incoming = append(incoming, fmt.Sprintf("%s %s", s.Peer, s.State()))
		}
		return err
	}))
	return outgoing, incoming
}

func (f *fixture) wantLists(of *tenant.Tenant, outgoing, incoming string) {
	f.t.Helper()
	out, in := f.lists(of)
	if got := strings.Join(out, ", "); got != outgoing {
		f.t.Errorf("%s offers %q, want %q", of.Slug, got, outgoing)
	}
	if got := strings.Join(in, ", "); got != incoming {
		f.t.Errorf("%s is offered %q, want %q", of.Slug, got, incoming)
	}
}

// One offer's life, as both sides and a third see it.
func TestOfferToEnd(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.mustOffer(f.north, f.south, sharing.Terms{})
	f.wantLists(f.north, "south waiting", "")
	f.wantLists(f.south, "", "north waiting")
	f.wantLists(f.east, "", "")
	f.must(f.act(f.south, sharing.Accept, id))
	f.wantLists(f.north, "south in-force", "")
	f.wantLists(f.south, "", "north in-force")
	f.must(f.act(f.south, sharing.End, id))
	f.wantLists(f.north, "south ended", "")
	f.wantLists(f.south, "", "north ended")

	f.Advance(time.Minute)
	again := f.mustOffer(f.north, f.south, sharing.Terms{TravelersOnly: true})
	f.must(f.act(f.south, sharing.Decline, again))
	f.wantLists(f.north, "south declined, south ended", "")
	f.Advance(time.Minute)
	third := f.mustOffer(f.north, f.south, sharing.Terms{})
	f.must(f.act(f.north, sharing.Withdraw, third))
	f.wantLists(f.north, "south withdrawn, south declined, south ended", "")
	f.wantLists(f.south, "", "north declined, north ended")
	f.wantLists(f.east, "", "")
}

// An offer waits for a recipient that does not exist, exactly as for one that does not
// answer, and is found by whoever gets the name.
func TestOfferToNobody(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id, err := f.offer(f.north, "west", sharing.Terms{})
	f.must(err)
	f.mustOffer(f.north, f.south, sharing.Terms{})
	var shares []sharing.Share
	f.must(f.as(f.north, func(ctx context.Context, tx *tenant.Tx) (err error) {
		shares, err = sharing.Outgoing(ctx, tx)
		return err
	}))
	for _, s := range shares {
		if s.State() != sharing.Waiting || s.PeerName != "" {
			t.Errorf("offer to %s: %s, name %q", s.Peer, s.State(), s.PeerName)
		}
	}
	west := f.Create("west")
	f.wantLists(west, "", "north waiting")
	f.must(f.act(west, sharing.Accept, id))
	f.wantLists(west, "", "north in-force")
}

func TestActsThatAreRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for to, want := range map[string]error{
		"": sharing.ErrRecipient, "North": sharing.ErrRecipient, "no such name": sharing.ErrRecipient, "north": sharing.ErrRecipient,
	} {
		if _, err := f.offer(f.north, to, sharing.Terms{}); !errors.Is(err, want) {
			t.Errorf("offer to %q: %v", to, err)
		}
	}
	if _, err := f.offer(f.north, "south", sharing.Terms{Regions: []string{"Utopia"}}); !errors.Is(err, sharing.ErrRegions) {
		t.Errorf("regions: %v", err)
	}
	id := f.mustOffer(f.north, f.south, sharing.Terms{})
	if _, err := f.offer(f.north, "south", sharing.Terms{}); !errors.Is(err, sharing.ErrOffered) {
		t.Errorf("second offer: %v", err)
	}
	refused := func(what string, of *tenant.Tenant, do answer) {
		t.Helper()
		if err := f.act(of, do, id); !errors.Is(err, sharing.ErrNoOffer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, do := range map[string]answer{"accept": sharing.Accept, "decline": sharing.Decline, "end": sharing.End} {
		refused(name+" by the donor", f.north, do)
		refused(name+" by a third", f.east, do)
	}
	refused("withdrawal by the recipient", f.south, sharing.Withdraw)
	refused("withdrawal by a third", f.east, sharing.Withdraw)
	refused("end before the answer", f.south, sharing.End)
	f.must(f.act(f.south, sharing.Accept, id))
	refused("a second answer", f.south, sharing.Accept)
	refused("a change of mind", f.south, sharing.Decline)
	f.must(f.act(f.north, sharing.Withdraw, id))
	refused("a second withdrawal", f.north, sharing.Withdraw)
	late := f.mustOffer(f.north, f.south, sharing.Terms{})
	f.must(f.act(f.north, sharing.Withdraw, late))
	if err := f.act(f.south, sharing.Accept, late); !errors.Is(err, sharing.ErrNoOffer) {
		t.Errorf("acceptance of what was withdrawn: %v", err)
	}
}

func (f *fixture) find(of *tenant.Tenant, offer uuid.UUID) (found sharing.Share, err error) {
	err = f.as(of, func(ctx context.Context, tx *tenant.Tx) error {
		found, err = sharing.Find(ctx, tx, offer)
		return err
	})
	return found, err
}

// An offer is found by its ID by its two sides, however many others there are.
func TestFind(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.shared(f.north, f.south, sharing.Terms{TravelersOnly: true})
	f.exec(`
insert into share_offer (tenant_id, offer_id, recipient, travelers_only, offered_at, withdrawn_at)
select $1, gen_random_uuid(), 'south', false, $2::timestamptz + interval '1 hour', $2::timestamptz + interval '2 hours'
  from generate_series(1, 300)`, f.north.ID, f.Now())
	f.wantLists(f.south, "", "north in-force")
	for of, incoming := range map[*tenant.Tenant]bool{f.north: false, f.south: true} {
		got, err := f.find(of, id)
		if err != nil || got.Offer != id || got.Incoming != incoming || got.State() != sharing.InForce || !got.TravelersOnly {
			t.Errorf("%s finds %+v, %v", of.Slug, got, err)
		}
	}
	if _, err := f.find(f.east, id); !errors.Is(err, sharing.ErrNoOffer) {
		t.Errorf("a third finds it: %v", err)
	}
	withdrawn := f.mustOffer(f.south, f.east, sharing.Terms{})
	f.must(f.act(f.south, sharing.Withdraw, withdrawn))
	if _, err := f.find(f.east, withdrawn); !errors.Is(err, sharing.ErrNoOffer) {
		t.Errorf("what was withdrawn is found: %v", err)
	}
}

// A donor fills nobody's list, nor its audit log.
func TestOffersOfADay(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	offer := func() error {
		id, err := f.offer(f.north, "south", sharing.Terms{})
		if err == nil {
			f.must(f.act(f.north, sharing.Withdraw, id))
		}
		return err
	}
	for range 10 {
		f.must(offer())
	}
	if err := offer(); !errors.Is(err, sharing.ErrOften) {
		t.Errorf("the eleventh offer of a day: %v", err)
	}
	f.mustOffer(f.north, f.east, sharing.Terms{})
	f.mustOffer(f.south, f.north, sharing.Terms{})
	f.Advance(24 * time.Hour)
	f.must(offer())
}

// Whoever answers first has answered, and acts in both directions do not block each other.
func TestActsAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ids := map[*tenant.Tenant]uuid.UUID{
		f.south: f.mustOffer(f.north, f.south, sharing.Terms{}), f.north: f.mustOffer(f.south, f.north, sharing.Terms{}),
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for of, id := range ids {
		for i := range 10 {
			do := []answer{sharing.Accept, sharing.Decline}[i%2]
			wg.Go(func() {
				err := f.act(of, do, id)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, sharing.ErrNoOffer) {
					t.Errorf("answer: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if won != 2 {
		t.Errorf("%d answers to two offers", won)
	}
}

// Both sides' logs have each act: the own one says who did it, the other one which
// authority, and no name of a person of another's.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.shared(f.north, f.south, sharing.Terms{TravelersOnly: true, Regions: []string{"us-wa", "CA"}})
	f.must(f.act(f.north, sharing.Withdraw, id))
	for of, want := range map[*tenant.Tenant][]string{
		f.north: {
			`person Robin sharing:offer south {"keys": "travelers", "regions": "CA US-WA"}`,
			`system Health of south sharing:accept south {}`,
			`person Robin sharing:withdraw south {}`,
		},
		f.south: {
			`system Health of north sharing:offer north {"keys": "travelers", "regions": "CA US-WA"}`,
			`person Robin sharing:accept north {}`,
			`system Health of north sharing:withdraw north {}`,
		},
		f.east: nil,
	} {
		var got []string
		f.must(f.as(of, func(ctx context.Context, tx *tenant.Tx) error {
			entries, err := audit.List(ctx, tx, 10)
			for _, e := range slices.Backward(entries) {
				if strings.HasPrefix(e.Action, "sharing:") {
					got = append(got, fmt.Sprintf("%s %s %s %s %s", e.ActorKind, e.ActorName, e.Action, e.Target, e.Detail))
				}
			}
			return err
		}))
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", of.Slug, got, want)
		}
	}
}
