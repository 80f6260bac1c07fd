package job

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lib/pq"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

// A lag grows whether a job fails, hangs, is run by nobody, or says itself that it is
// behind though each run succeeds.
func TestLag(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	var behind time.Time
	fail := true
	j := named("work", func(_ context.Context, id tenant.ID) error {
		if fail && id == south.ID {
			return errors.New("broken")
		}
		return nil
	})
	j.Behind = func(_ context.Context, id tenant.ID) (time.Time, error) {
		if id == north.ID {
			return behind, nil
		}
		return time.Time{}, nil
	}
	s := scheduler(t, w, j)
	want := func(when string, of *tenant.Tenant, lag time.Duration, late bool) {
		t.Helper()
		if got := standing(t, w, "work", of); got.LagSeconds != lag.Seconds() || got.Late != late {
			t.Errorf("%s: %s lags %v s, late %t, want %v and %t", when, of.Slug, got.LagSeconds, got.Late, lag, late)
		}
	}
	round(t, s)
	want("at first", north, 0, false)
	want("at first", south, 0, false)
	w.Advance(every)
	round(t, s)
	w.Advance(10 * time.Second)
	want("after a success", north, 0, false)
	want("after two failures", south, 10*time.Second, false)
	behind = w.Now().Add(-11 * every)
	w.Advance(every - 10*time.Second)
	round(t, s)
	want("behind", north, w.Now().Sub(behind), true)
	behind, fail = time.Time{}, false
	w.Advance(every)
	round(t, s)
	want("mended", north, 0, false)
	want("mended", south, 0, false)
	w.Advance(12 * every)
	want("nobody works", north, 11*every, true)
	late, err := List(t.Context(), w.Operator, Filter{Late: true}, w.Now())
	if err != nil || len(late) != 2 {
		t.Errorf("late are %+v, %v", late, err)
	}
	all, err := Summarise(t.Context(), w.Jobs, w.Now())
	if err != nil || len(all) != 1 {
		t.Fatalf("summary %+v, %v", all, err)
	}
	all[0].DueAt, all[0].SucceededAt = nil, nil
	if diff := cmp.Diff(Summary{Job: "work", EverySeconds: 60, Tenants: 2, Late: 2, LagSeconds: 11 * 60}, all[0]); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewSurvey(w.Jobs, w.Now))
	if diff := cmp.Diff(map[string]float64{
		"carillon_job_lag_seconds work": 660, "carillon_job_late work": 2, "carillon_job_failing work": 0,
	}, gathered(t, registry)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// The schedule is for whoever runs jobs, and for operators; others have nothing to see.
func TestWhoSeesTheSchedule(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for name, db := range map[string]*tenant.DB{"device": w.Device, "report": w.Report, "publish": w.Publish, "portal": w.Portal} {
		if _, err := List(t.Context(), db, Filter{}, w.Now()); !tenanttest.Denied(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := List(t.Context(), w.Issuer, Filter{}, w.Now()); err != nil {
		t.Errorf("issuer: %v", err)
	}
}

// A job that is at work all the time writes down changes, and a success now and then.
func TestRecorder(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	r := NewRecorder(w.Issuer, "posting", "here", slog.New(slog.DiscardHandler), w.Now)
	note := func(err error) Standing {
		t.Helper()
		r.Note(t.Context(), north.ID, err)
		return standing(t, w, "posting", north)
	}
	first := note(nil)
	if first.SucceededAt == nil || first.DueAt != nil || first.Holder != "here" {
		t.Errorf("at first: %+v", first)
	}
	w.Advance(time.Second)
	if again := note(nil); !cmp.Equal(first, again) {
		t.Errorf("a success a second later was written down: %+v", again)
	}
	if failed := note(errors.New("broken")); failed.Failures != 1 || failed.Error == "" || !failed.SucceededAt.Equal(*first.SucceededAt) {
		t.Errorf("a failure: %+v", failed)
	}
	w.Advance(time.Second)
	if failed := note(errors.New("broken")); failed.Failures != 1 {
		t.Errorf("the same failure a second later was written down: %+v", failed)
	}
	if mended := note(nil); mended.Failures != 0 || mended.Error != "" || !mended.SucceededAt.Equal(w.Now()) {
		t.Errorf("a success after a failure: %+v", mended)
	}
	before := w.Now()
	w.Advance(noteEvery)
	if later := note(nil); !later.SucceededAt.After(before) {
		t.Errorf("a success much later: %+v", later)
	}
	stopping, stop := context.WithCancel(t.Context())
	stop()
	r.Note(stopping, north.ID, stopping.Err())
	if stopped := standing(t, w, "posting", north); stopped.Failures != 0 {
		t.Errorf("a stop is no failure: %+v", stopped)
	}
}

// Classes quote nothing of an error.
func TestClass(t *testing.T) {
	t.Parallel()
	secret := errors.New("secret")
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{secret, "other: see the log"},
		{fmt.Errorf("of %w", Failure("of its own")), "of its own"},
		{fmt.Errorf("of %w", &pq.Error{Code: "40001", Message: "secret"}), "database: serialization_failure"},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), "took too long"},
		{fmt.Errorf("secret: %w", context.Canceled), "broken off"},
		{fmt.Errorf("secret: %w", driver.ErrBadConn), "connection lost"},
		{fmt.Errorf("secret: %w", &net.OpError{Op: "dial", Err: secret}), "connection lost"},
	} {
		if got := Class(test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// What this process did is counted by job and result.
func TestRunsAreCounted(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	registry := prometheus.NewRegistry()
	s, err := NewScheduler(Config{
		DB: w.Jobs, Metrics: registry, Log: slog.New(slog.DiscardHandler), Now: w.Now,
		Jobs: []Job{named("good", func(context.Context, tenant.ID) error { return nil }), named("bad", func(context.Context, tenant.ID) error { return errors.New("broken") })},
	})
	if err != nil {
		t.Fatal(err)
	}
	round(t, s)
	got := gathered(t, registry)
	delete(got, "carillon_job_run_seconds good")
	delete(got, "carillon_job_run_seconds bad")
	if diff := cmp.Diff(map[string]float64{"carillon_job_runs_total good success": 1, "carillon_job_runs_total bad failure": 1}, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// gathered is what a registry tells, by name and labels.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}
