package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
)

// What a child process needs to know to be a worker that kills itself.
const (
	childStep   = "CARILLON_TEST_KILL_AT"
	childDSN    = "CARILLON_TEST_DSN"
	childRoot   = "CARILLON_TEST_ROOT"
	childStore  = "CARILLON_TEST_STORE"
	childTenant = "CARILLON_TEST_TENANT"
	childNow    = "CARILLON_TEST_NOW"
)

// TestMain can also be a worker that is killed at a step.
func TestMain(m *testing.M) {
	if os.Getenv(childStep) == "" {
		os.Exit(m.Run())
	}
	fmt.Println("the worker came to its end:", dieWorking(context.Background()))
	os.Exit(1)
}

// dieWorking takes a turn and ends this process by SIGKILL before the named step:
// nothing deferred runs, nothing is flushed, no transaction is closed.
func dieWorking(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: os.Getenv(childDSN)})
	if err != nil {
		return err
	}
	root, err := signing.OpenRootFile(os.Getenv(childRoot))
	if err != nil {
		return err
	}
	store, err := NewFileStore(os.Getenv(childStore))
	if err != nil {
		return err
	}
	now, err1 := time.Parse(time.RFC3339, os.Getenv(childNow))
	id, err2 := uuid.Parse(os.Getenv(childTenant))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s := New(Config{
		DB: db, Keys: key.NewRing(db, root), Directory: tenant.NewDirectory(db), Store: store,
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	s.step = func(name string) error {
		if generic(name) == os.Getenv(childStep) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	return s.Turn(ctx, tenant.ID(id))
}

func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range kindsOf(steps(t)) {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			dir := t.TempDir()
			store, err := NewFileStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			f.store = store
			keys := f.mustPublish(t, 7)
			f.world.Advance(period)
			f.killWorker(t, dir, step)
			f.observe(t)
			late := f.mustPublish(t, 3) // while nobody works
			f.world.Advance(lease)
			f.turn(t, f.service(nil))
			f.wantOnce(t, keys)
			f.world.Advance(period)
			f.turn(t, f.service(nil))
			f.wantOnce(t, append(keys, late...))
		})
	}
}

// killWorker runs a worker in a process of its own, which is killed at the step.
func (f *fixture) killWorker(t *testing.T, store, step string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(),
		childStep+"="+step, childDSN+"="+f.world.Database.DSN("carillon_jobs"), childRoot+"="+f.world.RootFile,
		childStore+"="+store, childTenant+"="+f.tenant.ID.String(), childNow+"="+f.world.Now().Format(time.RFC3339))
	said, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the worker was not killed: %v, %s", err, strings.TrimSpace(string(said)))
	}
}
