package export

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/tenant"
)

func TestKeysAreExportedOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	keys := f.mustPublish(t, 14)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Errorf("the window is open, but there are files: %q", index)
	}
	f.world.Advance(period)
	f.turn(t, s)
	f.turn(t, s)
	f.wantOnce(t, keys)
	more := f.mustPublish(t, 3)
	f.world.Advance(5 * period) // an outage
	f.turn(t, s)
	f.wantOnce(t, slices.Concat(keys, more))
	if !slices.IsSorted(f.index(t)) || len(f.index(t)) != 2 {
		t.Errorf("index: %q", f.index(t))
	}
}

// A tenant has an index, if an empty one, before it has a key.
func TestIndexIsThereFromTheBeginning(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.turn(t, f.service(nil))
	if _, err := f.object(t.Context(), Prefix(f.tenant)+IndexName); err != nil {
		t.Errorf("index: %v", err)
	}
}

// What an observer sees of small batches does not tell how many keys are real.
func TestSmallFilesArePadded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	f.turn(t, f.service(nil))
	if n := len(f.observe(t)); n < 20 {
		t.Errorf("the file has %d keys, want at least 20", n)
	}
	var generated int
	err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		return tx.Get(t.Context(), &generated, `select count(*) from exposure where generated`)
	})
	if err != nil || generated != len(f.observe(t))-3 {
		t.Errorf("%d generated keys are stored (%v)", generated, err)
	}
}

func TestTenantsFilesAreApart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	south := f.world.Create("south", hourly)
	publisher, signer := f.publishing(t, south)
	theirs, err := publishTo(t.Context(), publisher, signer, south, f.world.Now(), 5)
	if err != nil {
		t.Fatal(err)
	}
	ours := f.mustPublish(t, 5)
	f.world.Advance(period)
	s := f.service(nil)
	s.Round(t.Context())
	f.wantOnce(t, ours)
	seen := f.observe(t)
	for _, k := range theirs {
		if seen[k] != 0 {
			t.Error("another tenant's key is in the file")
		}
	}
	// The other tenant's own files have them, under its own key.
	f.tenant = south
	if f.index(t) == nil {
		t.Error("the other tenant has no files")
	}
}

// steps are all the places at which a process can die on its way from an open window
// to a published file.
func steps(t *testing.T) []string {
	t.Helper()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	var names []string
	f.turn(t, f.service(func(name string) error {
		names = append(names, name)
		return nil
	}))
	return names
}

var errCrash = errors.New("crash")

// generic gives the kind of a step: names of objects differ from run to run.
func generic(step string) string {
	kind, _, _ := strings.Cut(step, " ")
	return kind
}

// Whatever step the process dies at, the next one finishes the work: nothing is lost,
// nothing doubled, and at no moment does the index name a file that is not there.
func TestDyingAtEachStep(t *testing.T) {
	t.Parallel()
	all := steps(t)
	want := []string{"cut", "leased", "encoded", "staging", "staged", "put", "stored", "index", "published"}
	if kinds := kindsOf(all); !slices.Equal(kinds, want) {
		t.Fatalf("steps %q, want %q", kinds, want)
	}
	for _, kind := range want {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			keys := f.mustPublish(t, 7)
			f.world.Advance(period)
			dying := f.service(func(name string) error {
				if generic(name) == kind {
					return errCrash
				}
				return nil
			})
			if err := dying.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
				t.Fatalf("turn: %v", err)
			}
			f.observe(t)
			f.world.Advance(lease)
			f.turn(t, f.service(nil))
			f.wantOnce(t, keys)
		})
	}
}

func kindsOf(steps []string) []string {
	var kinds []string
	for _, s := range steps {
		if k := generic(s); !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// faulty is a store that fails at one of its calls: before doing the work, or after.
type faulty struct {
	Store
	call  string // "put" or "replace"
	after bool
	once  sync.Once
}

func (s *faulty) fail(call string, do func() error) error {
	failed := false
	if s.call == call {
		s.once.Do(func() { failed = true })
	}
	if failed && !s.after {
		return errCrash
	}
	if err := do(); err != nil {
		return err
	}
	if failed {
		return errCrash
	}
	return nil
}

func (s *faulty) PutIfAbsent(ctx context.Context, name string, body []byte) error {
	return s.fail("put", func() error { return s.Store.PutIfAbsent(ctx, name, body) })
}

func (s *faulty) Replace(ctx context.Context, name string, body []byte) error {
	return s.fail("replace", func() error { return s.Store.Replace(ctx, name, body) })
}

func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"put", "replace"} {
		for _, after := range []bool{false, true} {
			name := call + " failed"
			if after {
				name = call + " succeeded but said it failed"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := setUp(t)
				f.turn(t, f.service(nil)) // the first index
				keys := f.mustPublish(t, 7)
				f.world.Advance(period)
				real := f.store
				f.store = &faulty{Store: real, call: call, after: after}
				s := f.service(nil)
				if err := s.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
					t.Fatalf("turn: %v", err)
				}
				f.observe(t)
				f.turn(t, s)
				f.wantOnce(t, keys)
			})
		}
	}
}

// A worker that was taken for dead cannot stage what another one has been given.
func TestLateWorkerCannotStage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.mustPublish(t, 7)
	f.world.Advance(period)
	late := f.service(func(name string) error {
		if name != "encoded" {
			return nil
		}
		f.world.Advance(lease)
		f.turn(t, f.service(nil)) // the other worker does it all
		return nil
	})
	if err := late.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errFenced) {
		t.Errorf("turn: %v, want errFenced", err)
	}
	f.wantOnce(t, keys)
}

// Nobody else works on a batch before its lease has run out.
func TestLeaseHolds(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 7)
	f.world.Advance(period)
	dying := f.service(func(name string) error {
		if name == "leased" {
			return errCrash
		}
		return nil
	})
	if err := dying.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	f.world.Advance(lease - time.Second)
	if worked, err := f.service(nil).Work(t.Context(), f.tenant); worked || err != nil {
		t.Errorf("worked %v, %v", worked, err)
	}
}

// An index that was overwritten by a slower process with an older list is put right.
func TestSlowIndexWriterFindsOut(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first := f.mustPublish(t, 3)
	f.world.Advance(period)
	var second [][16]byte
	slow := true
	s := f.service(func(name string) error {
		if generic(name) != "index" || !slow {
			return nil
		}
		// The list has been read; while it waits to be written, another process
		// publishes the next window.
		slow = false
		second = f.mustPublish(t, 3)
		f.world.Advance(period)
		f.turn(t, f.service(nil))
		return nil
	})
	f.turn(t, s)
	f.wantOnce(t, slices.Concat(first, second))
}

// A file never enters the index before one that phones may have read already.
func TestBatchesArePublishedInOrder(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first := f.mustPublish(t, 3)
	f.world.Advance(period)
	dying := f.service(func(name string) error {
		if name == "encoded" {
			return errCrash
		}
		return nil
	})
	if err := dying.Turn(t.Context(), f.tenant.ID); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	second := f.mustPublish(t, 3)
	f.world.Advance(period)
	f.extendLease(t) // the first worker is slow, not dead
	s := f.service(nil)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Fatalf("the second window's file is there before the first's: %q", index)
	}
	f.world.Advance(2 * lease)
	f.turn(t, s)
	f.wantOnce(t, slices.Concat(first, second))
}

// extendLease keeps the batches that are leased from being leased again for a while.
func (f *fixture) extendLease(t *testing.T) {
	t.Helper()
	err := f.world.Jobs.In(t.Context(), f.tenant.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), `update export_batch set leased_until = $1 where leased_until is not null`, f.world.Now().Add(lease))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Publishers and several workers at once, over many windows: every acknowledged key
// is in exactly one file.
func TestPublishersAndWorkersAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const publishers, uploads, workers = 4, 25, 3
	var mu sync.Mutex
	var acknowledged [][16]byte
	stop := make(chan struct{})
	var publishing, working sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range uploads {
				keys, err := f.publish(t.Context(), 3)
				if err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, keys...)
				mu.Unlock()
				f.world.Advance(7 * time.Minute)
			}
		})
	}
	for range workers {
		working.Go(func() {
			s := f.service(nil)
			for {
				if err := s.Turn(t.Context(), f.tenant.ID); err != nil && !errors.Is(err, errFenced) {
					t.Errorf("turn: %v", err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	publishing.Wait()
	close(stop)
	working.Wait()
	f.world.Advance(2 * period)
	f.turn(t, f.service(nil))
	f.wantOnce(t, acknowledged)
	if len(f.index(t)) < 5 {
		t.Errorf("only %d files: the test has not crossed enough windows", len(f.index(t)))
	}
}

// Files leave the index after two weeks, and the store a day later.
func TestFilesRetire(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.mustPublish(t, 3)
	f.world.Advance(period)
	s := f.service(nil)
	f.turn(t, s)
	name := Prefix(f.tenant) + f.index(t)[0]
	f.world.Advance(Retention)
	f.turn(t, s)
	if index := f.index(t); len(index) != 0 {
		t.Errorf("index: %q", index)
	}
	if _, err := f.object(t.Context(), name); err != nil {
		t.Errorf("the file is gone at once: %v", err)
	}
	f.world.Advance(deletionGrace + period)
	f.turn(t, s)
	if _, err := f.object(t.Context(), name); !errors.Is(err, ErrNotFound) {
		t.Errorf("the file is still there: %v", err)
	}
}
