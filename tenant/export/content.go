package export

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
)

// scanKey reads a key in the form that files have.
func scanKey(rows *sqlx.Rows) (exportfile.Key, error) {
	var k exportfile.Key
	var tek []byte
	var report string
	var days *int32
	err := rows.Scan(&tek, &k.RollingStart, &k.RollingPeriod, &k.TransmissionRisk, &report, &days)
	copy(k.Data[:], tek)
	k.ReportType = reportType(certificate.ReportType(report))
	if days != nil {
		k.DaysSinceOnset, k.HasOnset = *days, true
	}
	return k, err
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

const (
	// matching is true intersection of regions, for any number of them (§5.1). A key
	// without other regions has null there.
	matching = `
   and (((region = any($3) or other_regions && $3) and ($5 <> 'exclude' or not traveler)) or ($5 = 'include' and traveler))
   and (region = any($4) or other_regions && $4) is not true
   and ($6 or import_no is null)`

	newSQL = `
  select tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset
    from exposure
   where created_at >= $1
     and created_at < $2` + matching + `
order by tek`

	revisedSQL = `
  select tek, rolling_start, rolling_period, revised_risk, revised_type, revised_days
    from exposure
   where revised_at >= $1
     and revised_at < $2` + matching + `
order by tek`
)

// arguments are those of a query with matching.
func (b batch) arguments() []any {
	inputs := b.InputRegions
	if len(inputs) == 0 {
		inputs = pq.StringArray{b.Region}
	}
	return []any{b.Start, b.End, inputs, b.ExcludeRegions, b.Travelers, b.IncludeImported}
}

// choose reads the keys of a batch's window and divides them into files.
func (s *Service) choose(ctx context.Context, t *tenant.Tenant, b batch) ([]exportfile.File, error) {
	var fresh, revised []exportfile.Key
	into := func(list *[]exportfile.Key) func(*sqlx.Rows) error {
		return func(rows *sqlx.Rows) error {
			k, err := scanKey(rows)
			*list = append(*list, k)
			return err
		}
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Each(ctx, into(&fresh), newSQL, b.arguments()...); err != nil {
			return err
		}
		return tx.Each(ctx, into(&revised), revisedSQL, b.arguments()...)
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return fill(fresh, revised, b), nil
}

// fill cuts a file each time it is full. Files of a split batch differ in their end,
// by which phones tell them apart (§5.5).
func fill(fresh, revised []exportfile.Key, b batch) []exportfile.File {
	var files []exportfile.File
	for len(fresh)+len(revised) > 0 {
		n := min(len(fresh), b.MaxRecords)
		m := min(len(revised), b.MaxRecords-n)
		files = append(files, exportfile.File{
			Start: b.Start, End: b.End, Region: b.Region, Keys: fresh[:n], Revised: revised[:m],
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
