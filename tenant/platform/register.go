package platform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/quota"
)

// Line is a tenant as the register lists it.
type Line struct {
	Slug   tenant.Slug
	Name   string
	Region string
	State  tenant.State
	Kind   tenant.Kind
}

// Filter chooses tenants. What is empty chooses all.
type Filter struct {
	State tenant.State
	Kind  tenant.Kind
	// Text is part of a name, a slug or a region, in any case.
	Text string
	// After is a slug: only those that come later.
	After string
}

const registerSQL = `
  select slug, name, region, state, kind
    from tenant_directory
   where ($1 = '' or state = $1)
     and ($2 = '' or kind = $2)
     and ($3 = '' or strpos(lower(name), lower($3)) > 0 or strpos(slug, lower($3)) > 0 or strpos(lower(region), lower($3)) > 0)
     and slug > $4
order by slug
   limit $5`

// Register lists tenants in any state by slug, also those that are erased. db is a handle
// under the role carillon_operator, here as below.
func Register(ctx context.Context, db *tenant.DB, f Filter, limit int) (list []Line, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, registerSQL, string(f.State), string(f.Kind), f.Text, f.After, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return list, nil
}

// Sheet is what operators see of one tenant: how it stands, and counts. Nothing in it
// tells of a code, a key or a person with a test.
type Sheet struct {
	Line
	// Reason is why it is in its state, Since when it came into it; nil from the start.
	Reason string     `db:"state_reason"`
	Since  *time.Time `db:"state_since"`
	// Contacts are the mail addresses at which the authority wants to be reached.
	Contacts []string
	// Quota is where the day's budget of codes stands.
	Quota quota.Standing
	// Jobs are those of the tenant, by name.
	Jobs []job.Standing
	// Days are the last complete ones, the newest first.
	Days []Day
	// Support is how many invitations of support are open.
	Support int
}

// Day is what happened on a UTC day.
type Day struct {
	Day                   time.Time
	Codes, Keys, Failures Count
}

// Count is a number of events as those see it who must not be able to tell single ones:
// rounded down to tens, and fewer than ten only as such.
type Count int

// few is the number from which on a count is told.
const few = 10

// Few reports whether there are some, but too few to tell how many.
func (c Count) Few() bool { return c > 0 && c < few }

// Shown is the rounded number; zero for few.
func (c Count) Shown() int { return int(c) / few * few }

// blur forgets what is not to be told.
func blur(n int64) Count {
	if n > 0 && n < few {
		return 1
	}
	return Count(n / few * few)
}

const (
	sheetSQL = `
select tenant, slug, name, region, state, kind, state_reason, state_since
  from tenant_directory
 where slug = $1`

	// Each table is read once, by the days in its key: compared with a date, not with the
	// timestamps of a series.
	usageSQL = `
with counted as (
  select day, sum(quantity) filter (where series = 'codes-issued') as codes, sum(quantity) filter (where series = 'upload-keys') as keys
    from statistic_day
   where day between $1::date - 14 and $1::date - 1
     and series in ('codes-issued', 'upload-keys')
group by day
), failed as (
  select day, sum(count) as failures
    from message_error
   where day between $1::date - 14 and $1::date - 1
group by day
)
  select day, coalesce(codes, 0)::bigint as codes, coalesce(keys, 0)::bigint as keys, coalesce(failures, 0)::bigint as failures
    from (select $1::date - n as day from generate_series(1, 14) n) days
    left join counted using (day)
    left join failed using (day)
order by day desc`

	invitationsSQL = `select count(*) from support_grant where revoked_at is null and expires_at > $1`
)

// Find returns the sheet of a tenant: [tenant.ErrUnknown] if there is none. Of one that is
// erased nothing but its line is left.
func Find(ctx context.Context, db *tenant.DB, directory *tenant.Directory, slug string, now time.Time) (*Sheet, error) {
	if _, err := tenant.ParseSlug(slug); err != nil {
		return nil, tenant.ErrUnknown
	}
	var row struct {
		Sheet
		ID tenant.ID `db:"tenant"`
	}
	err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &row, sheetSQL, slug) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil, tenant.ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("find tenant: %w", err)
	}
	sheet := &row.Sheet
	if sheet.State == tenant.Erased {
		return sheet, nil
	}
	t, err := directory.ByID(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	sheet.Contacts = t.Settings.Contacts
	if err := db.In(ctx, t.ID, func(tx *tenant.Tx) error { return sheet.count(ctx, tx, t, now) }); err != nil {
		return nil, fmt.Errorf("count for operators: %w", err)
	}
	sheet.Jobs, err = job.List(ctx, db, job.Filter{Slug: slug}, now)
	return sheet, err
}

func (s *Sheet) count(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, now time.Time) (err error) {
	var days []struct {
		Day                   time.Time
		Codes, Keys, Failures int64
	}
	if s.Quota, err = quota.Stand(ctx, tx, t, now); err != nil {
		return err
	}
	if err := tx.Select(ctx, &days, usageSQL, now.UTC().Format(time.DateOnly)); err != nil {
		return err
	}
	for _, d := range days {
		s.Days = append(s.Days, Day{Day: d.Day.UTC(), Codes: blur(d.Codes), Keys: blur(d.Keys), Failures: blur(d.Failures)})
	}
	return tx.Get(ctx, &s.Support, invitationsSQL, now)
}
