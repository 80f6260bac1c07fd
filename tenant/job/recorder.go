package job

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"carillon/tenant"
)

// Recorder tells the schedule how a job goes that is at work all the time, by turns
// that it leases itself. Turns are many, so that not every one is written down: the
// first, one every few minutes, and each change between success and failure. A nil one
// notes nothing.
type Recorder struct {
	db     *tenant.DB
	job    string
	holder string
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	told map[tenant.ID]note // guarded by mu
}

// note is what was last told of a tenant.
type note struct {
	class string
	at    time.Time
}

const (
	// noteEvery is how often a tenant's success is written down: what counts as the
	// job's interval.
	noteEvery = 5 * time.Minute
	// noteFailure is how often a failure is that goes on.
	noteFailure = 30 * time.Second
	noteBound   = 15 * time.Minute
)

// NewRecorder returns a recorder of a job. db is a handle under the role carillon_jobs
// or carillon_issuer; holder names this process to people.
func NewRecorder(db *tenant.DB, job, holder string, log *slog.Logger, now func() time.Time) *Recorder {
	return &Recorder{db: db, job: job, holder: holder, log: log, now: now, told: map[tenant.ID]note{}}
}

const noteSQL = `
insert into job_run as r
       (job, tenant, every_seconds, bound_seconds, when_suspended, created_at,
        holder, started_at, ended_at, succeeded_at, failures, error_class)
values ($1, $2, $3, $4, false, $5,
        $6, $5, $5, case when $7 = '' then $5::timestamptz end, case when $7 = '' then 0 else 1 end, $7)
    on conflict on constraint job_run_pkey do update
   set every_seconds = excluded.every_seconds, bound_seconds = excluded.bound_seconds,
       holder = excluded.holder, started_at = excluded.started_at, ended_at = excluded.ended_at,
       succeeded_at = coalesce(excluded.succeeded_at, r.succeeded_at),
       failures = case when $7 = '' then 0 else r.failures + 1 end,
       error_class = excluded.error_class`

// Note tells how a tenant's turn ended; for what concerns no tenant, the ID is
// [Platform]. A failure is logged as well. Nothing is noted when ctx has ended.
func (r *Recorder) Note(ctx context.Context, id tenant.ID, err error) {
	if r == nil {
		return
	}
	class := Class(err)
	if ctx.Err() != nil || !r.worth(id, class) {
		return
	}
	if err != nil {
		r.log.ErrorContext(ctx, "job failed", slog.String("job", r.job), slog.String("tenant", id.String()), slog.Any("error", err))
	}
	now := r.now().UTC()
	_ = r.db.Platform(ctx, func(tx *tenant.Tx) error { // else the next note tells it
		_, err := tx.Exec(ctx, noteSQL, r.job, id.String(), noteEvery.Seconds(), noteBound.Seconds(), now, r.holder, class)
		return err
	})
}

// worth reports whether there is something new to tell of a tenant, and takes it for told.
func (r *Recorder) worth(id tenant.ID, class string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	last, known := r.told[id]
	life := noteEvery
	if class != "" {
		life = noteFailure
	}
	if known && last.class == class && now.Sub(last.at) < life {
		return false
	}
	r.told[id] = note{class, now}
	return true
}
