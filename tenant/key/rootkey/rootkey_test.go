package rootkey_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/key/rootkey"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

// rootPair is a root key and its successor, as processes have them at each step.
type rootPair struct {
	old, fresh *signing.RootFile
	// oldOnly is a process before the first restart; both has been given the new one
	// beside it; moved wraps with the new one; freshOnly has forgotten the old one.
	oldOnly, both, moved, freshOnly *signing.Roots
}

func newRootPair(t *testing.T, w *tenanttest.World) rootPair {
	t.Helper()
	old, err := signing.OpenRootFile(w.RootFile)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "fresh.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := func(current signing.NamedRoot, others ...signing.NamedRoot) *signing.Roots {
		r, err := signing.NewRoots(current, others...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	return rootPair{old, fresh, roots(old), roots(old, fresh), roots(fresh, old), roots(fresh)}
}

func (p rootPair) use(t *testing.T, w *tenanttest.World, unnamed, old, fresh int) {
	t.Helper()
	got, err := rootkey.Use(t.Context(), w.Operator)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for name, n := range map[string]int{"": unnamed, p.old.Name(): old, p.fresh.Name(): fresh} {
		if n > 0 {
			want[name] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("use of roots (-want +got):\n%s", diff)
	}
}

func opens(t *testing.T, w *tenanttest.World, of *tenant.Tenant, root signing.Root) error {
	t.Helper()
	_, err := key.NewRing(w.Device, signing.Custody{Root: root}).Secrets(t.Context(), of.ID, signing.Token)
	return err
}

func create(t *testing.T, w *tenanttest.World, root signing.Root, slug string) *tenant.Tenant {
	t.Helper()
	was := w.Root
	w.Root = signing.Custody{Root: root}
	defer func() { w.Root = was }()
	return w.Create(slug)
}

// cutter lets a root key work so many times, then ends the process's context: before or
// after the work.
type cutter struct {
	signing.NamedRoot
	left  atomic.Int32
	after bool
	cut   context.CancelFunc
}

func (c *cutter) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	last := c.left.Add(-1) == 0
	if last && !c.after {
		c.cut()
		return nil, ctx.Err()
	}
	wrapped, err := c.NamedRoot.Wrap(ctx, plaintext, aad)
	if last {
		c.cut()
	}
	return wrapped, err
}

// A root key is replaced step by step while keys are opened and tenants made all the time,
// and the work is cut off at every tenant, before and after its key is wrapped.
func TestRootRotation(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	p := newRootPair(t, w)
	tenants := []*tenant.Tenant{w.Create("aa"), create(t, w, p.oldOnly, "bb"), create(t, w, p.both, "cc"), w.Create("dd")}
	p.use(t, w, 2, 2, 0)

	var load sync.WaitGroup
	done, failures := make(chan struct{}), make(chan error, 1000)
	for _, root := range []signing.Root{p.both, p.moved} {
		load.Go(func() {
			for {
				for _, of := range tenants {
					if err := opens(t, w, of, root); err != nil {
						failures <- err
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for at := 1; at <= 3; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		cut := &cutter{NamedRoot: p.fresh, after: at%2 == 0, cut: cancel}
		cut.left.Store(int32(min(at, 2)))
		roots, err := signing.NewRoots(cut, p.old)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rootkey.Rewrap(ctx, w.Operator, roots, operator, w.Now, nil); err == nil {
			t.Errorf("the run that was cut off reports success")
		}
		cancel()
	}
	if err := rootkey.Retire(t.Context(), w.Operator, operator, p.old.Name(), w.Now()); !errors.Is(err, rootkey.ErrInUse) {
		t.Errorf("retire what is in use: %v", err)
	}
	late := create(t, w, p.both, "ee") // by a process that has not been restarted yet
	told := 0
	n, err := rootkey.Rewrap(t.Context(), w.Operator, p.moved, operator, w.Now, func(done int) { told = done })
	if err != nil || n == 0 || told != n {
		t.Errorf("rewrapped %d, told of %d: %v", n, told, err)
	}
	if n, err := rootkey.Rewrap(t.Context(), w.Operator, p.moved, operator, w.Now, nil); err != nil || n != 0 {
		t.Errorf("rewrapped %d again: %v", n, err)
	}
	p.use(t, w, 0, 0, 5)
	close(done)
	load.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("under load: %v", err)
	}

	for _, of := range append(tenants, late) {
		if err := opens(t, w, of, p.freshOnly); err != nil {
			t.Errorf("%s with the new root key: %v", of.Slug, err)
		}
		if err := opens(t, w, of, p.oldOnly); !errors.Is(err, signing.ErrRootUnknown) {
			t.Errorf("%s with the old root key: %v", of.Slug, err)
		}
		if err := opens(t, w, of, p.old); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("%s with the old root key alone: %v", of.Slug, err)
		}
		wantRewrapped(t, w, of)
	}
}

func wantRewrapped(t *testing.T, w *tenanttest.World, of *tenant.Tenant) {
	t.Helper()
	var found []audit.Entry
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
		found, err = audit.Find(t.Context(), tx, audit.Filter{Action: "root:rewrap"}, 10)
		return err
	})
	if err != nil || len(found) != 1 {
		t.Errorf("%s: %d audit entries, want 1 (%v)", of.Slug, len(found), err)
	}
}

var operator = authz.Subject{Kind: authz.System, ID: "command-line", Name: "Operator"}

// What is retired wraps nothing any more, whoever asks; what was wrapped before stays
// readable until it is wrapped anew.
func TestRetiredRoot(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	p := newRootPair(t, w)
	north := create(t, w, p.freshOnly, "north")
	if err := rootkey.Check(t.Context(), w.Operator, p.old.Name()); err != nil {
		t.Error(err)
	}
	if err := rootkey.Retire(t.Context(), w.Operator, operator, p.old.Name(), w.Now()); err != nil {
		t.Fatal(err)
	}
	if err := rootkey.Retire(t.Context(), w.Operator, operator, p.old.Name(), w.Now()); err != nil {
		t.Errorf("again: %v", err)
	}
	for name, db := range map[string]*tenant.DB{"operator": w.Operator, "device": w.Device, "jobs": w.Jobs} {
		if err := rootkey.Check(t.Context(), db, p.old.Name()); !errors.Is(err, rootkey.ErrRetired) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := onboarding.Create(t.Context(), w.Operator, signing.Custody{Root: p.both}, onboarding.Spec{
		Slug: "south", Name: "South", Region: "XS", HealthAuthorityID: "org.south.health",
		Issuer: "south", Audience: "audience", ExportKeyID: "310",
	}, w.Now())
	if !tenant.Violates(err, "data_key_root_not_retired") {
		t.Errorf("make a tenant: %v", err)
	}
	if _, err := rootkey.Rewrap(t.Context(), w.Operator, p.both, operator, w.Now, nil); !errors.Is(err, rootkey.ErrRetired) {
		t.Errorf("wrap by what is retired: %v", err)
	}
	if err := opens(t, w, north, p.freshOnly); err != nil {
		t.Error(err)
	}
	for name, db := range map[string]*tenant.DB{"device": w.Device, "portal": w.Portal, "jobs": w.Jobs} {
		err := db.Platform(t.Context(), func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), `insert into retired_root (root) values ($1)`, p.fresh.Name())
			return err
		})
		if !tenanttest.Denied(err) {
			t.Errorf("%s retires a root key: %v", name, err)
		}
	}
}

// A tenant whose data key was erased stays so.
func TestRewrapLeavesErasedKeysAlone(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	p := newRootPair(t, w)
	north, south := w.Create("north"), w.Create("south")
	if _, err := w.Database.Super().ExecContext(t.Context(), `update data_key set wrapped = '' where tenant_id = $1`, north.ID); err != nil {
		t.Fatal(err)
	}
	if n, err := rootkey.Rewrap(t.Context(), w.Operator, p.moved, operator, w.Now, nil); n != 1 || err != nil {
		t.Errorf("rewrapped %d, %v", n, err)
	}
	if err := opens(t, w, north, p.moved); err == nil {
		t.Error("an erased key opens")
	}
	if err := opens(t, w, south, p.moved); err != nil {
		t.Error(err)
	}
}

// Of many who rewrap at once, each tenant's key is wrapped anew once.
func TestRewrapAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	p := newRootPair(t, w)
	for i := range 3 {
		w.Create(fmt.Sprintf("n%c", 'a'+i))
	}
	var total atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			n, err := rootkey.Rewrap(t.Context(), w.Operator, p.moved, operator, w.Now, nil)
			if err != nil {
				t.Error(err)
			}
			total.Add(int32(n))
		})
	}
	all.Wait()
	if total.Load() != 3 {
		t.Errorf("%d keys were wrapped anew, want 3", total.Load())
	}
}
