package job

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

const every = time.Minute

// diary is a job's work that remembers for whom it was done.
type diary struct {
	mu   sync.Mutex
	runs map[tenant.ID]int
}

func (d *diary) run(_ context.Context, id tenant.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runs == nil {
		d.runs = map[tenant.ID]int{}
	}
	d.runs[id]++
	return nil
}

// take returns what was done since the last time.
func (d *diary) take() map[tenant.ID]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := maps.Clone(d.runs)
	clear(d.runs)
	return done
}

func named(name string, run func(context.Context, tenant.ID) error) Job {
	return Job{Name: name, Every: every, Bound: 10 * every, AtOnce: 10, Timeout: time.Minute, Run: run}
}

func scheduler(t *testing.T, w *tenanttest.World, jobs ...Job) *Scheduler {
	t.Helper()
	return schedulerOn(t, w, w.Jobs, jobs...)
}

func schedulerOn(t *testing.T, w *tenanttest.World, db *tenant.DB, jobs ...Job) *Scheduler {
	t.Helper()
	s, err := NewScheduler(Config{
		DB: db, Jobs: jobs, Holder: t.Name(), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func look(t *testing.T, s *Scheduler) {
	t.Helper()
	if err := s.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// round is a look of which all comes to its end.
func round(t *testing.T, s *Scheduler) {
	t.Helper()
	look(t, s)
	s.Wait()
}

// standing is how a job stands for a tenant.
func standing(t *testing.T, w *tenanttest.World, job string, of *tenant.Tenant) Standing {
	t.Helper()
	list, err := List(t.Context(), w.Operator, Filter{Slug: string(of.Slug)}, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s Standing) bool { return s.Job == job })
	if i < 0 {
		t.Fatalf("%s has no standing for %s", job, of.Slug)
	}
	return list[i]
}

func suspend(t *testing.T, w *tenanttest.World, of *tenant.Tenant) {
	t.Helper()
	const sql = `update tenant_directory set state = 'suspended' where tenant = $1`
	if _, err := w.Database.Super().ExecContext(t.Context(), sql, of.ID.String()); err != nil {
		t.Fatal(err)
	}
}
