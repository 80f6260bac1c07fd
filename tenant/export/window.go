package export

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/exposure"
)

// config is a row of export_config with the end of its newest batch.
type config struct {
	ID             uuid.UUID      `db:"config_id"`
	Path           string         `db:"path"`
	Region         string         `db:"region"`
	InputRegions   pq.StringArray `db:"input_regions"`
	ExcludeRegions pq.StringArray `db:"exclude_regions"`
	Travelers      string         `db:"travelers"`
	PeriodSeconds  int            `db:"period_seconds"`
	MinAgeSeconds  int            `db:"min_age_seconds"`
	MinRecords     int            `db:"min_records"`
	PaddingRange   int            `db:"padding_range"`
	MaxRecords     int            `db:"max_records"`
	ActiveFrom     time.Time      `db:"active_from"`
	ActiveThru     *time.Time     `db:"active_thru"`
	LastEnd        *time.Time     `db:"last_end"`
}

func (c config) period() time.Duration { return time.Duration(c.PeriodSeconds) * time.Second }
func (c config) minAge() time.Duration { return time.Duration(c.MinAgeSeconds) * time.Second }

// window is a half-open span of arrival times.
type window struct{ start, end time.Time }

// due lists the windows that are to be closed, oldest first (§5.2). truncate is the
// granularity of arrival times. Windows follow each other without gap and without
// overlap from the configuration's beginning, also after an outage and after a
// change of period; none goes back beyond the retention of keys.
func (c config) due(now time.Time, truncate time.Duration) []window {
	t := now.Add(-c.minAge())
	if !c.ActiveFrom.Before(t) || (c.ActiveThru != nil && !c.ActiveThru.After(t)) {
		return nil
	}
	last := latest(floor(c.ActiveFrom, c.period()), now.Add(-Retention))
	if c.LastEnd != nil {
		last = *c.LastEnd
	}
	newest := floor(t, truncate)
	var windows []window
	for end := floor(t, c.period()); end.After(last); end = end.Add(-c.period()) {
		if !end.After(newest) {
			windows = append(windows, window{start: latest(end.Add(-c.period()), last), end: end})
		}
	}
	slices.Reverse(windows)
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

const (
	configsSQL = `
  select config_id, path, region, input_regions, exclude_regions, travelers, period_seconds,
         min_age_seconds, min_records, padding_range, max_records, active_from, active_thru,
         (select max(b.ends_at) from export_batch b where b.config_id = c.config_id) as last_end
    from export_config c
order by path`

	openSQL = `
insert into export_batch (tenant_id, config_id, starts_at, ends_at)
values (current_tenant(), $1, $2, $3)
    on conflict on constraint export_batch_pkey do nothing`

	horizonSQL = `
insert into export_horizon (tenant_id, settled_until)
values (current_tenant(), $1)
    on conflict on constraint export_horizon_pkey
    do update set settled_until = greatest(export_horizon.settled_until, excluded.settled_until)`
)

// Cut closes the tenant's windows that are due, and returns its configurations. It
// holds off publishers only if there is something to close.
func (s *Service) Cut(ctx context.Context, t *tenant.Tenant) ([]config, error) {
	var configs []config
	read := func(tx *tenant.Tx) error { return tx.Select(ctx, &configs, configsSQL) }
	if err := s.db.In(ctx, t.ID, read); err != nil {
		return nil, fmt.Errorf("read export configurations: %w", err)
	}
	now := s.now()
	isDue := func(c config) bool { return len(c.due(now, t.Settings.Truncate)) > 0 }
	if !slices.ContainsFunc(configs, isDue) {
		return configs, nil
	}
	if err := s.step("cut"); err != nil {
		return nil, err
	}
	err := s.db.InExclusive(ctx, t.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		configs = nil
		if err := read(tx); err != nil {
			return err
		}
		return closeWindows(ctx, tx, configs, now, t.Settings.Truncate)
	})
	if err != nil {
		return nil, fmt.Errorf("close windows: %w", err)
	}
	return configs, nil
}

// closeWindows opens batches and moves the horizon in one transaction.
func closeWindows(ctx context.Context, tx *tenant.Tx, configs []config, now time.Time, truncate time.Duration) error {
	var horizon time.Time
	for _, c := range configs {
		for _, w := range c.due(now, truncate) {
			if _, err := tx.Exec(ctx, openSQL, c.ID, w.start, w.end); err != nil {
				return err
			}
			horizon = latest(horizon, w.end)
		}
	}
	_, err := tx.Exec(ctx, horizonSQL, horizon)
	return err
}
