package limit_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	"carillon/tenant/limit"
)

var start = time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return start.Add(time.Duration(c.at.Load())) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func TestAllow(t *testing.T) {
	t.Parallel()
	var c clock
	l, id := limit.New(3, c.now), tenant.NewID()
	reset := start.Add(limit.Window)
	for i, want := range []limit.Decision{
		{Allowed: true, Limit: 3, Remaining: 2, Reset: reset},
		{Allowed: true, Limit: 3, Remaining: 1, Reset: reset},
		{Allowed: true, Limit: 3, Remaining: 0, Reset: reset},
		{Allowed: false, Limit: 3, Remaining: 0, Reset: reset},
		{Allowed: false, Limit: 3, Remaining: 0, Reset: reset},
	} {
		if diff := cmp.Diff(want, l.Allow(id, "192.0.2.1")); diff != "" {
			t.Errorf("request %d (-want +got):\n%s", i+1, diff)
		}
		c.advance(time.Second)
	}
	c.advance(limit.Window - 5*time.Second - 1)
	if d := l.Allow(id, "192.0.2.1"); d.Allowed {
		t.Error("allowed before the window ended")
	}
	c.advance(1)
	want := limit.Decision{Allowed: true, Limit: 3, Remaining: 2, Reset: reset.Add(limit.Window)}
	if diff := cmp.Diff(want, l.Allow(id, "192.0.2.1")); diff != "" {
		t.Errorf("the next window (-want +got):\n%s", diff)
	}
}

// One caller's requests cost no other caller, and no other tenant.
func TestCallersAreApart(t *testing.T) {
	t.Parallel()
	var c clock
	l := limit.New(1, c.now)
	north, south := tenant.NewID(), tenant.NewID()
	for _, who := range []struct {
		at      tenant.ID
		address string
	}{{north, "192.0.2.1"}, {north, "192.0.2.2"}, {south, "192.0.2.1"}, {north, ""}, {north, "192.0.2.1 "}} {
		if !l.Allow(who.at, who.address).Allowed {
			t.Errorf("%q is refused for what others asked", who.address)
		}
		if l.Allow(who.at, who.address).Allowed {
			t.Errorf("%q is not refused", who.address)
		}
	}
}

func TestPeekCountsNothing(t *testing.T) {
	t.Parallel()
	var c clock
	l, id := limit.New(1, c.now), tenant.NewID()
	free := limit.Decision{Allowed: true, Limit: 1, Remaining: 1, Reset: start.Add(limit.Window)}
	for range 3 {
		if diff := cmp.Diff(free, l.Peek(id, "a")); diff != "" {
			t.Errorf("before (-want +got):\n%s", diff)
		}
	}
	l.Allow(id, "a")
	spent := limit.Decision{Limit: 1, Reset: start.Add(limit.Window)}
	if diff := cmp.Diff(spent, l.Peek(id, "a")); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

// A clock that is set back does not lock anybody out until it catches up.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	var c clock
	l, id := limit.New(1, c.now), tenant.NewID()
	l.Allow(id, "a")
	c.advance(-24 * time.Hour)
	if d := l.Allow(id, "a"); !d.Allowed || !d.Reset.Equal(c.now().Add(limit.Window)) {
		t.Errorf("decision = %+v", d)
	}
}

// Under a flood of callers the one not seen for longest is forgotten, and one who
// keeps asking is not.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var c clock
	l, id := limit.New(1, c.now), tenant.NewID()
	const callers = 100_000
	l.Allow(id, "quiet")
	l.Allow(id, "busy")
	for i := range callers {
		if !l.Allow(id, strconv.Itoa(i)).Allowed {
			t.Fatalf("caller %d is refused at once", i)
		}
		if i%1000 == 0 && l.Allow(id, "busy").Allowed {
			t.Fatalf("the busy caller is forgotten after %d others", i)
		}
	}
	if !l.Allow(id, "quiet").Allowed {
		t.Error("the quiet caller is remembered after a hundred thousand others")
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const most = 100
	var c clock
	l, id := limit.New(most, c.now), tenant.NewID()
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range most {
				if l.Allow(id, "a").Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := allowed.Load(); n != most {
		t.Errorf("%d requests were allowed, want %d", n, most)
	}
}

// What a request costs when its caller is known.
func BenchmarkAllow(b *testing.B) {
	l, id := limit.New(1<<30, time.Now), tenant.NewID()
	for b.Loop() {
		l.Allow(id, "192.0.2.1")
	}
}
