package phone_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/api"
	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/signing/exportfile/exportfiletest"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// fixture is a service with two tenants, and what makes its export files.
type fixture struct {
	world        *tenanttest.World
	exports      *export.Service
	files        *export.FileStore
	keys         *key.Ring
	sms          *messagetest.Sender
	url          string
	north, south *tenant.Tenant
}

const period = time.Hour

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{world: w, keys: key.NewRing(w.Jobs, w.Root), sms: &messagetest.Sender{}}
	small := func(s *onboarding.Spec) { s.ExportPeriod, s.MinRecords, s.PaddingRange = period, 1, 1 }
	f.north, f.south = w.Create("north", small), w.Create("south", small)
	const choose = `update tenant_setting set self_report = true, sms_enabled = true where tenant_id = $1`
	if _, err := w.Database.Super().ExecContext(t.Context(), choose, f.north.ID); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.files, err = export.NewFileStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	f.exports = export.New(export.Config{
		DB: w.Jobs, Keys: f.keys, Directory: tenant.NewDirectory(w.Jobs), Store: f.files, Log: log, Now: w.Now,
	})
	policies, public := authz.NewPolicies(nil), key.NewRing(w.Publish, w.Root)
	codes := func(db *tenant.DB) *verification.Service {
		return verification.New(verification.Config{DB: db, Keys: key.NewRing(db, w.Root), Policies: policies, Sender: f.sms, Now: w.Now, Rand: rand.Reader})
	}
	s, err := api.New(api.Config{
		Directory: tenant.NewDirectory(w.Device), Policies: policies,
		Device: codes(w.Device), DeviceKeys: client.NewAuthenticator(w.Device, nil, w.Now),
		Reporter: codes(w.Report),
		Issuer:   codes(w.Issuer), IssuerKeys: client.NewAuthenticator(w.Issuer, nil, w.Now),
		Publisher:  exposure.New(exposure.Config{DB: w.Publish, Keys: public, Limits: exposure.DefaultLimits(), Now: w.Now}),
		PublicKeys: public, Files: f.files, Metrics: prometheus.NewRegistry(), Log: log, Now: w.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	f.turn(t, f.north)
	f.turn(t, f.south)
	return f
}

// turn lets the export job work for a tenant.
func (f *fixture) turn(t *testing.T, of *tenant.Tenant) {
	t.Helper()
	if err := f.exports.Turn(t.Context(), of.ID); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) base(of *tenant.Tenant) string { return f.url + "/t/" + string(of.Slug) + "/" }

func (f *fixture) phone(of *tenant.Tenant) *phone.Phone {
	return &phone.Phone{
		Server: phone.Server{
			DeviceBase: f.base(of), PublishURL: f.base(of) + "v1/publish",
			IndexURL: f.base(of) + "exports/index.txt", DownloadBase: f.base(of) + "exports/",
			DeviceKey: f.world.Key(of, client.Device), HealthAuthorityID: of.HealthAuthorityID,
		},
		Now: f.world.Now,
	}
}

func (f *fixture) issuer(of *tenant.Tenant) phone.Issuer {
	return phone.Issuer{Base: f.base(of), AdminKey: f.world.Key(of, client.Admin)}
}

func (f *fixture) trust(t *testing.T, of *tenant.Tenant) phone.Trust {
	t.Helper()
	public, err := f.keys.Public(t.Context(), of.ID, signing.Export)
	if err != nil || len(public) != 1 {
		t.Fatalf("export keys: %d, %v", len(public), err)
	}
	return phone.Trust{KeyID: public[0].KeyID, KeyVersion: public[0].Label, Key: public[0].Key}
}

// flow runs a plan that must succeed.
func (f *fixture) flow(t *testing.T, of *tenant.Tenant, p *phone.Phone, plan phone.Plan) phone.Report {
	t.Helper()
	plan.Issuer = f.issuer(of)
	report, err := p.Flow(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// before runs do once, before the n-th request whose path ends in suffix.
type before struct {
	suffix string
	n      int64
	do     func()
	count  atomic.Int64
}

func (b *before) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, b.suffix) && b.count.Add(1) == b.n {
		b.do()
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestFlow(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p, trust := f.phone(f.north), f.trust(t, f.north)
	p.HTTP = &http.Client{Transport: &before{suffix: "index.txt", n: 2, do: func() {
		f.world.Advance(period)
		f.turn(t, f.north)
	}}}
	var told []string
	report := f.flow(t, f.north, p, phone.Plan{
		Trust: &trust, Pause: time.Millisecond,
		Done: func(s phone.Step) { told = append(told, s.Name) },
	})
	want := "issue a code, verify: code to token, the code is claimed, certificate, publish 14 keys, download the keys, signatures valid"
	if got := strings.Join(told, ", "); got != want || len(report.Steps) != len(told) {
		t.Errorf("steps %q, want %q", got, want)
	}
	if report.Diagnosis.TestType != "confirmed" || report.Diagnosis.SymptomDate != "2026-11-23" {
		t.Errorf("diagnosis of type %s since %s", report.Diagnosis.TestType, report.Diagnosis.SymptomDate)
	}
	if found, most := phone.Contains(report.Files, report.Keys.TEKs); found != 14 || most != 1 {
		t.Errorf("%d of 14 keys, at most %d times", found, most)
	}
	if own := reread(t, p, trust, report); own != 14 {
		t.Errorf("another reader finds %d of 14 keys", own)
	}
	if report.Files[0].File.Region != f.north.Region || !strings.HasSuffix(report.Files[0].Name, ".zip") {
		t.Errorf("file %s of region %s", report.Files[0].Name, report.Files[0].File.Region)
	}
}

// reread reads the files of a run with a reader that has no code in common with their
// writer, and counts the run's own keys in them.
func reread(t *testing.T, p *phone.Phone, trust phone.Trust, run phone.Report) (own int) {
	t.Helper()
	mine := map[string]int32{}
	for _, k := range run.Keys.TEKs {
		mine[k.Key] = k.RollingStart
	}
	for _, f := range run.Files {
		response, err := http.Get(p.Server.DownloadBase + f.Name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		read, err := exportfiletest.Decode(body)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if err := read.Verify(trust.KeyID, trust.KeyVersion, trust.Key); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		for _, k := range read.Keys {
			if start, ours := mine[base64.StdEncoding.EncodeToString(k.Data[:])]; ours && *k.RollingStart == start && *k.Type == 1 && *k.Risk == 2 {
				own++
			}
		}
	}
	return own
}

func TestFlowWithAGivenCode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	code, err := f.issuer(f.north).Issue(t.Context(), "likely", f.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %s", code, code, code); strings.Contains(text, code.Code) {
		t.Error("a printed code shows itself")
	}
	report, err := f.phone(f.north).Flow(t.Context(), phone.Plan{Code: code.Code, Keys: 3, Today: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Diagnosis.TestType != "likely" || report.Published.Inserted != 3 || len(report.Steps) != 3 {
		t.Errorf("type %s, %d inserted, %d steps", report.Diagnosis.TestType, report.Published.Inserted, len(report.Steps))
	}
	midnight := int32(f.world.Now().Truncate(24*time.Hour).Unix() / 600)
	for i, k := range report.Keys.TEKs {
		if k.RollingStart != midnight-int32(i)*144 || k.RollingPeriod != 144 {
			t.Errorf("key %d starts at %d for %d", i, k.RollingStart, k.RollingPeriod)
		}
	}
}

// A flow ends at the first step that fails and says which, with status and code.
func TestFlowStops(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, test := range map[string]struct {
		change func(*phone.Phone, *phone.Plan)
		steps  int
		want   phone.Refusal
	}{
		"no admin key":  {func(_ *phone.Phone, plan *phone.Plan) { plan.Issuer.AdminKey = "none" }, 1, phone.Refusal{Step: "issue", Status: 401}},
		"no device key": {func(p *phone.Phone, _ *phone.Plan) { p.Server.DeviceKey = "" }, 2, phone.Refusal{Step: "verify", Status: 401}},
		"no such code":  {func(_ *phone.Phone, plan *phone.Plan) { plan.Code = "12345678" }, 1, phone.Refusal{Step: "verify", Status: 400, Code: "code_invalid"}},
		"other authority": {
			func(p *phone.Phone, _ *phone.Plan) { p.Server.HealthAuthorityID = f.south.HealthAuthorityID }, 5,
			phone.Refusal{Step: "publish", Status: 401, Code: "unknown_health_authority_id"},
		},
		"no such type":  {func(_ *phone.Phone, plan *phone.Plan) { plan.TestType = "maybe" }, 1, phone.Refusal{Step: "issue", Status: 400, Code: "invalid_test_type"}},
		"too many keys": {func(_ *phone.Phone, plan *phone.Plan) { plan.Keys = 31 }, 5, phone.Refusal{Step: "publish", Status: 400, Code: "bad_request"}},
	} {
		p, plan := f.phone(f.north), phone.Plan{Issuer: f.issuer(f.north)}
		test.change(p, &plan)
		report, err := p.Flow(t.Context(), plan)
		var got *phone.Refusal
		if !errors.As(err, &got) || got.Step != test.want.Step || got.Status != test.want.Status || got.Code != test.want.Code {
			t.Errorf("%s: %v, want %v", name, err, &test.want)
			continue
		}
		if len(report.Steps) != test.steps || !errors.Is(report.Steps[test.steps-1].Err, err) {
			t.Errorf("%s: %d steps, want the %dth to fail", name, len(report.Steps), test.steps)
		}
	}
}

func TestRevise(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := f.phone(f.north)
	first := f.flow(t, f.north, p, phone.Plan{TestType: "likely", Keys: 3})
	more := first.Keys
	more.TEKs = append(more.TEKs[:3:3], p.NewKeys(4, false).TEKs[3])
	code, err := f.issuer(f.north).Issue(t.Context(), "confirmed", f.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	diagnosis, err := p.Verify(t.Context(), code.Code)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.Certificate(t.Context(), diagnosis.Token, more)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Revise(t.Context(), more, cert, phone.Published{}); !errors.Is(err, phone.ErrNoRevisionToken) {
		t.Errorf("without a token: %v, want ErrNoRevisionToken", err)
	}
	var refusal *phone.Refusal
	if _, err := p.Publish(t.Context(), more, cert, ""); !errors.As(err, &refusal) || refusal.Code != "missing_revision_token" {
		t.Errorf("as if it were the first time: %v", err)
	}
	revised, err := p.Revise(t.Context(), more, cert, first.Published)
	if err != nil || revised.Inserted != 1 {
		t.Errorf("revision: %d inserted, %v; want the new key", revised.Inserted, err)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p, trust := f.phone(f.north), f.trust(t, f.north)
	keys := f.flow(t, f.north, p, phone.Plan{Keys: 2}).Keys.TEKs
	f.world.Advance(period)
	f.turn(t, f.north)
	seen := map[string]bool{}
	for i, want := range []int{1, 0} { // what was seen is not fetched again
		files, err := p.Download(t.Context(), trust, seen)
		if err != nil || len(files) != want {
			t.Errorf("round %d: %d files, %v; want %d", i, len(files), err, want)
		}
	}
	if files, err := f.phone(f.south).Download(t.Context(), f.trust(t, f.south), nil); err != nil || len(files) != 0 {
		t.Errorf("south: %d files, %v; want none", len(files), err)
	}
	for name, wrong := range map[string]phone.Trust{
		"another's key":   {KeyID: trust.KeyID, KeyVersion: trust.KeyVersion, Key: f.trust(t, f.south).Key},
		"another ID":      {KeyID: "311", KeyVersion: trust.KeyVersion, Key: trust.Key},
		"another version": {KeyID: trust.KeyID, KeyVersion: "v2", Key: trust.Key},
	} {
		if _, err := p.Download(t.Context(), wrong, nil); !errors.Is(err, exportfile.ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", name, err)
		}
	}
	f.spoil(t, p, trust)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.AwaitKeys(ctx, trust, keys, time.Millisecond); !errors.Is(err, context.Canceled) {
		t.Errorf("a phone that was switched off: %v", err)
	}
}

// spoil changes a published file, then takes it away.
func (f *fixture) spoil(t *testing.T, p *phone.Phone, trust phone.Trust) {
	t.Helper()
	files, err := p.Download(t.Context(), trust, nil)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	name := export.Prefix(f.north) + files[0].Name
	if err := f.files.Replace(t.Context(), name, []byte("no zip")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Download(t.Context(), trust, nil); !errors.Is(err, exportfile.ErrMalformed) {
		t.Errorf("a changed file: %v, want ErrMalformed", err)
	}
	if err := f.files.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	var refusal *phone.Refusal
	if _, err := p.Download(t.Context(), trust, nil); !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound || !strings.Contains(refusal.Step, files[0].Name) {
		t.Errorf("a missing file: %v, want 404", err)
	}
}

func TestChaff(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	p := f.phone(f.north)
	if err := p.Chaff(t.Context()); err != nil {
		t.Errorf("chaff: %v", err)
	}
	p.Server.DeviceKey = f.world.Key(f.south, client.Device)
	var refusal *phone.Refusal
	if err := p.Chaff(t.Context()); !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized {
		t.Errorf("chaff with another's key: %v, want 401", err)
	}
}

// Answers that Google's client takes for failures are failures.
func TestUnderstanding(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"an error beside 200": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"token":"t","error":"partial"}`)
		},
		"text": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"t"}`) },
		"no token": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{}`)
		},
		"broken": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"token":`)
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		},
	} {
		server := httptest.NewServer(answer)
		p := phone.Phone{Server: phone.Server{DeviceBase: server.URL + "/", DeviceKey: "secret"}, Now: time.Now}
		if d, err := p.Verify(t.Context(), "12345678"); err == nil {
			t.Errorf("%s: taken as %+v", name, d)
		}
		server.Close()
	}
}
