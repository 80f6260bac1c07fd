package stats_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// A week of codes is the same report whether or not it was rolled up, how often, and
// after retention has taken the rows.
func TestRollupChangesNoReport(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for d := range 7 {
		at := f.midnight(d).Add(23*time.Hour + 59*time.Minute) // some are claimed on the next day
		if d == 0 {
			at = f.midnight(0).Add(time.Hour)
		}
		f.issue(t, code{of: f.north, issued: at, claimedAfter: time.Duration(d+1) * 40 * time.Second})
		f.issue(t, code{of: f.north, issued: at, testType: "user-report", claimedAfter: 50 * time.Minute})
		f.issue(t, code{of: f.north, issued: at, kind: "api-key", issuer: "k"})
		f.use(t, f.north, "user-report", at, at.Add(50*time.Minute), time.Minute)
	}
	before := f.realm(t, f.north)
	if before[1].CodesIssued != 3 || before[1].UserReportsIssued != 1 || before[0].CodesClaimed == 0 || before[6].CodesIssued != 3 {
		t.Fatalf("unexpected %+v", before[:7])
	}
	for range 3 {
		if settled := f.rollup(t, f.north); !settled.Equal(f.midnight(0)) {
			t.Errorf("settled until %v, want this midnight", settled)
		}
		if diff := cmp.Diff(before, f.realm(t, f.north)); diff != "" {
			t.Fatalf("after a roll-up (-before +after):\n%s", diff)
		}
	}
	f.world.Advance(30 * 24 * time.Hour)
	f.rollup(t, f.north)
	if err := verification.Cleanup(t.Context(), f.world.Jobs, f.north, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	after := f.realm(t, f.north)[30:37]
	if diff := cmp.Diff(before[:7], after); diff != "" {
		t.Errorf("after retention (-before +after):\n%s", diff)
	}
	for _, d := range f.realm(t, f.south) {
		if !d.Empty() {
			t.Errorf("another tenant has %+v", d)
		}
	}
}

// A day is settled an hour after it ends, and never opened again.
func TestDaysSettle(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	today := f.midnight(0)
	for _, step := range []struct{ at, want time.Time }{
		{today.Add(59 * time.Minute), today.AddDate(0, 0, -1)},
		{today.Add(61 * time.Minute), today},
		{today.AddDate(0, 0, -5), today}, // a clock that is wrong
	} {
		f.world.SetNow(step.at)
		if got := f.rollup(t, f.north); !got.Equal(step.want) {
			t.Errorf("at %v: settled until %v, want %v", step.at, got, step.want)
		}
	}
}

// Tallies move once, whoever rolls up at the same time, and not before their hour is
// over and their flush is beyond retrying.
func TestTalliesMoveOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range 7 {
		f.counter.CodeInvalid(f.north.ID, stats.Caller{APIKey: "k", Platform: stats.IOS}, false)
	}
	f.flush(t)
	want := f.realm(t, f.north)
	if want[0].CodesInvalid != (stats.ByPlatform{IOS: 7}) {
		t.Fatalf("%+v", want[0])
	}
	f.rollup(t, f.north)
	if f.tallies(t) == 0 {
		t.Error("tallies of the current hour have moved")
	}
	f.world.Advance(time.Hour)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := stats.Rollup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := f.tallies(t); n != 0 {
		t.Errorf("%d tallies left", n)
	}
	f.counter.CodeInvalid(f.north.ID, stats.Caller{APIKey: "k", Platform: stats.Android}, true)
	f.flush(t)
	want[0].CodesInvalid.Android, want[0].NoncesInvalid.Android = 1, 1
	if diff := cmp.Diff(want, f.realm(t, f.north)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func (f *fixture) tallies(t *testing.T) (n int) {
	t.Helper()
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from statistic_tally`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What is older than the retention goes, and nothing else.
func TestForget(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, daysAgo := range []int{90, 91, 92, 200} {
		f.sql(t, `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
values ($1, $2, 'tokens-invalid', '', $2, 0, 1)`, f.north.ID, f.midnight(daysAgo))
	}
	for range 2 {
		if err := stats.Forget(t.Context(), f.world.Jobs, f.north.ID, stats.Retention, f.world.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var left int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from statistic_day`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 2 {
		t.Errorf("%d days left, want 2", left)
	}
	if got := f.realm(t, f.north)[90].TokensInvalid; got != 1 {
		t.Errorf("the oldest day of the report has %d", got)
	}
}

// Wherever a roll-up is cut off, no report changes, and the next one makes good:
// nothing is lost and nothing counted twice.
func TestKilledRollupCountsOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	db, arm := f.mortal(t, "carillon_jobs")
	killed := 0
	for write := int64(2); ; write++ { // opening heals
		for _, after := range []bool{false, true} {
			f.issue(t, code{of: f.north, issued: f.midnight(0).Add(time.Minute), claimedAfter: time.Minute})
			f.counter.CodeInvalid(f.north.ID, phone, false)
			f.flush(t)
			f.world.Advance(13 * time.Hour) // the hour is over, and on each second round the day
			want := f.realm(t, f.north)
			arm(write, after)
			_, err := stats.Rollup(t.Context(), db, f.north.ID, f.world.Now())
			if diff := cmp.Diff(want, f.realm(t, f.north)); diff != "" {
				t.Fatalf("cut at message %d, answer lost %t (-want +got):\n%s", write, after, diff)
			}
			f.rollup(t, f.north)
			if diff := cmp.Diff(want, f.realm(t, f.north)); diff != "" {
				t.Fatalf("after the next roll-up (-want +got):\n%s", diff)
			}
			if n := f.tallies(t); n != 0 {
				t.Fatalf("%d tallies left", n)
			}
			if err == nil {
				if killed < 16 {
					t.Errorf("killed %d times, want at every message", killed)
				}
				return
			}
			killed++
		}
	}
}

// A funnel follows its cohort over midnight, and through files. Messages count as what
// became of them last, even days after.
func TestFunnel(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	evening := f.midnight(1).Add(23*time.Hour + 50*time.Minute)
	f.issue(t, code{of: f.north, issued: evening, claimedAfter: 20 * time.Minute})
	f.issue(t, code{of: f.north, issued: evening})
	f.use(t, f.north, "confirmed", evening, evening.Add(20*time.Minute), 30*time.Second)
	f.sql(t, `
insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at)
select tenant_id, code_id, 'sent', issued_at, issued_at from verification_code`)
	f.counter.Uploaded(f.north.ID, stats.Upload{Certified: f.world.Now().Add(-4 * time.Minute), Inserted: 2})
	f.flush(t)
	window := f.midnight(0).Add(2 * time.Hour)
	f.sql(t, `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at, generated)
select $1, decode(lpad(to_hex(i), 32, '0'), 'hex'), 1, 144, 0, 'confirmed', false, '', $2, i = 3 from generate_series(1, 3) i`, f.north.ID, window)
	f.publishBatch(t, window, window.Add(3*time.Hour))
	f.rollup(t, f.north)
	f.sql(t, `update message_delivery set state = 'delivered', changed_at = queued_at + interval '2 minutes'`)
	f.rollup(t, f.north)

	days, err := f.reader.Funnel(t.Context(), f.north)
	if err != nil {
		t.Fatal(err)
	}
	second, fifth := []int64{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []int64{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0}
	want := []stats.FunnelDay{
		{
			Day:       f.midnight(0),
			Published: stats.Stage{Count: 1, Delays: second},
			Exported:  stats.Stage{Count: 2, Delays: fifth},
		},
		{
			Day: f.midnight(1), Issued: stats.Stage{Count: 2}, Sent: stats.Stage{Count: 2},
			Delivered: stats.Stage{Count: 2, Delays: []int64{0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
			Claimed:   stats.Stage{Count: 1, Delays: []int64{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
			Certified: stats.Stage{Count: 1, Delays: []int64{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		},
		{Day: f.midnight(2)},
	}
	if diff := cmp.Diff(want, days[:3]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// publishBatch makes two published windows that hold the same keys, the second of
// another configuration and later.
func (f *fixture) publishBatch(t *testing.T, window, published time.Time) {
	t.Helper()
	f.sql(t, `
insert into export_config (tenant_id, config_id, path, region, period_seconds, active_from)
select tenant_id, gen_random_uuid(), 'second/', region, period_seconds, active_from from export_config where tenant_id = $1`, f.north.ID)
	f.sql(t, `
insert into export_batch (tenant_id, config_id, starts_at, ends_at, state, published_at)
select tenant_id, config_id, $2, $2::timestamptz + interval '1 hour', 'published',
       $3::timestamptz + case path when '' then interval '0' else interval '1 hour' end
  from export_config where tenant_id = $1`, f.north.ID, window, published)
}
