package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
)

// scene is a tenant for which everything is due at once: windows to be closed, a
// batch with new and revised keys that fills two files, and an old file to be
// unlisted and deleted.
type scene struct {
	*fixture
	keys, revised []tek
}

const (
	sceneKeys    = 12
	sceneRevised = 3
	sceneSQL     = `update export_config set min_records = 6, padding_range = 1, max_records = 10`
)

// scenes prepares tenants of one world.
func scenes(t *testing.T, n int) []*scene {
	t.Helper()
	f := setUp(t)
	all := make([]*scene, n)
	for i := range all {
		all[i] = &scene{fixture: f.of(t, f.world.Create(fmt.Sprintf("scene-%d", i), hourly))}
		all[i].mustPublish(t, 3)
	}
	f.exec(t, sceneSQL)
	f.world.Advance(period)
	for _, sc := range all {
		sc.turn(t, sc.service(nil))
		if len(sc.index(t)) != 1 {
			t.Fatalf("index at first: %q", sc.index(t))
		}
	}
	f.world.Advance(Retention + deletionGrace + period)
	for _, sc := range all {
		keys := sc.phone.Keys(sceneKeys)
		r, err := sc.send(t.Context(), certificate.Likely, keys, "")
		if err == nil {
			_, err = sc.send(t.Context(), certificate.Confirmed, keys[:sceneRevised], r.RevisionToken)
		}
		if err != nil {
			t.Fatal(err)
		}
		sc.keys, sc.revised = bytesOf(keys), bytesOf(keys[:sceneRevised])
	}
	f.world.Advance(period)
	return all
}

// wantIntact checks what phones can see at any moment: the index names files that
// are there and signed, and no key is in two of them.
func (sc *scene) wantIntact(t *testing.T) {
	t.Helper()
	fresh, revised := sc.observe(t)
	for _, counts := range []map[tek]int{fresh, revised} {
		for _, n := range counts {
			if n != 1 {
				t.Errorf("a key is in %d files", n)
			}
		}
	}
}

// wantDone checks the end: each acknowledged key is in exactly one file, each other
// key is stored padding, and nothing is left over.
func (sc *scene) wantDone(t *testing.T) {
	t.Helper()
	sc.wantIntact(t)
	fresh, revised := sc.observe(t)
	for _, k := range sc.keys {
		if fresh[k] != 1 {
			t.Error("an acknowledged key is in no file")
		}
	}
	for _, k := range sc.revised {
		if revised[k] != 1 {
			t.Error("an acknowledged revision is in no file")
		}
	}
	if len(revised) != sceneRevised || len(sc.files(t)) != 2 {
		t.Errorf("%d revised keys in %d files", len(revised), len(sc.files(t)))
	}
	var generated int
	const sql = `select count(*) from exposure where tenant_id = $1 and generated and created_at > $2`
	err := sc.world.Database.Super().QueryRowContext(t.Context(), sql, sc.tenant.ID, sc.world.Now().Add(-24*time.Hour)).Scan(&generated)
	if err != nil || generated != len(fresh)-sceneKeys {
		t.Errorf("%d keys in files, of them %d stored as padding (%v)", len(fresh), generated, err)
	}
	sc.wantTidy(t)
}

// recover lets another process do what is left.
func (sc *scene) recover(t *testing.T) {
	t.Helper()
	sc.world.Advance(lease)
	s := sc.service(nil)
	sc.turn(t, s)
	sc.turn(t, s)
	sc.wantDone(t)
}

// What a process does between closing windows and forgetting old files. It can die
// before each of these, after the one before.
var allSteps = []string{
	"closing", "closed", "leased", "padded", "encoded", "encoded", "staged",
	"written", "linked", "put", "written", "linked", "put", "stored",
	"listed", "written", "renamed", "index", "published",
	"unlisted", "listed", "written", "renamed", "index",
	"deleted", "forgotten",
}

// stepping is a worker whose steps, and those of its store, are told to step.
func (sc *scene) stepping(t *testing.T, step func(name string) error) *Service {
	t.Helper()
	store, err := NewFileStore(sc.store.(*FileStore).dir)
	if err != nil {
		t.Fatal(err)
	}
	store.step = step
	s := sc.service(step)
	s.store = store
	return s
}

func TestSteps(t *testing.T) {
	t.Parallel()
	sc := scenes(t, 1)[0]
	var steps []string
	sc.turn(t, sc.stepping(t, func(name string) error {
		kind, _, _ := strings.Cut(name, " ")
		steps = append(steps, kind)
		return nil
	}))
	if diff := cmp.Diff(allSteps, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	sc.wantDone(t)
}

var errCrash = errors.New("crash")

// nth returns an error at the nth of many calls, from 0.
func nth(n int) func(string) error {
	calls := 0
	return func(string) error {
		calls++
		if calls == n+1 {
			return errCrash
		}
		return nil
	}
}

// Whatever fails, the same process goes on with the rest, and the next round finishes.
func TestFailureAtEachStep(t *testing.T) {
	t.Parallel()
	for i, sc := range scenes(t, len(allSteps)) {
		t.Run(fmt.Sprint(i, " ", allSteps[i]), func(t *testing.T) {
			if err := sc.stepping(t, nth(i)).Turn(t.Context(), sc.tenant.ID); !errors.Is(err, errCrash) {
				t.Fatalf("turn: %v", err)
			}
			sc.wantIntact(t)
			sc.recover(t)
		})
	}
}

// faulty is a store that fails at one of the calls that change something: before the
// work is done, or after.
type faulty struct {
	Store
	fail  func(string) error
	after bool
}

func (s *faulty) do(call string, do func() error) error {
	failure := s.fail(call)
	if failure != nil && !s.after {
		return failure
	}
	return errors.Join(do(), failure)
}

func (s *faulty) PutIfAbsent(ctx context.Context, name string, body []byte) error {
	return s.do("put", func() error { return s.Store.PutIfAbsent(ctx, name, body) })
}

func (s *faulty) Replace(ctx context.Context, name string, body []byte) error {
	return s.do("replace", func() error { return s.Store.Replace(ctx, name, body) })
}

func (s *faulty) Delete(ctx context.Context, name string) error {
	return s.do("delete", func() error { return s.Store.Delete(ctx, name) })
}

func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	calls := []string{"put", "put", "replace", "replace", "delete"}
	all := scenes(t, 2*len(calls))
	for i, call := range calls {
		for j, how := range []string{"failed", "succeeded but said it failed"} {
			sc := all[2*i+j]
			t.Run(fmt.Sprint(i, " ", call, " ", how), func(t *testing.T) {
				fail := nth(i)
				var seen []string
				s := sc.service(nil)
				s.store = &faulty{Store: sc.store, after: j == 1, fail: func(call string) error {
					seen = append(seen, call)
					return fail(call)
				}}
				if err := s.Turn(t.Context(), sc.tenant.ID); !errors.Is(err, errCrash) {
					t.Fatalf("turn: %v", err)
				}
				if !slices.Equal(seen[:i+1], calls[:i+1]) {
					t.Errorf("calls %q, want %q", seen, calls)
				}
				sc.wantIntact(t)
				sc.turn(t, s) // needs no lease to run out
				sc.recover(t)
			})
		}
	}
}
