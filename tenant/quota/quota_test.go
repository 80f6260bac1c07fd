package quota_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/quota"
	"carillon/tenant/tenanttest"
)

var robin = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin"}

// enforcing is a tenant with a budget.
func enforcing(w *tenanttest.World, slug string) *tenant.Tenant {
	t := *w.Create(slug)
	t.Settings.QuotaEnforced, t.Settings.QuotaFactor = true, 1
	return &t
}

func budget(w *tenanttest.World) *quota.Budget {
	return quota.NewBudget(w.Issuer, slog.New(slog.DiscardHandler), false, w.Now)
}

// spend issues codes until the budget refuses, at most n.
func spend(t *testing.T, b *quota.Budget, of *tenant.Tenant, n int) int {
	t.Helper()
	for i := range n {
		take, release, err := b.Hold(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		ok := take()
		release()
		if !ok {
			return i
		}
	}
	return n
}

func exec(t *testing.T, w *tenanttest.World, statement string, args ...any) {
	t.Helper()
	if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// modelled gives a tenant a limit from yesterday on.
func modelled(t *testing.T, w *tenanttest.World, of *tenant.Tenant, base int) {
	t.Helper()
	exec(t, w, `insert into quota_day values ($1, $2::date - 1, 1, $3)`, of.ID, w.Now().Format(time.DateOnly), base)
}

func burst(t *testing.T, w *tenanttest.World, of *tenant.Tenant, codes int) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return quota.Burst(t.Context(), tx, robin, codes, w.Now())
	})
}

func stand(t *testing.T, w *tenanttest.World, of *tenant.Tenant) (s quota.Standing) {
	t.Helper()
	err := w.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		s, err = quota.Stand(t.Context(), tx, of, w.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A budget is spent to the last code, new at midnight UTC and no other tenant's.
func TestBudgetOfADay(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := enforcing(w, "north"), enforcing(w, "south")
	modelled(t, w, north, 100)
	north.Settings.QuotaFactor = 1.3
	b := budget(w)
	if got := spend(t, b, north, 1000); got != 130 {
		t.Errorf("%d codes, want 130", got)
	}
	if got := spend(t, b, south, 1000); got != quota.Default {
		t.Errorf("a tenant without a model: %d codes, want %d", got, quota.Default)
	}
	w.SetNow(w.Now().Truncate(24 * time.Hour).Add(24*time.Hour - time.Second))
	if got := spend(t, b, north, 1000); got != 0 {
		t.Errorf("late on the same day: %d codes", got)
	}
	w.Advance(time.Second)
	if got := spend(t, b, north, 1000); got != 130 {
		t.Errorf("the next day: %d codes, want 130", got)
	}
	off := *south
	off.Settings.QuotaEnforced = false
	if got := spend(t, b, &off, 1000); got != 1000 {
		t.Errorf("no quota: %d codes", got)
	}
}

// What is set aside and not spent is not lost; whoever finds nothing left is refused
// only when it is asked to spend.
func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	b := budget(w)
	for range 100 {
		_, release, err := b.Hold(t.Context(), north)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if got := spend(t, b, north, 1000); got != quota.Default {
		t.Errorf("%d codes, want %d", got, quota.Default)
	}
	take, release, err := b.Hold(t.Context(), north)
	if err != nil || take() {
		t.Errorf("an empty budget: %v", err)
	}
	release()
	if got := spend(t, b, north, 1); got != 0 {
		t.Error("releasing nothing made a code")
	}
}

// A burst counts once, on its day, within moments, and is audited.
func TestBurst(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	b := budget(w)
	spend(t, b, north, 1000)
	for _, bad := range []int{0, -1, quota.Most + 1} {
		if err := burst(t, w, north, bad); !errors.Is(err, quota.ErrBurst) {
			t.Errorf("a burst of %d: %v", bad, err)
		}
	}
	if err := burst(t, w, north, 25); err != nil {
		t.Fatal(err)
	}
	w.Advance(3 * time.Second)
	if got := spend(t, b, north, 1000); got != 25 {
		t.Errorf("%d codes after the burst, want 25", got)
	}
	want := quota.Standing{Day: today, Base: 10, Effective: 10, Burst: 25, Taken: 35}
	if diff := cmp.Diff(want, stand(t, w, north)); diff != "" {
		t.Errorf("standing (-want +got):\n%s", diff)
	}
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		list, err := audit.List(t.Context(), tx, 1)
		if err == nil && (list[0].Action != quota.BurstAction || list[0].ActorName != "Robin" || !strings.Contains(string(list[0].Detail), "added 25 quota capacity")) {
			t.Errorf("audit entry: %+v", list[0])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Advance(24 * time.Hour)
	if got := spend(t, b, north, 1000); got != quota.Default {
		t.Errorf("the next day: %d codes, want %d", got, quota.Default)
	}
}

// However many processes and requests at once: never more than the budget, and no less
// than the stated share of it.
func TestProcessesShareABudget(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	const base, processes, workers = 600, 3, 4
	modelled(t, w, north, base)
	var issued, refused atomic.Int64
	var all sync.WaitGroup
	for range processes {
		b := budget(w)
		for range workers {
			all.Go(func() {
				for refused.Load() == 0 { // the first refusal ends the test for all
					take, release, err := b.Hold(context.Background(), north)
					if err != nil {
						t.Error(err)
						return
					}
					if take() {
						issued.Add(1)
					} else {
						refused.Add(1)
					}
					release()
				}
			})
		}
	}
	all.Wait()
	withheld := int64((processes - 1) * base / 20)
	// Workers under way may have finished after the first refusal.
	if got := issued.Load(); got > base || got < base-withheld {
		t.Errorf("%d codes, want %d to %d", got, base-withheld, base)
	}
	if s := stand(t, w, north); s.Taken != base || s.Left() != 0 {
		t.Errorf("standing: %+v", s)
	}
}

// One round trip in many requests, and none inside anybody's transaction.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	modelled(t, w, north, 1000)
	b := budget(w)
	const take = 4 // begin with lock, read, insert, commit
	if got := w.Trips(func() { spend(t, b, north, 1) }); got != take {
		t.Errorf("the first code: %d round trips, want %d", got, take)
	}
	if got := w.Trips(func() { spend(t, b, north, 49) }); got != 0 {
		t.Errorf("the next 49: %d round trips", got)
	}
	if got := w.Trips(func() { spend(t, b, north, 1) }); got != take {
		t.Errorf("the next share: %d round trips, want %d", got, take)
	}
	spend(t, b, north, 10_000)
	if got := w.Trips(func() {
		for range 100 {
			spend(t, b, north, 1)
		}
	}); got != 0 {
		t.Errorf("nothing left: %d round trips", got)
	}
}

func TestLogOnly(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	var log bytes.Buffer
	b := quota.NewBudget(w.Issuer, slog.New(slog.NewJSONHandler(&log, nil)), true, w.Now)
	if got := spend(t, b, north, quota.Default+3); got != quota.Default+3 {
		t.Errorf("%d codes", got)
	}
	if got := strings.Count(log.String(), `"tenant":"north"`); got != 3 {
		t.Errorf("%d lines in the log: %s", got, log.String())
	}
}

// Without the database no code is issued beyond what is in hand.
func TestBudgetWithoutDatabase(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	db := w.Open("carillon_issuer")
	b := quota.NewBudget(db, slog.New(slog.DiscardHandler), false, w.Now)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Hold(t.Context(), north); err == nil {
		t.Error("a code was set aside")
	}
}

const codesSQL = `
insert into verification_code
       (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
select $1, gen_random_uuid(), sha512(random()::text::bytea), sha512(random()::text::bytea), 'confirmed', $2, $2, $2, 'system', ''
  from generate_series(1, $3)`

// The modeller counts each complete day once, in UTC, and the limit follows when there
// are days enough. Codes of the current day, and of other tenants, are not in it.
func TestModeller(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := enforcing(w, "north"), enforcing(w, "south")
	work := func() {
		t.Helper()
		for _, of := range []*tenant.Tenant{north, south, north} {
			if err := quota.CloseDays(t.Context(), w.Jobs, of.ID, w.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	history := func(of *tenant.Tenant) (days []quota.Day) {
		t.Helper()
		err := w.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
			days, err = quota.History(t.Context(), tx, w.Now())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return days
	}
	exec(t, w, codesSQL, south.ID, w.Now().AddDate(0, 0, -1), 5)
	for i := range 15 {
		begins := w.Now().UTC().Truncate(24 * time.Hour)
		exec(t, w, codesSQL, north.ID, begins, 10+i)
		exec(t, w, codesSQL, north.ID, begins.Add(24*time.Hour-time.Second), 10)
		work() // the day is not complete
		w.Advance(24 * time.Hour)
		if i%3 == 2 {
			continue // the job was down
		}
		work()
		days := history(north)
		last := days[len(days)-1]
		if len(days) != i+1 || last.Issued != 20+i || !last.Day.Equal(begins) {
			t.Fatalf("after day %d: %d days, the last %+v", i+1, len(days), last)
		}
		want := quota.Default
		if i >= 13 {
			want = 20 + i + 1 // the line goes on
		}
		if s := stand(t, w, north); s.Base != want {
			t.Errorf("after day %d: limit %d, want %d", i+1, s.Base, want)
		}
	}
	if days := history(south); len(days) != 1 || days[0].Issued != 5 {
		t.Errorf("the other tenant: %+v", days)
	}
	if forecast, ok := quota.Forecast(history(north), w.Now().UTC().Truncate(24*time.Hour)); forecast != 34 || !ok {
		t.Errorf("forecast %d, %v", forecast, ok)
	}
	w.Advance(quota.Keep - 48*time.Hour)
	for _, kept := range []bool{true, false} {
		if err := quota.Cleanup(t.Context(), w.Jobs, north.ID, w.Now()); err != nil {
			t.Fatal(err)
		}
		var rows int
		if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from quota_day where tenant_id = $1`, north.ID).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		if (rows > 0) != kept {
			t.Errorf("%v: %d days", w.Now(), rows)
		}
		w.Advance(20 * 24 * time.Hour)
	}
}
