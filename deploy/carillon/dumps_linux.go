package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps this process's memory out of files: it leaves no core file however it
// dies, whatever the system does with those, and no other process of its user may look
// into it.
func forbidDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
