package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
)

// Config is what a [Scheduler] works with.
type Config struct {
	// DB is a handle under the role carillon_jobs or carillon_issuer.
	DB *tenant.DB
	// Jobs are what this process can do; their names differ.
	Jobs []Job
	// Holder names this process to people.
	Holder string
	// Lease is how long a process may be silent before others do its work; a live one
	// renews it. Zero means 30 seconds.
	Lease time.Duration
	// Metrics are told of every run.
	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time
}

// Scheduler does jobs. It is safe for concurrent use, also with schedulers of other
// processes.
type Scheduler struct {
	c       Config
	jobs    map[string]Job
	metrics *metrics
	wake    chan struct{}

	mu      sync.Mutex
	running map[place]*run // guarded by mu
	runs    sync.WaitGroup
}

// place is a job of a tenant.
type place struct {
	Job    string
	Tenant uuid.UUID
}

// run is a place that this process holds.
type run struct {
	place
	Fence int64
	Slug  string    // for the log
	end   time.Time // of the lease, as this process knows; guarded by Scheduler.mu
	lose  context.CancelCauseFunc
}

// errLost means that another process may have a run by now.
var errLost = errors.New("lease was lost")

const (
	defaultLease = 30 * time.Second
	// longestRest is how long a new tenant or a request may wait if nobody tells of it.
	longestRest = time.Second
	// longestPause is that between looks while the database does not answer.
	longestPause = 5 * time.Second
)

// NewScheduler returns a scheduler that does nothing before [Scheduler.Run]. It listens
// for requests through the handle, if that watches for changes.
func NewScheduler(c Config) (*Scheduler, error) {
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	s := &Scheduler{
		c: c, jobs: map[string]Job{}, metrics: newMetrics(c.Metrics),
		wake: make(chan struct{}, 1), running: map[place]*run{},
	}
	for _, j := range c.Jobs {
		if err := j.validate(); err != nil {
			return nil, err
		}
		if _, twice := s.jobs[j.Name]; twice {
			return nil, fmt.Errorf("job %q is there twice", j.Name)
		}
		s.jobs[j.Name] = j
	}
	c.DB.Hear(requested, s.nudge)
	return s, nil
}

func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run does what is due until ctx ends. It returns when what was begun has ended.
func (s *Scheduler) Run(ctx context.Context) error {
	defer s.runs.Wait()
	s.runs.Go(func() { s.renewals(ctx) })
	rest := longestRest
	for _, j := range s.c.Jobs {
		rest = min(rest, j.Every)
	}
	pause := rest
	for {
		if err := s.Look(ctx); err == nil {
			pause = rest
		} else if ctx.Err() == nil {
			pause = min(2*pause, longestPause)
			s.c.Log.ErrorContext(ctx, "jobs: no look at the schedule", slog.Any("error", err), slog.Duration("pause", pause))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

const (
	// Tenants come and go, and releases change intervals.
	enrolSQL = `
insert into job_run as r (job, tenant, every_seconds, bound_seconds, when_suspended, created_at, due_at)
select j.job, t.tenant, j.every, j.bound, j.suspended, $6, $6
  from unnest($1::text[], $2::float8[], $3::float8[], $4::boolean[], $5::boolean[]) as j (job, every, bound, suspended, platform)
  join (select tenant, false as platform from tenant_directory where state <> 'erased'
        union all
        select '00000000-0000-0000-0000-000000000000'::uuid, true) t using (platform)
 where not exists (select from job_run o
                    where (o.job, o.tenant) = (j.job, t.tenant)
                      and (o.every_seconds, o.bound_seconds, o.when_suspended) = (j.every, j.bound, j.suspended))
    on conflict on constraint job_run_pkey do update
   set every_seconds = excluded.every_seconds, bound_seconds = excluded.bound_seconds,
       when_suspended = excluded.when_suspended`

	// Of each job, as many as there are places, those first that are overdue for longest.
	claimSQL = `
with due as (
  select r.job, r.tenant, r.slug
    from unnest($1::text[], $2::int[]) as free (job, places)
   cross join lateral (
         select o.job, o.tenant, coalesce(d.slug, '') as slug
           from job_run o
           left join tenant_directory d on d.tenant = o.tenant
          where o.job = free.job
            and o.due_at <= $3
            and (o.leased_until is null or o.leased_until <= $3)
            and (d.state = 'active' or d.winding_down or d.state in ('suspended', 'leaving') and o.when_suspended
                 or o.tenant = '00000000-0000-0000-0000-000000000000')
       order by o.due_at
          limit free.places
            for update of o skip locked) r
)
   update job_run r
      set fence = r.fence + 1, holder = $5, leased_until = $4, started_at = $3
     from due
    where (r.job, r.tenant) = (due.job, due.tenant)
returning r.job, r.tenant, r.fence, due.slug`
)

// Look takes what is due, as far as there are free places, and begins with it.
func (s *Scheduler) Look(ctx context.Context) error {
	var taken []run
	now := s.c.Now().UTC()
	names, places := s.free()
	if len(names) == 0 {
		return nil
	}
	err := s.c.DB.Platform(ctx, func(tx *tenant.Tx) error {
		if err := s.enrol(ctx, tx, now); err != nil {
			return err
		}
		return tx.Select(ctx, &taken, claimSQL, names, places, now, now.Add(s.c.Lease), s.c.Holder)
	})
	if err != nil {
		return fmt.Errorf("take jobs: %w", err)
	}
	for _, r := range taken {
		r.end = now.Add(s.c.Lease)
		s.begin(ctx, &r)
	}
	return nil
}

// Wait returns when nothing is being done any more.
func (s *Scheduler) Wait() { s.runs.Wait() }

func (s *Scheduler) enrol(ctx context.Context, tx *tenant.Tx, now time.Time) error {
	var names pq.StringArray
	var every, bound pq.Float64Array
	var suspended, platform pq.BoolArray
	for _, j := range s.c.Jobs {
		names, every, bound = append(names, j.Name), append(every, j.Every.Seconds()), append(bound, j.Bound.Seconds())
		suspended, platform = append(suspended, j.Suspended), append(platform, j.Platform)
	}
	_, err := tx.Exec(ctx, enrolSQL, names, every, bound, suspended, platform, now)
	return err
}

// free lists the jobs that have places left, and how many.
func (s *Scheduler) free() (names pq.StringArray, places pq.Int64Array) {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := map[string]int{}
	for p := range s.running {
		busy[p.Job]++
	}
	for _, j := range s.c.Jobs {
		if n := j.AtOnce - busy[j.Name]; n > 0 {
			names, places = append(names, j.Name), append(places, int64(n))
		}
	}
	return names, places
}

// begin does a job in the background.
func (s *Scheduler) begin(ctx context.Context, r *run) {
	held, lose := context.WithCancelCause(ctx)
	r.lose = lose
	s.mu.Lock()
	s.running[r.place] = r
	s.mu.Unlock()
	s.runs.Go(func() {
		defer lose(nil)
		began := time.Now() //nolint:forbidigo // how long it takes, whatever the clock shows
		o := s.do(held, s.jobs[r.Job], r)
		if ctx.Err() == nil {
			s.metrics.ran(r.Job, o.class, time.Since(began))
		}
		s.end(ctx, r, o)
		s.mu.Lock()
		delete(s.running, r.place)
		s.mu.Unlock()
		s.nudge() // there is a place now
	})
}

// outcome is how a run ended.
type outcome struct {
	class  string // of the error; empty after success
	behind *time.Time
	lost   bool
}

func (s *Scheduler) do(held context.Context, j Job, r *run) outcome {
	ctx, cancel := context.WithTimeout(held, j.Timeout)
	defer cancel()
	var o outcome
	err := j.Run(ctx, tenant.ID(r.Tenant))
	if j.Behind != nil && held.Err() == nil {
		since, failure := s.behind(held, j, r)
		err = errors.Join(err, failure)
		o.behind = since
	}
	o.class, o.lost = Class(err), errors.Is(context.Cause(held), errLost)
	switch {
	case o.lost:
		s.c.Log.WarnContext(held, "job was taken over", slog.String("job", j.Name), slog.String("tenant", r.Slug))
	case err != nil && held.Err() == nil:
		s.c.Log.ErrorContext(held, "job failed", slog.String("job", j.Name), slog.String("tenant", r.Slug), slog.Any("error", err))
	}
	return o
}

// behind asks the job how far behind it is; the answer has a time limit of its own.
func (s *Scheduler) behind(ctx context.Context, j Job, r *run) (*time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Lease)
	defer cancel()
	since, err := j.Behind(ctx, tenant.ID(r.Tenant))
	if err != nil || since.IsZero() {
		return nil, err
	}
	return &since, nil
}

const (
	// A request that came during the run is for another one.
	endSQL = `
update job_run
   set leased_until = null, ended_at = $4,
       due_at       = case when due_at > started_at then due_at else $5::timestamptz end,
       succeeded_at = case when $6 = '' then $4::timestamptz else succeeded_at end,
       failures     = case when $6 = '' then 0 else failures + 1 end,
       error_class  = $6,
       behind_since = $7
 where job = $1
   and tenant = $2
   and fence = $3`

	giveBackSQL = `
update job_run
   set leased_until = null
 where job = $1
   and tenant = $2
   and fence = $3`

	// endRetry is the pause before an end is told again that could not be told.
	endRetry      = time.Second
	giveBackLimit = 5 * time.Second
)

// end tells how a run ended. What was broken off because the process stops stays due,
// for others.
func (s *Scheduler) end(ctx context.Context, r *run, o outcome) {
	switch {
	case o.lost:
		return
	case ctx.Err() != nil:
		final, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackLimit)
		defer cancel()
		_ = s.tell(final, giveBackSQL, r) // else the lease runs out
		return
	}
	for {
		now := s.c.Now().UTC()
		err := s.tell(ctx, endSQL, r, now, now.Add(s.jobs[r.Job].Every), o.class, o.behind)
		if err == nil || s.over(r) || ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(endRetry):
		}
	}
}

func (s *Scheduler) tell(ctx context.Context, query string, r *run, more ...any) error {
	args := append([]any{r.Job, r.Tenant.String(), r.Fence}, more...)
	return s.c.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

// over reports whether the lease has run out.
func (s *Scheduler) over(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.c.Now().Before(r.end)
}
