package batch_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/batch"
)

// BenchmarkLargestBatch takes in and works off as many rows as a batch may have, and
// tells the pace of each half, the most memory in use, and how many raw commits of one
// row one code costs. Run it once: -benchtime=1x.
func BenchmarkLargestBatch(b *testing.B) {
	f := setUp(b)
	for b.Loop() {
		var peak atomic.Uint64
		watch, stop := context.WithCancel(b.Context())
		go watchHeap(watch, &peak)

		began := time.Now()
		made := f.create(b, time.Now().String(), spoken(batch.MaxRows))
		taken := time.Since(began)

		began = time.Now()
		for f.progress(b, made).State == batch.Running {
			for range 20 {
				if _, err := f.worker.Turn(b.Context(), f.north); err != nil {
					b.Fatal(err)
				}
			}
		}
		worked := time.Since(began)
		stop()
		f.want(b, made, batch.Done, map[batch.State]int{batch.Issued: batch.MaxRows})
		b.ReportMetric(batch.MaxRows/taken.Seconds(), "rows-in/s")
		b.ReportMetric(batch.MaxRows/worked.Seconds(), "codes/s")
		b.ReportMetric(float64(peak.Load())/(1<<20), "MiB-peak")
		b.ReportMetric(worked.Seconds()/batch.MaxRows/f.commit(b).Seconds(), "commits/code")
	}
}

// spoken are n orders without a message.
func spoken(n int) func(yield func(batch.Order, error) bool) {
	return func(yield func(batch.Order, error) bool) {
		for range n {
			if !yield(batch.Order{TestType: "confirmed", TestDate: "2026-11-24"}, nil) {
				return
			}
		}
	}
}

func watchHeap(ctx context.Context, peak *atomic.Uint64) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak.Store(max(peak.Load(), m.HeapInuse))
		<-ticker.C
	}
}

// commit is how long the smallest transaction that writes a row takes: the floor.
func (f *fixture) commit(b *testing.B) time.Duration {
	b.Helper()
	const n = 200
	began := time.Now()
	for range n {
		err := f.world.Issuer.In(b.Context(), f.north.ID, func(tx *tenant.Tx) error {
			_, err := tx.Exec(b.Context(), `update batch set worked_at = $1`, time.Now())
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began) / n
}
