package export

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"
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

	newWhere = `
  from exposure
 where created_at >= $1
   and created_at < $2` + matching

	revisedWhere = `
  from exposure
 where revised_at >= $1
   and revised_at < $2` + matching

	// Keys travel in packets of records, see record: what a row costs on its way, and in
	// the database's sorting, is far more than what a key does.
	newSQL = `
select string_agg(tek || int8send(
         rolling_start::bigint << 8 | transmission_risk << 8 | rolling_period << 8 | coalesce(days_since_onset + 14, 99) << 8
         | case report_type when 'confirmed' then 1 when 'likely' then 2 when 'user-report' then 3 else 5 end), '')` + newWhere

	revisedSQL = `
select string_agg(tek || int8send(
         rolling_start::bigint << 8 | revised_risk << 8 | rolling_period << 8 | coalesce(revised_days + 14, 99) << 8
         | case revised_type when 'confirmed' then 1 when 'likely' then 2 when 'user-report' then 3 else 5 end), '')` + revisedWhere

	countSQL = `
select coalesce(sum(n), 0) as keys, coalesce(max(n), 0) as most, coalesce(sum(padding), 0) as padding, coalesce(sum(received), 0) as received
  from (select count(*) as n, count(*) filter (where generated) as padding,
               count(*) filter (where not generated and (import_no is not null or shared_by is not null)) as received`
	countNewSQL     = countSQL + newWhere + countEnd
	countRevisedSQL = countSQL + revisedWhere + countEnd
	countEnd        = ` group by get_byte(tek, 0)) p`

	recordSize = 24
	noDays     = 99
	firstDay   = -14 // of days since onset
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

// record is a key as it travels: the numbers that its bytes are, and one of the rest.
type record struct{ high, low, rest uint64 }

// unpack appends the records of a packet, and sorts them.
func unpack(to []record, packet []byte) ([]record, error) {
	if len(packet)%recordSize != 0 {
		return nil, errRecord
	}
	for b := range slices.Chunk(packet, recordSize) {
		to = append(to, record{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])})
	}
	slices.SortFunc(to, record.compare)
	return to, nil
}

func (r record) compare(o record) int {
	if r.high != o.high {
		return cmp.Compare(r.high, o.high)
	}
	return cmp.Compare(r.low, o.low)
}

func (r record) key() exportfile.Key {
	k := exportfile.Key{
		RollingStart: int32(r.rest >> 32), TransmissionRisk: int32(r.rest >> 24 & 0xff), RollingPeriod: int32(r.rest >> 16 & 0xff),
		ReportType: exportfile.ReportType(r.rest & 0xff),
	}
	binary.BigEndian.PutUint64(k.Data[:], r.high)
	binary.BigEndian.PutUint64(k.Data[8:], r.low)
	if days := int32(r.rest >> 8 & 0xff); days != noDays {
		k.DaysSinceOnset, k.HasOnset = days+firstDay, true
	}
	return k
}

// snapshotSQL begins reading. What is counted is then what is read, whatever else is
// stored or revised meanwhile. Large windows are planned as such, by one process: several
// take half as much again of the processors' time, which other workers need.
const snapshotSQL = `
set transaction isolation level repeatable read, read only;
set local plan_cache_mode = force_custom_plan;
set local max_parallel_workers_per_gather = 0;
set local work_mem = '32MB'`

// count is how many keys a list has, how many of them begin with the same byte at most, and
// how many are padding, or have come from others.
type count struct{ Keys, Most, Padding, Received int }

// packing is how the keys of a list are put into packets.
type packing struct {
	// by is what the keys of a packet have in common. Packets are in its order.
	by string
	// sorted has the database put the list in order first, so that it holds few packets at
	// once. It takes longer.
	sorted bool
}

const (
	// packedAtOnce is how many keys the database may hold in packets, at up to 80 bytes each.
	packedAtOnce = 1_250_000
	// maxPacket is how many keys a packet may have. Keys are random, unless somebody makes
	// them who wants to do harm.
	maxPacket = 100_000
)

func (c count) packing() packing {
	if c.Most > maxPacket {
		return packing{by: "tek", sorted: true}
	}
	return packing{by: "get_byte(tek, 0)", sorted: c.Keys > packedAtOnce}
}

// count counts the keys of a batch.
func (b batch) count(ctx context.Context, tx *tenant.Tx) (keys, revised count, err error) {
	if err = tx.Get(ctx, &keys, countNewSQL, b.arguments()...); err == nil {
		err = tx.Get(ctx, &revised, countRevisedSQL, b.arguments()...)
	}
	return keys, revised, err
}

// each passes on the keys that a query finds, in the order of their bytes, as they come
// from the database.
func (b batch) each(ctx context.Context, tx *tenant.Tx, query string, p packing, add func(exportfile.Key) error) error {
	if p.sorted {
		if _, err := tx.Exec(ctx, `set local enable_hashagg = off`); err != nil {
			return err
		}
	}
	var records []record
	return tx.Each(ctx, func(rows *sqlx.Rows) error {
		var packet sql.RawBytes
		if err := rows.Scan(&packet); err != nil {
			return err
		}
		var err error
		if records, err = unpack(records[:0], packet); err != nil {
			return err
		}
		for _, r := range records {
			if err := add(r.key()); err != nil {
				return err
			}
		}
		return nil
	}, query+" group by "+p.by+" order by "+p.by, b.arguments()...)
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
