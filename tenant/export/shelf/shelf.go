// Package shelf tells staff what was published when, what comes next, and what is late.
package shelf

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// Plan is an export configuration: an index of its own that phones read.
type Plan struct {
	ID uuid.UUID `db:"config_id"`
	// Path is the folder of its files below the tenant's exports; empty for the first one.
	Path string
	// Period is how much time a file covers, MinAge how long after that it is made.
	Period, MinAge time.Duration
	// Ends is when no more keys go in; nil if nobody has said so.
	Ends *time.Time `db:"active_thru"`
	// Next is the end of the window that is open, and Due when its file is to be made.
	Next, Due time.Time
	// LateSince is when the oldest file that is not published was due; nil if none is late.
	LateSince *time.Time
}

// Grace is how late a file may be until somebody should look: jobs run every minute, and
// many files may be due at the same time.
const Grace = 10 * time.Minute

const plansSQL = `
  select c.config_id, c.path, c.period_seconds, c.min_age_seconds, c.active_from, c.active_thru,
         (select max(b.ends_at) from export_batch b where b.config_id = c.config_id) as last_end,
         (select min(b.ends_at)
            from export_batch b
           where b.config_id = c.config_id
             and b.state <> 'published') as waiting_end
    from export_config c
order by c.path`

type planRow struct {
	Plan
	PeriodSeconds int64      `db:"period_seconds"`
	MinAgeSeconds int64      `db:"min_age_seconds"`
	ActiveFrom    time.Time  `db:"active_from"`
	LastEnd       *time.Time `db:"last_end"`
	WaitingEnd    *time.Time `db:"waiting_end"`
}

// Plans lists the tenant's configurations, the first one first, as of now.
func Plans(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Plan, error) {
	var rows []planRow
	if err := tx.Select(ctx, &rows, plansSQL); err != nil {
		return nil, fmt.Errorf("read export configurations: %w", err)
	}
	plans := make([]Plan, len(rows))
	for i, r := range rows {
		plans[i] = r.plan(now)
	}
	return plans, nil
}

func (r planRow) plan(now time.Time) Plan {
	p := r.Plan
	p.Period, p.MinAge = time.Duration(r.PeriodSeconds)*time.Second, time.Duration(r.MinAgeSeconds)*time.Second
	last := r.ActiveFrom
	if r.LastEnd != nil {
		last = *r.LastEnd
	}
	p.Next = last.UTC().Truncate(p.Period).Add(p.Period)
	p.Due = p.Next.Add(p.MinAge)
	late := p.Next
	if r.WaitingEnd != nil {
		late = *r.WaitingEnd
	}
	if due := late.Add(p.MinAge).UTC(); now.After(due.Add(Grace)) && (p.Ends == nil || r.WaitingEnd != nil) {
		p.LateSince = &due
	}
	return p
}

// Batch is a window of time and the files that were made of it.
type Batch struct {
	From  time.Time `db:"starts_at"`
	Until time.Time `db:"ends_at"`
	// Published is when its files were in the index; nil while they are being made.
	Published *time.Time `db:"published_at"`
	// Files is how many there are: none if nothing new arrived. Keys and Revised are the
	// keys in them, padding among them, Bytes what a phone downloads.
	Files, Keys, Revised int
	Bytes                int64
	// Listed says that phones find them in the index; after 14 days they do not.
	Listed bool
}

const batchesSQL = `
  select b.starts_at, b.ends_at, b.published_at,
         count(f.file_no) as files,
         coalesce(sum(f.key_count), 0) as keys,
         coalesce(sum(f.revised_count), 0) as revised,
         coalesce(sum(f.size), 0) as bytes,
         coalesce(bool_or(f.state = 'published'), false) as listed
    from (select config_id, starts_at, ends_at, published_at
            from export_batch
           where config_id = $1
             and starts_at < $2
        order by starts_at desc
           limit $3) b
    left join export_file f on f.config_id = b.config_id and f.starts_at = b.starts_at
group by b.starts_at, b.ends_at, b.published_at
order by b.starts_at desc`

// Batches lists at most limit windows of a configuration that begin before a time, the
// newest first. A configuration that the tenant does not have has none.
func Batches(ctx context.Context, tx *tenant.Tx, plan uuid.UUID, before time.Time, limit int) ([]Batch, error) {
	var list []Batch
	if err := tx.Select(ctx, &list, batchesSQL, plan, before.UTC(), limit); err != nil {
		return nil, fmt.Errorf("read exports: %w", err)
	}
	return list, nil
}
