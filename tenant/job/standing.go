package job

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Standing is how a job stands for a tenant.
//
// Its lag is how much longer than its interval the last success is ago, or how long the
// job says that it is behind, whichever is more. So it grows whether the job fails,
// hangs, or is run by nobody. Beyond the job's bound it is late.
type Standing struct {
	Job    string    `json:"job"`
	Tenant uuid.UUID `json:"-"`
	// Slug names the tenant; empty for the platform.
	Slug         string  `json:"tenant"`
	EverySeconds float64 `json:"everySeconds" db:"every_seconds"`
	LagSeconds   float64 `json:"lagSeconds" db:"lag_seconds"`
	Late         bool    `json:"late"`
	// Running: a process holds a lease that has not run out.
	Running bool `json:"running"`
	// Holder is the process that last had it.
	Holder      string     `json:"holder"`
	DueAt       *time.Time `json:"due" db:"due_at"`
	StartedAt   *time.Time `json:"started" db:"started_at"`
	EndedAt     *time.Time `json:"ended" db:"ended_at"`
	SucceededAt *time.Time `json:"succeeded" db:"succeeded_at"`
	// Failures in a row, and of which class the last one was.
	Failures    int        `json:"failures"`
	Error       string     `json:"error" db:"error_class"`
	BehindSince *time.Time `json:"behindSince" db:"behind_since"`
}

// Summary is how a job stands altogether.
type Summary struct {
	Job          string  `json:"job"`
	EverySeconds float64 `json:"everySeconds" db:"every_seconds"`
	Tenants      int     `json:"tenants"`
	Running      int     `json:"running"`
	Failing      int     `json:"failing"`
	Late         int     `json:"late"`
	// LagSeconds is the longest lag.
	LagSeconds float64 `json:"lagSeconds" db:"lag_seconds"`
	// DueAt is when the next is due, SucceededAt the latest success.
	DueAt       *time.Time `json:"due" db:"due_at"`
	SucceededAt *time.Time `json:"succeeded" db:"succeeded_at"`
}

// standingsSQL are the rows that matter at $1: what has no health authority, or a
// suspended one for which the job rests, is not late.
const standingsSQL = `
with standing as (
  select r.job, r.tenant, coalesce(d.slug, '') as slug, r.every_seconds,
         greatest(0, extract(epoch from $1::timestamptz - coalesce(r.succeeded_at, r.created_at)) - r.every_seconds,
                  extract(epoch from $1::timestamptz - r.behind_since))::float8 as lag_seconds,
         r.bound_seconds, coalesce(r.leased_until > $1, false) as running, r.holder, r.due_at, r.started_at, r.ended_at,
         r.succeeded_at, r.failures, r.error_class, r.behind_since
    from job_run r
    left join tenant_directory d on d.tenant = r.tenant
   where r.tenant = '00000000-0000-0000-0000-000000000000'
      or d.state = 'active' or d.winding_down
      or r.when_suspended and d.state in ('suspended', 'leaving')
)
`

const listSQL = standingsSQL + `
  select job, tenant, slug, every_seconds, lag_seconds, lag_seconds > bound_seconds as late, running, holder,
         due_at, started_at, ended_at, succeeded_at, failures, error_class, behind_since
    from standing
   where ($2 = '' or slug = $2)
     and ($3 = '' or job = $3)
     and (not $4 or lag_seconds > bound_seconds)
order by job, lag_seconds desc, slug
   limit $5`

// Filter says which standings are listed.
type Filter struct {
	// Slug of a tenant; empty for all.
	Slug string
	// Job by its name; empty for all.
	Job string
	// Late lists only what is late.
	Late bool
}

// maxListed bounds a list.
const maxListed = 10_000

// List tells how jobs stand, by name, the longest lag first, at most ten thousand. db is
// a handle under a role that sees the schedule: jobs, issuer, operator.
func List(ctx context.Context, db *tenant.DB, f Filter, now time.Time) (list []Standing, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, listSQL, now.UTC(), f.Slug, f.Job, f.Late, maxListed)
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return list, nil
}

const summarySQL = standingsSQL + `
  select job, max(every_seconds) as every_seconds, count(*) as tenants,
         count(*) filter (where running) as running, count(*) filter (where failures > 0) as failing,
         count(*) filter (where lag_seconds > bound_seconds) as late, max(lag_seconds) as lag_seconds,
         min(due_at) as due_at, max(succeeded_at) as succeeded_at
    from standing
group by job
order by job`

// Summarise tells how each job stands altogether, by name. db is as for [List].
func Summarise(ctx context.Context, db *tenant.DB, now time.Time) (list []Summary, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, summarySQL, now.UTC()) })
	if err != nil {
		return nil, fmt.Errorf("sum up jobs: %w", err)
	}
	return list, nil
}

// requested is the topic of requests.
const requested = "job"

// RunAction is how the audit log names a request.
const RunAction = "job:run"

const requestSQL = `
update job_run
   set due_at = $3
 where job = $1
   and ($2::uuid is null or tenant = $2)
   and due_at is not null`

// Request has a job run now, for a tenant, or with nil for all: the process that has
// a place for it begins. One that is running will run again. [ErrUnknown] if no process
// ever had such a job for the tenant. db is a handle under carillon_operator.
func Request(ctx context.Context, db *tenant.DB, by authz.Subject, name string, t *tenant.Tenant, now time.Time) error {
	ask := func(id any) func(*tenant.Tx) error {
		return func(tx *tenant.Tx) error {
			rows, err := tx.Exec(ctx, requestSQL, name, id, now.UTC())
			if err != nil {
				return fmt.Errorf("request job: %w", err)
			}
			if rows == 0 {
				return ErrUnknown
			}
			return tx.Tell(ctx, requested)
		}
	}
	if t == nil {
		return db.Platform(ctx, ask(nil))
	}
	return db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := ask(t.ID.String())(tx); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, by, RunAction, name, nil)
	})
}

const hastenSQL = `
update job_run
   set due_at = case when leased_until is not null and due_at <= started_at then $2::timestamptz
                     else least(due_at, $2) end
 where job = $1
   and tenant = current_tenant()
   and due_at is not null`

// Hasten has a job of the transaction's tenant run at a time, unless it will before. What
// is running will run again. It is for whoever makes work, in the transaction that does,
// and for the job itself, if something is due before its interval is over; a schedule that
// does not have the job yet will begin with it at once.
func Hasten(ctx context.Context, tx *tenant.Tx, name string, at, now time.Time) error {
	if _, err := tx.Exec(ctx, hastenSQL, name, at.UTC()); err != nil {
		return fmt.Errorf("hasten job: %w", err)
	}
	if at.After(now) {
		return nil
	}
	return tx.Tell(ctx, requested)
}
