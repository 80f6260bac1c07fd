package bench

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// load is what callers in a closed loop have met: each asks again as soon as it has
// its answer.
type load struct {
	took    []time.Duration // of the successes, sorted
	errors  int
	first   error // the first of the errors
	elapsed time.Duration
}

// errExhausted ends a loop early: there is nothing left to ask for.
var errExhausted = errors.New("nothing left to ask for")

// closedLoop runs an operation on so many callers for so long.
func closedLoop(ctx context.Context, callers int, long time.Duration, once func(ctx context.Context, caller int) error) load {
	var mu sync.Mutex
	var sum load
	var group sync.WaitGroup
	began := time.Now()
	end := began.Add(long)
	for caller := range callers {
		group.Go(func() {
			mine := loop(ctx, end, caller, once)
			mu.Lock()
			defer mu.Unlock()
			sum.add(mine)
		})
	}
	group.Wait()
	sum.elapsed = time.Since(began)
	slices.Sort(sum.took)
	return sum
}

func loop(ctx context.Context, end time.Time, caller int, once func(ctx context.Context, caller int) error) load {
	var l load
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		err := once(ctx, caller)
		then := time.Now()
		switch {
		case errors.Is(err, errExhausted):
			return l
		case err != nil:
			l.errors++
			l.first = cmpErr(l.first, err)
		default:
			l.took = append(l.took, then.Sub(now))
		}
		now = then
	}
	return l
}

func cmpErr(first, next error) error {
	if first != nil {
		return first
	}
	return next
}

func (l *load) add(other load) {
	l.took = append(l.took, other.took...)
	l.errors += other.errors
	l.first = cmpErr(l.first, other.first)
}

func (l *load) count() int { return len(l.took) }

// rate is successes per second.
func (l *load) rate() float64 { return float64(len(l.took)) / l.elapsed.Seconds() }

// errNothing means that a whole slice went by without a success.
var errNothing = errors.New("not one request succeeded")

func (l *load) fatal() error {
	if len(l.took) > 0 {
		return nil
	}
	return errors.Join(errNothing, l.first)
}

// percentile of the successes, in 1 to 100.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*p+99)/100-1]
}
