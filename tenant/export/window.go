package export

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/exposure"
)

// plan is what a batch is made by: a configuration as it stood when the window was
// closed. A later change never makes half a batch.
type plan struct {
	Region          string         `db:"region"`
	InputRegions    pq.StringArray `db:"input_regions"`
	ExcludeRegions  pq.StringArray `db:"exclude_regions"`
	Travelers       string         `db:"travelers"`
	IncludeImported bool           `db:"include_imported"`
	MinRecords      int            `db:"min_records"`
	PaddingRange    int            `db:"padding_range"`
	MaxRecords      int            `db:"max_records"`
}

// planColumns are the plan of batch b, or of its configuration c if an older release has
// opened it.
const planColumns = `
         coalesce(b.region, c.region) as region,
         coalesce(b.input_regions, c.input_regions) as input_regions,
         coalesce(b.exclude_regions, c.exclude_regions) as exclude_regions,
         coalesce(b.travelers, c.travelers) as travelers,
         coalesce(b.include_imported, c.include_imported) as include_imported,
         coalesce(b.min_records, c.min_records) as min_records,
         coalesce(b.padding_range, c.padding_range) as padding_range,
         coalesce(b.max_records, c.max_records) as max_records`

// config is a row of export_config.
type config struct {
	ID   uuid.UUID `db:"config_id"`
	Path string    `db:"path"`
	plan
	PeriodSeconds int        `db:"period_seconds"`
	MinAgeSeconds int        `db:"min_age_seconds"`
	ActiveFrom    time.Time  `db:"active_from"`
	ActiveThru    *time.Time `db:"active_thru"`
}

func (c config) period() time.Duration { return time.Duration(c.PeriodSeconds) * time.Second }
func (c config) minAge() time.Duration { return time.Duration(c.MinAgeSeconds) * time.Second }

// standing is a configuration and how far its batches have come.
type standing struct {
	config
	// LastEnd is the end of the newest batch.
	LastEnd *time.Time `db:"last_end"`
	// Unfinished: a batch is not published. Outdated: a file is listed that should
	// not be any more. Expired: a batch is so old that its files can be deleted.
	Unfinished bool `db:"unfinished"`
	Outdated   bool `db:"outdated"`
	Expired    bool `db:"expired"`
}

// window is a half-open span of arrival times.
type window struct{ start, end time.Time }

// maxWindows bounds how many windows of a configuration are closed at once. A period
// of seconds and an outage of days make more; they are closed in several turns.
const maxWindows = 5000

// due lists the windows that are to be closed, oldest first (§5.2). truncate is the
// granularity of arrival times. Windows follow each other without gap and without
// overlap from the configuration's beginning to its end, also after an outage, if that
// outlasted the end, and after a change of period; none goes back beyond the retention
// of keys.
func (c standing) due(now time.Time, truncate time.Duration) []window {
	t := now.Add(-c.minAge())
	if !c.ActiveFrom.Before(t) {
		return nil
	}
	period := c.period()
	last := floor(c.ActiveFrom, period)
	if c.LastEnd != nil {
		last = *c.LastEnd
	}
	last = latest(last, floor(now.Add(-Retention), period))
	newest := floor(t, truncate)
	if c.ActiveThru != nil && c.ActiveThru.Before(newest) {
		newest = *c.ActiveThru
	}
	var windows []window
	for end := floor(last, period).Add(period); !end.After(newest) && len(windows) < maxWindows; end = end.Add(period) {
		windows = append(windows, window{start: latest(end.Add(-period), last), end: end})
	}
	return windows
}

// floor cuts to a multiple of d that is counted from a UTC midnight.
func floor(t time.Time, d time.Duration) time.Time { return t.UTC().Truncate(d) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a.UTC()
	}
	return b.UTC()
}

// tasks are what there is to do for a tenant.
type tasks struct {
	configs          []standing
	windows, batches bool
}

const standingSQL = `
  select c.config_id, c.path, c.period_seconds, c.min_age_seconds, c.active_from, c.active_thru,
         (select b.ends_at
            from export_batch b
           where b.config_id = c.config_id
        order by b.starts_at desc
           limit 1) as last_end,
         exists (select
                   from export_batch b
                  where b.config_id = c.config_id
                    and b.state <> 'published') as unfinished,
         exists (select
                   from export_file f
                  where f.config_id = c.config_id
                    and f.starts_at <= $1
                    and f.state = 'published') as outdated,
         exists (select
                   from export_batch b
                  where b.config_id = c.config_id
                    and b.starts_at < $2
                    and b.ends_at < $2
                    and b.state = 'published') as expired
    from export_config c
order by c.path`

func (s *Service) standings(ctx context.Context, tx *tenant.Tx, now time.Time) (configs []standing, err error) {
	return configs, tx.Select(ctx, &configs, standingSQL, now.Add(-Retention), now.Add(-Retention-deletionGrace))
}

// look finds out in one statement whether anything is to be done for a tenant.
func (s *Service) look(ctx context.Context, t *tenant.Tenant) (tasks, error) {
	var due tasks
	now := s.now()
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		due.configs, err = s.standings(ctx, tx, now)
		return err
	})
	if err != nil {
		return tasks{}, fmt.Errorf("read export configurations: %w", err)
	}
	for _, c := range due.configs {
		due.windows = due.windows || len(c.due(now, t.Settings.Truncate)) > 0
		due.batches = due.batches || c.Unfinished
	}
	return due, nil
}

// cutTimeout bounds how long publishers may have to wait behind a process that waits
// for others of them.
const cutTimeout = 10 * time.Second

// Cut closes the tenant's windows that are due: their batches are opened and the
// horizon moves to the end of the newest, in one transaction that publishers wait for.
func (s *Service) Cut(ctx context.Context, t *tenant.Tenant) error {
	ctx, cancel := context.WithTimeout(ctx, cutTimeout)
	defer cancel()
	if err := s.step("closing"); err != nil {
		return err
	}
	now := s.now()
	err := s.db.InExclusive(ctx, t.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		configs, err := s.standings(ctx, tx, now)
		if err != nil {
			return err
		}
		return closeWindows(ctx, tx, configs, now, t.Settings.Truncate)
	})
	if err != nil {
		return fmt.Errorf("close windows: %w", err)
	}
	return s.step("closed")
}

const (
	// A window into which no key is dated has nothing to make files of: its batch
	// counts as published at once, which makes catching up after an outage cheap.
	openSQL = `
insert into export_batch
       (tenant_id, config_id, starts_at, ends_at, state, published_at,
        region, input_regions, exclude_regions, travelers, include_imported,
        min_records, padding_range, max_records)
select current_tenant(), w.config_id, w.starts_at, w.ends_at,
       case when w.filled then 'open' else 'published' end,
       case when w.filled then null else $4::timestamptz end,
       c.region, c.input_regions, c.exclude_regions, c.travelers, c.include_imported,
       c.min_records, c.padding_range, c.max_records
  from (select k.config_id, k.starts_at, k.ends_at,
               exists (select
                         from exposure e
                        where e.created_at >= k.starts_at
                          and e.created_at < k.ends_at)
               or exists (select
                            from exposure e
                           where e.revised_at >= k.starts_at
                             and e.revised_at < k.ends_at) as filled
          from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as k (config_id, starts_at, ends_at)) w
  join export_config c using (config_id)`

	horizonSQL = `
insert into export_horizon (tenant_id, settled_until)
values (current_tenant(), $1)
    on conflict on constraint export_horizon_pkey
    do update set settled_until = greatest(export_horizon.settled_until, excluded.settled_until)`
)

func closeWindows(ctx context.Context, tx *tenant.Tx, configs []standing, now time.Time, truncate time.Duration) error {
	var ids, starts, ends pq.StringArray
	var horizon time.Time
	for _, c := range configs {
		for _, w := range c.due(now, truncate) {
			ids = append(ids, c.ID.String())
			starts = append(starts, w.start.Format(time.RFC3339Nano))
			ends = append(ends, w.end.Format(time.RFC3339Nano))
			horizon = latest(horizon, w.end)
		}
	}
	if len(ids) == 0 {
		return nil // another process was faster
	}
	if _, err := tx.Exec(ctx, openSQL, ids, starts, ends, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, horizonSQL, horizon)
	return err
}
