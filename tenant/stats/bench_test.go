package stats_test

import (
	"fmt"
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

// A big tenant's page of statistics: 91 days with every class of every type, and 400
// people and keys who issue codes each day.
func BenchmarkOverview(b *testing.B) {
	f := setUp(b)
	f.sql(b, `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select $1::uuid, d, s, t, d - c, k, 10
  from generate_series($2::timestamptz - interval '91 days', $2, interval '1 day') as x (at), lateral (select at::date as d) days,
       unnest(array['codes-claimed', 'tokens-claimed']) as s, unnest(array['confirmed', 'likely', 'negative', 'user-report']) as t,
       generate_series(0, 1) as c, generate_series(0, 10) as k
union all
select $1::uuid, d::date, s, md5(s || n)::uuid::text, d::date, 0, 10
  from generate_series($2::timestamptz - interval '91 days', $2, interval '1 day') as d, unnest(array['issued-by-person', 'issued-by-key']) as s,
       generate_series(1, 200) as n`, f.north.ID, f.midnight(0))
	f.sql(b, `analyze statistic_day`)
	for _, days := range []int{7, 28, 91} {
		b.Run(fmt.Sprintf("%d days", days), func(b *testing.B) {
			span := stats.Span{First: f.midnight(days), Last: f.midnight(1)}
			for b.Loop() {
				o, err := f.reader.Overview(b.Context(), f.north, f.midnight(min(2*days, 91)), span)
				if err != nil || o.Days[1].Claimed == 0 || len(o.Issuers) < 400 {
					b.Fatal(o.Days[1], err)
				}
			}
		})
	}
}
