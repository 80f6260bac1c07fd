package tenanttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// isWorker tells a child process to be a worker; its orders come on standard input.
const isWorker = "CARILLON_TEST_WORKER"

// Main is the TestMain of a package whose tests kill workers. The test binary is the
// worker, too: started by [Worker], it obeys its orders instead of running tests, and
// should never come to the end of that.
func Main[Orders any](m *testing.M, obey func(context.Context, Orders) error) {
	if os.Getenv(isWorker) == "" {
		os.Exit(m.Run())
	}
	var o Orders
	err := json.NewDecoder(os.Stdin).Decode(&o)
	if err == nil {
		err = obey(context.Background(), o)
	}
	fmt.Println("the worker came to its end:", err)
	os.Exit(1)
}

// Worker is a process that is to be started, and will obey the orders.
func Worker(t *testing.T, orders any) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(orders)
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), os.Args[0])
	worker.Env = append(os.Environ(), isWorker+"=1")
	worker.Stdin = bytes.NewReader(text)
	return worker
}

// Killed runs a worker that kills itself: see [Die].
func Killed(t *testing.T, orders any) {
	t.Helper()
	said, err := Worker(t, orders).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the worker was not killed: %v, %s", err, said)
	}
}

// Die ends this process by SIGKILL: nothing deferred runs, nothing is flushed, no
// transaction is closed.
func Die() error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) }
