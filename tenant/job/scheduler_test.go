package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/tenanttest"
)

// Every tenant has its turn once in an interval, new ones at once; a suspended one if
// the job is for those, too; a job of the platform has one turn.
func TestEachHasItsTurn(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	suspend(t, w, south)
	var usual, thorough, single diary
	also, whole := named("thorough", thorough.run), named("single", single.run)
	also.Suspended, whole.Platform = true, true
	s := scheduler(t, w, named("usual", usual.run), also, whole)
	want := func(job string, d *diary, ids ...tenant.ID) {
		t.Helper()
		expected := map[tenant.ID]int{}
		for _, id := range ids {
			expected[id] = 1
		}
		if got := d.take(); len(got)+len(expected) > 0 && !cmp.Equal(expected, got) {
			t.Errorf("%s: ran for %v, want %v", job, got, expected)
		}
	}
	for range 2 {
		round(t, s)
		want("usual", &usual, north.ID)
		want("thorough", &thorough, north.ID, south.ID)
		want("single", &single, Platform)
		round(t, s) // nothing is due
		want("usual", &usual)
		want("thorough", &thorough)
		want("single", &single)
		w.Advance(every)
	}
	round(t, s)
	usual.take()
	east := w.Create("east")
	round(t, s)
	want("usual", &usual, east.ID)
	if late := standing(t, w, "thorough", south); late.Late || late.SucceededAt == nil {
		t.Errorf("the suspended tenant's: %+v", late)
	}
	list, err := List(t.Context(), w.Operator, Filter{Slug: "south"}, w.Now())
	if err != nil || len(list) != 1 {
		t.Errorf("a job that rests for a suspended tenant is listed: %v, %v", list, err)
	}
}

// One tenant that fails, and one that hangs, keep nobody waiting but themselves.
func TestNobodyWaitsForOthers(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	broken, slow := w.Create("broken"), w.Create("slow")
	var others []*tenant.Tenant
	for i := range 5 {
		others = append(others, w.Create(fmt.Sprintf("other-%d", i)))
	}
	var calm, other diary
	hang := make(chan struct{})
	j := named("mixed", func(ctx context.Context, id tenant.ID) error {
		switch id {
		case broken.ID:
			return errors.New("broken")
		case slow.ID:
			<-hang
			return nil
		}
		return calm.run(ctx, id)
	})
	j.AtOnce = 2 // of which the one that hangs has one
	s := scheduler(t, w, j, named("unhurt", other.run))
	for i := range 2 {
		for range len(others) + 2 { // each look takes what there are places for
			look(t, s)
			settle(s, 1)
		}
		if got := calm.take(); len(got) != len(others) {
			t.Errorf("round %d: %d tenants had their turn, want %d", i, len(got), len(others))
		}
		if got := other.take(); len(got) != len(others)+2 {
			t.Errorf("round %d: %d tenants had their turn at the other job", i, len(got))
		}
		w.Advance(every)
		s.renew(t.Context(), time.Minute)
	}
	if b := standing(t, w, "mixed", broken); b.Failures != 2 || b.Error != "other: see the log" || b.SucceededAt != nil {
		t.Errorf("the broken one: %+v", b)
	}
	if b := standing(t, w, "mixed", slow); !b.Running || b.EndedAt != nil {
		t.Errorf("the slow one: %+v", b)
	}
	close(hang)
	s.Wait()
	if b := standing(t, w, "mixed", slow); b.Running || b.SucceededAt == nil || b.Failures != 0 {
		t.Errorf("the slow one at last: %+v", b)
	}
}

// settle waits until no more than n runs go on.
func settle(s *Scheduler, n int) {
	for {
		s.mu.Lock()
		left := len(s.running)
		s.mu.Unlock()
		if left <= n {
			return
		}
		<-s.wake // by each that ends
	}
}

// Whichever of two processes looks, a tenant's turn is one's.
func TestOneHolder(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for i := range 8 {
		w.Create(fmt.Sprintf("tenant-%d", i))
	}
	var d diary
	var looks sync.WaitGroup
	for range 4 {
		s := scheduler(t, w, named("once", d.run))
		looks.Go(func() {
			for range 5 {
				if err := s.Look(t.Context()); err != nil {
					t.Error(err)
				}
			}
			s.Wait()
		})
	}
	looks.Wait()
	done := d.take()
	for id, n := range done {
		if n != 1 {
			t.Errorf("%v had %d turns", id, n)
		}
	}
	if len(done) != 8 {
		t.Errorf("%d tenants had their turn", len(done))
	}
}

// held is a scheduler with a run that has begun and hangs until its context ends, with
// the reason that it then gives.
func held(t *testing.T, w *tenanttest.World) (s *Scheduler, lost chan error) {
	t.Helper()
	return heldUnder(t.Context(), t, w)
}

func heldUnder(ctx context.Context, t *testing.T, w *tenanttest.World) (s *Scheduler, lost chan error) {
	t.Helper()
	began, lost := make(chan struct{}), make(chan error, 1)
	s = scheduler(t, w, named("long", func(ctx context.Context, _ tenant.ID) error {
		close(began)
		<-ctx.Done()
		lost <- context.Cause(ctx)
		return ctx.Err()
	}))
	if err := s.Look(ctx); err != nil {
		t.Fatal(err)
	}
	<-began
	return s, lost
}

// What a dead process held is done by another one after the lease. If the dead one
// lives after all, its work is broken off, and it can tell of no end.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	dead, lost := held(t, w)
	var d diary
	other := scheduler(t, w, named("long", d.run))
	w.Advance(defaultLease - time.Second)
	round(t, other)
	if n := len(d.take()); n != 0 {
		t.Error("a held job was taken over before its lease ended")
	}
	w.Advance(time.Second)
	round(t, other)
	if d.take()[north.ID] != 1 {
		t.Error("a dead process's job was not taken over")
	}
	before := standing(t, w, "long", north)
	w.Advance(time.Second)
	dead.renew(t.Context(), time.Minute)
	if err := <-lost; !errors.Is(err, errLost) {
		t.Errorf("the work was broken off by %v", err)
	}
	dead.Wait()
	if diff := cmp.Diff(before, standing(t, w, "long", north)); diff != "" {
		t.Errorf("whoever had lost the lease told of an end (-before +after):\n%s", diff)
	}
}

func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	ctx, stop := context.WithCancel(t.Context())
	s, lost := heldUnder(ctx, t, w)
	var d diary
	other := scheduler(t, w, named("long", d.run))
	for range 3 {
		w.Advance(defaultLease - time.Second)
		s.renew(t.Context(), time.Minute)
		round(t, other)
	}
	if len(d.take()) != 0 {
		t.Error("a living process's job was taken")
	}
	// A process that stops in order gives back what it has not finished.
	stop()
	<-lost
	s.Wait()
	round(t, other)
	if len(d.take()) != 1 {
		t.Error("what was given back is not done")
	}
}

// A run that was requested while another goes on is done after it; a request for one
// tenant is its own, and in its audit log.
func TestRequest(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	var d diary
	s := scheduler(t, w, named("work", d.run))
	by := authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}
	request := func(name string, of *tenant.Tenant, want error) {
		t.Helper()
		if err := Request(t.Context(), w.Operator, by, name, of, w.Now()); !errors.Is(err, want) {
			t.Errorf("request %s: %v, want %v", name, err, want)
		}
	}
	request("work", nil, ErrUnknown) // nobody has it yet
	round(t, s)
	d.take()
	w.Advance(time.Second)
	request("other", nil, ErrUnknown)
	request("work", north, nil)
	round(t, s)
	if got := d.take(); got[north.ID] != 1 || got[south.ID] != 0 {
		t.Errorf("after a request for north: %v", got)
	}
	var entries []audit.Entry
	if err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.List(t.Context(), tx, 1)
		return err
	}); err != nil || entries[0].Action != RunAction || entries[0].Target != "work" {
		t.Errorf("audit log: %+v, %v", entries, err)
	}
	w.Advance(time.Second)
	request("work", nil, nil)
	round(t, s)
	if got := d.take(); got[north.ID] != 1 || got[south.ID] != 1 {
		t.Errorf("after a request for all: %v", got)
	}
}

func TestRequestWhileRunning(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	began, finish := make(chan struct{}, 2), make(chan struct{}, 2)
	s := scheduler(t, w, named("work", func(context.Context, tenant.ID) error {
		began <- struct{}{}
		<-finish
		return nil
	}))
	look(t, s)
	<-began
	w.Advance(time.Second)
	if err := Request(t.Context(), w.Operator, authz.Subject{Kind: authz.System}, "work", north, w.Now()); err != nil {
		t.Fatal(err)
	}
	finish <- struct{}{}
	s.Wait()
	look(t, s)
	<-began // again, though its interval is not over
	finish <- struct{}{}
	s.Wait()
}

// A request wakes a scheduler that rests, whichever process it is in.
func TestRequestWakes(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN("carillon_jobs"), Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var d diary
	s := schedulerOn(t, w, db, named("work", d.run))
	round(t, s)
	<-s.wake // by the run's end
	if err := Request(t.Context(), w.Operator, authz.Subject{Kind: authz.System}, "work", nil, w.Now()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.wake:
	case <-time.After(time.Minute):
		t.Error("the request was not heard")
	}
}

// The loop does what is due, and after its end nothing is under way.
func TestRun(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ran := make(chan struct{}, 1)
	s := scheduler(t, w, named("work", func(context.Context, tenant.ID) error {
		ran <- struct{}{}
		return nil
	}))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-ran
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(s.running) != 0 {
		t.Errorf("%d runs go on", len(s.running))
	}
}

func TestCarelessJobs(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	var d diary
	good := named("good", d.run)
	for name, spoil := range map[string]func(*Job){
		"no name":           func(j *Job) { j.Name = "" },
		"no interval":       func(j *Job) { j.Every = 0 },
		"bound in interval": func(j *Job) { j.Bound = j.Every - 1 },
		"no place":          func(j *Job) { j.AtOnce = 0 },
		"no timeout":        func(j *Job) { j.Timeout = 0 },
		"no work":           func(j *Job) { j.Run = nil },
		"its name twice":    func(*Job) {},
	} {
		bad := good
		spoil(&bad)
		if _, err := NewScheduler(Config{DB: w.Jobs, Jobs: []Job{good, bad}, Metrics: prometheus.NewRegistry(), Now: w.Now}); err == nil {
			t.Errorf("a job with %s was taken", name)
		}
	}
}
