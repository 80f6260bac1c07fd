package verification_test

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// The benchmarks print operations per second and, as "×commit", how many raw
// commits of one small row an operation costs on the same machine in the same run.

const benchWorkers = 8

func BenchmarkIssue(b *testing.B) {
	f := setUp(b)
	f.measure(b, b.N, func(ctx context.Context, _ int) error {
		_, err := f.issuer.Issue(ctx, f.north, backEnd, verification.IssueRequest{TestType: "confirmed"})
		return err
	})
}

func BenchmarkVerify(b *testing.B) {
	f := setUp(b)
	codes := f.prepare(b, func() string { return f.issue(b, f.north, verification.IssueRequest{}).Code })
	f.measure(b, b.N, func(ctx context.Context, i int) error {
		_, err := f.device.Verify(ctx, f.north, verification.VerifyRequest{Code: codes[i]})
		return err
	})
}

func BenchmarkCertificate(b *testing.B) {
	f := setUp(b)
	tokens := f.prepare(b, func() string { return f.token(b, f.north, verification.IssueRequest{}) })
	f.measure(b, b.N, func(ctx context.Context, i int) error {
		_, err := f.device.Certificate(ctx, f.north, verification.CertificateRequest{Token: tokens[i], EKeyHMAC: hmacText})
		return err
	})
}

func (f *fixture) prepare(b *testing.B, one func() string) []string {
	b.Helper()
	made := make([]string, b.N)
	for i := range made {
		made[i] = one()
	}
	return made
}

func (f *fixture) measure(b *testing.B, n int, operation func(context.Context, int) error) {
	b.Helper()
	const commits = 1000
	floor := spread(b, commits, f.commit) / commits
	b.ResetTimer()
	each := spread(b, n, operation) / time.Duration(n)
	b.StopTimer()
	b.ReportMetric(float64(time.Second)/float64(each), "op/s")
	b.ReportMetric(float64(each)/float64(floor), "×commit")
}

const commitSQL = `
insert into verification_token (tenant_id, token_digest, expires_at)
values (current_tenant(), $1, now())`

func (f *fixture) commit(ctx context.Context, _ int) error {
	digest := make([]byte, 32)
	rand.Read(digest)
	return f.world.Device.In(ctx, f.north.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, commitSQL, digest)
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
