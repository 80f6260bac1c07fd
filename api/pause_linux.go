package api

import (
	"syscall"
	"time"
)

// nap sleeps for a short while, more exactly than a timer: the runtime's may be late
// by a millisecond, which is half of what a request takes.
func nap(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil) // a signal may end it early, by chance and rarely
}
