package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const dumpVariable = "CARILLON_TEST_DUMP"

// TestDumpChild is the process that dies in TestNoCoreFiles.
func TestDumpChild(t *testing.T) {
	if os.Getenv(dumpVariable) == "" {
		return // it has work only as a child
	}
	var most unix.Rlimit // others in the parent may have forbidden core files already
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &most); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: most.Max, Max: most.Max}); err != nil {
		t.Fatal(err)
	}
	if err := forbidDumps(); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max != 0 {
		t.Fatalf("core files of %d bytes are allowed (%v)", limit.Max, err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Fatalf("dumpable is %d (%v)", dumpable, err)
	}
	signal.Reset(syscall.SIGABRT)
	if err := unix.Kill(os.Getpid(), unix.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {}
}

// A process that holds keys and crashes leaves no core file, whatever its limits allowed.
func TestNoCoreFiles(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDumpChild$")
	child.Env = append(os.Environ(), dumpVariable+"=1", "GOTRACEBACK=crash")
	child.Dir = t.TempDir()
	out, err := child.CombinedOutput()
	var died *exec.ExitError
	if !errors.As(err, &died) {
		t.Fatalf("the child ended: %v\n%s", err, out)
	}
	status, is := died.Sys().(syscall.WaitStatus)
	if !is || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Fatalf("the child ended by %v\n%s", died, out)
	}
	if status.CoreDump() {
		t.Error("there is a core dump")
	}
	if left, err := os.ReadDir(child.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
