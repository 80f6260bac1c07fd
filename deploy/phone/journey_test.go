package phone_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/sharing"
)

// listener is somebody's phone: it downloads what its own authority's index has that it
// does not remember, and believes that authority's key alone.
type listener struct {
	*phone.Phone
	trust  phone.Trust
	memory phone.Memory
}

func (f *fixture) listener(t *testing.T, of *tenant.Tenant) *listener {
	t.Helper()
	return &listener{Phone: f.phone(of), trust: f.trust(t, of)}
}

// hears downloads what is new, and counts the keys among it by the report type that they
// are told with: as new ones, and as revised ones.
func (l *listener) hears(t *testing.T, keys phone.Keys) (fresh, revised map[exportfile.ReportType]int) {
	t.Helper()
	ours := map[[16]byte]bool{}
	for _, k := range keys.TEKs {
		raw, err := certificate.ParseBase64(k.Key)
		if err != nil {
			t.Fatal(err)
		}
		ours[[16]byte(raw)] = true
	}
	count := func(list []exportfile.Key) map[exportfile.ReportType]int {
		n := map[exportfile.ReportType]int{}
		for _, k := range list {
			if ours[k.Data] {
				n[k.ReportType]++
			}
		}
		return n
	}
	var all exportfile.File
	err := l.Fresh(t.Context(), l.trust, &l.memory, func(d phone.Downloaded) error {
		all.Keys, all.Revised = append(all.Keys, d.File.Keys...), append(all.Revised, d.File.Revised...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count(all.Keys), count(all.Revised)
}

// wants checks how many of the keys are told, each with this type, and none otherwise.
func (l *listener) wants(t *testing.T, when string, keys phone.Keys, kind exportfile.ReportType, fresh, revised int) {
	t.Helper()
	f, r := l.hears(t, keys)
	if f[kind] != fresh || r[kind] != revised || len(f) != min(fresh, 1) || len(r) != min(revised, 1) {
		t.Errorf("%s: %v are new and %v revised; want %d and %d of type %d", when, f, r, fresh, revised, kind)
	}
}

// windows lets all windows of the past close, at every authority.
func (f *fixture) windows(t *testing.T) {
	t.Helper()
	f.world.Advance(4 * time.Hour)
	f.turn(t, f.north)
	f.turn(t, f.south)
}

// again is a new test of the same person, whose phone uploads its keys once more.
func (f *fixture) again(t *testing.T, p *phone.Phone, testType string, earlier phone.Report) phone.Published {
	t.Helper()
	code, err := f.issuer(f.north).Issue(t.Context(), testType, f.world.Now().Add(-48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	diagnosis, err := p.Verify(t.Context(), code.Code)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.Certificate(t.Context(), diagnosis.Token, earlier.Keys)
	if err != nil {
		t.Fatal(err)
	}
	published, err := p.Revise(t.Context(), earlier.Keys, cert, earlier.Published)
	if err != nil {
		t.Fatal(err)
	}
	return published
}

// share lets north offer its keys and south accept them; withdraw is north's.
func (f *fixture) share(t *testing.T) (withdraw func()) {
	t.Helper()
	by := authz.Subject{Kind: authz.System, ID: "operator"}
	as := func(of *tenant.Tenant, fn func(context.Context, *tenant.Tx) error) {
		t.Helper()
		if err := f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error { return fn(t.Context(), tx) }); err != nil {
			t.Fatal(err)
		}
	}
	var offer uuid.UUID
	as(f.north, func(ctx context.Context, tx *tenant.Tx) (err error) {
		offer, err = sharing.Offer(ctx, tx, f.north, by, string(f.south.Slug), sharing.Terms{}, f.world.Now())
		return err
	})
	as(f.south, func(ctx context.Context, tx *tenant.Tx) error {
		return sharing.Accept(ctx, tx, f.south, by, offer, f.world.Now())
	})
	f.world.Advance(time.Hour)
	return func() {
		as(f.north, func(ctx context.Context, tx *tenant.Tx) error {
			return sharing.Withdraw(ctx, tx, f.north, by, offer, f.world.Now())
		})
	}
}

// A likely case is confirmed, from the first code to the phones of others, all of it over
// HTTP. At the authority next door, nobody hears of it.
func TestJourneyOfARevision(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	person, home, abroad := f.phone(f.north), f.listener(t, f.north), f.listener(t, f.south)
	first := f.flow(t, f.north, person, phone.Plan{TestType: "likely", Keys: 5})
	f.windows(t)
	home.wants(t, "after the first upload", first.Keys, exportfile.Clinical, 5, 0)
	f.again(t, person, "confirmed", first)
	f.windows(t)
	home.wants(t, "after the revision", first.Keys, exportfile.Confirmed, 0, 5)
	f.windows(t)
	home.wants(t, "later", first.Keys, exportfile.Confirmed, 0, 0)
	abroad.wants(t, "all the time, next door", first.Keys, exportfile.Confirmed, 0, 0)
}

// North shares its keys with south: phones of both hear of a case at the same time, each
// under its own authority's signature, and of its negative test, until north withdraws.
// South's keys stay with south.
func TestJourneyOfSharedKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	person, other, home, abroad := f.phone(f.north), f.phone(f.south), f.listener(t, f.north), f.listener(t, f.south)
	before := f.flow(t, f.north, person, phone.Plan{TestType: "likely", Keys: 5})
	f.windows(t)
	withdraw := f.share(t)
	shared := f.flow(t, f.north, person, phone.Plan{TestType: "likely", Keys: 5})
	souths := f.flow(t, f.south, other, phone.Plan{Keys: 5})
	f.windows(t)
	for name, l := range map[string]*listener{"home": home, "abroad": abroad} {
		memory := l.memory
		l.wants(t, "shared keys at "+name, shared.Keys, exportfile.Clinical, 5, 0)
		after := l.memory
		for _, c := range []struct {
			keys phone.Keys
			kind exportfile.ReportType
			want bool
		}{{before.Keys, exportfile.Clinical, l == home}, {souths.Keys, exportfile.Confirmed, l == abroad}} {
			n := 0
			if c.want {
				n = 5
			}
			l.memory = memory
			l.wants(t, "other keys at "+name, c.keys, c.kind, n, 0)
		}
		l.memory = after
	}
	f.again(t, person, "negative", shared)
	f.windows(t)
	home.wants(t, "the negative test at home", shared.Keys, exportfile.Revoked, 0, 5)
	abroad.wants(t, "the negative test abroad", shared.Keys, exportfile.Revoked, 0, 5)
	withdraw()
	late := f.flow(t, f.north, person, phone.Plan{Keys: 5})
	f.windows(t)
	home.wants(t, "after the withdrawal, at home", late.Keys, exportfile.Confirmed, 5, 0)
	abroad.wants(t, "after the withdrawal, abroad", late.Keys, exportfile.Confirmed, 0, 0)
}
