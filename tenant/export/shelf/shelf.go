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
	// LateSince is when the oldest file that is not published was due, and Why what it waits
	// for; nil and empty if none is late.
	LateSince *time.Time
	Why       Why
	// Listed is how many files phones find in the index, ListedBytes what a phone downloads
	// that has none of them.
	Listed      int
	ListedBytes int64 `db:"listed_bytes"`
}

// Why says what a late file waits for.
type Why string

// The reasons, the first that holds.
const (
	NotClosed Why = "not-closed" // no process has closed the window
	Storing   Why = "storing"    // it is made, and the store does not have it yet
	Making    Why = "making"     // a process is at it
	Failing   Why = "failing"    // it was begun and did not come to an end
	Waiting   Why = "waiting"    // nobody has begun
)

// Grace is how late a file may be until somebody should look: jobs run every minute, and
// many files may be due at the same time.
const Grace = 10 * time.Minute

const plansSQL = `
  select c.config_id, c.path, c.period_seconds, c.min_age_seconds, c.active_from, c.active_thru,
         (select max(b.ends_at) from export_batch b where b.config_id = c.config_id) as last_end,
         w.ends_at as waiting_end, coalesce(w.state = 'staged', false) as staged, coalesce(w.fence > 0, false) as begun,
         coalesce(w.leased_until > $1, false) as leased,
         l.listed, l.listed_bytes
    from export_config c
    left join lateral (select b.ends_at, b.state, b.fence, b.leased_until
                         from export_batch b
                        where b.config_id = c.config_id
                          and b.state <> 'published'
                     order by b.ends_at
                        limit 1) w on true
   cross join lateral (select count(*) as listed, coalesce(sum(f.size), 0) as listed_bytes
                         from export_file f
                        where f.config_id = c.config_id
                          and f.state = 'published') l
order by c.path`

type planRow struct {
	Plan
	PeriodSeconds int64      `db:"period_seconds"`
	MinAgeSeconds int64      `db:"min_age_seconds"`
	ActiveFrom    time.Time  `db:"active_from"`
	LastEnd       *time.Time `db:"last_end"`
	WaitingEnd    *time.Time `db:"waiting_end"`
	Staged        bool
	Begun         bool
	Leased        bool
}

// Plans lists the tenant's configurations, the first one first, as of now.
func Plans(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Plan, error) {
	var rows []planRow
	if err := tx.Select(ctx, &rows, plansSQL, now.UTC()); err != nil {
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
		p.LateSince, p.Why = &due, r.why()
	}
	return p
}

func (r planRow) why() Why {
	switch {
	case r.Staged:
		return Storing
	case r.WaitingEnd == nil:
		return NotClosed
	case r.Leased:
		return Making
	case r.Begun:
		return Failing
	}
	return Waiting
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
	// Padding and Received are how many of the new keys are made up, and how many come from
	// other authorities; nil if nobody has counted them.
	Padding  *int `db:"padding_keys"`
	Received *int `db:"received_keys"`
	// Checked is when the first of its listed files was looked at; nil if one never was.
	// Finding is the worst of what was found.
	Checked *time.Time
	Finding Finding
	Remake  Remake
	// Listed says that phones find them in the index; after 14 days they do not.
	Listed bool
}

// Own is how many new keys are the tenant's own phones'; false if nobody has counted.
func (b Batch) Own() (int, bool) {
	if b.Padding == nil || b.Received == nil {
		return 0, false
	}
	return b.Keys - *b.Padding - *b.Received, true
}

// Finding is what a look at a file in the store found.
type Finding string

// The findings.
const (
	Unchecked Finding = ""         // nobody has looked yet
	Sound     Finding = "sound"    // the published bytes, signed with published keys
	Missing   Finding = "missing"  // there is no object
	Altered   Finding = "altered"  // it has other bytes
	Unsigned  Finding = "unsigned" // the published bytes, of which no published key is the signer
)

// Remakable reports whether writing the file again would mend it.
func (f Finding) Remakable() bool { return f == Missing || f == Altered }

// Remake is how far writing a file again has come.
type Remake string

// The states; empty if nobody has asked, or it was done.
const (
	Asked   Remake = "asked"
	Refused Remake = "refused" // the same bytes cannot be made any more
)

const batchesSQL = `
  select b.starts_at, b.ends_at, b.published_at, b.padding_keys, b.received_keys,
         case when count(f.checked_at) filter (where f.state = 'published') = count(*) filter (where f.state = 'published')
              then min(f.checked_at) filter (where f.state = 'published') end as checked,
         coalesce((array_agg(f.finding order by array_position(array['missing', 'altered', 'unsigned', '', 'sound'], f.finding))
                   filter (where f.state = 'published'))[1], '') as finding,
         coalesce(max(f.remake) filter (where f.state = 'published'), '') as remake,
         count(f.file_no) as files,
         coalesce(sum(f.key_count), 0) as keys,
         coalesce(sum(f.revised_count), 0) as revised,
         coalesce(sum(f.size), 0) as bytes,
         coalesce(bool_or(f.state = 'published'), false) as listed
    from (select config_id, starts_at, ends_at, published_at, padding_keys, received_keys
            from export_batch
           where config_id = $1
             and starts_at < $2
        order by starts_at desc
           limit $3) b
    left join export_file f on f.config_id = b.config_id and f.starts_at = b.starts_at
group by b.starts_at, b.ends_at, b.published_at, b.padding_keys, b.received_keys
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
