package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"carillon/tenant"
	"carillon/tenant/limit"
)

func enter(t *testing.T, turns *limit.Turns, id tenant.ID) (done func()) {
	t.Helper()
	done, err := turns.Enter(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// wait enters in the background; the order of arrival is that of the calls. entered
// tells when the turn has come.
func wait(t *testing.T, turns *limit.Turns, id tenant.ID, entered chan<- func()) {
	t.Helper()
	ready := make(chan struct{})
	before := turns.Waiting(id)
	go func() {
		close(ready)
		done, err := turns.Enter(context.Background(), id)
		if err != nil {
			t.Error(err)
			return
		}
		entered <- done
	}()
	<-ready
	for turns.Waiting(id) == before { // until it stands in line
	}
}

// A tenant with many requests waiting delays another's only one by one turn.
func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	turns := limit.NewTurns(4, 1000)
	noisy, quiet := tenant.NewID(), tenant.NewID()
	var working []func()
	for range 3 { // three in four
		working = append(working, enter(t, turns, noisy))
	}
	crowd, one := make(chan func(), 100), make(chan func(), 100)
	for range 100 {
		wait(t, turns, noisy, crowd)
	}
	if len(crowd) != 0 {
		t.Error("a tenant has more than its part")
	}
	done := enter(t, turns, quiet) // the fourth is free for others
	wait(t, turns, quiet, one)
	working[0]()
	(<-crowd)() // the one who was first in line, which lets the next in
	<-one       // its turn came before ninety-eight others'
	done()
}

// Whatever happens at once: never more than allowed, nobody forgotten, nothing left.
func TestTurnsAtOnce(t *testing.T) {
	t.Parallel()
	const atOnce = 8
	turns := limit.NewTurns(atOnce, 10_000)
	var working, most, served, gaveUp atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		id := tenant.NewID()
		for i := range 50 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%5 == 0 {
					go cancel() // some give up, at any moment
				}
				done, err := turns.Enter(ctx, id)
				if err != nil {
					gaveUp.Add(1)
					return
				}
				most.Store(max(most.Load(), working.Add(1)))
				served.Add(1)
				working.Add(-1)
				done()
			})
		}
	}
	all.Wait()
	if most.Load() > atOnce || served.Load()+gaveUp.Load() != 1000 || served.Load() < 800 {
		t.Errorf("%d at once, %d served, %d gave up", most.Load(), served.Load(), gaveUp.Load())
	}
	var ends []func() // all is free again
	for range atOnce {
		ends = append(ends, enter(t, turns, tenant.NewID()))
	}
	for _, done := range ends {
		done()
	}
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	turns := limit.NewTurns(1, 2)
	id := tenant.NewID()
	done := enter(t, turns, id)
	line := make(chan func(), 2)
	wait(t, turns, id, line)
	wait(t, turns, id, line)
	if _, err := turns.Enter(t.Context(), id); !errors.Is(err, limit.ErrCrowded) {
		t.Errorf("a full line: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := tenant.NewID()
	if _, err := turns.Enter(ended, other); !errors.Is(err, context.Canceled) {
		t.Errorf("giving up: %v", err)
	}
	done()
	(<-line)()
	(<-line)()
	enter(t, turns, other)()
}

func TestNoTurns(t *testing.T) {
	t.Parallel()
	var turns *limit.Turns
	enter(t, turns, tenant.NewID())()
}
