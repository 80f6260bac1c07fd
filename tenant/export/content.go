package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/lib/pq"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

// stored is a key as it was read.
type stored struct {
	TEK            []byte         `db:"tek"`
	RollingStart   int32          `db:"rolling_start"`
	RollingPeriod  int32          `db:"rolling_period"`
	Risk           int32          `db:"transmission_risk"`
	ReportType     string         `db:"report_type"`
	DaysSinceOnset *int32         `db:"days_since_onset"`
	Traveler       bool           `db:"traveler"`
	Regions        pq.StringArray `db:"regions"`
	CreatedAt      time.Time      `db:"created_at"`
}

// generatedKey is padding: it looks like the stored key that it copies.
type generatedKey struct {
	stored
}

// key is the form that files have.
func (k stored) key() exportfile.Key {
	f := exportfile.Key{
		TransmissionRisk: k.Risk, RollingStart: k.RollingStart, RollingPeriod: k.RollingPeriod,
		ReportType: reportType(k.ReportType),
	}
	copy(f.Data[:], k.TEK)
	if k.DaysSinceOnset != nil {
		f.DaysSinceOnset, f.HasOnset = *k.DaysSinceOnset, true
	}
	return f
}

func reportType(name string) exportfile.ReportType {
	switch name {
	case "confirmed":
		return exportfile.Confirmed
	case "likely":
		return exportfile.Clinical
	case "user-report":
		return exportfile.SelfReport
	case "negative":
		return exportfile.Revoked
	default:
		return exportfile.Unknown
	}
}

// divide fills files, new keys first, then revised ones, and pads the last one that
// has new keys in it (§5.3, §5.4).
func divide(fresh, revised []stored, c config, b batch, random io.Reader) (*content, error) {
	made := &content{region: c.Region}
	if len(fresh)+len(revised) == 0 {
		return made, nil
	}
	last := lastNewKeys(fresh, revised, c.MaxRecords)
	generated, err := pad(last, c, c.MaxRecords-len(revisedBeside(last, fresh, revised, c.MaxRecords)), random)
	if err != nil {
		return nil, err
	}
	made.generated = generated
	for _, g := range generated {
		fresh = append(fresh, g.stored)
	}
	made.files = fill(fresh, revised, c, b)
	return made, nil
}

// lastNewKeys are the new keys of the last file, which alone is padded.
func lastNewKeys(fresh, revised []stored, size int) []stored {
	full := len(fresh) / size * size
	if rest := fresh[full:]; len(rest) > 0 {
		if len(rest)+len(revised) > size {
			return nil // the last file has revised keys only
		}
		return rest
	}
	return nil
}

// revisedBeside are the revised keys that share the file of the last new keys.
func revisedBeside(last, fresh, revised []stored, size int) []stored {
	if len(last) == 0 {
		return nil
	}
	return revised[:min(len(revised), size-len(fresh)%size)]
}

// pad makes generated keys: whole passes over the real ones, until there are enough
// or the file has no room.
func pad(real []stored, c config, room int, random io.Reader) ([]generatedKey, error) {
	if len(real) == 0 || len(real) >= c.MinRecords {
		return nil, nil
	}
	extra, err := rand.Int(random, big.NewInt(int64(c.PaddingRange)+1))
	if err != nil {
		return nil, fmt.Errorf("padding: %w", err)
	}
	target := c.MinRecords + int(extra.Int64())
	newest := real[0].CreatedAt
	for _, k := range real {
		newest = latest(newest, k.CreatedAt)
	}
	var generated []generatedKey
	for len(real)+len(generated) < target {
		for _, k := range real {
			if len(real)+len(generated) >= room {
				return generated, nil
			}
			k.TEK = make([]byte, len(exportfile.Key{}.Data))
			if _, err := io.ReadFull(random, k.TEK); err != nil {
				return nil, errors.Join(errors.New("padding"), err)
			}
			k.CreatedAt = newest
			generated = append(generated, generatedKey{k})
		}
	}
	return generated, nil
}

// fill cuts a file each time it is full. Files of a split batch differ in their end,
// by which phones tell them apart (§5.5).
func fill(fresh, revised []stored, c config, b batch) []exportfile.File {
	var files []exportfile.File
	for len(fresh)+len(revised) > 0 {
		f := exportfile.File{Start: b.Start, End: b.End, Region: c.Region}
		n := min(len(fresh), c.MaxRecords)
		m := min(len(revised), c.MaxRecords-n)
		f.Keys, f.Revised = keys(fresh[:n]), keys(revised[:m])
		fresh, revised = fresh[n:], revised[m:]
		files = append(files, f)
	}
	if len(files) > 1 {
		for i := range files {
			files[i].End = b.End.Add(time.Duration(i+1) * time.Second)
		}
	}
	return files
}

func keys(list []stored) []exportfile.Key {
	all := make([]exportfile.Key, len(list))
	for i, k := range list {
		all[i] = k.key()
	}
	return all
}

const generatedSQL = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
        days_since_onset, traveler, regions, created_at, generated)
  select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, k.report_type,
         k.days, k.traveler, string_to_array(k.regions, ','), k.created_at, true
    from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::text[],
                $6::smallint[], $7::boolean[], $8::text[], $9::timestamptz[])
      as k (tek, rolling_start, rolling_period, risk, report_type, days, traveler, regions, created_at)
order by k.tek`

// storeGenerated keeps all padding, so that other configurations' files of the same
// window have it too: an observer of two files cannot tell real keys by difference.
func storeGenerated(ctx context.Context, tx *tenant.Tx, generated []generatedKey) error {
	if len(generated) == 0 {
		return nil
	}
	var (
		teks                   pq.ByteaArray
		starts, periods, risks pq.Int32Array
		types, regions, dates  pq.StringArray
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
		regions = append(regions, join(k.Regions))
		dates = append(dates, k.CreatedAt.UTC().Format(time.RFC3339))
	}
	_, err := tx.Exec(ctx, generatedSQL, teks, starts, periods, risks, types, pq.Array(days), travelers, regions, dates)
	if err != nil {
		return fmt.Errorf("store padding: %w", err)
	}
	return nil
}

// join writes regions, which have no commas, as one text.
func join(regions []string) string {
	text := ""
	for i, r := range regions {
		if i > 0 {
			text += ","
		}
		text += r
	}
	return text
}
