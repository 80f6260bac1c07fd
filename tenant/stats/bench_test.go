package stats_test

import (
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// A big tenant's day that is not settled: what a report and a roll-up cost, beside
// counting the same rows and nothing else.
func BenchmarkBigDay(b *testing.B) {
	f := setUp(b)
	const codes = 100_000
	f.sql(b, `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, claimed_at, issuer_kind, issuer_id)
select $1, gen_random_uuid(), 'confirmed', at, at + interval '1 day', at + interval '1 day', at + interval '5 minutes', 'api-key', 'k' || i % 20
  from (select i, $2::timestamptz - i * interval '0.1 second' as at from generate_series(1, $3) i) s`, f.north.ID, f.world.Now(), codes)
	f.sql(b, `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
select $1, gen_random_uuid(), 'confirmed', at, at + interval '1 day', at + interval '1 day', 'api-key', 'k' || i % 20
  from (select i, $2::timestamptz - interval '5 days' - i * interval '1 second' as at from generate_series(1, $3) i) s`, f.north.ID, f.world.Now(), 3*codes)
	f.rollup(b, f.north)
	f.sql(b, `analyze verification_code`)
	f.sql(b, `select count(*) from verification_code where long_expires_at > $1`, f.midnight(0))
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			f.sql(b, `select count(*) from verification_code where tenant_id = $1 and long_expires_at > $2`, f.north.ID, f.midnight(0))
		}
	})
	b.Run("report", func(b *testing.B) {
		for b.Loop() {
			if days, err := f.reader.Realm(b.Context(), f.north); err != nil || days[0].CodesClaimed == 0 {
				b.Fatal(days[0], err)
			}
		}
	})
	b.Run("roll-up", func(b *testing.B) {
		for b.Loop() {
			f.rollup(b, f.north)
		}
	})
}

// What a request pays for being counted.
func BenchmarkCount(b *testing.B) {
	c := stats.NewCounter(time.Now)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.CodeClaimed(tenant.ID{}, phone)
		}
	})
}
