package exposure

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/tenant"
)

// outcome is what became of an upload's records.
type outcome struct {
	inserted, revised map[[keySize]byte]bool
	// repeated: this upload was stored before, and its answer may be lost.
	repeated bool
	// negative: keys that were not stored are the phone's to revise all the same.
	negative bool
	// firstNegative: it was the first report of keys that nobody knew.
	firstNegative bool
}

func (o *outcome) covers(tek [keySize]byte) bool {
	return o.negative || o.repeated || o.inserted[tek] || o.revised[tek]
}

func (o *outcome) insertedAll(records []record) {
	for i := range records {
		o.inserted[records[i].tek] = true
	}
}

// store inserts new keys and revises known ones, all or nothing. It shares the
// Arrivals lock: see the horizon in insertSQL.
//
// Nearly all uploads bring new keys and nothing else, or are repeated: one statement
// settles those. Whatever else there is needs a look at what is stored, and an answer
// that may undo the insertion. Uploads under a certificate that once needed it get it
// at once.
func (s *Service) store(ctx context.Context, t *tenant.Tenant, in *intake, token tokenState, r receipt) (*outcome, error) {
	done := &outcome{
		inserted: map[[keySize]byte]bool{}, revised: map[[keySize]byte]bool{},
		negative: in.reportType == certificate.Negative,
	}
	if len(in.records) == 0 {
		return done, nil
	}
	if !done.negative && !token.given && !s.unsettled.Contains(certified{t.ID, r.certified}) {
		settled, err := s.storeFresh(ctx, t.ID, in, done, r)
		if settled || err != nil {
			return done, err
		}
	}
	err := s.db.InShared(ctx, t.ID, Arrivals, func(tx *tenant.Tx) error {
		found, err := in.arrive(ctx, tx, done, r)
		if err != nil {
			return err
		}
		if done.repeated, err = r.repeats(ctx, tx, found, done, token); done.repeated || err != nil {
			return err
		}
		changes, err := in.revisions(found, token)
		if err != nil || len(changes) == 0 {
			return err
		}
		return in.revise(ctx, tx, changes, token, done)
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// arrive stores the records that are new and returns what is stored of the others.
// A first negative report stores nothing (§1.8).
func (in *intake) arrive(ctx context.Context, tx *tenant.Tx, done *outcome, r receipt) ([]known, error) {
	if done.negative {
		found, err := lookUp(ctx, tx, in.records)
		done.firstNegative = err == nil && len(found) == 0
		return found, err
	}
	return in.insert(ctx, tx, done, r)
}

// A key is dated no earlier than the horizon: windows before it are closed, and
// their files are being made. The transaction shares the Arrivals lock, and whoever
// moves the horizon holds it alone, so the horizon read here cannot move before the
// commit. Rows are inserted in key order, so identical uploads at the same moment
// wait for each other instead of blocking each other for good.
//
// If every key was inserted, as nearly always, the answer is empty. Else it tells of
// each key whether it was inserted, or how it was stored when the statement began.
const insertSQL = `
with sent as (
    select k.tek, k.rolling_start, k.rolling_period, k.risk, k.days, k.created_at
      from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::smallint[], $6::timestamptz[])
        as k (tek, rolling_start, rolling_period, risk, days, created_at)
), fresh as (
    insert into exposure
           (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
            days_since_onset, traveler, region, created_at)
      select current_tenant(), s.tek, s.rolling_start, s.rolling_period, s.risk, $7::report_type,
             s.days, $8, $9, greatest(s.created_at, (select settled_until from export_horizon))
        from sent s
    order by s.tek
          on conflict (tenant_id, tek) do nothing
   returning tek
), receipt as (
    insert into publish_receipt (tenant_id, digest, expires_at)
    select current_tenant(), $10, $11
     where exists (select from fresh)
        on conflict (tenant_id, digest) do nothing
)
   select s.tek, f.tek is not null as inserted, e.tek is not null as known,
          coalesce(e.rolling_start, 0) as rolling_start, coalesce(e.rolling_period, 0) as rolling_period,
          coalesce(e.report_type::text, '') as report_type, e.revised_type
     from sent s
left join fresh f on f.tek = s.tek
left join exposure e on e.tek = s.tek
    where (select count(*) from fresh) < cardinality($1)`

// arrival is what became of one key that was sent.
type arrival struct {
	Inserted bool `db:"inserted"`
	Known    bool `db:"known"`
	known
}

func (in *intake) insert(ctx context.Context, tx *tenant.Tx, done *outcome, r receipt) ([]known, error) {
	var arrivals []arrival
	c := columnsOf(in.records)
	err := tx.Select(ctx, &arrivals, insertSQL,
		c.teks, c.starts, c.periods, c.risks, c.days, c.created,
		string(in.reportType), in.traveler, in.region, r.digest[:], r.expires)
	if err != nil {
		return nil, fmt.Errorf("insert keys: %w", err)
	}
	if len(arrivals) == 0 {
		done.insertedAll(in.records)
		return nil, nil
	}
	found, unseen, err := in.sort(arrivals, done)
	if err != nil || len(unseen) == 0 {
		return found, err
	}
	late, err := lookUp(ctx, tx, unseen)
	if err == nil && len(late) != len(unseen) {
		err = errVanished
	}
	return append(found, late...), err
}

// sort notes what was inserted and returns what was known. Unseen are the keys that
// someone else inserted after the statement had begun.
func (in *intake) sort(arrivals []arrival, done *outcome) (found []known, unseen []record, err error) {
	for _, a := range arrivals {
		switch {
		case a.Inserted:
			done.inserted[[keySize]byte(a.TEK)] = true
		case a.Known:
			found = append(found, a.known)
		default:
			r, err := in.record(a.TEK)
			if err != nil {
				return nil, nil, err
			}
			unseen = append(unseen, r)
		}
	}
	return found, unseen, nil
}

const knownSQL = `
  select tek, rolling_start, rolling_period, report_type, revised_type
    from exposure
   where tek = any($1::bytea[])
order by tek`

// lookUp returns what is stored of the records by now.
func lookUp(ctx context.Context, tx *tenant.Tx, records []record) ([]known, error) {
	var found []known
	if err := tx.Select(ctx, &found, knownSQL, columnsOf(records).teks); err != nil {
		return nil, fmt.Errorf("read known keys: %w", err)
	}
	return found, nil
}

// Rows are locked in key order, like insertion. A revision counts as arrived when a
// new key would have, and never before the original: else phones could see the
// change before the key (§3.3). Its region is added to those of the key.
const reviseSQL = `
with locked as (
    select tek
      from exposure
     where tek = any($1::bytea[])
  order by tek
       for update
)
   update exposure e
      set revised_type = $5::report_type,
          revised_at   = greatest(k.created_at, e.created_at, (select settled_until from export_horizon)),
          revised_days = k.days,
          revised_risk = k.risk,
          other_regions = case when $6 = e.region or $6 = any(e.other_regions) then e.other_regions
                               else e.other_regions || $6 end
     from locked l
     join unnest($1::bytea[], $2::smallint[], $3::smallint[], $4::timestamptz[])
            as k (tek, risk, days, created_at) on k.tek = l.tek
    where e.tek = l.tek
      and e.revised_type is null
returning e.tek`

// revise changes the records' keys. One that someone else revised a moment ago is
// judged again, by what it has become.
func (in *intake) revise(ctx context.Context, tx *tenant.Tx, changes []record, token tokenState, done *outcome) error {
	c := columnsOf(changes)
	var teks [][]byte
	err := tx.Select(ctx, &teks, reviseSQL,
		c.teks, c.risks, c.days, c.created, string(in.reportType), in.region)
	if err != nil {
		return fmt.Errorf("revise keys: %w", err)
	}
	for _, tek := range teks {
		done.revised[[keySize]byte(tek)] = true
	}
	if len(teks) == len(changes) {
		return nil
	}
	return in.overtaken(ctx, tx, changes, token, done)
}

func (in *intake) overtaken(ctx context.Context, tx *tenant.Tx, changes []record, token tokenState, done *outcome) error {
	var others []record
	for _, r := range changes {
		if !done.revised[r.tek] {
			others = append(others, r)
		}
	}
	found, err := lookUp(ctx, tx, others)
	if err != nil {
		return err
	}
	again, err := in.revisions(found, token)
	if err == nil && (len(found) != len(others) || len(again) > 0) {
		err = errVanished
	}
	return err
}

type columns struct {
	teks                         pq.ByteaArray
	starts, periods, risks, days pq.Int32Array
	created                      pq.StringArray
}

func columnsOf(records []record) columns {
	var c columns
	for i := range records {
		r := &records[i]
		c.teks = append(c.teks, r.tek[:])
		c.starts = append(c.starts, r.rollingStart)
		c.periods = append(c.periods, r.rollingPeriod)
		c.risks = append(c.risks, r.risk)
		c.days = append(c.days, r.daysSinceOnset)
		c.created = append(c.created, r.createdAt.Format(time.RFC3339))
	}
	return c
}
