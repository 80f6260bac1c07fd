package sharing_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/sharing"
	"carillon/tenant/tenanttest"
)

// store puts a key into a tenant's table as if it had just arrived, with changes of the
// row in SQL.
func (f *fixture) store(of *tenant.Tenant, name string, changes ...string) {
	f.t.Helper()
	tek := sha256.Sum256([]byte(name))
	const storeSQL = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values ($1, $2, 1, 144, 2, 'likely', false, 'XA', date_trunc('hour', $3::timestamptz))`
	f.exec(storeSQL, of.ID, tek[:16], f.Now())
	for _, c := range changes {
		f.exec(`update exposure set `+c+` where tenant_id = $1 and tek = $2`, of.ID, tek[:16])
	}
}

func (f *fixture) exec(query string, args ...any) {
	f.t.Helper()
	if _, err := f.Database.Super().ExecContext(f.t.Context(), query, args...); err != nil {
		f.t.Fatal(err)
	}
}

// receive fetches what is shared with a tenant.
func (f *fixture) receive(of *tenant.Tenant) {
	f.t.Helper()
	f.must(sharing.Receive(f.t.Context(), f.Jobs, f.directory, of, nobodyHides, f.Now()))
}

// keys names the keys that a tenant has from others, with type and hour.
func (f *fixture) keys(of *tenant.Tenant, names ...string) []string {
	f.t.Helper()
	var found []string
	for _, name := range names {
		tek := sha256.Sum256([]byte(name))
		var text string
		err := f.Database.Super().QueryRowContext(f.t.Context(), `
select coalesce(max(coalesce(revised_type, report_type)::text || to_char(coalesce(revised_at, created_at) at time zone 'UTC', ' HH24:MI')), '')
  from exposure
 where tenant_id = $1 and tek = $2 and shared_by is not null`, of.ID, tek[:16]).Scan(&text)
		if err != nil {
			f.t.Fatal(err)
		}
		if text != "" {
			found = append(found, name+" "+text)
		}
	}
	return found
}

func (f *fixture) want(of *tenant.Tenant, names, want string) {
	f.t.Helper()
	if got := strings.Join(f.keys(of, strings.Fields(names)...), ", "); got != want {
		f.t.Errorf("%s has %q, want %q", of.Slug, got, want)
	}
}

// Keys cross from the donor's window after the acceptance on, when that is settled, and
// until the share ends; each once.
func TestReceive(t *testing.T) {
	t.Parallel()
	f := setUp(t) // 15:00
	f.Advance(30 * time.Minute)
	id := f.mustOffer(f.north, f.south, sharing.Terms{})
	f.store(f.north, "offered")
	f.must(f.act(f.south, sharing.Accept, id))
	f.store(f.north, "same-window")
	f.Advance(time.Hour) // 16:30
	f.store(f.north, "next-window")
	const all = "offered same-window next-window later last"
	f.receive(f.south)
	f.want(f.south, all, "") // the donor's window is still open
	f.Advance(time.Hour)     // 17:30
	f.store(f.north, "later")
	f.receive(f.south)
	f.want(f.south, all, "next-window likely 16:00")
	f.Advance(time.Hour) // 18:30
	f.receive(f.south)
	f.receive(f.south)
	f.want(f.south, all, "next-window likely 16:00, later likely 17:00")
	f.store(f.north, "last")
	f.must(f.act(f.north, sharing.Withdraw, id))
	f.Advance(2 * time.Hour)
	f.receive(f.south)
	f.want(f.south, all, "next-window likely 16:00, later likely 17:00")
	f.want(f.east, all, "")
	f.want(f.north, all, "")
}

// A key that arrives at the donor after its horizon has been moved is dated later, and
// so is not before the mark up to which everything has crossed.
func TestNothingIsDatedBehindTheMark(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{})
	f.Advance(90 * time.Minute) // 16:30
	f.receive(f.south)
	var horizon, settled, crossed time.Time
	err := f.Database.Super().QueryRowContext(t.Context(), `
select h.settled_until, o.settled_until, a.crossed_until
  from export_horizon h, share_offer o, share_answer a
 where h.tenant_id = $1 and o.tenant_id = $1 and a.donor = $1`, f.north.ID).Scan(&horizon, &settled, &crossed)
	if err != nil {
		t.Fatal(err)
	}
	if want := f.Now().Truncate(time.Hour); !horizon.Equal(want) || !settled.Equal(want) || !crossed.Equal(want) {
		t.Errorf("horizon %v, settled until %v, crossed until %v; want %v", horizon, settled, crossed, want)
	}
}

// What comes is dated no earlier than the recipient's horizon: its windows before that
// are closed.
func TestLateKeysAreDatedIntoOpenWindows(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{})
	f.store(f.north, "late")
	f.Advance(3 * time.Hour) // 18:00
	f.exec(`insert into export_horizon (tenant_id, settled_until) values ($1, $2)
	            on conflict (tenant_id) do update set settled_until = excluded.settled_until`, f.south.ID, f.Now())
	f.receive(f.south)
	f.want(f.south, "late", "late likely 18:00")
}

func TestTermsAreKept(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{TravelersOnly: true})
	f.shared(f.north, f.east, sharing.Terms{Regions: []string{"XB", "XC"}})
	f.store(f.north, "home")
	f.store(f.north, "away", "traveler = true")
	f.store(f.north, "xb", "region = 'XB'")
	f.store(f.north, "also-xc", "other_regions = '{XD,XC}'")
	f.store(f.north, "padding", "traveler = true, region = 'XB', generated = true")
	f.store(f.north, "imported", "traveler = true, region = 'XB', import_no = 1")
	f.Advance(time.Hour)
	f.receive(f.south)
	f.receive(f.east)
	const all = "home away xb also-xc padding imported"
	f.want(f.south, all, "away likely 15:00")
	f.want(f.east, all, "xb likely 15:00, also-xc likely 15:00")
}

// What came from another goes on to nobody.
func TestNoChain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{})
	f.shared(f.south, f.east, sharing.Terms{})
	f.shared(f.south, f.north, sharing.Terms{})
	f.store(f.north, "north's")
	f.store(f.south, "south's")
	for range 3 {
		f.Advance(time.Hour)
		for _, of := range []*tenant.Tenant{f.south, f.east, f.north} {
			f.receive(of)
		}
	}
	const all = "north's south's"
	f.want(f.south, all, "north's likely 15:00")
	f.want(f.east, all, "south's likely 15:00")
	f.want(f.north, all, "south's likely 16:00") // its horizon was moved when it gave
}

// A revision follows its key, once, from the donor it came from, and to nobody who never
// had the key.
func TestRevisionsFollow(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.shared(f.north, f.south, sharing.Terms{})
	f.shared(f.east, f.south, sharing.Terms{})
	revise := func(of *tenant.Tenant, name, to string) {
		f.t.Helper()
		tek := sha256.Sum256([]byte(name))
		f.exec(`update exposure set revised_type = $4::report_type, revised_risk = 0, revised_at = date_trunc('hour', $3::timestamptz)
		         where tenant_id = $1 and tek = $2`, of.ID, tek[:16], f.Now(), to)
	}
	f.store(f.north, "a")
	f.store(f.north, "both")
	f.store(f.south, "own")
	f.store(f.north, "own")
	f.store(f.north, "before", "created_at = created_at - interval '1 day'")
	f.Advance(time.Hour)
	f.receive(f.south)
	f.store(f.east, "both")
	f.Advance(time.Hour)
	for _, name := range []string{"a", "own", "before"} {
		revise(f.north, name, "negative")
	}
	revise(f.east, "both", "confirmed")
	f.Advance(time.Hour)
	f.receive(f.south)
	const all = "a both own before"
	f.want(f.south, all, "a negative 17:00, both likely 15:00")
	f.want(f.east, all, "")

	// Also when sharing had paused, because the key is out there; but not in the pause.
	f.must(f.act(f.south, sharing.End, id))
	revise(f.north, "both", "negative")
	f.Advance(time.Hour)
	f.receive(f.south)
	f.want(f.south, all, "a negative 17:00, both likely 15:00")
	f.shared(f.north, f.south, sharing.Terms{})
	f.exec(`update exposure set revised_at = $2 where tenant_id = $1 and revised_type = 'negative'`, f.north.ID, f.Now())
	f.Advance(time.Hour)
	f.receive(f.south)
	f.want(f.south, all, "a negative 17:00, both negative 19:00")
}

// A suspended donor's keys stay with it; the others' come.
func TestSuspendedDonor(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{})
	f.shared(f.east, f.south, sharing.Terms{})
	f.store(f.north, "n")
	f.store(f.east, "e")
	f.exec(`update tenant_directory set state = 'suspended' where tenant = $1`, f.north.ID)
	f.directory = tenant.NewDirectory(f.Jobs)
	f.Advance(time.Hour)
	f.receive(f.south)
	f.want(f.south, "n e", "e likely 15:00")
}

// What processes fetch at the same moment comes once.
func TestReceiveAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.shared(f.north, f.south, sharing.Terms{})
	for i := range 20 {
		f.store(f.north, fmt.Sprint(i))
	}
	f.Advance(time.Hour)
	done := make(chan error)
	for range 8 {
		go func() { done <- sharing.Receive(t.Context(), f.Jobs, f.directory, f.south, nobodyHides, f.Now()) }()
	}
	for range 8 {
		f.must(<-done)
	}
	f.must(f.as(f.north, func(ctx context.Context, tx *tenant.Tx) error {
		seen, err := sharing.ReadSeen(ctx, tx, 10)
		if len(seen.Shared) != 1 || seen.Shared[0].Keys != 20 || seen.Shared[0].Peer != "south" {
			t.Errorf("the donor sees %+v", seen.Shared)
		}
		return err
	}))
	f.Advance(16 * 24 * time.Hour)
	f.must(sharing.Cleanup(t.Context(), f.Jobs, f.south.ID, f.Now()))
	f.must(f.as(f.north, func(ctx context.Context, tx *tenant.Tx) error {
		seen, err := sharing.ReadSeen(ctx, tx, 10)
		if len(seen.Shared) != 0 {
			t.Errorf("kept for ever: %+v", seen.Shared)
		}
		return err
	}))
}

// visible counts a donor's keys that the role which fetches shared keys sees for a tenant.
func (f *fixture) visible(of, donor *tenant.Tenant, query string) (n int, err error) {
	err = f.Jobs.InSharing(f.t.Context(), of.ID, "probe", func(tx *tenant.Tx) error {
		return tx.Get(f.t.Context(), &n, query, donor.ID)
	})
	return n, err
}

// Below all code, the database shows a donor's keys to the one role, bound to the one
// tenant, while the share is in force, and shows it nothing else of the donor's.
func TestTheDatabaseKeepsToTheTerms(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const exposures = `select count(*) from exposure where tenant_id = $1`
	wantVisible := func(when string, of *tenant.Tenant, want int) {
		t.Helper()
		if n, err := f.visible(of, f.north, exposures); err != nil || n != want {
			t.Errorf("%s: %s sees %d of north's keys (%v), want %d", when, of.Slug, n, err, want)
		}
	}
	settle := func() { f.exec(`update share_offer set settled_until = '2026-11-25 18:00Z'`) }
	fill := func() {
		for _, name := range []string{"home", "away"} {
			f.store(f.north, name, fmt.Sprintf("traveler = %t", name == "away"))
		}
		f.store(f.north, "padding", "generated = true")
		f.store(f.north, "imported", "import_no = 1")
		f.store(f.north, "third party's", fmt.Sprintf("shared_by = '%s'", f.east.ID))
		f.store(f.north, "old", "created_at = created_at - interval '1 day'")
		f.store(f.north, "not settled", "created_at = '2026-11-25 18:00Z'")
	}
	fill()
	wantVisible("nothing offered", f.south, 0)
	id := f.mustOffer(f.north, f.south, sharing.Terms{})
	settle()
	wantVisible("not answered", f.south, 0)
	f.must(f.act(f.south, sharing.Decline, id))
	wantVisible("declined", f.south, 0)
	id = f.shared(f.north, f.south, sharing.Terms{})
	wantVisible("nothing settled", f.south, 0)
	settle()
	wantVisible("in force", f.south, 2)
	wantVisible("in force for another", f.east, 0)
	for role, db := range map[string]*tenant.DB{"jobs": f.Jobs, "portal": f.Portal, "publish": f.Publish, "operator": f.Operator} {
		err := db.In(t.Context(), f.south.ID, func(tx *tenant.Tx) error {
			var n int
			err := tx.Get(t.Context(), &n, exposures, f.north.ID)
			if n != 0 {
				t.Errorf("%s sees %d shared keys by itself", role, n)
			}
			return err
		})
		if err != nil && !tenanttest.Denied(err) {
			t.Errorf("%s: %v", role, err)
		}
		if role != "jobs" {
			if err := db.InSharing(t.Context(), f.south.ID, "probe", func(*tenant.Tx) error { return nil }); !tenanttest.Denied(err) {
				t.Errorf("%s takes on the role that sees shared keys: %v", role, err)
			}
		}
	}
	for _, table := range tables(f) {
		if slices.Contains([]string{"exposure", "share_offer"}, table) {
			continue
		}
		if n, err := f.visible(f.south, f.north, `select count(*) from `+table+` where tenant_id = $1`); n != 0 || (err != nil && !tenanttest.Denied(err)) {
			t.Errorf("%s: %d rows of the donor's (%v)", table, n, err)
		}
	}
	for _, change := range []string{
		`update exposure set revised_type = 'negative', revised_at = now(), revised_risk = 0 where tenant_id = $1`,
		`delete from exposure where tenant_id = $1`,
		`update share_answer set crossed_until = now() where tenant_id = $1`,
		`insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
		 values ($1, decode(repeat('00', 16), 'hex'), 1, 144, 0, 'confirmed', false, 'XA', now())`,
	} {
		var n int64
		err := f.Jobs.InSharing(t.Context(), f.south.ID, "probe", func(tx *tenant.Tx) (err error) {
			n, err = tx.Exec(t.Context(), change, f.north.ID)
			return err
		})
		if n != 0 || (err != nil && !tenanttest.Denied(err)) {
			t.Errorf("%s: %d rows (%v)", change, n, err)
		}
	}
	f.must(f.act(f.south, sharing.End, id))
	wantVisible("ended by the recipient", f.south, 0)
	id = f.shared(f.north, f.south, sharing.Terms{TravelersOnly: true})
	settle()
	wantVisible("travelers only", f.south, 1)
	f.must(f.act(f.north, sharing.Withdraw, id))
	wantVisible("withdrawn by the donor", f.south, 0)
	f.shared(f.north, f.south, sharing.Terms{Regions: []string{"XB"}})
	settle()
	wantVisible("another region", f.south, 0)
}

func tables(f *fixture) (names []string) {
	f.t.Helper()
	rows, err := f.Database.Super().QueryContext(f.t.Context(), `
select table_name::text
  from information_schema.columns
 where table_schema = 'public' and column_name = 'tenant_id' and table_name <> 'share_in_force'`)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			f.t.Fatal(err)
		}
		names = append(names, name)
	}
	f.must(rows.Err())
	return names
}

// An answer can be given in one's own name alone, and to an offer that stands.
func TestNobodyAnswersForAnother(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	id := f.mustOffer(f.north, f.south, sharing.Terms{})
	const answerSQL = `
insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until)
values ($1, $2, $3, true, now(), now())`
	try := func(bound, as *tenant.Tenant) error {
		return f.as(bound, func(ctx context.Context, tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, answerSQL, as.ID, f.north.ID, id)
			return err
		})
	}
	for what, err := range map[string]error{
		"the donor for the recipient": try(f.north, f.south),
		"a third for the recipient":   try(f.east, f.south),
		"a third for itself":          try(f.east, f.east),
	} {
		if !tenanttest.Denied(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.must(f.act(f.north, sharing.Withdraw, id))
	if err := try(f.south, f.south); !tenanttest.Denied(err) {
		t.Errorf("an offer that was withdrawn: %v", err)
	}
}

func nobodyHides(context.Context, *tenant.Tenant, time.Time, time.Time) error { return nil }
