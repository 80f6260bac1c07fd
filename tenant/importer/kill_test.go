package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/outbound"
)

// isWorker tells a child process to be a worker; its orders come on standard input.
const isWorker = "CARILLON_TEST_WORKER"

// orders are what a worker needs to know that is to kill itself.
type orders struct {
	DSN    string
	Tenant uuid.UUID
	Now    time.Time
	// Step is the step at which it dies, from 0.
	Step int
}

// TestMain can also be a worker that is killed at a step.
func TestMain(m *testing.M) {
	if os.Getenv(isWorker) == "" {
		os.Exit(m.Run())
	}
	var o orders
	err := json.NewDecoder(os.Stdin).Decode(&o)
	if err == nil {
		err = o.obey(context.Background())
	}
	fmt.Println("the worker came to its end:", err)
	os.Exit(1)
}

const killedKeysPerStep = 5

// obey takes a turn and ends this process by SIGKILL at a step: no transaction is
// closed.
func (o orders) obey(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: o.DSN})
	if err != nil {
		return err
	}
	s := New(Config{
		DB: db, Directory: tenant.NewDirectory(db), Fetcher: outbound.NewFetcher(outbound.New(true)),
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return o.Now },
	})
	s.keysPerStep = killedKeysPerStep
	stop := at(o.Step)
	s.step = func(name string) error {
		if stop(name) != nil {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	return s.Turn(ctx, tenant.ID(o.Tenant))
}

// Whatever step the process is killed at, another one finishes the file: no key is lost
// and none counted twice.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.service.keysPerStep = killedKeysPerStep
	const transactions = 3
	for step := range stepsEach * transactions {
		name := fmt.Sprintf("%02d.zip", step)
		f.partner.publish(name, f.partner.file(t, newKeys(killedKeysPerStep*transactions-1), newKeys(1)))
		f.killWorker(t, step)
		committed := (step + 1) / stepsEach * killedKeysPerStep
		if one := f.of(t, name); one.Position != committed {
			t.Errorf("%s: killed at %d, %d keys are dealt with, want %d", name, step, one.Position, committed)
		}
		f.turn(t)
		f.wantFile(t, name, "done: 14 0 0 1")
		if n, want := f.stored(t), 14*(step+1); n != want {
			t.Errorf("%s: %d keys are stored, want %d", name, n, want)
		}
	}
}

// killWorker runs a worker in a process of its own, which is killed at the step.
func (f *fixture) killWorker(t *testing.T, step int) {
	t.Helper()
	stdin, err := json.Marshal(orders{
		DSN: f.world.Database.DSN("carillon_jobs"), Tenant: uuid.UUID(f.north.ID), Now: f.world.Now(), Step: step,
	})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), isWorker+"=1")
	child.Stdin = bytes.NewReader(stdin)
	said, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the worker was not killed: %v, %s", err, said)
	}
}
