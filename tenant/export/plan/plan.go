// Package plan is what a health authority publishes: its export configurations (key
// server protocol §5.1).
//
// Each has a path of its own below the authority's exports, and never another one: names
// of files are unique for ever. Every window is exported as the configuration stands
// when the window is closed. So a change counts from the window that is open now, whole,
// and windows follow each other without gap and overlap whatever is changed.
package plan

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Plan is an export configuration.
type Plan struct {
	// Path is empty, or a folder with its slash.
	Path string
	// Region is what files name; Regions are those whose keys are taken, none meaning
	// Region; keys of Excluded are left out.
	Region            string
	Regions, Excluded []string
	Travelers         Travelers
	// Imported says whether keys that came from other key servers are taken.
	Imported bool
	// Period is a window's length, MinAge how old it must be to be closed.
	Period, MinAge time.Duration
	// A file with fewer new keys than MinRecords is filled up; see package export. It
	// never has more than MaxRecords.
	MinRecords, PaddingRange, MaxRecords int
	// Windows are closed from From on and up to Thru, if that is not nil.
	From time.Time
	Thru *time.Time
}

// Travelers says what is done with the keys of people who were in other regions.
type Travelers string

// The kinds of [Plan.Travelers].
const (
	// ByRegion takes them like others.
	ByRegion Travelers = "region"
	// Included takes them whatever their regions.
	Included Travelers = "include"
	// NotTaken leaves them out.
	NotTaken Travelers = "exclude"
)

// Why a change is refused; a [FieldError] says the rest.
var (
	// ErrNoPlan means that the authority has no configuration of that path.
	ErrNoPlan = errors.New("no export configuration of that path")
	// ErrExists means that it has, or had, one.
	ErrExists = errors.New("there is or was an export configuration of that path")
	// ErrTooMany means that it has as many as it may.
	ErrTooMany = errors.New("a health authority has at most 20 export configurations")
)

// FieldError is a value that cannot be, and why.
type FieldError struct{ Field, Value, Rule string }

func (e *FieldError) Error() string { return fmt.Sprintf("%s=%q: %s", e.Field, e.Value, e.Rule) }

// defaults are those of the key server protocol §15; windows are as long as Google
// advises.
func defaults(t *tenant.Tenant, path string, now time.Time) Plan {
	return Plan{
		Path: path, Region: t.Region, Travelers: ByRegion, Imported: true, Period: 4 * time.Hour, MinAge: 2 * time.Hour,
		MinRecords: 1000, PaddingRange: 100, MaxRecords: 500_000, From: now.UTC().Truncate(time.Second),
	}
}

// row is how a plan is stored.
type row struct {
	Path          string         `db:"path"`
	Region        string         `db:"region"`
	Regions       pq.StringArray `db:"input_regions"`
	Excluded      pq.StringArray `db:"exclude_regions"`
	Travelers     Travelers      `db:"travelers"`
	Imported      bool           `db:"include_imported"`
	PeriodSeconds int64          `db:"period_seconds"`
	MinAgeSeconds int64          `db:"min_age_seconds"`
	MinRecords    int            `db:"min_records"`
	PaddingRange  int            `db:"padding_range"`
	MaxRecords    int            `db:"max_records"`
	From          time.Time      `db:"active_from"`
	Thru          *time.Time     `db:"active_thru"`
	// Begun says that a window was closed already.
	Begun bool `db:"begun"`
}

func (r row) plan() Plan {
	p := Plan{
		Path: r.Path, Region: r.Region, Regions: r.Regions, Excluded: r.Excluded, Travelers: r.Travelers, Imported: r.Imported,
		Period: time.Duration(r.PeriodSeconds) * time.Second, MinAge: time.Duration(r.MinAgeSeconds) * time.Second,
		MinRecords: r.MinRecords, PaddingRange: r.PaddingRange, MaxRecords: r.MaxRecords, From: r.From.UTC(),
	}
	if r.Thru != nil {
		thru := r.Thru.UTC()
		p.Thru = &thru
	}
	return p
}

const (
	columns = `
  select c.path, c.region, c.input_regions, c.exclude_regions, c.travelers, c.include_imported,
         c.period_seconds, c.min_age_seconds, c.min_records, c.padding_range, c.max_records,
         c.active_from, c.active_thru,
         exists (select
                   from export_batch b
                  where b.config_id = c.config_id) as begun
    from export_config c`

	listSQL = columns + `
order by c.path`

	oneSQL = columns + `
   where c.path = $1
     for update of c`
)

// List returns the configurations of tx's tenant, also those that have ended.
func List(ctx context.Context, tx *tenant.Tx) ([]Plan, error) {
	var rows []row
	if err := tx.Select(ctx, &rows, listSQL); err != nil {
		return nil, fmt.Errorf("list export configurations: %w", err)
	}
	list := make([]Plan, len(rows))
	for i, r := range rows {
		list[i] = r.plan()
	}
	return list, nil
}

const (
	maxPlans = 20

	// Those who add at once count each other.
	lockSQL = `select pg_advisory_xact_lock(hashtextextended('export configurations ' || current_tenant()::text, 0))`

	countSQL = `select count(*) from export_config`

	insertSQL = `
insert into export_config
       (tenant_id, config_id, path, region, input_regions, exclude_regions, travelers, include_imported,
        period_seconds, min_age_seconds, min_records, padding_range, max_records, active_from, active_thru)
values (current_tenant(), gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

	updateSQL = `
update export_config
   set region           = $2,
       input_regions    = $3,
       exclude_regions  = $4,
       travelers        = $5,
       include_imported = $6,
       period_seconds   = $7,
       min_age_seconds  = $8,
       min_records      = $9,
       padding_range    = $10,
       max_records      = $11,
       active_from      = $12,
       active_thru      = $13
 where path = $1`
)

// Add makes a configuration from texts by the names of [Fields]; what is not given has
// its default. tx is under the operator's role and of t. [ErrExists], [ErrTooMany] or a
// [FieldError].
func Add(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, path string, values map[string]string, now time.Time) error {
	p := defaults(t, path, now)
	if err := p.set(values); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := p.checkBeginning(now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, lockSQL); err != nil {
		return fmt.Errorf("wait for other changes: %w", err)
	}
	var count int
	if err := tx.Get(ctx, &count, countSQL); err != nil {
		return fmt.Errorf("count export configurations: %w", err)
	}
	if count >= maxPlans {
		return ErrTooMany
	}
	_, err := tx.Exec(ctx, insertSQL, p.arguments()...)
	if tenant.Violates(err, "export_config_path_key") {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("add export configuration: %w", err)
	}
	return record(ctx, tx, by, Plan{}, p, now)
}

// Change sets fields of a configuration. It counts from the window that is open now, so
// that no window is exported by two rules. [ErrNoPlan] or a [FieldError].
func Change(ctx context.Context, tx *tenant.Tx, by authz.Subject, path string, values map[string]string, now time.Time) error {
	before, begun, err := read(ctx, tx, path)
	if err != nil {
		return err
	}
	after := before
	if err := after.set(values); err != nil {
		return err
	}
	if err := after.check(); err != nil {
		return err
	}
	switch {
	case after.From.Equal(before.From):
	case begun:
		return after.refuse("active-from", "its first window is closed already")
	default:
		if err := after.checkBeginning(now); err != nil {
			return err
		}
	}
	if ends(before, now) && !equal(before.Thru, after.Thru) {
		return after.refuse("active-thru", "it has ended: phones may have given up its index; add another one")
	}
	return store(ctx, tx, by, before, after, now)
}

// Retire lets a configuration end with the window that is open now. Its files stay for
// as long as others do, and its path is not used again. [ErrNoPlan].
func Retire(ctx context.Context, tx *tenant.Tx, by authz.Subject, path string, now time.Time) (last time.Time, err error) {
	before, _, err := read(ctx, tx, path)
	if err != nil {
		return time.Time{}, err
	}
	after := before
	last = now.UTC().Truncate(before.Period).Add(before.Period)
	if before.Thru != nil && before.Thru.Before(last) {
		return *before.Thru, nil // it ends sooner, or has ended
	}
	after.Thru = &last
	return last, store(ctx, tx, by, before, after, now)
}

func read(ctx context.Context, tx *tenant.Tx, path string) (Plan, bool, error) {
	var r row
	err := tx.Get(ctx, &r, oneSQL, path)
	if errors.Is(err, sql.ErrNoRows) {
		return Plan{}, false, ErrNoPlan
	}
	if err != nil {
		return Plan{}, false, fmt.Errorf("read export configuration: %w", err)
	}
	return r.plan(), r.Begun, nil
}

func store(ctx context.Context, tx *tenant.Tx, by authz.Subject, before, after Plan, now time.Time) error {
	if _, err := tx.Exec(ctx, updateSQL, after.arguments()...); err != nil {
		return fmt.Errorf("change export configuration: %w", err)
	}
	return record(ctx, tx, by, before, after, now)
}

func record(ctx context.Context, tx *tenant.Tx, by authz.Subject, before, after Plan, now time.Time) error {
	detail := map[string]string{}
	old := before.Values()
	for name, value := range after.Values() {
		if old[name] != value {
			detail["-"+name], detail["+"+name] = old[name], value
		}
	}
	return audit.Record(ctx, tx, now, by, string(authz.SettingsWrite), "exports/"+after.Path, detail)
}

func (p Plan) arguments() []any {
	list := func(s []string) pq.StringArray { return append(pq.StringArray{}, s...) }
	return []any{
		p.Path, p.Region, list(p.Regions), list(p.Excluded), string(p.Travelers), p.Imported,
		int64(p.Period / time.Second), int64(p.MinAge / time.Second), p.MinRecords, p.PaddingRange, p.MaxRecords, p.From, p.Thru,
	}
}

func ends(p Plan, now time.Time) bool { return p.Thru != nil && !p.Thru.After(now) }

func equal(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }
