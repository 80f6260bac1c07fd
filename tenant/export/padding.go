package export

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

// Padding hides real keys among generated ones (key server protocol §5.4). A generated
// key is a copy of a real one in all but its bytes, and is stored like one, before the
// keys of the batch are read. So nothing that an observer of files sees tells copy and
// original apart:
//
//   - Within a file the two differ in random bytes alone.
//   - Other configurations' files of the same time have both or neither, because a copy
//     has the original's arrival time, regions and traveler flag, and because the short
//     windows within a window are padded before its keys are read.
//   - When the original is revised, so are its copies.
//   - Tenants with whom the original is shared get the copies, too.
//   - A repeated attempt finds the padding of the one before and adds none.
//
// Batches of one tenant are padded one after the other, so that each finds what the
// others have added: two that did not would share nothing but the real keys.
const padding tenant.Lock = "padding"

// stored is a key with all that a copy of it needs.
type stored struct {
	TEK            []byte
	RollingStart   int32
	RollingPeriod  int32
	Risk           int32
	ReportType     string
	DaysSinceOnset *int32
	Traveler       bool
	Region         string
	OtherRegions   pq.StringArray
	ImportNo       *int32
	SharedBy       *string
	CreatedAt      time.Time
	RevisedType    *string
	RevisedAt      *time.Time
	RevisedDays    *int32
	RevisedRisk    *int32
	// Copied says that it has copies.
	Copied bool
	// Original is the real key that a generated one is a copy of.
	Original []byte
}

func (k *stored) scan(rows *sqlx.Rows) error {
	return rows.Scan(&k.TEK, &k.RollingStart, &k.RollingPeriod, &k.Risk, &k.ReportType,
		&k.DaysSinceOnset, &k.Traveler, &k.Region, &k.OtherRegions, &k.ImportNo, &k.SharedBy, &k.CreatedAt,
		&k.RevisedType, &k.RevisedAt, &k.RevisedDays, &k.RevisedRisk, &k.Copied)
}

const (
	realSQL = `
select tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
       traveler, region, other_regions, import_no, shared_by, created_at,
       revised_type, revised_at, revised_days, revised_risk,
       exists (select
                 from exposure c
                where c.copy_of = e.tek) as copied
  from exposure e
 where not generated
   and created_at >= $1
   and created_at < $2` + matching

	// So many that nothing is to be done are enough.
	bareSQL = `
select *
  from (` + realSQL + `) r
 where not copied
 limit $7`

	// Keys are random, and so is the choice of the first. Copies of revised ones would
	// take the room that they are to fill.
	lastSQL = realSQL + `
   and revised_at is null
 order by tek
 limit $7`

	sizeSQL = `
select count(*)
  from (select
          from exposure
         where created_at >= $1
           and created_at < $2` + matching + `
         limit $7) k`

	// Windows within the window whose keys are not chosen yet.
	withinSQL = `
  select b.config_id, b.starts_at, b.ends_at, b.fence,` + planColumns + `
    from export_batch b
    join export_config c using (tenant_id, config_id)
   where b.state = 'open'
     and b.starts_at < $2
     and b.ends_at > $1
     and b.ends_at - b.starts_at < $2::timestamptz - $1::timestamptz
order by b.ends_at - b.starts_at, b.starts_at`
)

// pad revises the copies of keys that were revised in the batch's window, and adds
// generated keys if the window has too few new keys, or one within it has.
func (s *Service) pad(ctx context.Context, t *tenant.Tenant, b batch) error {
	return s.db.InExclusive(ctx, t.ID, padding, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, reviseCopiesSQL, b.Start, b.End); err != nil {
			return fmt.Errorf("revise copies: %w", err)
		}
		var within []batch
		if err := tx.Select(ctx, &within, withinSQL, b.Start, b.End); err != nil {
			return fmt.Errorf("find windows within: %w", err)
		}
		for _, b := range append(within, b) {
			if err := s.padWindow(ctx, tx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

const plansSQL = `
  select region, input_regions, exclude_regions, travelers, include_imported, min_records, padding_range, max_records
    from export_config
order by period_seconds, path`

// hide pads what a donor shares, before it crosses: keys that go to others without copies
// would be found by that.
func (s *Service) hide(ctx context.Context, donor *tenant.Tenant, from, until time.Time) error {
	return s.db.InExclusive(ctx, donor.ID, padding, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, reviseCopiesSQL, from, until); err != nil {
			return fmt.Errorf("revise copies: %w", err)
		}
		var plans []plan
		if err := tx.Select(ctx, &plans, plansSQL); err != nil {
			return fmt.Errorf("read export configurations: %w", err)
		}
		for _, p := range plans {
			if err := s.padWindow(ctx, tx, batch{Start: from, End: until, plan: p}); err != nil {
				return err
			}
		}
		return nil
	})
}

// padWindow gives copies to those keys that have none, if these are few, as if they were
// alone: beside keys with copies they would be found by having none.
func (s *Service) padWindow(ctx context.Context, tx *tenant.Tx, b batch) error {
	bare, err := sources(ctx, tx, bareSQL, b, b.MinRecords)
	if err != nil || len(bare) >= b.MinRecords {
		return err
	}
	if len(bare) > 0 {
		generated, err := s.copies(bare, b.plan, s.random)
		if err != nil {
			return err
		}
		if err := storeGenerated(ctx, tx, generated); err != nil {
			return err
		}
	}
	return s.topUp(ctx, tx, b)
}

// topUp adds copies if all keys and their copies are still too few. So it is if the
// window has only some of the keys that were padded together.
func (s *Service) topUp(ctx context.Context, tx *tenant.Tx, b batch) error {
	var size int
	if err := tx.Get(ctx, &size, sizeSQL, append(b.arguments(), b.MinRecords)...); err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	if size == 0 || size >= b.MinRecords {
		return nil
	}
	real, err := sources(ctx, tx, realSQL+" limit $7", b, b.MinRecords)
	if err != nil || len(real) == 0 {
		return err
	}
	extra, err := upTo(b.PaddingRange, s.random)
	if err != nil {
		return err
	}
	generated, err := copyEvenly(real, min(b.MinRecords+extra, b.MaxRecords)-size, s.random)
	if err != nil {
		return err
	}
	return storeGenerated(ctx, tx, generated)
}

// padLast adds so many generated keys that the last file of a batch of several is not
// a small one.
func (s *Service) padLast(ctx context.Context, t *tenant.Tenant, b batch, n int) error {
	return s.db.InExclusive(ctx, t.ID, padding, func(tx *tenant.Tx) error {
		real, err := sources(ctx, tx, lastSQL, b, n)
		if err != nil {
			return err
		}
		generated, err := copyEach(nil, real, s.random)
		if err != nil {
			return err
		}
		return storeGenerated(ctx, tx, generated)
	})
}

// short is how many new keys the last of several files lacks, as far as it has room for
// them. A single file was padded before; one of revised keys alone is not padded.
func short(files []share, b batch) int {
	if len(files) < 2 {
		return 0
	}
	last := files[len(files)-1]
	if last.keys == 0 {
		return 0
	}
	return max(0, min(b.MinRecords, b.MaxRecords-last.revised)-last.keys)
}

// sources reads real keys to be copied, in the order of their bytes.
func sources(ctx context.Context, tx *tenant.Tx, query string, b batch, limit int) ([]stored, error) {
	var list []stored
	err := tx.Each(ctx, func(rows *sqlx.Rows) error {
		var k stored
		err := k.scan(rows)
		list = append(list, k)
		return err
	}, query, append(b.arguments(), limit)...)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	slices.SortFunc(list, func(a, b stored) int { return bytes.Compare(a.TEK, b.TEK) })
	return list, nil
}

// copies makes generated keys beside real ones, as many as a file should have, each real
// key having as many copies as any other, or one more.
//
// If there are no more real keys than PaddingRange, their number is hidden by that of
// the file, which is chosen without regard to it. If there are more, every one has its
// copies in whole passes, and PaddingRange is on top. Either way, what is observed of a key
// raises the chance that it is real by no more than PaddingRange/MinRecords of that
// chance.
func copies(real []stored, p plan, random io.Reader) ([]stored, error) {
	extra, err := upTo(p.PaddingRange, random)
	if err != nil {
		return nil, err
	}
	n, total := len(real), p.MinRecords
	if n > p.PaddingRange {
		total = (p.MinRecords + n - 1) / n * n
	}
	return copyEvenly(real, min(total+extra, p.MaxRecords)-n, random)
}

// upTo is a random number from 0 to n.
func upTo(n int, random io.Reader) (int, error) {
	i, err := rand.Int(random, big.NewInt(int64(n)+1))
	if err != nil {
		return 0, fmt.Errorf("choose a number: %w", err)
	}
	return int(i.Int64()), nil
}

// copyEvenly makes n copies, of each key as many as of any other, or one more.
func copyEvenly(real []stored, n int, random io.Reader) (generated []stored, err error) {
	for range n / len(real) {
		if generated, err = copyEach(generated, real, random); err != nil {
			return nil, err
		}
	}
	some, err := sample(real, n%len(real), random)
	if err != nil {
		return nil, err
	}
	return copyEach(generated, some, random)
}

// sample chooses n different keys, each as likely as any other.
func sample(real []stored, n int, random io.Reader) ([]stored, error) {
	list := slices.Clone(real)
	for i := range n {
		j, err := upTo(len(list)-i-1, random)
		if err != nil {
			return nil, err
		}
		list[i], list[i+j] = list[i+j], list[i]
	}
	return list[:n], nil
}

// copyEach appends one generated key for each real one.
func copyEach(to, real []stored, random io.Reader) ([]stored, error) {
	for _, k := range real {
		k.Original, k.TEK = k.TEK, make([]byte, len(exportfile.Key{}.Data))
		if _, err := io.ReadFull(random, k.TEK); err != nil {
			return nil, fmt.Errorf("generate a key: %w", err)
		}
		to = append(to, k)
	}
	return to, nil
}

const (
	// Nothing is revised into a closed window any more, so this may be repeated.
	reviseCopiesSQL = `
update exposure g
   set revised_type = r.revised_type,
       revised_at   = r.revised_at,
       revised_days = r.revised_days,
       revised_risk = r.revised_risk
  from exposure r
 where r.revised_at >= $1
   and r.revised_at < $2
   and g.tenant_id = current_tenant()
   and g.copy_of = r.tek
   and g.revised_at is null`

	generatedSQL = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
        days_since_onset, traveler, region, other_regions, import_no, shared_by, created_at,
        revised_type, revised_at, revised_days, revised_risk, generated, copy_of)
  select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, k.report_type,
         k.days, k.traveler, k.region, nullif(string_to_array(k.other_regions, ','), '{}'), k.import_no, k.shared_by, k.created_at,
         k.revised_type, k.revised_at, k.revised_days, k.revised_risk, true, k.copy_of
    from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::report_type[],
                $6::smallint[], $7::boolean[], $8::text[], $9::text[], $10::smallint[], $11::uuid[], $12::timestamptz[],
                $13::report_type[], $14::timestamptz[], $15::smallint[], $16::smallint[], $17::bytea[])
      as k (tek, rolling_start, rolling_period, risk, report_type, days,
            traveler, region, other_regions, import_no, shared_by, created_at,
            revised_type, revised_at, revised_days, revised_risk, copy_of)
order by k.tek`
)

func storeGenerated(ctx context.Context, tx *tenant.Tx, generated []stored) error {
	var (
		teks, originals                             pq.ByteaArray
		starts, periods, risks                      pq.Int32Array
		types, regions, others                      pq.StringArray
		travelers                                   pq.BoolArray
		days, revisedDays, revisedRisks             []*int32
		imports                                     []*int32
		dates, revisedDates, revisedTypes, sharedBy []*string
	)
	for _, k := range generated {
		teks, originals = append(teks, k.TEK), append(originals, k.Original)
		starts = append(starts, k.RollingStart)
		periods = append(periods, k.RollingPeriod)
		risks = append(risks, k.Risk)
		types = append(types, k.ReportType)
		days = append(days, k.DaysSinceOnset)
		travelers = append(travelers, k.Traveler)
		regions = append(regions, k.Region)
		others = append(others, strings.Join(k.OtherRegions, ",")) // codes have no commas
		imports, sharedBy = append(imports, k.ImportNo), append(sharedBy, k.SharedBy)
		dates = append(dates, date(&k.CreatedAt))
		revisedTypes = append(revisedTypes, k.RevisedType)
		revisedDates = append(revisedDates, date(k.RevisedAt))
		revisedDays = append(revisedDays, k.RevisedDays)
		revisedRisks = append(revisedRisks, k.RevisedRisk)
	}
	_, err := tx.Exec(ctx, generatedSQL, teks, starts, periods, risks, types, pq.Array(days), travelers, regions, others, pq.Array(imports), pq.Array(sharedBy), pq.Array(dates),
		pq.Array(revisedTypes), pq.Array(revisedDates), pq.Array(revisedDays), pq.Array(revisedRisks), originals)
	if err != nil {
		return fmt.Errorf("store padding: %w", err)
	}
	return nil
}

// date is a time as an element of an array; arrival times are whole seconds.
func date(t *time.Time) *string {
	if t == nil {
		return nil
	}
	text := t.UTC().Format(time.RFC3339)
	return &text
}
