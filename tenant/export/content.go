package export

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
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

	newSQL = recordSQL + `
select tek, rolling_start, rolling_period, transmission_risk as risk, days_since_onset as days, report_type as report
  from exposure
 where created_at >= $1
   and created_at < $2` + matching + `) k
order by 1`

	revisedSQL = recordSQL + `
select tek, rolling_start, rolling_period, revised_risk as risk, revised_days as days, revised_type as report
  from exposure
 where revised_at >= $1
   and revised_at < $2` + matching + `) k
order by 1`

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

// list is one of the lists of keys of a batch, which is read once and in part after
// part. The database holds it in order, as it stood when the list was opened.
type list struct {
	tx    *tenant.Tx
	name  string
	count int
}

const (
	// The default would sort a large window on disk in many small pieces.
	memorySQL = `set local work_mem = '32MB'`

	// block is how many keys are fetched in a round trip.
	block = 5000
)

// open has the database put a list in order, and counts it.
func open(ctx context.Context, tx *tenant.Tx, name, query string, args []any) (*list, error) {
	if _, err := tx.Exec(ctx, "declare "+name+" binary scroll cursor for "+query, args...); err != nil {
		return nil, err
	}
	n, err := tx.Exec(ctx, "move forward all in "+name)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, "move absolute 0 in "+name)
	return &list{tx: tx, name: name, count: int(n)}, err
}

// next passes on the next n keys, which there must be.
func (l *list) next(ctx context.Context, n int, add func(exportfile.Key) error) error {
	for n > 0 {
		want, got := min(n, block), 0
		err := l.tx.Each(ctx, func(rows *sqlx.Rows) error {
			var record sql.RawBytes
			if err := rows.Scan(&record); err != nil {
				return err
			}
			k, err := parseRecord(record)
			if err != nil {
				return err
			}
			got++
			return add(k)
		}, fmt.Sprintf("fetch %d from %s", want, l.name))
		if err != nil {
			return err
		}
		if got < want {
			return fmt.Errorf("%d keys of %d: %w", got, want, errRecord)
		}
		n -= want
	}
	return nil
}

// lists are all keys of a batch.
type lists struct{ fresh, revised *list }

func openLists(ctx context.Context, tx *tenant.Tx, b batch) (l lists, err error) {
	if _, err = tx.Exec(ctx, memorySQL); err != nil {
		return l, err
	}
	if l.fresh, err = open(ctx, tx, "new_keys", newSQL, b.arguments()); err != nil {
		return l, err
	}
	l.revised, err = open(ctx, tx, "revised_keys", revisedSQL, b.arguments())
	return l, err
}

// share is what one file has of each list.
type share struct{ keys, revised int }

// divide fills files, new keys first, and cuts one each time it has the most that it
// may have (§5.3).
func divide(keys, revised, most int) []share {
	var all []share
	for keys+revised > 0 {
		n := min(keys, most)
		m := min(revised, most-n)
		all = append(all, share{keys: n, revised: m})
		keys, revised = keys-n, revised-m
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
