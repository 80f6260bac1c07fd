package quota

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
)

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

// CloseDays counts a tenant's codes of each complete day and models the limit of the
// next. db is a handle under the role carillon_jobs. It may run at any time, in any
// number of processes.
func CloseDays(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	today := dayOf(now)
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		known, err := History(ctx, tx, today)
		if err != nil {
			return err
		}
		if n := len(known); n > 0 && known[n-1].Day.Equal(today.AddDate(0, 0, -1)) {
			return nil // and so are all before it
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

// Expect sets the limit that holds for tx's tenant, a new one, until there is enough
// experience to model another: codes, of which fewer than [Least] count as that many, and
// more than [Most] as those. It counts as the day before, with as many codes.
func Expect(ctx context.Context, tx *tenant.Tx, codes int, now time.Time) error {
	yesterday := dayOf(now).AddDate(0, 0, -1).Format(time.DateOnly)
	base := min(Most, max(Least, codes))
	if _, err := tx.Exec(ctx, modelSQL, yesterday, base, base); err != nil {
		return fmt.Errorf("expect codes: %w", err)
	}
	return nil
}

// Keep is how long days and entries are kept.
const Keep = 91 * 24 * time.Hour

const (
	deleteDaysSQL = `
delete from quota_day
 where day in (select day
                 from quota_day
                where day < $1
                limit $2)`

	deleteEntriesSQL = `
delete from quota_entry
 where (day, entry_id) in (select day, entry_id
                             from quota_entry
                            where day < $1
                            limit $2)`
)

// Cleanup forgets what is past its time. db is a handle under the role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	before := dayOf(now.Add(-Keep)).Format(time.DateOnly)
	err := errors.Join(
		sweep.Run(ctx, db, id, deleteDaysSQL, before),
		sweep.Run(ctx, db, id, deleteEntriesSQL, before))
	if err != nil {
		return fmt.Errorf("forget quotas: %w", err)
	}
	return nil
}
