package stats_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/stats"
)

// apiKey makes a key and returns its ID.
func (f *fixture) apiKey(t *testing.T, of *tenant.Tenant) (id uuid.UUID) {
	t.Helper()
	err := f.world.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		_, id, err = client.Create(t.Context(), tx, client.Admin, "Lab")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) keyDays(t *testing.T, of *tenant.Tenant, key uuid.UUID) []stats.KeyDay {
	t.Helper()
	days, err := f.reader.KeyDays(t.Context(), of, key)
	if err != nil {
		t.Fatal(err)
	}
	return days
}

func (f *fixture) lastUses(t *testing.T, of *tenant.Tenant) (uses map[uuid.UUID]stats.LastUse) {
	t.Helper()
	err := f.world.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		uses, err = stats.LastUses(t.Context(), tx, f.world.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return uses
}

// What a key did is told by day, the same before and after the roll-up, to its own
// tenant, and of that key alone.
func TestKeyDays(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	key := f.apiKey(t, f.north)
	id, other := key.String(), uuid.NewString()
	yesterday := f.world.Now().UTC().Truncate(24 * time.Hour)
	f.counter.KeyAnswered(f.north.ID, id, "code:issue", 200)
	f.counter.KeyAnswered(f.north.ID, id, "code:issue", 429)
	f.counter.KeyRefused(f.north.ID, id, "outside")
	f.flush(t)
	f.world.Advance(24 * time.Hour)
	for range 3 {
		f.counter.KeyAnswered(f.north.ID, id, "code:issue", 200)
	}
	f.counter.KeyAnswered(f.north.ID, id, "stats:read", 200)
	f.counter.KeyAnswered(f.north.ID, other, "code:issue", 200)
	f.counter.KeyAnswered(f.south.ID, id, "code:issue", 500)
	for _, from := range []string{"192.0.2.0/24", "192.0.2.0/24", "198.51.100.0/24"} {
		f.counter.KeyFrom(f.north.ID, id, from)
	}
	f.flush(t)
	f.sql(t, `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
values ($1, $2, 'confirmed', $3, $3, $3, 'api-key', $4)`, f.north.ID, uuid.New(), f.world.Now(), id)
	want := []stats.KeyDay{
		{
			Day:     yesterday.AddDate(0, 0, 1),
			Answers: []stats.Answers{{"code:issue", 200, 3}, {"stats:read", 200, 1}}, Refused: map[string]int64{},
			CodesIssued: 1, Networks: 2,
		},
		{Day: yesterday, Answers: []stats.Answers{{"code:issue", 200, 1}, {"code:issue", 429, 1}}, Refused: map[string]int64{"outside": 1}},
	}
	if got := f.keyDays(t, f.north, key); got[0].CodesIssued != 0 {
		t.Errorf("%d codes before the roll-up", got[0].CodesIssued)
	}
	f.rollup(t, f.north)
	if got := f.keyDays(t, f.north, key); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	if got := f.keyDays(t, f.south, key); len(got) != 1 || got[0].Answers[0].Status != 500 {
		t.Errorf("the other tenant's: %+v", got)
	}
	f.world.Advance(2 * time.Hour)
	f.rollup(t, f.north)
	if got := f.keyDays(t, f.north, key); !cmp.Equal(want, got) {
		t.Error("after the roll-up:", cmp.Diff(want, got))
	}
}

// Of the networks from which a key was used nothing is stored but a number below 64.
func TestNetworksAreNotStored(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	key := f.apiKey(t, f.north)
	for i := range 40 {
		f.counter.KeyFrom(f.north.ID, key.String(), fmt.Sprintf("203.0.%d.0/24", i))
	}
	f.flush(t)
	var rows, odd int
	err := f.world.Database.Super().QueryRowContext(t.Context(), `
select count(*), count(*) filter (where subject <> $1 or class not between 0 and 63 or t::text like '%203.0%')
  from statistic_tally t
 where series = 'key-networks'`, key.String()).Scan(&rows, &odd)
	if err != nil || rows == 0 || rows > 40 || odd != 0 {
		t.Errorf("%d rows, %d with more (%v)", rows, odd, err)
	}
	if got := f.keyDays(t, f.north, key)[0].Networks; got < 25 || got > 60 {
		t.Errorf("about %d networks of 40", got)
	}
}

func TestLastUses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	key, idle := f.apiKey(t, f.north), f.apiKey(t, f.south)
	hour := f.world.Now().UTC().Truncate(time.Hour)
	use := func() {
		f.counter.KeyAnswered(f.north.ID, key.String(), "code:issue", 200)
		f.flush(t)
	}
	use()
	f.counter.KeyAnswered(f.north.ID, uuid.NewString(), "code:issue", 200) // whose key is no more
	f.counter.KeyRefused(f.south.ID, idle.String(), "revoked")
	f.flush(t)
	wants := func(at time.Time, requests int64) {
		t.Helper()
		if got := f.lastUses(t, f.north)[key]; !got.Hour.Equal(at) || got.Requests != requests {
			t.Errorf("%+v, want %s and %d", got, at, requests)
		}
	}
	wants(hour, 1)
	f.world.Advance(3 * time.Hour)
	f.rollup(t, f.north)
	wants(hour, 1)
	use()
	wants(hour.Add(3*time.Hour), 2)
	f.world.Advance(8 * 24 * time.Hour)
	f.rollup(t, f.north)
	wants(hour.Add(3*time.Hour), 0)
	f.world.Advance(200 * 24 * time.Hour)
	if err := stats.Forget(t.Context(), f.world.Jobs, f.north.ID, stats.Retention, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	wants(hour.Add(3*time.Hour), 0)
	if got := f.lastUses(t, f.south); len(got) != 0 {
		t.Errorf("keys that were never accepted: %v", got)
	}
}
