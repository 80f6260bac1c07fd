package api

import (
	"runtime"
	"syscall"
	"time"
)

// slack is how late the kernel may wake a sleeper, by its own choice (prctl,
// PR_SET_TIMERSLACK) and until a core is free: as much as would tell cover traffic apart.
const slack = 80 * time.Microsecond

// nap waits for a short while, more exactly than a timer: the runtime's may be late by a
// millisecond, which is more than a request takes. The end of it is spent awake.
func nap(d time.Duration) {
	began := time.Now() //nolint:forbidigo // how long has really passed
	if d > slack {
		most := syscall.NsecToTimespec(int64(d - slack))
		_ = syscall.Nanosleep(&most, nil) // a signal may end it early, by chance and rarely
	}
	for time.Since(began) < d {
		runtime.Gosched()
	}
}
