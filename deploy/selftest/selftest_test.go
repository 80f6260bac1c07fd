package selftest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz/oidc"
	"carillon/deploy/phone"
	walk "carillon/deploy/selftest"
	"carillon/deploy/service"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/selftest"
	"carillon/tenant/tenanttest"
)

// fixture is a whole service with a tenant, and a runner that may meet faults.
type fixture struct {
	*tenanttest.World
	north  *tenant.Tenant
	url    string
	files  export.Store
	runner *walk.Runner
	// fault, if set, answers requests instead of the service.
	fault func(*http.Request) *http.Response
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{World: tenanttest.New(t)}
	f.north = f.Create("north")
	var err error
	if f.files, err = export.NewFileStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	s, err := service.Open(t.Context(), service.Config{
		Roles: service.Roles(), DSN: func(role string) (string, error) { return f.Database.DSN(role), nil },
		Root: f.Root, Files: f.files, BaseURL: "http://127.0.0.1:8080",
		Login:  oidc.Config{Issuer: "http://127.0.0.1:8080/idp", ClientID: "c", RedirectURL: "http://127.0.0.1:8080/login/callback", Now: f.Now},
		Sender: message.None{}, JobInterval: time.Second, Log: slog.New(slog.DiscardHandler), Now: f.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	f.runner = f.newRunner(f.files)
	return f
}

func (f *fixture) newRunner(files export.Store) *walk.Runner {
	directory, keys := tenant.NewDirectory(f.Jobs), key.NewRing(f.Jobs, f.Root)
	return walk.New(walk.Config{
		DB: f.Jobs, Directory: directory, Keys: keys, URL: f.url, Metrics: prometheus.NewRegistry(), Now: f.Now,
		HTTP: &http.Client{Transport: f, Timeout: time.Minute},
		Exports: export.New(export.Config{
			DB: f.Jobs, Keys: keys, Directory: directory, Store: files, Log: slog.New(slog.DiscardHandler), Now: f.Now,
		}),
	})
}

// RoundTrip lets a fault answer.
func (f *fixture) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.fault != nil {
		if answer := f.fault(r); answer != nil {
			answer.Request = r
			return answer, nil
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// last is the newest run; it is read as the portal does.
func (f *fixture) last(t *testing.T) selftest.Run {
	t.Helper()
	var runs []selftest.Run
	err := f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		runs, err = selftest.Find(t.Context(), tx, 1)
		return err
	})
	if err != nil || len(runs) != 1 {
		t.Fatalf("runs %v, %v", runs, err)
	}
	return runs[0]
}

func (f *fixture) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAHealthyServicePasses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range 2 { // the second clears what the first has left
		if err := f.runner.Run(t.Context(), f.north.ID); err != nil {
			t.Fatal(err)
		}
		if run := f.last(t); !run.Passed() || len(run.Steps) != len(selftest.Steps()) {
			t.Errorf("run %+v", run)
		}
		f.Advance(time.Minute)
	}
	// Nothing of it is where people's cases are, or is counted.
	for _, table := range []string{
		"verification_code", "verification_token", "exposure", "publish_receipt", "statistic_tally", "quota_entry",
		"export_batch", "export_file", "message_queue", "rehearsal_pass", "wrong_code_count", "api_key_use",
	} {
		if n := f.count(t, table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	if n := f.count(t, "selftest_run"); n != 2 {
		t.Errorf("%d runs are kept", n)
	}
	names, err := f.files.List(t.Context(), "north/")
	if err != nil || len(names) != 2 || !strings.HasPrefix(names[0], "north/rehearsal-") {
		t.Errorf("files %v, %v", names, err)
	}
}

// answer is what a server that has gone wrong says.
func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// Each step that goes wrong makes just that step fail, with the word for why.
func TestEachStepFailsByItself(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := func(suffix string, status int, body string) func(*http.Request) *http.Response {
		return func(r *http.Request) *http.Response {
			if strings.HasSuffix(r.URL.Path, suffix) {
				return answer(status, body)
			}
			return nil
		}
	}
	tampered := func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, ".zip") {
			return nil
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		body[len(body)/3] ^= 1
		response.Body = io.NopCloser(bytes.NewReader(body))
		return response
	}
	for _, test := range []struct {
		step   selftest.StepName
		reason selftest.Reason
		fault  func(*http.Request) *http.Response
	}{
		{selftest.Issue, selftest.Broken, at("/api/issue", 500, `{"error":"x"}`)},
		{selftest.Issue, selftest.Broken, at("/api/issue", 200, `{}`)},
		{selftest.Verify, selftest.Refused, at("/api/verify", 400, `{"error":"code invalid","errorCode":"code_invalid"}`)},
		{selftest.Verify, selftest.Mismatch, at("/api/verify", 200, `{"testtype":"negative","token":"t"}`)},
		{selftest.Certificate, selftest.Broken, at("/api/certificate", 503, `{"error":"x"}`)},
		{selftest.Publish, selftest.Refused, at("/v1/publish", 429, `{"error":"x"}`)},
		{selftest.Publish, selftest.Mismatch, at("/v1/publish", 200, `{"insertedExposures":1}`)},
		{selftest.Download, selftest.Refused, at("/index.txt", 404, `x`)},
		{selftest.Download, selftest.Refused, at(".zip", 404, `x`)},
		{selftest.Signature, selftest.Mismatch, tampered},
	} {
		t.Run(string(test.step+"-"+selftest.StepName(test.reason)), func(t *testing.T) {
			f.fault = test.fault
			err := f.runner.Run(t.Context(), f.north.ID)
			run := f.last(t)
			if !errors.Is(err, walk.ErrFailed) || run.FailedStep != test.step || run.Reason != test.reason {
				t.Errorf("failed at %q because %q (%v); want %q because %q", run.FailedStep, run.Reason, err, test.step, test.reason)
			}
			if last := run.Steps[len(run.Steps)-1]; last.Name != test.step {
				t.Errorf("the last step is %s", last.Name)
			}
			f.Advance(time.Second)
		})
	}
}

// full is a store without room.
type full struct{ export.Store }

func (full) PutIfAbsent(context.Context, string, []byte) error { return errors.New("no space left") }

func TestTheExportAndTheNetworkFail(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.newRunner(full{f.files}).Run(t.Context(), f.north.ID); !errors.Is(err, walk.ErrFailed) {
		t.Errorf("run: %v", err)
	}
	if run := f.last(t); run.FailedStep != selftest.Export || run.Reason != selftest.Storage {
		t.Errorf("failed at %q because %q", run.FailedStep, run.Reason)
	}
	f.Advance(time.Second)
	f.url = "http://127.0.0.1:1" // where nobody listens
	if err := f.newRunner(f.files).Run(t.Context(), f.north.ID); !errors.Is(err, walk.ErrFailed) {
		t.Errorf("run: %v", err)
	}
	if run := f.last(t); run.FailedStep != selftest.Issue || run.Reason != selftest.Unreachable {
		t.Errorf("failed at %q because %q", run.FailedStep, run.Reason)
	}
}

// One at a time, also if a process has died over one: its pass runs out.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if _, err := selftest.Begin(t.Context(), f.Jobs, f.north.ID, uuid.New(), f.Now()); err != nil {
		t.Fatal(err)
	}
	if err := f.runner.Run(t.Context(), f.north.ID); !errors.Is(err, selftest.ErrBusy) {
		t.Errorf("beside another: %v", err)
	}
	f.Advance(client.PassLife)
	if err := f.runner.Run(t.Context(), f.north.ID); err != nil {
		t.Errorf("after the other's time: %v", err)
	}
}

// A pass opens what a rehearsal goes through and nothing else, and the lanes do not meet.
func TestLanesDoNotMeet(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.Create("south")
	pass, err := selftest.Begin(t.Context(), f.Jobs, f.north.ID, uuid.New(), f.Now())
	if err != nil {
		t.Fatal(err)
	}
	base := f.url + "/t/north/"
	caller := func(key string) (*phone.Phone, phone.Issuer) {
		return &phone.Phone{Now: f.Now, Server: phone.Server{
			DeviceBase: base, PublishURL: base + "v1/publish", DeviceKey: key, HealthAuthorityID: f.north.HealthAuthorityID,
		}}, phone.Issuer{Base: base, AdminKey: key}
	}
	rehearsing, rehearsingIssuer := caller(pass)
	real, _ := caller(f.Key(f.north, client.Device))
	_, realIssuer := caller(f.Key(f.north, client.Admin))
	onset := f.Now().Add(-48 * time.Hour)
	issue := func(i phone.Issuer) string {
		t.Helper()
		code, err := i.Issue(t.Context(), "confirmed", onset)
		if err != nil {
			t.Fatal(err)
		}
		return code.Code
	}
	// Codes.
	if _, err := rehearsing.Verify(t.Context(), issue(realIssuer)); err == nil {
		t.Error("a rehearsal has claimed a real code")
	}
	if _, err := real.Verify(t.Context(), issue(rehearsingIssuer)); err == nil {
		t.Error("a phone has claimed a rehearsal's code")
	}
	// Tokens and keys.
	certify := func(p *phone.Phone, i phone.Issuer, k phone.Keys) string {
		t.Helper()
		d, err := p.Verify(t.Context(), issue(i))
		if err != nil {
			t.Fatal(err)
		}
		if p == rehearsing {
			if _, err := real.Certificate(t.Context(), d.Token, k); err == nil {
				t.Error("a phone got a certificate for a rehearsal's token")
			}
		}
		cert, err := p.Certificate(t.Context(), d.Token, k)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	plain := real.NewKeys(2, false)
	if _, err := real.Publish(t.Context(), plain, certify(rehearsing, rehearsingIssuer, plain), ""); err == nil {
		t.Error("real keys were published with a rehearsal's certificate")
	}
	ours := real.NewKeys(2, false)
	for i := range ours.TEKs {
		ours.TEKs[i].Key = base64.StdEncoding.EncodeToString(append([]byte(exposure.RehearsalMark), byte(i), 1, 2, 3, 4, 5, 6, 7))
	}
	if _, err := real.Publish(t.Context(), ours, certify(real, realIssuer, ours), ""); err == nil {
		t.Error("a rehearsal's keys were published with a real certificate")
	}
	if n := f.count(t, "exposure") + f.count(t, "rehearsal_key"); n != 0 {
		t.Errorf("%d keys are stored", n)
	}
	// Other routes, another tenant, later.
	for _, route := range []string{"north/api/batch-issue", "north/api/checkcodestatus", "north/api/expirecode", "north/api/user-report", "south/api/issue", "south/api/verify"} {
		if status := f.post(t, "/t/"+route, pass); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", route, status)
		}
	}
	f.Advance(client.PassLife)
	if status := f.post(t, "/t/north/api/issue", pass); status != http.StatusUnauthorized {
		t.Errorf("after its time: status %d", status)
	}
}

func (f *fixture) post(t *testing.T, path, key string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+path, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-API-Key", key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// A rehearsal's key cannot get to where exports are made from, whoever tries: not under any
// role, nor as the superuser, and no real key gets into the other table.
func TestNoRehearsalKeyEntersAnExport(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const intoExposure = `
insert into exposure (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, traveler, region, created_at)
values ($1, $2, 1, 1, 1, 'confirmed', false, '', now())`
	const intoRehearsal = `
insert into rehearsal_key (tenant_id, tek, rolling_start, rolling_period, transmission_risk, days_since_onset)
values ($1, $2, 1, 1, 1, 0)`
	ours, real := []byte("rehearse01234567"), []byte("0123456789abcdef")
	for role, db := range map[string]*tenant.DB{
		"device": f.Device, "issuer": f.Issuer, "report": f.Report, "publish": f.Publish, "portal": f.Portal, "jobs": f.Jobs, "operator": f.Operator,
	} {
		for _, test := range []struct {
			statement, constraint string
			key                   []byte
		}{{intoExposure, "exposure_no_rehearsal", ours}, {intoRehearsal, "rehearsal_key_marked", real}} {
			err := db.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
				_, err := tx.Exec(t.Context(), test.statement, f.north.ID, test.key)
				return err
			})
			if !tenanttest.Denied(err) && !tenant.Violates(err, test.constraint) {
				t.Errorf("as %s: %v", role, err)
			}
		}
	}
	super := func(statement string, key []byte) error {
		_, err := f.Database.Super().ExecContext(context.WithoutCancel(t.Context()), statement, f.north.ID, key)
		return err
	}
	if err := super(intoExposure, ours); !tenant.Violates(err, "exposure_no_rehearsal") {
		t.Errorf("as superuser: %v", err)
	}
	if err := super(intoExposure, real); err != nil {
		t.Errorf("a real key: %v", err)
	}
	if _, err := f.Database.Super().ExecContext(t.Context(), `update export_config set path = 'rehearsal-1/'`); !tenant.Violates(err, "export_config_no_rehearsal") {
		t.Errorf("a configuration in the rehearsals' place: %v", err)
	}
}
