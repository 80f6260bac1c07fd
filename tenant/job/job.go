// Package job runs what has to be done in the background for every health authority,
// again and again: each job has a name, an interval and a row for each tenant that says
// how it stands.
//
// A [Scheduler] takes what is due from the rows of all tenants, the longest overdue
// first, and holds a lease on it, so that of any number of processes one is at work on a
// job of a tenant. A lease has a fencing number: whoever lost it can tell no more of an
// end. It keeps work from being done twice for nothing; what must never be done twice is
// kept apart by the job itself, in the transaction that does it.
//
// No tenant waits for another: each run is one tenant's, a run that fails costs only its
// own tenant a pause, and one that hangs takes one of its job's places until its time is
// over. A job has places of its own, so that no other job waits for it.
//
// Jobs that lease pieces of their own work are always at work in every process, and tell
// a [Recorder] how it goes. [List] reads how all of them stand, [Request] has a job run
// at once, whichever process does it.
package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
)

// Job is what a [Scheduler] does for every tenant.
type Job struct {
	// Name is lower-case words with hyphens, for ever: rows have it.
	Name string
	// Every is the pause between the end of one run and the next, of each tenant.
	Every time.Duration
	// Bound is the lag beyond which a tenant's job is late: see [Standing].
	Bound time.Duration
	// AtOnce is how many tenants a process works for at the same time.
	AtOnce int
	// Timeout ends a run.
	Timeout time.Duration
	// Suspended tenants, and leaving ones that no longer wind down, have the job done as well.
	Suspended bool
	// Platform jobs are run for all tenants together, with the ID [Platform].
	Platform bool
	// Run does one tenant's work, or as much of it as is fair. It may be repeated and
	// interrupted anywhere. The context ends with the lease.
	Run func(context.Context, tenant.ID) error
	// Behind says since when work has been due that is not done; the zero time if none
	// is. Nil for jobs whose every run does all there is.
	Behind func(context.Context, tenant.ID) (time.Time, error)
}

// Platform stands for the tenant in rows of jobs that have none.
var Platform tenant.ID

// ErrUnknown means that there is no such job, or that it is at work all the time.
var ErrUnknown = errors.New("there is no job of this name that can be run")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrUnknown} }

func (j Job) validate() error {
	if j.Name == "" || j.Every <= 0 || j.Bound < j.Every || j.AtOnce < 1 || j.Timeout <= 0 || j.Run == nil {
		return fmt.Errorf("job %q lacks a name, an interval, a bound beyond it, a place, a timeout or its work", j.Name)
	}
	return nil
}
