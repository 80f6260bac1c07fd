package export

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
)

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
	CreatedAt      time.Time
}

func (k *stored) scan(rows *sqlx.Rows) error {
	return rows.Scan(&k.TEK, &k.RollingStart, &k.RollingPeriod, &k.Risk, &k.ReportType,
		&k.DaysSinceOnset, &k.Traveler, &k.Region, &k.OtherRegions, &k.CreatedAt)
}

// key is the form that files have.
func (k *stored) key() exportfile.Key {
	f := exportfile.Key{
		TransmissionRisk: k.Risk, RollingStart: k.RollingStart, RollingPeriod: k.RollingPeriod,
		ReportType: reportType(certificate.ReportType(k.ReportType)),
	}
	copy(f.Data[:], k.TEK)
	if k.DaysSinceOnset != nil {
		f.DaysSinceOnset, f.HasOnset = *k.DaysSinceOnset, true
	}
	return f
}

func reportType(r certificate.ReportType) exportfile.ReportType {
	switch r {
	case certificate.Confirmed:
		return exportfile.Confirmed
	case certificate.Likely:
		return exportfile.Clinical
	case certificate.UserReport:
		return exportfile.SelfReport
	case certificate.Negative:
		return exportfile.Revoked
	default:
		return exportfile.Unknown
	}
}

// selection are the keys of a batch, each list in the order of their bytes.
type selection struct {
	fresh, revised []exportfile.Key
	// tail are the new keys of the file that is filled last, if they are so few
	// that it will be padded. The others are not needed whole.
	tail []stored
}

// add appends a new key.
func (sel *selection) add(k stored, c config) {
	if len(sel.fresh)%c.MaxRecords == 0 {
		sel.tail = nil
	}
	sel.fresh = append(sel.fresh, k.key())
	if len(sel.tail) <= c.MinRecords {
		sel.tail = append(sel.tail, k)
	}
}

// content is what goes into the files of a batch.
type content struct {
	files []exportfile.File
	// generated are the padding among them.
	generated []stored
}

const (
	configSQL = `
select config_id, path, region, input_regions, exclude_regions, travelers, period_seconds,
       min_age_seconds, min_records, padding_range, max_records, active_from, active_thru
  from export_config
 where config_id = $1`

	// matching is true intersection of regions, for any number of them (§5.1). A key
	// without other regions has null there.
	matching = `
   and (((region = any($3) or other_regions && $3) and ($5 <> 'exclude' or not traveler)) or ($5 = 'include' and traveler))
   and (region = any($4) or other_regions && $4) is not true`

	newSQL = `
  select tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
         traveler, region, other_regions, created_at
    from exposure
   where created_at >= $1
     and created_at < $2` + matching + `
order by tek`

	revisedSQL = `
  select tek, rolling_start, rolling_period, revised_risk, revised_type, revised_days,
         traveler, region, other_regions, revised_at
    from exposure
   where revised_at >= $1
     and revised_at < $2` + matching + `
order by tek`
)

// choose reads the keys of a batch's window and divides them into files.
func (s *Service) choose(ctx context.Context, t *tenant.Tenant, b batch) (*content, error) {
	var c config
	var sel selection
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &c, configSQL, b.ConfigID); err != nil {
			return err
		}
		inputs := c.InputRegions
		if len(inputs) == 0 {
			inputs = pq.StringArray{c.Region}
		}
		args := []any{b.Start, b.End, inputs, c.ExcludeRegions, c.Travelers}
		err := tx.Each(ctx, func(rows *sqlx.Rows) error {
			var k stored
			err := k.scan(rows)
			sel.add(k, c)
			return err
		}, newSQL, args...)
		if err != nil {
			return err
		}
		return tx.Each(ctx, func(rows *sqlx.Rows) error {
			var k stored
			err := k.scan(rows)
			sel.revised = append(sel.revised, k.key())
			return err
		}, revisedSQL, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return sel.divide(c, b, s.random)
}

// divide fills files, new keys first, then revised ones, and pads the last one if it
// has new keys (§5.3, §5.4).
func (sel *selection) divide(c config, b batch, random io.Reader) (*content, error) {
	made := &content{}
	last := len(sel.fresh) % c.MaxRecords // new keys of the file that is not full of them
	room := c.MaxRecords - last - len(sel.revised)
	if last > 0 && room > 0 && last < c.MinRecords {
		var err error
		if made.generated, err = pad(sel.tail, c, room, random); err != nil {
			return nil, fmt.Errorf("padding: %w", err)
		}
	}
	fresh := sel.fresh
	for i := range made.generated {
		fresh = append(fresh, made.generated[i].key())
	}
	made.files = fill(fresh, sel.revised, c, b)
	return made, nil
}

// pad makes generated keys: whole passes over the real ones, until there are enough
// or the file has no room.
func pad(real []stored, c config, room int, random io.Reader) ([]stored, error) {
	extra, err := rand.Int(random, big.NewInt(int64(c.PaddingRange)+1))
	if err != nil {
		return nil, err
	}
	target := c.MinRecords + int(extra.Int64())
	newest := real[0].CreatedAt
	for _, k := range real {
		newest = latest(newest, k.CreatedAt)
	}
	var generated []stored
	for len(real)+len(generated) < target {
		for _, k := range real {
			if len(generated) == room {
				return generated, nil
			}
			k.TEK = make([]byte, len(exportfile.Key{}.Data))
			if _, err := io.ReadFull(random, k.TEK); err != nil {
				return nil, err
			}
			k.CreatedAt = newest
			generated = append(generated, k)
		}
	}
	return generated, nil
}

// fill cuts a file each time it is full. Files of a split batch differ in their end,
// by which phones tell them apart (§5.5).
func fill(fresh, revised []exportfile.Key, c config, b batch) []exportfile.File {
	var files []exportfile.File
	for len(fresh)+len(revised) > 0 {
		n := min(len(fresh), c.MaxRecords)
		m := min(len(revised), c.MaxRecords-n)
		files = append(files, exportfile.File{
			Start: b.Start, End: b.End, Region: c.Region, Keys: fresh[:n], Revised: revised[:m],
		})
		fresh, revised = fresh[n:], revised[m:]
	}
	if len(files) > 1 {
		for i := range files {
			files[i].End = b.End.Add(time.Duration(i+1) * time.Second)
		}
	}
	return files
}

const generatedSQL = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
        days_since_onset, traveler, region, other_regions, created_at, generated)
  select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, k.report_type::report_type,
         k.days, k.traveler, k.region, nullif(string_to_array(k.other_regions, ','), '{}'), k.created_at, true
    from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::text[],
                $6::smallint[], $7::boolean[], $8::text[], $9::text[], $10::timestamptz[])
      as k (tek, rolling_start, rolling_period, risk, report_type, days, traveler, region, other_regions, created_at)
order by k.tek`

// storeGenerated keeps all padding, so that other configurations' files of the same
// window have it too: an observer of two files cannot tell real keys by difference.
// They are dated into a closed window: the batch that they pad has been chosen, and
// the batch of another configuration either has been, or will find them.
func storeGenerated(ctx context.Context, tx *tenant.Tx, generated []stored) error {
	if len(generated) == 0 {
		return nil
	}
	var (
		teks                   pq.ByteaArray
		starts, periods, risks pq.Int32Array
		types, dates           pq.StringArray
		regions, others        pq.StringArray
		travelers              pq.BoolArray
		days                   []*int32
	)
	for _, k := range generated {
		teks = append(teks, k.TEK)
		starts = append(starts, k.RollingStart)
		periods = append(periods, k.RollingPeriod)
		risks = append(risks, k.Risk)
		types = append(types, k.ReportType)
		days = append(days, k.DaysSinceOnset)
		travelers = append(travelers, k.Traveler)
		regions = append(regions, k.Region)
		others = append(others, strings.Join(k.OtherRegions, ",")) // codes have no commas
		dates = append(dates, k.CreatedAt.UTC().Format(time.RFC3339))
	}
	_, err := tx.Exec(ctx, generatedSQL, teks, starts, periods, risks, types, pq.Array(days), travelers, regions, others, dates)
	if err != nil {
		return fmt.Errorf("store padding: %w", err)
	}
	return nil
}
