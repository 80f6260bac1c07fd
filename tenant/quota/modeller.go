package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"carillon/tenant"
)

// Modeller counts the codes of each complete day and models the limit of the next, once
// a day for each tenant. It may run in any number of processes.
type Modeller struct {
	db        *tenant.DB
	directory *tenant.Directory
	log       *slog.Logger
	now       func() time.Time
	done      map[tenant.ID]time.Time // the day of which a tenant is up to date
}

// NewModeller works through db, a handle under the role carillon_jobs.
func NewModeller(db *tenant.DB, directory *tenant.Directory, log *slog.Logger, now func() time.Time) *Modeller {
	return &Modeller{db: db, directory: directory, log: log, now: now, done: map[tenant.ID]time.Time{}}
}

const modelInterval = 5 * time.Minute

// Run models until ctx ends.
func (m *Modeller) Run(ctx context.Context) error {
	ticker := time.NewTicker(modelInterval)
	defer ticker.Stop()
	for {
		if err := m.Model(ctx); err != nil && ctx.Err() == nil {
			m.log.ErrorContext(ctx, "quotas not modelled", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Model brings every tenant up to date. One that fails does not hold up the others.
func (m *Modeller) Model(ctx context.Context) error {
	today := dayOf(m.now())
	var failed []error
	err := m.directory.Each(ctx, func(id tenant.ID) error {
		if m.done[id].Equal(today) {
			return nil
		}
		if err := m.model(ctx, id, today); err != nil {
			failed = append(failed, err)
			return ctx.Err()
		}
		m.done[id] = today
		return nil
	})
	return errors.Join(append(failed, err)...)
}

const (
	// countSQL counts days that have no entry yet. Codes are kept two weeks.
	countSQL = `
  select (issued_at at time zone 'UTC')::date as day, count(*) as issued
    from verification_code
   where issued_at >= $1 and issued_at < $2 and long_expires_at >= $1
     and (issued_at at time zone 'UTC')::date not in (select day from quota_day where day >= ($1 at time zone 'UTC')::date)
group by 1
order by 1`

	baseSQL = `select coalesce((select base from quota_day order by day desc limit 1), $1)`

	modelSQL = `
insert into quota_day (tenant_id, day, issued, base)
values (current_tenant(), $1, $2, $3)
    on conflict do nothing`

	// countedDays is how many days back codes are still complete.
	countedDays = 13
)

func (m *Modeller) model(ctx context.Context, id tenant.ID, today time.Time) error {
	err := m.db.In(ctx, id, func(tx *tenant.Tx) error {
		known, err := History(ctx, tx, today)
		if err != nil {
			return err
		}
		var base int
		if err := tx.Get(ctx, &base, baseSQL, Default); err != nil {
			return err
		}
		var fresh []Day
		if err := tx.Select(ctx, &fresh, countSQL, today.AddDate(0, 0, -countedDays), today); err != nil {
			return err
		}
		for _, d := range fresh {
			d.Day = d.Day.UTC()
			known = append(known, d)
			if limit, ok := Model(known, d.Day.AddDate(0, 0, 1)); ok {
				base = limit
			}
			if _, err := tx.Exec(ctx, modelSQL, d.Day.Format(time.DateOnly), d.Issued, base); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("model quota: %w", err)
	}
	return nil
}

// Keep is how long days and entries are kept.
const Keep = 91 * 24 * time.Hour

const (
	deleteDaysSQL    = `delete from quota_day where day < $1`
	deleteEntriesSQL = `delete from quota_entry where day < $1`
)

// Cleanup forgets what is past its time. db is a handle under the role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	before := dayOf(now.Add(-Keep)).Format(time.DateOnly)
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, deleteDaysSQL, before); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, deleteEntriesSQL, before)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget quotas: %w", err)
	}
	return nil
}
