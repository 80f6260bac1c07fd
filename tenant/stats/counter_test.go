package stats_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

var phone = stats.Caller{APIKey: "11111111-1111-4111-8111-111111111111", Platform: stats.Android}

// invalid is how many wrong codes the tenant's report has.
func (f *fixture) invalid(t *testing.T, of *tenant.Tenant) (n int64) {
	t.Helper()
	for _, d := range f.realm(t, of) {
		n += d.CodesInvalid.Total()
	}
	return n
}

// Many goroutines count while two processes flush and roll-ups move what is flushed:
// the report has every count once.
func TestCountedOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	const counters, each = 16, 250
	f := setUp(t)
	processes := []*stats.Counter{f.counter, stats.NewCounter(f.world.Now)}
	ctx, cancel := context.WithCancel(t.Context())
	var counting, flushing sync.WaitGroup
	for i := range counters {
		counting.Go(func() {
			for range each {
				processes[i%2].CodeInvalid(f.north.ID, phone, false)
				processes[i%2].CodeInvalid(f.south.ID, phone, false)
			}
		})
	}
	flush := func(c *stats.Counter) {
		if err := c.Flush(t.Context(), f.world.Device); err != nil {
			t.Error(err)
		}
	}
	for i := range 4 {
		flushing.Go(func() {
			for ctx.Err() == nil {
				flush(processes[i%2])
			}
		})
	}
	flushing.Go(func() {
		for ctx.Err() == nil { // the clock runs, so that tallies move
			f.world.Advance(time.Minute)
			if _, err := stats.Rollup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	counting.Wait()
	cancel()
	flushing.Wait()
	flush(processes[0])
	flush(processes[1])
	for _, of := range []*tenant.Tenant{f.north, f.south} {
		if got := f.invalid(t, of); got != counters*each {
			t.Errorf("%s has %d, want %d", of.Slug, got, counters*each)
		}
	}
}

// mortal is a handle whose connection breaks at the message that arm names.
func (f *fixture) mortal(t *testing.T, role string) (db *tenant.DB, arm func(write int64, after bool)) {
	t.Helper()
	var cut tenanttest.Scissors
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN(role), MaxOpen: 1, Dialer: &cut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, func(write int64, after bool) {
		if err := db.Ping(t.Context()); err != nil { // a connection is ready
			t.Fatal(err)
		}
		cut.Cut(write, after)
	}
}

// Wherever the connection breaks in a flush, the next one makes good: nothing is lost,
// and nothing counts twice though the first may have come through.
func TestBrokenFlushCountsOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	db, arm := f.mortal(t, "carillon_device")
	var want int64
	for write := int64(2); ; write++ { // opening heals
		for _, after := range []bool{false, true} {
			f.counter.CodeInvalid(f.north.ID, phone, false)
			arm(write, after)
			err := f.counter.Flush(t.Context(), db)
			f.counter.CodeInvalid(f.north.ID, phone, false) // while the first hangs
			want += 2
			for range 2 {
				f.flush(t)
			}
			if got := f.invalid(t, f.north); got != want {
				t.Errorf("message %d, answer lost %t: %d counted, want %d", write, after, got, want)
			}
			if err == nil {
				if write <= 3 {
					t.Errorf("cut at %d messages, want at least insert and commit", write-1)
				}
				return
			}
		}
	}
}

// A flush that cannot come through is given up before the database could have forgotten
// an earlier try of it, and the loss is told.
func TestFlushIsGivenUp(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	closed := f.world.Open("carillon_device")
	_ = closed.Close()
	f.counter.CodeInvalid(f.north.ID, phone, false)
	for _, wait := range []time.Duration{0, 9 * time.Minute} {
		f.world.Advance(wait)
		if err := f.counter.Flush(t.Context(), closed); err == nil || errors.Is(err, stats.ErrLost) {
			t.Errorf("after %v: %v, want another try", wait, err)
		}
	}
	f.world.Advance(time.Minute)
	if err := f.counter.Flush(t.Context(), closed); !errors.Is(err, stats.ErrLost) {
		t.Errorf("after ten minutes: %v, want the loss", err)
	}
	f.flush(t)
	if got := f.invalid(t, f.north); got != 0 {
		t.Errorf("%d counted after all", got)
	}
}

// Memory is bounded, and what finds no room is told.
func TestCounterIsBounded(t *testing.T) {
	t.Parallel()
	c := stats.NewCounter(time.Now)
	id := tenant.NewID()
	const more = 120_000 // each a cell of its own
	for i := range more {
		c.CodeInvalid(id, stats.Caller{APIKey: fmt.Sprint(i), Platform: stats.IOS}, false)
	}
	if cells := stats.Cells(c); cells != 100_000 {
		t.Errorf("%d cells, want 100000", cells)
	}
}

// No counter is a counter that counts nothing.
func TestNoCounter(t *testing.T) {
	t.Parallel()
	var none *stats.Counter
	none.CodeInvalid(tenant.NewID(), phone, true)
	none.CodeClaimed(tenant.NewID(), phone)
	none.TokenClaimed(tenant.NewID(), phone)
	none.TokenInvalid(tenant.NewID(), phone)
	none.Uploaded(tenant.NewID(), stats.Upload{})
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string][2]stats.Platform{
		"": {stats.Unknown, stats.Unknown},
		"Dalvik/2.1.0 (Linux; U; Android 12; Pixel)": {stats.Android, stats.Android},
		"okhttp Android": {stats.Unknown, stats.Android},
		"bluetoothd (unknown) CFNetwork/1220 Darwin/20.3": {stats.IOS, stats.IOS},
		"App/1 CFNetwork/1220 Darwin/20.3":                {stats.IOS, stats.Unknown},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 14_5)":        {stats.IOS, stats.IOS},
		"curl/7.88": {stats.Unknown, stats.Unknown},
	} {
		if got := [2]stats.Platform{stats.DevicePlatform(agent), stats.UploadPlatform(agent)}; got != want {
			t.Errorf("%q: %v, want %v", agent, got, want)
		}
	}
}
