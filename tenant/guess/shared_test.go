package guess_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/guess"
	"carillon/tenant/tenanttest"
)

func see(t *testing.T, w *tenanttest.World, of *tenant.Tenant) (s guess.Sighting) {
	t.Helper()
	err := w.Issuer.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		s, err = guess.See(t.Context(), tx, w.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exec(t *testing.T, w *tenanttest.World, statement string, args ...any) {
	t.Helper()
	if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// Several processes count side by side; whoever issues codes sees the sum, of its own
// tenant and of one day.
func TestProcessesShareTheirCounts(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	const processes, each = 4, 400
	var all sync.WaitGroup
	for range processes {
		c := guess.NewCounter(w.Device, guess.DefaultBounds(), w.Now)
		all.Go(func() {
			attempts(c, north.ID, "192.0.2.1", each, guess.Wrong)
			attempts(c, north.ID, "192.0.2.1", each, guess.Right)
			attempts(c, south.ID, "192.0.2.1", 7, guess.Wrong)
			for range 2 { // the second has nothing to add
				if err := c.Report(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// Of 400, the first 300 in a minute and what right codes bought.
	if got := see(t, w, north).Wrong; got < processes*300 || got > processes*each {
		t.Errorf("%d unknown codes are known of", got)
	}
	if got := see(t, w, south).Wrong; got != processes*7 {
		t.Errorf("the other tenant: %d unknown codes, want %d", got, processes*7)
	}
	w.Advance(24*time.Hour + time.Minute)
	if got := see(t, w, north).Wrong; got != 0 {
		t.Errorf("a day later: %d unknown codes", got)
	}
}

// What could not be reported is reported later, and a process that ends says its last.
func TestReportsAreNotLost(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	c := guess.NewCounter(w.Device, guess.DefaultBounds(), w.Now)
	attempts(c, north.ID, "192.0.2.1", 5, guess.Wrong)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Report(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Report: %v", err)
	}
	attempts(c, north.ID, "192.0.2.1", 6, guess.Wrong)
	if err := c.Run(ended, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := see(t, w, north).Wrong; got != 11 {
		t.Errorf("%d unknown codes, want 11", got)
	}
}

const codeSQL = `
insert into verification_code
       (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, claimed_at, issuer_kind, issuer_id)
select $1, gen_random_uuid(), sha512(random()::text::bytea), sha512(random()::text::bytea), 'confirmed',
       $2::timestamptz, $3::timestamptz, $4::timestamptz, $5::timestamptz, 'system', ''
  from generate_series(1, $6)`

// Only codes that a guess could hit are live.
func TestSightingOfCodes(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	now := w.Now()
	in := func(d time.Duration) time.Time { return now.Add(d) }
	exec(t, w, codeSQL, north.ID, in(-time.Minute), in(time.Hour), in(time.Hour), nil, 3)          // live
	exec(t, w, codeSQL, north.ID, in(-time.Minute), in(time.Hour), in(time.Hour), now, 5)          // claimed
	exec(t, w, codeSQL, north.ID, in(-time.Hour), in(-time.Minute), in(time.Hour), nil, 7)         // short code over
	exec(t, w, codeSQL, north.ID, in(-48*time.Hour), in(-47*time.Hour), in(-26*time.Hour), nil, 9) // long ago
	if got, want := see(t, w, north), (guess.Sighting{Issued: 15, Live: 3}); got != want {
		t.Errorf("seen %+v, want %+v", got, want)
	}
}

// An attack makes the next codes of its tenant longer, and those of no other.
func TestLengths(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	exec(t, w, `insert into wrong_code_count select $1, date_trunc('minute', $2::timestamptz), gen_random_uuid(), 50000`, north.ID, w.Now())
	for role, db := range map[string]*tenant.DB{"issuer": w.Issuer, "portal": w.Portal, "report": w.Report} {
		l := guess.NewLengths(db, w.Now)
		for of, want := range map[*tenant.Tenant]int{north: 9, south: 8} {
			for i, trips := range []int{3, 0} {
				var got int
				var err error
				n := w.Trips(func() { got, err = l.Digits(t.Context(), of) })
				if err != nil || got != want || n != trips {
					t.Errorf("%s, %s, look %d: %d digits (%v) after %d round trips, want %d after %d", role, of.Slug, i+1, got, err, n, want, trips)
				}
			}
		}
	}
}

// The alarm is raised once a day, by however many processes: a line in the log, a
// metric, an audit entry. It names no caller.
func TestAlarm(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	w.Create("south")
	var log bytes.Buffer
	metrics := prometheus.NewRegistry()
	watch := guess.NewWatch(w.Jobs, tenant.NewDirectory(w.Jobs), nil, metrics, slog.New(slog.NewJSONHandler(&log, nil)), w.Now)
	look := func(alarms, guessed int) {
		t.Helper()
		log.Reset()
		others := guess.NewWatch(w.Jobs, tenant.NewDirectory(w.Jobs), nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler), w.Now)
		for _, l := range []*guess.Watch{watch, others, watch} {
			if err := l.Look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(log.String(), `"tenant":"north"`); got != min(1, alarms) && alarms < 2 {
			t.Errorf("log: %s", log.String())
		}
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			v, want := f.GetMetric()[0].GetCounter().GetValue(), float64(alarms)
			if f.GetName() == "carillon_guessed_tenants" {
				v, want = f.GetMetric()[0].GetGauge().GetValue(), float64(guessed)
			}
			if v != want {
				t.Errorf("%s is %v, want %v", f.GetName(), v, want)
			}
		}
		entries := 0
		err = w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			list, err := audit.List(t.Context(), tx, 100)
			for _, e := range list {
				if e.Action == guess.Action {
					entries++
				}
			}
			return err
		})
		if err != nil || entries != alarms {
			t.Errorf("%d audit entries (%v), want %d", entries, err, alarms)
		}
	}
	look(0, 0)
	exec(t, w, `insert into wrong_code_count select $1, date_trunc('minute', $2::timestamptz), gen_random_uuid(), 50000`, north.ID, w.Now())
	look(1, 1)
	w.Advance(12 * time.Hour) // past midnight, and the counts are still of this day
	look(2, 1)
	w.Advance(24 * time.Hour)
	look(2, 0)
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	exec(t, w, `insert into wrong_code_count select $1, date_trunc('minute', $2::timestamptz), gen_random_uuid(), 1`, north.ID, w.Now())
	exec(t, w, `insert into guessing_alarm values ($1, $2::date, 1, 9)`, north.ID, w.Now().Format(time.DateOnly))
	rows := func() (counts, alarms int) {
		t.Helper()
		err := w.Database.Super().QueryRowContext(t.Context(), `select (select count(*) from wrong_code_count), (select count(*) from guessing_alarm)`).Scan(&counts, &alarms)
		if err != nil {
			t.Fatal(err)
		}
		return counts, alarms
	}
	for _, step := range []struct {
		after          time.Duration
		counts, alarms int
	}{{guess.Keep - time.Hour, 1, 1}, {2 * time.Hour, 0, 1}, {guess.KeepAlarms - 48*time.Hour, 0, 1}, {48 * time.Hour, 0, 0}} {
		w.Advance(step.after)
		if err := guess.Cleanup(t.Context(), w.Jobs, north.ID, w.Now()); err != nil {
			t.Fatal(err)
		}
		if counts, alarms := rows(); counts != step.counts || alarms != step.alarms {
			t.Errorf("%v: %d counts and %d alarms are kept, want %d and %d", w.Now(), counts, alarms, step.counts, step.alarms)
		}
	}
}
