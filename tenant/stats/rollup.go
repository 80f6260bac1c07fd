package stats

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
)

// lock keeps roll-ups of one tenant apart.
const lock tenant.Lock = "statistics"

// The bounds of the first ten classes of an age or a delay, in seconds: 1, 5, 15 and
// 30 minutes, 1, 2, 3, 6, 12 and 24 hours (§8.2). A bound belongs to its class; the
// eleventh class, to 336 hours, takes the rest.
const classOf = `width_bucket(greatest(%s, 1) - 1, array[60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400])`

// Classes is how many classes ages and delays have.
const Classes = 11

var messageClass = fmt.Sprintf(classOf, "extract(epoch from m.changed_at - m.queued_at)::integer")

const horizonSQL = `horizon as (
  select coalesce((select settled_until from statistic_horizon), date '2000-01-01') as day
)`

// Codes that were issued or claimed since the horizon also end after it, and there is
// an index on their end.
const codesSQL = `, since as (
  select day::timestamp at time zone 'UTC' as at from horizon
), codes as (
  select (issued_at at time zone 'UTC')::date as issued_day,
         (claimed_at at time zone 'UTC')::date as claimed_day,
         extract(epoch from claimed_at - issued_at)::integer as age,
         issued_at >= (select at from since) as issued,
         claimed_at >= (select at from since) as claimed,
         test_type, issuer_kind, issuer_id, external_issuer_id
    from verification_code
   where long_expires_at >= (select at from since)
)`

var (
	// derivedSQL counts from rows what is not settled, of the series in $1; a query of
	// which none is wanted is not run. It ends within the last of its queries.
	derivedSQL = `, derived as (
  select issued_day as day, 'codes-issued' as series, test_type as subject, issued_day as cohort, 0 as class, count(*) as quantity
    from codes
   where issued and 'codes-issued' = any($1)
group by issued_day, test_type
union all
  select issued_day, case issuer_kind when 'person' then 'issued-by-person' else 'issued-by-key' end, issuer_id, issued_day, 0, count(*)
    from codes
   where issued and ('issued-by-person' = any($1) or 'issued-by-key' = any($1))
     and issuer_kind in ('person', 'api-key')
group by issued_day, issuer_kind, issuer_id
union all
  select issued_day, 'issued-external', external_issuer_id, issued_day, 0, count(*)
    from codes
   where issued and 'issued-external' = any($1)
     and external_issuer_id <> ''
group by issued_day, external_issuer_id
union all
  select claimed_day, 'codes-claimed', test_type, issued_day, ` + fmt.Sprintf(classOf, "age") + ` as class, count(*)
    from codes
   where claimed and 'codes-claimed' = any($1)
group by claimed_day, test_type, issued_day, class
union all
  select claimed_day, 'claim-seconds', '', claimed_day, 0, sum(age)
    from codes
   where claimed and 'claim-seconds' = any($1)
group by claimed_day
union all
  select (used_at at time zone 'UTC')::date as used_day, 'tokens-claimed', coalesce(test_type, ''),
         coalesce(code_day, (used_at at time zone 'UTC')::date) as cohort,
         ` + fmt.Sprintf(classOf, "coalesce(seconds_to_use, 0)") + ` as class, count(*)
    from verification_token
   where 'tokens-claimed' = any($1)
     and expires_at >= (select at from since)
     and used_at >= (select at from since)
group by used_day, test_type, cohort, class`

	// exportedSQL counts each key once, when the first file of its window came out.
	exportedSQL = `
union all
  select (b.published_at at time zone 'UTC')::date as published_day, 'keys-exported', '',
         (a.created_at at time zone 'UTC')::date as cohort,
         ` + fmt.Sprintf(classOf, "extract(epoch from b.published_at - a.created_at)::integer") + ` as class, sum(a.keys)
    from export_batch b
    join lateral (select e.created_at, count(*) as keys
                    from exposure e
                   where e.created_at >= b.starts_at
                     and e.created_at < b.ends_at
                     and not e.generated
                group by e.created_at) a on true
   where b.state = 'published'
     and b.published_at >= (select at from since)
     and not exists (select from export_batch earlier
                      where earlier.state = 'published'
                        and earlier.starts_at <= a.created_at
                        and earlier.ends_at > a.created_at
                        and (earlier.published_at, earlier.config_id) < (b.published_at, b.config_id))
group by published_day, cohort, class
union all
  select (b.published_at at time zone 'UTC')::date as published_day, 'files-exported', '',
         (b.published_at at time zone 'UTC')::date, 0, count(*)
    from export_batch b
    join export_file f using (tenant_id, config_id, starts_at)
   where b.state = 'published'
     and b.published_at >= (select at from since)
group by published_day`
)

const clearSQL = "with " + horizonSQL + `
delete from statistic_day
 where day >= (select day from horizon)
   and series = any($1)`

func countSQL() string {
	return "with " + horizonSQL + codesSQL + derivedSQL + exportedSQL + `)
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select current_tenant(), day, series, subject, cohort, class, quantity
  from derived`
}

var (
	// What becomes of a message shows over some days, the rows of which all exist:
	// their codes are kept longer. So these days are counted anew even after they are
	// settled.
	clearMessagesSQL = "with " + horizonSQL + `
delete from statistic_day
 where day >= (select day - 3 from horizon)
   and series = any($1)`

	// A code without a message was read out, or passed on by whoever had it issued.
	countMessagesSQL = "with " + horizonSQL + `, told as (
  select (c.issued_at at time zone 'UTC')::date as day, c.claimed_at is not null as claimed,
         m.state, m.class as failure,
         case when m.code_id is null then 'none' when m.provider = 'mail' then 'email' else 'sms' end as channel,
         ` + messageClass + ` as class
    from verification_code c
    left join message_delivery m on m.code_id = c.code_id
   where c.long_expires_at >= (select day - 3 from horizon)::timestamp at time zone 'UTC'
), counted as (
  select day, 'messages' as series, state as subject, class, count(*) as quantity
    from told
   where state is not null
group by day, state, class
union all
  select day, 'message-failures', failure, 0, count(*)
    from told
   where state = 'failed'
group by day, failure
union all
  select day, 'channel-issued', channel, 0, count(*)
    from told
group by day, channel
union all
  select day, 'channel-claimed', channel, 0, count(*)
    from told
   where claimed
group by day, channel
)
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select current_tenant(), day, series, subject, day, class, quantity
  from counted
 where day >= (select day - 3 from horizon)`
)

const (
	// A tally moves when its hour is over (key server protocol §9 wants to know the
	// current hour's) and no process can try its flush again.
	moveSQL = `
with gone as (
  delete from statistic_tally
   where hour < $1
     and flushed_at < $2
  returning (hour at time zone 'UTC')::date as day, series, subject, cohort, class, quantity
)
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select current_tenant(), day, series, subject, cohort, class, sum(quantity)
  from gone
group by day, series, subject, cohort, class
    on conflict on constraint statistic_day_pkey do update
   set quantity = statistic_day.quantity + excluded.quantity`

	settleSQL = `
insert into statistic_horizon (tenant_id, settled_until, counted_at)
values (current_tenant(), $1::date, $2)
    on conflict on constraint statistic_horizon_pkey do update
   set settled_until = greatest(statistic_horizon.settled_until, excluded.settled_until),
       counted_at    = excluded.counted_at
returning settled_until`

	settledSQL = `select settled_until from statistic_horizon`

	forgetSQL = `
delete from statistic_day
 where day <= (select max(old.day)
                 from (select day
                         from statistic_day
                        where day < $1::date
                     order by day
                        limit $2) old)`
)

// The bounds of how long statistics are kept, and the usual time (§6.4).
const (
	MinRetention = 30 * day
	Retention    = 91 * day
	MaxRetention = 180 * day
)

const (
	// grace is how long after its end a day is settled: for clocks that differ, and
	// for transactions that were under way.
	grace = time.Hour
	// moveAfter is how old a flush must be to move. It is more than retryFor.
	moveAfter = 15 * time.Minute
)

// Rollup counts a tenant's days that are not settled; db is a handle under
// carillon_jobs. It returns the UTC midnight before which all is final: rows that ended
// before it may go, later ones are still needed.
//
// All of it is one transaction under the tenant's lock, and what it counts from rows
// it counts anew each time. So a run that is killed anywhere has done nothing, and
// another run, or two at once, count nothing twice.
func Rollup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) (settled time.Time, err error) {
	now = now.UTC()
	err = db.InExclusive(ctx, id, lock, func(tx *tenant.Tx) error {
		for _, step := range []struct {
			what, sql string
			args      []any
		}{
			{"clear unsettled days", clearSQL, []any{texts(derived())}},
			{"count rows", countSQL(), []any{texts(derived())}},
			{"clear messages", clearMessagesSQL, []any{texts(ofMessages())}},
			{"count messages", countMessagesSQL, nil},
			{"remember uses of keys", usedSQL, []any{string(keyAnswers)}},
			{"move tallies", moveSQL, []any{now.Truncate(time.Hour), now.Add(-moveAfter)}},
		} {
			if _, err := tx.Exec(ctx, step.sql, step.args...); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		return tx.Get(ctx, &settled, settleSQL, dayOf(now.Add(-grace)), now)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("roll up statistics: %w", err)
	}
	return settled.UTC(), nil
}

// Settled is what [Rollup] returned last, the zero time if it never ran: before it,
// rows that statistics count may go.
func Settled(ctx context.Context, db *tenant.DB, id tenant.ID) (settled time.Time, err error) {
	err = db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &settled, settledSQL) })
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read horizon of statistics: %w", err)
	}
	return settled.UTC(), nil
}

// Forget deletes a tenant's days that are past the retention. db is a handle under
// carillon_jobs.
func Forget(ctx context.Context, db *tenant.DB, id tenant.ID, retention time.Duration, now time.Time) error {
	if err := sweep.Run(ctx, db, id, forgetSQL, dayOf(now.UTC().Add(-retention))); err != nil {
		return fmt.Errorf("forget statistics: %w", err)
	}
	return nil
}
