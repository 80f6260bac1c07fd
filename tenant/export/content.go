package export

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

const (
	// matching is true intersection of regions, for any number of them (§5.1). A key
	// without other regions has null there.
	matching = `
   and (((region = any($3) or other_regions && $3) and ($5 <> 'exclude' or not traveler)) or ($5 = 'include' and traveler))
   and (region = any($4) or other_regions && $4) is not true
   and ($6 or import_no is null)`

	// A key travels as a record of bytes, see parseRecord. It begins with the key's own
	// bytes, and so the records' order is the keys' (§5.3).
	recordSQL = `
select tek || int4send(rolling_start) || int2send(rolling_period) || int2send(risk) || int2send(coalesce(days, 99::smallint))
       || case report when 'confirmed' then '\x01'::bytea when 'likely' then '\x02' when 'user-report' then '\x03' else '\x05' end
  from (`

	newWhere = `
  from exposure
 where created_at >= $1
   and created_at < $2` + matching

	revisedWhere = `
  from exposure
 where revised_at >= $1
   and revised_at < $2` + matching

	newSQL = recordSQL + `
select tek, rolling_start, rolling_period, transmission_risk as risk, days_since_onset as days, report_type as report` + newWhere + `) k
order by 1`

	revisedSQL = recordSQL + `
select tek, rolling_start, rolling_period, revised_risk as risk, revised_days as days, revised_type as report` + revisedWhere + `) k
order by 1`

	countNewSQL     = `select count(*)` + newWhere
	countRevisedSQL = `select count(*)` + revisedWhere

	recordSize = 27
	noDays     = 99
)

// arguments are those of a query with matching.
func (b batch) arguments() []any {
	inputs := b.InputRegions
	if len(inputs) == 0 {
		inputs = pq.StringArray{b.Region}
	}
	return []any{b.Start, b.End, inputs, b.ExcludeRegions, b.Travelers, b.IncludeImported}
}

var errRecord = errors.New("the database has a key of another form")

func parseRecord(r []byte) (k exportfile.Key, err error) {
	if len(r) != recordSize {
		return k, errRecord
	}
	small := func(at int) int32 { return int32(int16(binary.BigEndian.Uint16(r[at:]))) }
	k = exportfile.Key{
		RollingStart: int32(binary.BigEndian.Uint32(r[16:])), RollingPeriod: small(20), TransmissionRisk: small(22),
		ReportType: exportfile.ReportType(r[26]),
	}
	copy(k.Data[:], r)
	if days := small(24); days != noDays {
		k.DaysSinceOnset, k.HasOnset = days, true
	}
	return k, nil
}

// snapshotSQL begins reading. What is counted is then what is read, whatever else is
// stored or revised meanwhile. Large windows are planned as such, and sorted in larger
// pieces than the default's.
const snapshotSQL = `
set transaction isolation level repeatable read, read only;
set local plan_cache_mode = force_custom_plan;
set local work_mem = '32MB'`

// count counts the keys of a batch.
func (b batch) count(ctx context.Context, tx *tenant.Tx) (n share, err error) {
	if err = tx.Get(ctx, &n.keys, countNewSQL, b.arguments()...); err == nil {
		err = tx.Get(ctx, &n.revised, countRevisedSQL, b.arguments()...)
	}
	return n, err
}

// each passes on the keys that a query finds, in the order of their bytes, as they come
// from the database.
func (b batch) each(ctx context.Context, tx *tenant.Tx, query string, add func(exportfile.Key) error) error {
	return tx.Each(ctx, func(rows *sqlx.Rows) error {
		var record sql.RawBytes
		if err := rows.Scan(&record); err != nil {
			return err
		}
		k, err := parseRecord(record)
		if err != nil {
			return err
		}
		return add(k)
	}, query, b.arguments()...)
}

// share is how many keys of each list a batch has, or one file of it.
type share struct{ keys, revised int }

// divide fills files, new keys first, and cuts one each time it has the most that it
// may have (§5.3).
func divide(n share, most int) []share {
	var all []share
	for n.keys+n.revised > 0 {
		keys := min(n.keys, most)
		revised := min(n.revised, most-keys)
		all = append(all, share{keys, revised})
		n.keys, n.revised = n.keys-keys, n.revised-revised
	}
	return all
}

// frame is that of file i of n. Files of a split batch differ in their end, by which
// phones tell them apart (§5.5).
func (b batch) frame(i, n int) exportfile.Frame {
	f := exportfile.Frame{Start: b.Start, End: b.End, Region: b.Region}
	if n > 1 {
		f.End = f.End.Add(time.Duration(i+1) * time.Second)
	}
	return f
}
