package stats_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// overview is of a number of days, the last of which was so many days ago.
func (f *fixture) overview(t testing.TB, of *tenant.Tenant, days, ago int) stats.Overview {
	t.Helper()
	span := stats.Span{First: f.midnight(ago + days - 1), Last: f.midnight(ago)}
	o, err := stats.New(f.world.Portal, f.world.Now).Overview(t.Context(), of, f.midnight(ago+2*days-1), span)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// deliver gives the codes of an issuer a message that came to an end.
func (f *fixture) deliver(t testing.TB, issuer, state, class string) {
	t.Helper()
	f.sql(t, `
insert into message_delivery (tenant_id, code_id, state, class, queued_at, changed_at)
select tenant_id, code_id, $2, $3, issued_at, issued_at + interval '2 minutes' from verification_code where issuer_id = $1`, issuer, state, class)
}

// An overview follows codes by type, channel and issuer, phones by system, and says why
// messages failed; the days before the span are in its days alone.
func TestOverview(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	robin, gone := uuid.NewString(), uuid.NewString()
	f.sql(t, `insert into member (tenant_id, member_id, issuer, email, name, roles) values ($1, $2, 'https://login.example', 'robin@north.example', 'Robin', '{caseworker}')`, f.north.ID, robin)
	noon := f.midnight(1).Add(12 * time.Hour)
	f.issue(t, code{of: f.north, issued: noon, kind: "person", issuer: robin, claimedAfter: 20 * time.Minute})
	f.issue(t, code{of: f.north, issued: noon, kind: "person", issuer: robin, testType: "likely"})
	f.issue(t, code{of: f.north, issued: noon, kind: "person", issuer: gone})
	f.issue(t, code{of: f.north, issued: noon, testType: "user-report", kind: "system", issuer: "web", external: "lab"})
	f.issue(t, code{of: f.north, issued: f.midnight(3).Add(12 * time.Hour), kind: "person", issuer: "before"})
	f.issue(t, code{of: f.south, issued: noon, kind: "person", issuer: robin})
	f.use(t, f.north, "confirmed", noon, noon.Add(20*time.Minute), time.Second)
	f.deliver(t, robin, "delivered", "")
	f.deliver(t, gone, "failed", "landline")
	f.sql(t, `insert into message_error (tenant_id, day, error_code, count) values ($1, $2, '30006', 2), ($1, $3, '30006', 5)`, f.north.ID, f.midnight(1), f.midnight(3))
	f.counter.CodeClaimed(f.north.ID, stats.Caller{APIKey: "k", Platform: stats.IOS})
	f.counter.TokenClaimed(f.north.ID, stats.Caller{APIKey: "k", Platform: stats.IOS})
	f.counter.CodeInvalid(f.north.ID, stats.Caller{APIKey: "k", Platform: stats.Android}, false)
	f.counter.Uploaded(f.north.ID, stats.Upload{Platform: stats.IOS, Certified: noon, Inserted: 14, OnsetDays: 3})
	f.flush(t)

	if o := f.overview(t, f.north, 1, 1); !o.Counted.IsZero() || o.Days[1].Issued > 0 {
		t.Errorf("before anything was counted: %v, %+v", o.Counted, o.Days[1])
	}
	f.rollup(t, f.north)
	for _, rolled := range []string{"once", "twice"} {
		o := f.overview(t, f.north, 2, 0)
		if !o.Counted.Equal(f.world.Now().Truncate(time.Second)) || len(o.Days) != 4 {
			t.Fatalf("rolled up %s: counted %v, %d days", rolled, o.Counted, len(o.Days))
		}
		want := []stats.OverviewDay{
			{
				Day: f.midnight(0), CodesRefused: stats.ByPlatform{Android: 1}, Uploads: stats.ByPlatform{IOS: 1},
				KeysUploaded: 14, HeldBack: true,
			},
			{Day: f.midnight(1), Issued: 4, Sent: 2, Delivered: 2, Claimed: 1, Certified: 1, Published: 1},
			{Day: f.midnight(2)},
			{Day: f.midnight(3), Issued: 1},
		}
		if diff := cmp.Diff(want, o.Days); diff != "" {
			t.Errorf("rolled up %s, days (-want +got):\n%s", rolled, diff)
		}
		fourth, second := make([]int64, stats.Classes), make([]int64, stats.Classes)
		fourth[3], second[1] = 1, 2
		o.Counted, o.Days = time.Time{}, nil
		rest := stats.Overview{
			Delays:    stats.Delays{Delivered: second, Claimed: fourth, Certified: class(0), Published: o.Delays.Published},
			OnsetAges: o.OnsetAges,
			Types: []stats.Path{
				{Name: "confirmed", Issued: 2, Claimed: 1, Certified: 1}, {Name: "likely", Issued: 1}, {Name: "user-report", Issued: 1},
			},
			Channels: []stats.Path{{Name: "none", Issued: 1}, {Name: "sms", Issued: 3, Claimed: 1}},
			Systems: []stats.SystemPath{
				{Platform: stats.IOS, Claimed: 1, Certified: 1, Uploaded: 1}, {Platform: stats.Android, Refused: 1}, {Platform: stats.Unknown},
			},
			Issuers: []stats.IssuerSum{
				{Kind: stats.ByPerson, ID: robin, Name: "Robin", Codes: 2}, {Kind: stats.ByThemselves, Codes: 1}, {Kind: stats.ByPerson, ID: gone, Codes: 1},
			},
			External: []stats.IssuerSum{{Kind: stats.ByKey, ID: "lab", Codes: 1}},
			Failures: []stats.Reason{{Name: "landline", Count: 1}},
			Errors:   []stats.Reason{{Name: "30006", Count: 2}},
		}
		if diff := cmp.Diff(rest, o); diff != "" {
			t.Errorf("rolled up %s, span (-want +got):\n%s", rolled, diff)
		}
		if o.OnsetAges[3] != 1 {
			t.Errorf("onset ages %v", o.OnsetAges)
		}
		f.rollup(t, f.north)
	}
	if o := f.overview(t, f.south, 2, 0); len(o.Issuers) != 0 || !o.Days[1].Empty() {
		t.Errorf("another tenant, not counted yet: %+v", o)
	}
	f.rollup(t, f.south)
	if o := f.overview(t, f.south, 2, 0); len(o.Issuers) != 1 || o.Issuers[0].Name != "" || len(o.Errors) != 0 {
		t.Errorf("another tenant sees %+v", o.Issuers)
	}
}

// class is a distribution with one event.
func class(n int) []int64 {
	list := make([]int64, stats.Classes)
	list[n] = 1
	return list
}

// A day is told to others when it has ten uploads or has been over for two days.
func TestOverviewSaysWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range stats.SharedMinimum - 1 {
		f.counter.Uploaded(f.north.ID, stats.Upload{Certified: f.world.Now(), Inserted: 1})
	}
	f.flush(t)
	if o := f.overview(t, f.north, 1, 0); !o.Days[0].HeldBack || o.Days[1].HeldBack {
		t.Errorf("nine uploads: %+v", o.Days)
	}
	f.counter.Uploaded(f.north.ID, stats.Upload{Certified: f.world.Now(), Inserted: 1})
	f.flush(t)
	if o := f.overview(t, f.north, 1, 0); o.Days[0].HeldBack {
		t.Errorf("ten uploads are held back: %+v", o.Days[0])
	}
	f.counter.Uploaded(f.south.ID, stats.Upload{Certified: f.world.Now(), Inserted: 1})
	f.flush(t)
	f.world.SetNow(f.midnight(0).Add(72*time.Hour + time.Second))
	if o := f.overview(t, f.south, 1, 3); o.Days[3].HeldBack || o.Days[3].Uploads.Total() != 1 {
		t.Errorf("two days after its end: %+v", o.Days[3])
	}
}

// One question, whatever there is.
func TestOverviewIsOneQuery(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.overview(t, f.north, 7, 1)
	if n := f.world.Trips(func() { f.overview(t, f.north, 7, 1) }); n != 3 {
		t.Errorf("%d round trips, want 3: to open, to ask, to commit", n)
	}
}

// Files that came out on a day are counted, those of other configurations too.
func TestOverviewCountsFiles(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	window := f.midnight(0).Add(2 * time.Hour)
	f.publishBatch(t, window, window.Add(3*time.Hour))
	f.sql(t, `
insert into export_file (tenant_id, config_id, starts_at, file_no, name, state, key_count, revised_count, size, sha256)
select tenant_id, config_id, starts_at, n, n || '.zip', 'published', 1, 0, 1, sha256('') from export_batch, generate_series(1, 2) n`)
	f.rollup(t, f.north)
	f.rollup(t, f.north)
	if o := f.overview(t, f.north, 1, 0); o.Days[0].FilesPublished != 4 {
		t.Errorf("%d files, want 4", o.Days[0].FilesPublished)
	}
}
