package exposure_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(14)
	u := f.phone.Upload(confirmed, keys)
	u.HealthAuthorityID = strings.ToUpper(u.HealthAuthorityID)
	u.Traveler = true
	r := f.publish(t, u)
	if r.Inserted != 14 || r.Revised != 0 || r.Failure != "" || len(r.Warnings) != 0 || r.RevisionToken == "" {
		t.Errorf("receipt %v", r)
	}
	hour := tenanttest.Start.Truncate(time.Hour)
	for i, k := range keys {
		want := row{
			Start: k.RollingStart, Period: 144, Risk: 2, Type: "confirmed", Days: int32(1 - i), Traveler: true,
			Regions: f.north.Region, Created: hour, Revised: time.Unix(0, 0).UTC(), RevisedDays: 99, NewRisk: 99,
		}
		got := f.row(t, f.north, k)
		got.Created, got.Revised = got.Created.UTC(), got.Revised.UTC()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("key %d (-want +got):\n%s", i, diff)
		}
	}
}

// Publishing costs the same few round trips whatever the number of keys.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.publish(t, f.phone.Upload(likely, f.phone.Keys(1))) // fills the caches
	keys := f.phone.Keys(14)
	fresh := f.phone.Upload(likely, keys)
	var r *exposure.Receipt
	if n := f.world.Trips(func() { r = f.publish(t, fresh) }); n != 1 {
		t.Errorf("new keys take %d round trips, want 1", n)
	}
	if n := f.world.Trips(func() { f.publish(t, fresh) }); n != 1 {
		t.Errorf("the same upload again takes %d round trips, want 1", n)
	}
	again := fresh
	again.RevisionToken = r.RevisionToken
	if n := f.world.Trips(func() { f.publish(t, again) }); n != 3 {
		t.Errorf("known keys take %d round trips, want 3", n)
	}
	revised := f.phone.Upload(confirmed, keys)
	revised.RevisionToken = r.RevisionToken
	if n := f.world.Trips(func() { f.publish(t, revised) }); n != 4 {
		t.Errorf("a revision takes %d round trips, want 4", n)
	}
}

func TestCertificateRefused(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(2)
	good := f.phone.Upload(confirmed, keys)
	with := func(change func(*certificate.Claims)) exposure.Upload { return f.phone.Upload(confirmed, keys, change) }
	edit := func(change func(*exposure.Upload)) exposure.Upload {
		u := good
		u.Keys = append([]exposure.UploadKey(nil), good.Keys...)
		change(&u)
		return u
	}
	tests := []struct {
		name   string
		upload exposure.Upload
		want   error
		text   string
	}{
		{"no certificate", edit(func(u *exposure.Upload) { u.VerificationPayload = "" }), exposure.ErrCertificate, ""},
		{"not a certificate", edit(func(u *exposure.Upload) { u.VerificationPayload = "a.b.c" }), exposure.ErrCertificate, ""},
		{"changed signature", edit(func(u *exposure.Upload) {
			u.VerificationPayload = u.VerificationPayload[:len(u.VerificationPayload)-8] + "AAAAAAAA"
		}), exposure.ErrCertificate, ""},
		{"other issuer", with(func(c *certificate.Claims) { c.Issuer = "somebody" }), exposure.ErrCertificate, "issuer not found: somebody"},
		{"other audience", with(func(c *certificate.Claims) { c.Audience = "somebody" }), exposure.ErrCertificate, "audience"},
		{"expired", with(func(c *certificate.Claims) { c.Expires = tenanttest.Start.Add(-time.Second) }), exposure.ErrCertificate, "expired"},
		{"not yet valid", with(func(c *certificate.Claims) { c.NotBefore = tenanttest.Start.Add(time.Minute) }), exposure.ErrCertificate, "not valid yet"},
		{"other keys", edit(func(u *exposure.Upload) { u.Keys[0].RollingStart-- }), exposure.ErrCertificate, "HMAC mismatch"},
		{"fewer keys", edit(func(u *exposure.Upload) { u.Keys = u.Keys[:1] }), exposure.ErrCertificate, "HMAC mismatch"},
		{"no keys", edit(func(u *exposure.Upload) { u.Keys = nil }), exposure.ErrCertificate, "HMAC mismatch"},
		{"other secret", edit(func(u *exposure.Upload) { u.HMACKey = "AAAA" }), exposure.ErrCertificate, "HMAC mismatch"},
		{"secret not base64", edit(func(u *exposure.Upload) { u.HMACKey = "?" }), exposure.ErrCertificate, "HMAC mismatch"},
		{"no health authority", edit(func(u *exposure.Upload) { u.HealthAuthorityID = "" }), exposure.ErrUnknownHealthAuthority, "unauthorized health authority: "},
		{"NUL in its name", edit(func(u *exposure.Upload) { u.HealthAuthorityID += "\x00" }), exposure.ErrUnknownHealthAuthority, "unauthorized health authority: org.north.health"},
		{"another tenant's name", edit(func(u *exposure.Upload) { u.HealthAuthorityID = f.south.HealthAuthorityID }), exposure.ErrUnknownHealthAuthority, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := f.service.Publish(t.Context(), f.north, test.upload)
			wantErr(t, err, test.want)
			if !strings.Contains(explain(err), test.text) {
				t.Errorf("text %q, want %q in it", explain(err), test.text)
			}
		})
	}
	if n := f.count(t); n != 0 {
		t.Errorf("%d keys are stored", n)
	}
	f.publish(t, good)
}

// A certificate of another tenant is answered like one of nobody, even if it names
// the right issuer, and tokens and keys of one tenant mean nothing to another.
func TestOtherTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(2)
	foreign := f.other.Upload(likely, keys)
	own := foreign
	own.HealthAuthorityID = f.north.HealthAuthorityID
	_, err := f.service.Publish(t.Context(), f.north, own)
	wantErr(t, err, exposure.ErrCertificate)
	if want := "issuer not found: " + f.south.Settings.Issuer; !strings.Contains(explain(err), want) {
		t.Errorf("text %q, want %q in it", explain(err), want)
	}
	disguised := f.other.Upload(likely, keys, func(c *certificate.Claims) {
		c.Issuer, c.Audience = f.north.Settings.Issuer, f.north.Settings.Audience
	})
	disguised.HealthAuthorityID = f.north.HealthAuthorityID
	_, err = f.service.Publish(t.Context(), f.north, disguised)
	wantErr(t, err, exposure.ErrCertificate)

	north := f.publish(t, f.phone.Upload(likely, keys))
	south, err := f.service.Publish(t.Context(), f.south, foreign)
	if err != nil || south.Inserted != 2 {
		t.Fatalf("the same keys at another tenant: %v, %v", south, explain(err))
	}
	crossed := f.phone.Upload(confirmed, keys)
	crossed.RevisionToken = south.RevisionToken
	_, err = f.service.Publish(t.Context(), f.north, crossed)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	crossed.RevisionToken = north.RevisionToken
	if _, err = f.service.Publish(t.Context(), f.north, crossed); err != nil {
		t.Fatal(explain(err))
	}
	if got := f.row(t, f.south, keys[0]); got.WasRevised || got.Regions != f.south.Region {
		t.Errorf("the other tenant's key became %+v", got)
	}
}

// §1.8, row by row, as far as it is about tokens.
func TestUploadAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	first := f.publish(t, f.phone.Upload(likely, keys))

	_, err := f.revise(t, likely, keys, "")
	wantErr(t, err, exposure.ErrMissingRevisionToken)
	_, err = f.revise(t, likely, keys, "not base64!")
	wantErr(t, err, exposure.ErrMissingRevisionToken)
	_, err = f.revise(t, likely, keys, "AAAA")
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	_, err = f.revise(t, likely, keys, first.RevisionToken[:40]+"AAAA"+first.RevisionToken[44:])
	wantErr(t, err, exposure.ErrInvalidRevisionToken)

	again, err := f.revise(t, likely, keys, first.RevisionToken)
	if err != nil || again.Inserted != 0 || again.Revised != 0 || again.RevisionToken == "" {
		t.Errorf("the same with its token: %v, %v", again, explain(err))
	}
	if _, err = f.revise(t, likely, keys, again.RevisionToken); err != nil {
		t.Errorf("with the second token: %v", explain(err))
	}
	moved := append([]exposure.UploadKey(nil), keys...)
	moved[0].RollingPeriod = 100
	_, err = f.revise(t, likely, moved, first.RevisionToken)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)

	// A token that does not open does not keep new keys out.
	fresh := f.phone.Upload(likely, []exposure.UploadKey{exposuretest.Key(keys[2].RollingStart-144, 144)})
	fresh.RevisionToken = "AAAA"
	r := f.publish(t, fresh)
	if r.Inserted != 1 {
		t.Errorf("receipt %v", r)
	}
	// A certificate is not spent by use.
	fresh.RevisionToken = r.RevisionToken
	if r := f.publish(t, fresh); r.Inserted != 0 || r.RevisionToken == "" {
		t.Errorf("receipt %v", r)
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(14)
	first := f.publish(t, f.phone.Upload(userReport, keys))
	before := f.row(t, f.north, keys[0])

	f.world.Advance(26 * time.Hour)
	mixed := append([]exposure.UploadKey{exposuretest.Key(keys[0].RollingStart+144, 144)}, keys...)
	revised, err := f.revise(t, confirmed, mixed, first.RevisionToken)
	if err != nil {
		t.Fatal(explain(err))
	}
	if revised.Inserted != 1 || revised.Revised != 14 {
		t.Errorf("receipt %v, want 1 inserted and 14 revised", revised)
	}
	got := f.row(t, f.north, keys[0])
	want := before
	want.RevisedType, want.WasRevised, want.NewRisk, want.RevisedDays = "confirmed", true, 2, 0
	want.Revised = f.world.Now().Truncate(time.Hour)
	got.Revised = got.Revised.UTC()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("revised key (-want +got):\n%s", diff)
	}

	_, err = f.revise(t, likely, mixed[1:], revised.RevisionToken)
	wantErr(t, err, exposure.ErrAlreadyRevised)
	if r, err := f.revise(t, confirmed, mixed, revised.RevisionToken); err != nil || r.Revised != 0 || r.Inserted != 0 {
		t.Errorf("the same revision again: %v, %v", r, explain(err))
	}
	if r, err := f.revise(t, userReport, keys, revised.RevisionToken); err != nil || r.Revised != 0 {
		t.Errorf("back to the original type: %v, %v", r, explain(err))
	}
	_, err = f.revise(t, negative, mixed[:1], revised.RevisionToken)
	wantErr(t, err, exposure.ErrTransition)
}

// One key that may not change keeps everything else out, new keys too.
func TestRevisionAllOrNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	mine := f.publish(t, f.phone.Upload(likely, keys[:1]))
	f.publish(t, f.phone.Upload(likely, keys[1:2])) // somebody else's
	_, err := f.revise(t, confirmed, keys, mine.RevisionToken)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	if n := f.count(t); n != 2 {
		t.Errorf("%d keys are stored, want 2", n)
	}
	if f.row(t, f.north, keys[0]).WasRevised {
		t.Error("a key was revised")
	}
}

// First negative reports are not stored, but listed (§1.8); known keys are revised.
func TestNegative(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(2)
	first := f.publish(t, f.phone.Upload(negative, keys[:1]))
	if first.Inserted != 0 || first.RevisionToken == "" || f.count(t) != 0 {
		t.Errorf("receipt %v, %d stored", first, f.count(t))
	}
	second, err := f.revise(t, likely, keys, first.RevisionToken)
	if err != nil || second.Inserted != 2 {
		t.Fatalf("then likely: %v, %v", second, explain(err))
	}
	// first lists keys[0], though it was stored only later.
	third, err := f.revise(t, negative, keys[:1], first.RevisionToken)
	if err != nil || third.Revised != 1 || third.Inserted != 0 {
		t.Fatalf("then negative: %v, %v", third, explain(err))
	}
	got := f.row(t, f.north, keys[0])
	if got.Type != "likely" || got.RevisedType != "negative" || got.NewRisk != 6 {
		t.Errorf("stored %+v", got)
	}
}

// A revision counts as arrived no earlier than the original, and like new keys no
// earlier than the horizon (§3.3, §4).
func TestRevisionDate(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	today := exposuretest.Interval(f.world.Now().Truncate(24 * time.Hour))
	embargoed := []exposure.UploadKey{exposuretest.Key(today, 144)}
	ended := f.phone.Keys(1)
	token1 := f.publish(t, f.phone.Upload(likely, embargoed)).RevisionToken
	token2 := f.publish(t, f.phone.Upload(likely, ended)).RevisionToken

	f.world.SetNow(f.world.Now().Truncate(24 * time.Hour).Add(24*time.Hour + 10*time.Minute))
	if _, err := f.revise(t, confirmed, embargoed, token1); err != nil {
		t.Fatal(explain(err))
	}
	got := f.row(t, f.north, embargoed[0])
	if !got.Revised.Equal(got.Created) || !got.Created.After(f.world.Now()) {
		t.Errorf("created %v, revised %v; want both after the key's end", got.Created, got.Revised)
	}

	horizon := f.world.Now().Truncate(time.Hour).Add(time.Hour)
	f.settle(t, f.north, horizon)
	if _, err := f.revise(t, confirmed, ended, token2); err != nil {
		t.Fatal(explain(err))
	}
	if got := f.row(t, f.north, ended[0]); !got.Revised.Equal(horizon) {
		t.Errorf("revised %v, want the horizon", got.Revised)
	}
}

func TestHorizon(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(1)
	horizon := f.world.Now().Truncate(time.Hour).Add(3 * time.Hour)
	f.settle(t, f.north, horizon)
	f.settle(t, f.south, horizon.Add(time.Hour))
	f.publish(t, f.phone.Upload(confirmed, keys))
	if got := f.row(t, f.north, keys[0]); !got.Created.Equal(horizon) {
		t.Errorf("created %v, want the horizon of its tenant", got.Created)
	}
}

func TestPartialFailure(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	keys[1].RollingPeriod = 0
	r := f.publish(t, f.phone.Upload(confirmed, keys))
	want := "1 error occurred:\n\t* key 1 cannot be imported: invalid interval count, 0, must be >= 1 && <= 144\n"
	if r.Inserted != 2 || r.Failure != want || r.RevisionToken == "" {
		t.Errorf("receipt %v, failure %q", r, r.Failure)
	}
}

// Keys too far from the onset are a success with warnings (§1.4).
func TestOnlyWarnings(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	old := exposuretest.Key(exposuretest.Interval(f.world.Now().Add(-15*24*time.Hour))-100, 144)
	u := f.phone.Upload(confirmed, []exposure.UploadKey{old})
	u.SymptomOnsetInterval = exposuretest.Interval(f.world.Now()) - 1
	r := f.publish(t, u)
	if r.Inserted != 0 || r.RevisionToken != "" || r.Failure != "" || len(r.Warnings) != 1 {
		t.Errorf("receipt %v, warnings %q", r, r.Warnings)
	}
	u.RevisionToken = f.publish(t, f.phone.Upload(confirmed, f.phone.Keys(1))).RevisionToken
	if r := f.publish(t, u); r.RevisionToken == "" {
		t.Error("a valid token is not given back")
	}
}

// A token forgets keys that could not be uploaded any more (§3.2).
func TestTokenForgets(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	old, recent := f.phone.Keys(14)[13:], f.phone.Keys(1)
	token := f.publish(t, f.phone.Upload(likely, old)).RevisionToken
	f.world.Advance(3 * 24 * time.Hour)
	u := f.phone.Upload(likely, recent)
	u.RevisionToken = token
	token = f.publish(t, u).RevisionToken
	f.world.SetNow(f.world.Now().Add(-3 * 24 * time.Hour))
	_, err := f.revise(t, confirmed, old, token)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
	if _, err := f.revise(t, confirmed, recent, token); err != nil {
		t.Error(explain(err))
	}
}

// Identical first uploads at once: no deadlock, one of them stores the keys, and every
// one gets a token for them.
func TestIdenticalUploads(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const uploads = 100
	u := f.phone.Upload(likely, f.phone.Keys(14))
	tokens := make(chan string, uploads)
	var inserted atomic.Int64
	var wg sync.WaitGroup
	for range uploads {
		wg.Go(func() {
			r, err := f.service.Publish(t.Context(), f.north, u)
			if err != nil {
				t.Error(explain(err))
				return
			}
			inserted.Add(int64(r.Inserted))
			tokens <- r.RevisionToken
		})
	}
	wg.Wait()
	close(tokens)
	if n := f.count(t); inserted.Load() != 14 || n != 14 {
		t.Errorf("%d inserted by all, %d stored, want 14", inserted.Load(), n)
	}
	for token := range tokens {
		if r, err := f.revise(t, likely, u.Keys, token); err != nil || r.Inserted != 0 {
			t.Fatalf("a token does not cover the keys: %v", explain(err))
		}
	}
}

// processes are services that know of each other as little as processes do.
func (f *fixture) processes(t *testing.T, n int) []*exposure.Service {
	t.Helper()
	services := make([]*exposure.Service, n)
	for i := range services {
		db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN("carillon_publish")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		services[i] = exposure.New(exposure.Config{DB: db, Keys: key.NewRing(db, f.world.Root), Now: f.world.Now})
	}
	return services
}

// bothWays is an upload, and the same with its keys listed from the end, which is the
// same upload: the HMAC does not depend on the order.
func (f *fixture) bothWays(keys []exposure.UploadKey) [2]exposure.Upload {
	there := f.phone.Upload(likely, keys)
	back := there
	back.Keys = slices.Clone(keys)
	slices.Reverse(back.Keys)
	return [2]exposure.Upload{there, back}
}

// The same keys come in opposite order to two processes, with two certificates, and each
// has stored what comes before a key on which both must wait. What one has locked by then,
// the other must not want: one would be ended by Postgres's search for deadlocks.
func TestSameKeysInOppositeOrder(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(13)
	slices.SortFunc(keys, func(a, b exposure.UploadKey) int { return bytes.Compare(tekOf(t, a), tekOf(t, b)) })
	for i := range keys { // as the days of a phone's keys, whatever their bytes
		keys[i].RollingStart = exposuretest.Interval(f.world.Now().Truncate(24*time.Hour)) - int32(i+1)*144
	}
	back := slices.Clone(keys)
	slices.Reverse(back)
	uploads := []exposure.Upload{f.phone.Upload(likely, keys), f.phone.Upload(likely, back)}
	other, err := f.world.Database.Super().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const middleSQL = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values ($1, $2, 1, 144, 0, 'likely', false, '', now())`
	if _, err := other.ExecContext(t.Context(), middleSQL, f.north.ID, tekOf(t, keys[len(keys)/2])); err != nil {
		t.Fatal(err)
	}
	var inserted, refused atomic.Int64
	var wg sync.WaitGroup
	for i, s := range f.processes(t, len(uploads)) {
		wg.Go(func() {
			r, err := s.Publish(t.Context(), f.north, uploads[i])
			if err != nil {
				wantErr(t, err, exposure.ErrMissingRevisionToken)
				refused.Add(1)
				return
			}
			inserted.Add(int64(r.Inserted))
		})
	}
	f.await(t, len(uploads), `
select count(*)
  from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock' and query not like '%lock_timeout%'`) // by themselves, without a time-out
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if n := inserted.Load(); n != int64(len(keys)) || refused.Load() != 1 {
		t.Errorf("%d inserted by both and %d refused, want %d by the one and the other refused", n, refused.Load(), len(keys))
	}
}

// One upload, its keys in any order, from a crowd: every one of them gets a truthful success.
func TestSameKeysInManyProcesses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	services := f.processes(t, 3)
	for range 5 {
		const keys = 30
		uploads := f.bothWays(append(f.phone.Keys(keys/2), f.phone.Keys(keys/2)...))
		var inserted atomic.Int64
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				r, err := services[i%len(services)].Publish(t.Context(), f.north, uploads[i%2])
				if err != nil {
					t.Error(explain(err))
					return
				}
				inserted.Add(int64(r.Inserted))
				if r.RevisionToken == "" {
					t.Error("a success without a token")
				}
			})
		}
		wg.Wait()
		if n := inserted.Load(); n != keys {
			t.Errorf("%d inserted by all, want %d", n, keys)
		}
	}
}

// Uploads that share some keys in any order: what is told is what is stored.
func TestOverlappingUploads(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	pool := f.phone.Keys(14)
	var inserted atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		var some []exposure.UploadKey
		for _, j := range random.Perm(len(pool))[:3] {
			some = append(some, pool[j])
		}
		u := f.phone.Upload(confirmed, some)
		wg.Go(func() {
			r, err := f.service.Publish(t.Context(), f.north, u)
			if err != nil {
				wantErr(t, err, exposure.ErrMissingRevisionToken)
				return
			}
			inserted.Add(int64(r.Inserted))
		})
	}
	wg.Wait()
	if n := f.count(t); int64(n) != inserted.Load() || n == 0 {
		t.Errorf("%d inserted by all, %d stored", inserted.Load(), n)
	}
}

// Revisions at once: each key changes once, and never in a deadlock.
func TestRevisionsAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(14)
	token := f.publish(t, f.phone.Upload(userReport, keys)).RevisionToken
	var revised, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		report := []certificate.ReportType{confirmed, likely}[i%2]
		wg.Go(func() {
			r, err := f.revise(t, report, keys, token)
			if err != nil {
				wantErr(t, err, exposure.ErrAlreadyRevised)
				refused.Add(1)
				return
			}
			revised.Add(int64(r.Revised))
		})
	}
	wg.Wait()
	if revised.Load() != 14 || refused.Load() != 30 {
		t.Errorf("%d keys revised, %d uploads refused; want 14 and 30", revised.Load(), refused.Load())
	}
}

// The same mixture of known and new keys at once: each new key is stored once, each
// known one is revised once, and nobody runs into a deadlock.
func TestMixedUploadsAtOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(14)
	known, fresh := keys[:7], keys[7:]
	token := f.publish(t, f.phone.Upload(likely, known)).RevisionToken
	var inserted, revised atomic.Int64
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			r, err := f.revise(t, confirmed, append(slices.Clone(known), fresh...), token)
			if err != nil { // the token does not list keys that another upload brought
				wantErr(t, err, exposure.ErrInvalidRevisionToken)
				return
			}
			inserted.Add(int64(r.Inserted))
			revised.Add(int64(r.Revised))
		})
	}
	wg.Wait()
	if n := f.count(t); n != 14 || inserted.Load() != 7 || revised.Load() != 7 {
		t.Errorf("%d stored, %d inserted and %d revised by all; want 14, 7 and 7", n, inserted.Load(), revised.Load())
	}
}

// An upload that finds its keys revised by another at the last moment is judged by
// what they have become.
func TestRevisionOvertaken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		report certificate.ReportType
		want   error
	}{{confirmed, nil}, {negative, exposure.ErrAlreadyRevised}} {
		f := setUp(t)
		keys := f.phone.Keys(3)
		token := f.publish(t, f.phone.Upload(likely, keys)).RevisionToken
		other, err := f.world.Database.Super().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		const overtakeSQL = `update exposure set revised_type = 'confirmed', revised_at = created_at, revised_risk = 2`
		if _, err := other.ExecContext(t.Context(), overtakeSQL); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		var r *exposure.Receipt
		go func() {
			var err error
			r, err = f.revise(t, test.report, keys, token)
			done <- err
		}()
		f.awaitLocks(t, 1)
		if err := other.Commit(); err != nil {
			t.Fatal(err)
		}
		err = <-done
		wantErr(t, err, test.want)
		if err == nil && r.Revised != 0 {
			t.Errorf("%s: receipt %v, want nothing revised", test.report, r)
		}
	}
}

// awaitLocks returns when n transactions wait for a lock; if they never do, the test fails.
func (f *fixture) awaitLocks(t *testing.T, n int) {
	t.Helper()
	f.await(t, n, `
select count(*)
  from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'`)
}

// await returns when a query counts n.
func (f *fixture) await(t *testing.T, n int, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for counted := 0; counted < n; {
		if err := f.world.Database.Super().QueryRowContext(ctx, query).Scan(&counted); err != nil {
			t.Fatalf("%d of %d: %v", counted, n, err)
		}
	}
}

// While windows are closed, publishers wait, and then see the new horizon.
func TestArrivalsExclude(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	horizon := f.world.Now().Truncate(time.Hour).Add(5 * time.Hour)
	keys := f.phone.Keys(2)
	u := f.phone.Upload(confirmed, keys)
	done := make(chan error, 1)
	err := f.world.Jobs.InExclusive(t.Context(), f.north.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		go func() {
			_, err := f.service.Publish(t.Context(), f.north, u)
			done <- err
		}()
		f.awaitLocks(t, 1)
		_, err := tx.Exec(t.Context(), `update export_horizon set settled_until = $1`, horizon)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(explain(err))
	}
	for _, k := range keys {
		if got := f.row(t, f.north, k); !got.Created.Equal(horizon) {
			t.Errorf("created %v, want %v", got.Created, horizon)
		}
	}
}

func TestNoRevisionKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	_, err := f.world.Database.Super().ExecContext(t.Context(), `update signing_key set state = 'destroyed', sealed = null, destroyed_at = now() where purpose = $1`, string(signing.Revision))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.service.Publish(t.Context(), f.north, f.phone.Upload(confirmed, f.phone.Keys(1)))
	wantErr(t, err, key.ErrNoKey)
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	limits := exposure.DefaultLimits()
	const fill = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
select $1, decode(md5(i::text), 'hex'), 1, 144, 0, 'confirmed', false, 'XA', $2
  from generate_series($3::int, $4::int) i`
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := f.world.Database.Super().ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	limit := f.world.Now().Add(-limits.Retention)
	exec(fill, f.north.ID, limit.Add(-time.Second), 1, 2500) // several steps' worth
	exec(fill, f.north.ID, limit, 2501, 2510)
	exec(fill, f.south.ID, limit.Add(-time.Hour), 1, 7)
	if err := exposure.Cleanup(t.Context(), f.world.Jobs, f.north.ID, limits, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	var kept, other int
	err := f.world.Database.Super().QueryRowContext(t.Context(),
		`select count(*) filter (where tenant_id = $1), count(*) filter (where tenant_id = $2) from exposure`,
		f.north.ID, f.south.ID).Scan(&kept, &other)
	if err != nil {
		t.Fatal(err)
	}
	if kept != 10 || other != 7 {
		t.Errorf("%d keys kept and %d of the other tenant, want 10 and 7", kept, other)
	}
}

func TestUnknownHealthAuthorityText(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"nobody": "nobody", "a\x00b\nc": "abc", "\xff": "", strings.Repeat("x", 300): strings.Repeat("x", 256),
	} {
		if got := explain(exposure.UnknownHealthAuthority(sent)); got != fmt.Sprintf("%v: unauthorized health authority: %s", exposure.ErrUnknownHealthAuthority, want) {
			t.Errorf("%q: %q", sent, got)
		}
	}
}
