package labfeed

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/tenanttest"
)

var errKilled = errors.New("killed")

// killed is a service that dies when it comes to a step for the nth time.
func (f *fixture) killed(at string, n int32) *Service {
	s := f.service(f.world.Issuer, nil)
	var left atomic.Int32
	left.Store(n)
	s.step = func(name string) error {
		if name == at && left.Add(-1) == 0 {
			return errKilled
		}
		return nil
	}
	return s
}

// Wherever a process dies, another one finishes: every result has one code and one
// message, and no telephone number stays.
func TestKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for i, at := range []string{"read", "stored", "leased", "issuing", "issued"} {
		t.Run(at, func(t *testing.T) {
			before := f.codes()
			body := []byte(table(result(fmt.Sprint("A", i)), result(fmt.Sprint("B", i))))
			dying := f.killed(at, 1)
			_, err := dying.Submit(t.Context(), f.north, f.lab, document.CSV, body)
			if err == nil {
				err = dying.Turn(t.Context(), f.north.ID)
			}
			if at != "issuing" && at != "issued" && !errors.Is(err, errKilled) {
				t.Fatalf("not killed: %v", err)
			}
			f.world.Advance(2 * time.Hour)
			if _, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, body); err != nil { // the laboratory tries again
				t.Fatal(err)
			}
			f.turn()
			if n := f.codes() - before; n != 2 {
				t.Errorf("%d codes, want 2", n)
			}
			if n, m := f.number(`select count(*) from message_queue`), f.codes(); n != m {
				t.Errorf("%d messages for %d codes", n, m)
			}
			if n := f.number(`select count(*) from lab_result where sealed is not null or state <> 'issued'`); n != 0 {
				t.Errorf("%d results are not done", n)
			}
		})
	}
}

// The worker's connection is cut at each of its messages to the database, before and
// after: afterwards there is one code, never none, never two.
func TestCutAtAnyMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	last := int64(0) // the last message that a turn sends
	for n := int64(1); n == last+1; n++ {
		for _, after := range []bool{false, true} {
			var cut tenanttest.Scissors
			db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN("carillon_issuer"), MaxOpen: 1, Dialer: &cut})
			if err != nil {
				t.Fatal(err)
			}
			worker := f.service(db, nil)
			before := f.codes()
			f.submit(result(fmt.Sprintf("A%d%t", n, after)))
			if _, err := worker.secrets.Get(t.Context(), f.north.ID); err != nil {
				t.Fatal(err)
			}
			cut.Cut(n, after)
			_ = worker.Turn(t.Context(), f.north.ID)
			if cut.Sent() >= n {
				last = n
			}
			_ = db.Close() // what is cut does not close well
			for f.number(`select count(*) from pg_locks where relation = 'lab_result'::regclass and mode = 'RowExclusiveLock'`) > 0 {
				continue // until the server, too, knows that the worker is dead
			}
			f.world.Advance(2 * time.Minute)
			for range 2 {
				f.turn()
				f.world.Advance(2 * time.Hour)
			}
			if got := f.codes() - before; got != 1 {
				t.Fatalf("cut at message %d (after: %t): %d codes, want 1", n, after, got)
			}
			f.world.SetNow(f.world.Now().Add(-4*time.Hour - 2*time.Minute))
		}
	}
	if last < 5 {
		t.Errorf("a turn sends only %d messages", last)
	}
	if n, m := f.number(`select count(*) from message_queue`), f.codes(); n != m {
		t.Errorf("%d messages for %d codes", n, m)
	}
}

// A worker that was taken for dead finds its result issued, replaced or leased anew,
// and issues nothing.
func TestFence(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, meanwhile := range map[string]func(accession string){
		"another worker": func(string) { f.world.Advance(2 * lease); f.turn() },
		"a correction":   func(a string) { f.submit(result(a, "result", notDetected)) },
	} {
		t.Run(name, func(t *testing.T) {
			before := f.codes()
			slow := f.service(f.world.Issuer, nil)
			once := sync.Once{}
			slow.step = func(step string) error {
				if step == "leased" {
					once.Do(func() { meanwhile(name) })
				}
				return nil
			}
			f.submit(result(name))
			if err := slow.Turn(t.Context(), f.north.ID); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"another worker": 1, "a correction": 0}[name]
			if got := f.codes() - before; got != want {
				t.Errorf("%d codes, want %d", got, want)
			}
		})
	}
}

// Many workers at once share the work: each result once.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var lines []string
	const results = 60
	for i := range results {
		lines = append(lines, result(fmt.Sprint("A", i), "phone", fmt.Sprintf("+1206555%04d", i)))
	}
	f.submit(lines...)
	var group sync.WaitGroup
	for range 4 {
		s := f.service(f.world.Issuer, nil)
		group.Go(func() {
			if err := s.Turn(t.Context(), f.north.ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	f.turn()
	if n := f.codes(); n != results {
		t.Errorf("%d codes, want %d", n, results)
	}
}
