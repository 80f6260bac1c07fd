package exposure_test

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/exposure"
)

// The benchmark prints uploads per second and, as "×commit", how many raw commits of
// one small row an upload costs on the same machine in the same run.

const benchWorkers = 8

func BenchmarkPublish(b *testing.B) {
	f := setUp(b)
	uploads := make([]exposure.Upload, b.N)
	for i := range uploads {
		uploads[i] = f.phone.Upload(confirmed, f.phone.Keys(14))
	}
	const commits = 1000
	spread(b, commits, f.commit) // opens the connections
	floor := spread(b, commits, f.commit) / commits
	b.ResetTimer()
	each := spread(b, b.N, func(ctx context.Context, i int) error {
		_, err := f.service.Publish(ctx, f.north, uploads[i])
		return err
	}) / time.Duration(b.N)
	b.StopTimer()
	b.ReportMetric(float64(time.Second)/float64(each), "op/s")
	b.ReportMetric(float64(each)/float64(floor), "×commit")
}

const commitSQL = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values (current_tenant(), $1, 1, 144, 0, 'confirmed', false, 'XA', now())`

func (f *fixture) commit(ctx context.Context, _ int) error {
	tek := make([]byte, 16)
	rand.Read(tek)
	return f.world.Publish.In(ctx, f.north.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, commitSQL, tek)
		return err
	})
}

// spread runs an operation n times on a few workers and returns how long it took.
func spread(b *testing.B, n int, operation func(context.Context, int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range benchWorkers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := operation(b.Context(), int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
