package export

import (
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant/key"
)

// BenchmarkBatch makes and publishes batches of 10 000 keys, from rows to the index.
// It prints keys per second and, as "×encode", how many times as long that takes as
// encoding and signing the same file once, on the same machine in the same run.
func BenchmarkBatch(b *testing.B) {
	const keys = 10_000
	f := setUp(b)
	signer, err := key.NewRing(f.world.Jobs, f.world.Root).Signer(b.Context(), f.tenant.ID, signing.Export)
	if err != nil {
		b.Fatal(err)
	}
	s := f.service(nil)
	f.turn(b, s)
	var file exportfile.File
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		f.fill(b, keys)
		f.world.Advance(period)
		b.StartTimer()
		start := time.Now()
		f.turn(b, s)
		took += time.Since(start)
		b.StopTimer()
		index := f.index(b)
		body, err := f.object(b.Context(), Prefix(f.tenant)+index[len(index)-1])
		if err != nil {
			b.Fatal(err)
		}
		if file, _, err = exportfile.Decode(body); err != nil || len(file.Keys) != keys {
			b.Fatalf("%d keys in the file (%v)", len(file.Keys), err)
		}
		b.StartTimer()
	}
	each := took / time.Duration(b.N)
	b.ReportMetric(keys*float64(time.Second)/float64(each), "keys/s")
	b.ReportMetric(float64(each)/float64(encoding(b, file, signer)), "×encode")
}

// encoding is how long it takes to make a file's bytes.
func encoding(b *testing.B, file exportfile.File, signer key.Signer) time.Duration {
	b.Helper()
	const times = 20
	start := time.Now()
	for range times {
		_, err := exportfile.Encode(file, []exportfile.Signer{{KeyID: signer.KeyID, KeyVersion: signer.Label, Key: signer.Key}})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start) / times
}

// fill stores random keys of the present window.
func (f *fixture) fill(tb testing.TB, n int) {
	tb.Helper()
	f.exec(tb, `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
        traveler, region, created_at)
select $1, decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), 2990000, 144, 2, 'confirmed', 0, false, $2, $3
  from generate_series(1, $4::int)`,
		f.tenant.ID, f.tenant.Region, f.world.Now().Truncate(period), n)
}

// BenchmarkIdle is what it costs to look for one tenant whether something is due. It
// prints, as "×commit", how many raw commits of one small row that takes.
func BenchmarkIdle(b *testing.B) {
	f := setUp(b)
	s := f.service(nil)
	for range 20 {
		f.mustPublish(b, 1)
		f.world.Advance(period)
	}
	for range 3 {
		f.turn(b, s)
	}
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		f.turn(b, s)
		took += time.Since(start)
	}
	const commits = 500
	const commitSQL = `update export_horizon set settled_until = settled_until`
	start := time.Now()
	for range commits {
		if _, err := s.update(b.Context(), f.tenant, commitSQL); err != nil {
			b.Fatal(err)
		}
	}
	floor := time.Since(start) / commits
	b.ReportMetric(float64(took)/float64(b.N)/float64(floor), "×commit")
}

// BenchmarkCatchUp closes as many empty windows as are closed at once, as after an
// outage of hours with a period of seconds.
func BenchmarkCatchUp(b *testing.B) {
	f := setUp(b)
	f.exec(b, `update export_config set period_seconds = 2`)
	f.tenant.Settings.Truncate = 2 * time.Second
	s := f.service(nil)
	for b.Loop() {
		f.world.Advance(maxWindows * 2 * time.Second)
		if err := s.Cut(b.Context(), f.tenant); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(maxWindows*b.N)/b.Elapsed().Seconds(), "windows/s")
}
