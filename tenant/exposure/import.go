package exposure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/tenant"
)

// Imported is a key of another key server, as its file has it. It is 16 bytes, in use
// for 1 to 144 intervals, with a risk of 0 to 8 and an onset within 14 days: the format
// sees to that. It prints and logs as a fixed word.
type Imported struct {
	TEK                         [keySize]byte
	RollingStart, RollingPeriod int32
	Risk                        int32
	// ReportType is the certificate's word for it; empty if the file does not tell.
	ReportType certificate.ReportType
	// DaysSinceOnset is nil if the file does not tell.
	DaysSinceOnset *int32
	// Revised: the file revises a key that it, or one before it, has brought.
	Revised bool
}

// Format hides the key from every verb of package fmt.
func (Imported) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenKey) }

// LogValue hides the key from package slog.
func (Imported) LogValue() slog.Value { return slog.StringValue(hiddenKey) }

// Source says what keys become that are imported from one place.
type Source struct {
	// No tells apart the sources of a tenant; keys are stored with it.
	No int16
	// Region is where the keys count as reported, and Traveler whether by travelers.
	Region   string
	Traveler bool
	// MissingType is the report type of keys that tell none, confirmed or likely.
	MissingType certificate.ReportType
}

// Imports is what became of keys that were to be imported.
type Imports struct {
	// Stored are new, Revised changed, Known left as they were.
	Stored, Revised, Known int
	// Refused are the others: why, by their place in the list.
	Refused map[int]Reason
}

// Reason is why a key is not imported, in words for whoever looks after the import.
type Reason string

// The reasons, beside those of the file format.
const (
	TooOld          Reason = "too old"
	InFuture        Reason = "not valid yet"
	NegativeAsNew   Reason = "new, but of a negative test"
	Recursive       Reason = "of a type that nobody reports"
	RevisedTo       Reason = "revised to what is neither confirmed nor negative"
	NotImported     Reason = "revised, but not known"
	OtherSource     Reason = "revised, but not imported from here"
	OtherInterval   Reason = "revised with another interval"
	AlreadyRevised  Reason = "revised again"
	WrongTransition Reason = "revised to a type that it cannot become"
)

// Import stores keys of another key server for the tenant of tx, a transaction that
// shares [Arrivals], under carillon_jobs (§10.3). Keys that are known stay as they are,
// wherever they came from: what the tenant's own phones have published wins. Revisions
// change only what was imported from the same source, once, as [Service.Publish] would.
// Stored keys are dated like those of phones, so that each is in one window of every
// configuration that exports imported keys.
func Import(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, from Source, keys []Imported, l Limits, now time.Time) (Imports, error) {
	done := Imports{Refused: map[int]Reason{}}
	var fresh, revised []imported
	for i, k := range keys {
		one, why := from.vet(k, t.Settings, l, now)
		if one.index = i; why != "" {
			done.Refused[i] = why
			continue
		}
		if k.Revised {
			revised = append(revised, one)
		} else {
			fresh = append(fresh, one)
		}
	}
	if err := from.insert(ctx, tx, fresh, &done); err != nil {
		return Imports{}, fmt.Errorf("store imported keys: %w", err)
	}
	if err := from.revise(ctx, tx, revised, &done); err != nil {
		return Imports{}, fmt.Errorf("revise imported keys: %w", err)
	}
	return done, nil
}

// imported is a key that may be stored.
type imported struct {
	record
	report certificate.ReportType
	days   *int32
}

func (from Source) reportType(k Imported) certificate.ReportType {
	if k.ReportType == "" {
		return from.MissingType
	}
	return k.ReportType
}

// vet applies the rules that need no other key.
func (from Source) vet(k Imported, set tenant.Settings, l Limits, now time.Time) (imported, Reason) {
	report := from.reportType(k)
	r := imported{
		record: record{tek: k.TEK, rollingStart: k.RollingStart, rollingPeriod: k.RollingPeriod, risk: k.Risk},
		report: report, days: k.DaysSinceOnset,
	}
	_, err := certificate.ParseReportType(string(report))
	switch {
	case err != nil:
		return r, Recursive
	case k.Revised && report != certificate.Confirmed && report != certificate.Negative:
		return r, RevisedTo
	case !k.Revised && report == certificate.Negative:
		return r, NegativeAsNew
	case r.end() < interval(now.Add(-l.MaxAge)):
		return r, TooOld
	case int64(r.rollingStart) > interval(now):
		return r, InFuture
	}
	if r.risk == 0 {
		r.risk = defaultRisk(report)
	}
	r.createdAt = r.arrives(set, now)
	return r, ""
}

const importSQL = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
        days_since_onset, traveler, region, created_at, import_no)
  select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, k.report_type,
         k.days, $8, $9, greatest(k.created_at, (select settled_until from export_horizon)), $10
    from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::report_type[], $6::smallint[], $7::timestamptz[])
      as k (tek, rolling_start, rolling_period, risk, report_type, days, created_at)
order by k.tek
      on conflict (tenant_id, tek) do nothing`

func (from Source) insert(ctx context.Context, tx *tenant.Tx, keys []imported, done *Imports) error {
	if len(keys) == 0 {
		return nil
	}
	c := importColumns(keys)
	rows, err := tx.Exec(ctx, importSQL, c.teks, c.starts, c.periods, c.risks, c.types, pq.Array(c.days), c.created,
		from.Traveler, from.Region, from.No)
	done.Stored += int(rows)
	done.Known += len(keys) - int(rows)
	return err
}

const (
	// Rows are locked in key order, like insertion.
	importedSQL = `
  select tek, rolling_start, rolling_period, report_type, revised_type,
         coalesce(import_no = $2 and not generated, false) as ours
    from exposure
   where tek = any($1::bytea[])
order by tek
     for update`

	// As with a publisher's revision, phones must not see it before the key.
	reviseImportSQL = `
update exposure e
   set revised_type = k.report_type,
       revised_at   = greatest(k.created_at, e.created_at, (select settled_until from export_horizon)),
       revised_days = k.days,
       revised_risk = k.risk
  from unnest($1::bytea[], $2::smallint[], $3::report_type[], $4::smallint[], $5::timestamptz[])
    as k (tek, risk, report_type, days, created_at)
 where e.tek = k.tek
   and e.revised_type is null`
)

// revise changes the keys that may be: those that are known, came from the same source,
// and whose report type may become the new one.
func (from Source) revise(ctx context.Context, tx *tenant.Tx, keys []imported, done *Imports) error {
	if len(keys) == 0 {
		return nil
	}
	var rows []storedKey
	if err := tx.Select(ctx, &rows, importedSQL, importColumns(keys).teks, from.No); err != nil {
		return err
	}
	stored := map[[keySize]byte]*storedKey{}
	for i := range rows {
		stored[[keySize]byte(rows[i].TEK)] = &rows[i]
	}
	var changes []imported
	for _, k := range keys {
		s := stored[k.tek]
		changed, why := s.become(k)
		switch {
		case why != "":
			done.Refused[k.index] = why
		case changed:
			s.RevisedType = (*string)(&k.report) // as the next of these bytes finds it
			changes = append(changes, k)
		default:
			done.Known++
		}
	}
	if len(changes) == 0 {
		return nil
	}
	c := importColumns(changes)
	_, err := tx.Exec(ctx, reviseImportSQL, c.teks, c.risks, c.types, pq.Array(c.days), c.created)
	done.Revised += len(changes)
	return err
}

// storedKey is a key that an import knows already.
type storedKey struct {
	known
	// Ours: it was imported from the same source.
	Ours bool
}

// become reports whether a revision changes the key, or why it may not. A nil key is
// one that is not stored.
func (s *storedKey) become(k imported) (changed bool, why Reason) {
	switch {
	case s == nil:
		return false, NotImported
	case !s.Ours:
		return false, OtherSource
	case s.RollingStart != k.rollingStart || s.RollingPeriod != k.rollingPeriod:
		return false, OtherInterval
	}
	changed, err := transition(certificate.ReportType(s.ReportType), (*certificate.ReportType)(s.RevisedType), k.report)
	switch {
	case errors.Is(err, ErrAlreadyRevised):
		return false, AlreadyRevised
	case err != nil:
		return false, WrongTransition
	}
	return changed, ""
}

type importedColumns struct {
	columns
	types pq.StringArray
	days  []*int32
}

func importColumns(keys []imported) importedColumns {
	var c importedColumns
	records := make([]record, len(keys))
	for i, k := range keys {
		records[i] = k.record
		c.types, c.days = append(c.types, string(k.report)), append(c.days, k.days)
	}
	c.columns = columnsOf(records)
	return c
}
