package exposure

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/tenant"
)

// A key is dated no earlier than the horizon, and rows are inserted in key order: see
// insertSQL.
//
// The statement inserts all keys, or nothing. It does nothing if the upload has a receipt,
// and fails if any of the keys is stored without one. That fails whoever shares the
// transaction, too, and they run again by themselves; but it is rare, and happens once for
// a certificate, where a look for each key before it is inserted would be a tenth of the
// whole.
const freshSQL = `
with receipt as (
    insert into publish_receipt (tenant_id, digest, expires_at)
    values (current_tenant(), $10, $11)
        on conflict (tenant_id, digest) do nothing
 returning true
), fresh as (
    insert into exposure
           (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
            days_since_onset, traveler, region, created_at)
      select current_tenant(), k.tek, k.rolling_start, k.rolling_period, k.risk, $7::text::report_type,
             k.days, $8, $9, greatest(to_timestamp(k.created_at), (select settled_until from export_horizon))
        from unnest($1::bytea[], $2::integer[], $3::smallint[], $4::smallint[], $5::smallint[], $6::bigint[])
          as k (tek, rolling_start, rolling_period, risk, days, created_at)
       where exists (select from receipt)
    order by k.tek
)
select exists (select from receipt)`

// certified is a certificate by what it vouches for.
type certified struct {
	tenant tenant.ID
	mac    [sha256.Size]byte
}

const (
	// Certificates live for a quarter of an hour, as a rule.
	unsettledLife = time.Hour
	unsettledSize = 10_000
)

// storeFresh inserts keys if all of them are new, and finds out if they were stored by
// the same upload before. It reports false if it was neither, and then has done nothing.
func (s *Service) storeFresh(ctx context.Context, id tenant.ID, in *intake, done *outcome, r receipt) (settled bool, err error) {
	stored := false
	err = s.db.Do(ctx, id, tenant.Statement{SQL: freshSQL, Args: in.freshArgs(r), Share: Arrivals}, func(row tenant.Row) error {
		return row.Scan(&stored)
	})
	switch {
	case tenant.Violates(err, "exposure_pkey"):
		s.unsettled.Add(certified{id, r.certified}, struct{}{})
		return false, nil
	case err != nil:
		return false, fmt.Errorf("insert keys: %w", err)
	}
	if done.repeated = !stored; stored {
		done.insertedAll(in.records)
	}
	return true, nil
}

func (in *intake) freshArgs(r receipt) []any {
	n := len(in.records)
	teks := make(pq.ByteaArray, n)
	numbers := make([]pq.Int64Array, 5)
	for i := range numbers {
		numbers[i] = make(pq.Int64Array, n)
	}
	for i := range in.records {
		k := &in.records[i]
		teks[i] = k.tek[:]
		for j, v := range []int64{
			int64(k.rollingStart), int64(k.rollingPeriod), int64(k.risk), int64(k.daysSinceOnset), k.createdAt.Unix(),
		} {
			numbers[j][i] = v
		}
	}
	return []any{
		teks, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
		string(in.reportType), in.traveler, in.region, r.digest[:], r.expires,
	}
}
