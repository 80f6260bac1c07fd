package rehearsal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	simulated "carillon/deploy/rehearsal"
	"carillon/deploy/service"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/onboarding"
	"carillon/tenant/rehearsal"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// auditor has no right to issue codes anywhere but in a rehearsal.
var auditor = authz.Subject{Kind: authz.Person, ID: "00aa", Name: "Robin", Roles: []authz.Role{authz.Auditor}}

// fixture is a whole service with a sandbox, whose phones may meet faults.
type fixture struct {
	*tenanttest.World
	sandbox *tenant.Tenant
	url     string
	desk    *rehearsal.Desk
	exports *export.Service

	mu sync.Mutex
	// fault, if set, answers requests instead of the service; guarded by mu.
	fault func(*http.Request) (*http.Response, error)
	// asked are the paths that were asked for, below the sandbox's; guarded by mu.
	asked []string
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{World: tenanttest.New(t)}
	f.sandbox = f.Create("north-sandbox", func(s *onboarding.Spec) {
		s.Kind, s.Region = tenant.Sandbox, "ZZ-NNN"
		s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange = time.Minute, time.Minute, 100, 10
	})
	files, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := service.Open(t.Context(), service.Config{
		Roles: service.Roles(), DSN: func(role string) (string, error) { return f.Database.DSN(role), nil },
		Root: f.Root, Files: files, BaseURL: "http://127.0.0.1:8080",
		Login:  oidc.Config{Issuer: "http://127.0.0.1:8080/idp", ClientID: "c", RedirectURL: "http://127.0.0.1:8080/login/callback", Now: f.Now},
		Sender: message.None{}, JobInterval: time.Second, Log: log, Now: f.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	f.url = server.URL
	f.exports = export.New(export.Config{
		DB: f.Jobs, Keys: key.NewRing(f.Jobs, f.Root), Directory: tenant.NewDirectory(f.Jobs), Store: files, Log: log, Now: f.Now,
	})
	f.desk = f.newDesk(f)
	return f
}

// newDesk is a desk as another process has it, whose phones' requests go through a
// transport.
func (f *fixture) newDesk(through http.RoundTripper) *rehearsal.Desk {
	keys := key.NewRing(f.Portal, f.Root)
	codes := verification.New(verification.Config{DB: f.Portal, Keys: keys, Policies: authz.NewPolicies(nil), Now: f.Now, Rand: rand.Reader})
	phones := simulated.New(simulated.Config{DB: f.Portal, URL: f.url, Now: f.Now, HTTP: &http.Client{Transport: through, Timeout: time.Minute}})
	return rehearsal.NewDesk(f.Portal, keys, codes, phones, f.Now)
}

// RoundTrip notes what is asked for, and lets a fault answer.
func (f *fixture) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimPrefix(r.URL.Path, "/t/"+string(f.sandbox.Slug)))
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		if answer, err := fault(r); answer != nil || err != nil {
			return answer, err
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// breaks has a fault answer from now on; nil mends.
func (f *fixture) breaks(fault func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func answer(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
}

// state is the rehearsal of somebody, who must have one.
func (f *fixture) state(t *testing.T, by authz.Subject) *rehearsal.Rehearsal {
	t.Helper()
	r, err := f.desk.Find(t.Context(), f.sandbox, by)
	if err != nil || r == nil {
		t.Fatalf("rehearsal %v, %v", r, err)
	}
	return r
}

// takes takes a step that must succeed and lead to a stage.
func (f *fixture) takes(t *testing.T, to rehearsal.Stage, step func(at int) error) *rehearsal.Rehearsal {
	t.Helper()
	at := 0
	if r, err := f.desk.Find(t.Context(), f.sandbox, auditor); err != nil {
		t.Fatal(err)
	} else if r != nil {
		at = r.Step
	}
	if err := step(at); err != nil {
		t.Fatalf("to %s: %v", to, err)
	}
	r := f.state(t, auditor)
	if r.Stage != to || r.Step != at+1 || r.Busy {
		t.Fatalf("at %s, step %d (busy: %v), want %s, step %d", r.Stage, r.Step, r.Busy, to, at+1)
	}
	return r
}

func (f *fixture) begin(t *testing.T) *rehearsal.Rehearsal {
	t.Helper()
	return f.takes(t, rehearsal.Met, func(at int) error { return f.desk.Begin(t.Context(), f.sandbox, auditor, at) })
}

func (f *fixture) issue(t *testing.T) *rehearsal.Rehearsal {
	t.Helper()
	return f.takes(t, rehearsal.Issued, func(at int) error { return f.desk.Issue(t.Context(), f.sandbox, auditor, at) })
}

func (f *fixture) redeem(t *testing.T, code string) *rehearsal.Rehearsal {
	t.Helper()
	return f.takes(t, rehearsal.Redeemed, func(at int) error { return f.desk.Redeem(t.Context(), f.sandbox, auditor, at, code) })
}

func (f *fixture) publish(t *testing.T) *rehearsal.Rehearsal {
	t.Helper()
	return f.takes(t, rehearsal.Published, func(at int) error { return f.desk.Publish(t.Context(), f.sandbox, auditor, at) })
}

func (f *fixture) look(t *testing.T, to rehearsal.Stage) *rehearsal.Rehearsal {
	t.Helper()
	return f.takes(t, to, func(at int) error { return f.desk.Look(t.Context(), f.sandbox, auditor, at) })
}

// export makes the files that are due, as the job does.
func (f *fixture) export(t *testing.T) {
	t.Helper()
	if err := f.exports.Turn(t.Context(), f.sandbox.ID); err != nil {
		t.Fatal(err)
	}
}

// refusal fails the test unless a step was refused for a reason.
func refusal(t *testing.T, what string, err error, want rehearsal.Reason) {
	t.Helper()
	var r *rehearsal.Refusal
	if !errors.As(err, &r) || r.Reason != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// Somebody who may issue no codes plays a whole case, and the second phone finds the key
// of the first one in the file, behind the sandbox's own addresses. The audit log has
// each step.
func TestAWholeCase(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if r, err := f.desk.Find(t.Context(), f.sandbox, auditor); r != nil || err != nil {
		t.Fatalf("before the first: %v, %v", r, err)
	}
	f.begin(t)
	issued := f.issue(t)
	if len(issued.Code) != f.sandbox.Settings.CodeDigits {
		t.Fatalf("a code of %d digits", len(issued.Code))
	}
	told := f.redeem(t, issued.Code)
	if d := told.Diagnosis; d.TestType != "confirmed" || d.SymptomDate != f.Now().AddDate(0, 0, -2).Format(time.DateOnly) || told.Code != "" {
		t.Errorf("the phone was told %+v", told.Diagnosis)
	}
	if published := f.publish(t); published.Keys != 14 || !published.NextFile.Equal(f.Now().UTC().Truncate(time.Minute).Add(time.Minute)) {
		t.Errorf("%d keys are published, the next file is due at %v (now %v)", published.Keys, published.NextFile, f.Now())
	}
	if early := f.look(t, rehearsal.Published); early.Looks != 1 || early.Seen.Files != 0 || early.Seen.Found {
		t.Errorf("before there is a file the second phone saw %+v", early.Seen)
	}
	f.Advance(time.Minute)
	f.export(t)
	seen := f.look(t, rehearsal.Notified).Seen
	yesterday := f.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	if !seen.Found || seen.Minutes != 30 || !seen.Day.Equal(yesterday) || seen.Files != 1 || seen.Keys < 100 {
		t.Errorf("the second phone saw %+v", seen)
	}
	if n := f.Trips(func() { f.state(t, auditor) }); n != 1 {
		t.Errorf("to see how it stands takes %d round trips", n)
	}
	for _, path := range []string{"/api/verify", "/api/certificate", "/v1/publish", "/exports/index.txt"} {
		if !slices.Contains(f.asked, path) {
			t.Errorf("nobody asked for %s", path)
		}
	}
	if got, want := f.log(t), "rehearsal:begin code:issue rehearsal:issue rehearsal:redeem rehearsal:publish rehearsal:look rehearsal:look"; got != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

// log is what the auditor did, the oldest first.
func (f *fixture) log(t *testing.T) string {
	t.Helper()
	var acts []string
	err := f.Portal.In(t.Context(), f.sandbox.ID, func(tx *tenant.Tx) error {
		entries, err := audit.Find(t.Context(), tx, audit.Filter{Who: auditor.ID}, 100)
		for _, e := range slices.Backward(entries) {
			if e.ActorName != auditor.Name || e.Target == "" || e.Because != "rehearsal" {
				t.Errorf("entry %+v", e)
			}
			acts = append(acts, e.Action)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(acts, " ")
}

// A phone that has heard somebody else is not notified by the same file.
func TestAPhoneThatWasElsewhereIsNotNotified(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	other := authz.Subject{Kind: authz.Person, ID: "00bb", Name: "Sam", Roles: []authz.Role{authz.Analyst}}
	if err := f.desk.Begin(t.Context(), f.sandbox, other, 0); err != nil {
		t.Fatal(err)
	}
	f.begin(t)
	f.redeem(t, f.issue(t).Code)
	f.publish(t)
	f.Advance(time.Minute)
	f.export(t)
	// The other's second phone reads the file before her first one shares anything.
	if err := f.desk.Issue(t.Context(), f.sandbox, other, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.desk.Redeem(t.Context(), f.sandbox, other, 2, f.state(t, other).Code); err != nil {
		t.Fatal(err)
	}
	if err := f.desk.Publish(t.Context(), f.sandbox, other, 3); err != nil {
		t.Fatal(err)
	}
	if err := f.desk.Look(t.Context(), f.sandbox, other, 4); err != nil {
		t.Fatal(err)
	}
	if r := f.state(t, other); r.Stage != rehearsal.Published || r.Seen.Found || r.Seen.Files != 1 || r.Seen.Keys < 100 {
		t.Errorf("at %s after %+v", r.Stage, r.Seen)
	}
	f.look(t, rehearsal.Notified)
}

// Files that were published before two phones are made are none of theirs.
func TestNewPhonesReadNewFiles(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.begin(t)
	f.redeem(t, f.issue(t).Code)
	f.publish(t)
	f.Advance(time.Minute)
	f.export(t)
	f.look(t, rehearsal.Notified)
	f.begin(t)
	f.redeem(t, f.issue(t).Code)
	f.publish(t)
	if r := f.look(t, rehearsal.Published); r.Seen.Files != 0 {
		t.Errorf("new phones read %d old files", r.Seen.Files)
	}
	f.Advance(time.Minute)
	f.export(t)
	if r := f.look(t, rehearsal.Notified); r.Seen.Files != 1 {
		t.Errorf("the second phone read %d files", r.Seen.Files)
	}
}

// A step is taken once, however often its form is sent, and at the same time.
func TestAStepIsTakenOnce(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := f.begin(t).Step
	const clicks = 5
	errs := make([]error, clicks)
	var group sync.WaitGroup
	for i := range clicks {
		group.Go(func() { errs[i] = f.desk.Issue(t.Context(), f.sandbox, auditor, at) })
	}
	group.Wait()
	taken := 0
	for _, err := range errs {
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, rehearsal.ErrBusy) && !errors.Is(err, rehearsal.ErrOver):
			t.Error(err)
		}
	}
	var codes int
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from verification_code`).Scan(&codes); err != nil {
		t.Fatal(err)
	}
	if taken != 1 || codes != 1 {
		t.Errorf("%d clicks took %d steps and issued %d codes", clicks, taken, codes)
	}
	for what, step := range map[string]func() error{
		"the step before":   func() error { return f.desk.Issue(t.Context(), f.sandbox, auditor, at) },
		"a step ahead":      func() error { return f.desk.Publish(t.Context(), f.sandbox, auditor, at+1) },
		"another beginning": func() error { return f.desk.Begin(t.Context(), f.sandbox, auditor, 0) },
		"an old beginning":  func() error { return f.desk.Begin(t.Context(), f.sandbox, auditor, at) },
		"somebody else's": func() error {
			return f.desk.Issue(t.Context(), f.sandbox, authz.Subject{Kind: authz.Person, ID: "00cc"}, at+1)
		},
		"begun by nobody yet": func() error {
			return f.desk.Begin(t.Context(), f.sandbox, authz.Subject{Kind: authz.Person, ID: "00cc"}, 7)
		},
	} {
		if err := step(); !errors.Is(err, rehearsal.ErrOver) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// While a step is being taken nobody else takes one, also after its process died, until
// its time is over; a step that was begun again meanwhile ends in nothing.
func TestAStepThatNobodyFinished(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := f.begin(t).Step
	reached, died := make(chan struct{}), make(chan struct{})
	f.breaks(func(*http.Request) (*http.Response, error) {
		close(reached)
		<-died
		return nil, errors.New("the process is gone")
	})
	late := make(chan error)
	go func() { late <- f.desk.Redeem(t.Context(), f.sandbox, auditor, at, "12345678") }()
	<-reached
	f.breaks(nil)
	if !f.state(t, auditor).Busy {
		t.Error("nobody sees that a step is being taken")
	}
	if err := f.desk.Issue(t.Context(), f.sandbox, auditor, at); !errors.Is(err, rehearsal.ErrBusy) {
		t.Errorf("meanwhile: %v", err)
	}
	f.Advance(time.Minute + time.Second)
	f.issue(t)
	close(died)
	refusal(t, "the one that was late", <-late, rehearsal.Unreachable)
	if r := f.state(t, auditor); r.Stage != rehearsal.Issued || r.Busy {
		t.Errorf("at %s, busy: %v", r.Stage, r.Busy)
	}
}

// What servers refuse leaves everything as it was, and says why.
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	unreachable := func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }
	f.breaks(unreachable)
	refusal(t, "begin without a server", f.desk.Begin(t.Context(), f.sandbox, auditor, 0), rehearsal.Unreachable)
	f.breaks(nil)
	issued := f.issueAfter(t)
	for what, c := range map[string]struct {
		code  string
		fault func(*http.Request) (*http.Response, error)
		want  rehearsal.Reason
	}{
		"no such code":   {code: "00000000", want: rehearsal.CodeInvalid},
		"junk":           {code: "\u202e🤒<script>", want: rehearsal.CodeInvalid},
		"no server":      {code: issued.Code, fault: unreachable, want: rehearsal.Unreachable},
		"a broken one":   {code: issued.Code, fault: answer(http.StatusInternalServerError, `{}`), want: rehearsal.Failed},
		"in maintenance": {code: issued.Code, fault: answer(http.StatusTooManyRequests, `{"error":"x","errorCode":"maintenance_mode"}`), want: rehearsal.Closed},
		"negative":       {code: issued.Code, fault: answer(http.StatusOK, `{"testtype":"negative","token":"t"}`), want: rehearsal.Negative},
	} {
		f.breaks(c.fault)
		refusal(t, what, f.desk.Redeem(t.Context(), f.sandbox, auditor, issued.Step, c.code), c.want)
	}
	f.breaks(nil)
	if again := f.state(t, auditor); again.Step != issued.Step || again.Code != issued.Code || again.Busy {
		t.Errorf("refusals have changed it: step %d, busy %v", again.Step, again.Busy)
	}
	f.Advance(time.Hour)
	refusal(t, "an old code", f.desk.Redeem(t.Context(), f.sandbox, auditor, issued.Step, issued.Code), rehearsal.CodeExpired)
	f.redeem(t, f.issue(t).Code)
	f.publish(t)
	f.Advance(time.Minute)
	f.export(t)
	f.breaks(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, ".zip") {
			return nil, nil //nolint:nilnil // the service answers
		}
		return answer(http.StatusOK, "no zip")(r)
	})
	refusal(t, "no file", f.desk.Look(t.Context(), f.sandbox, auditor, f.state(t, auditor).Step), rehearsal.Untrusted)
	f.breaks(nil)
	f.look(t, rehearsal.Notified)
}

func (f *fixture) issueAfter(t *testing.T) *rehearsal.Rehearsal {
	t.Helper()
	f.begin(t)
	return f.issue(t)
}

// Rules of issuing hold in a rehearsal, too.
func TestNoCodeInMaintenance(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := f.begin(t).Step
	f.set(t, map[string]string{"maintenance": "on"})
	refusal(t, "in maintenance", f.desk.Issue(t.Context(), f.sandbox, auditor, at), rehearsal.Closed)
	f.set(t, map[string]string{"maintenance": "off", "test-types": "negative"})
	refusal(t, "no positive tests", f.desk.Issue(t.Context(), f.sandbox, auditor, at), rehearsal.Failed)
	f.set(t, map[string]string{"test-types": "likely"})
	if d := f.redeem(t, f.issue(t).Code).Diagnosis; d.TestType != "likely" {
		t.Errorf("the phone was told %s", d.TestType)
	}
}

// set changes the sandbox's settings.
func (f *fixture) set(t *testing.T, values map[string]string) {
	t.Helper()
	err := f.Operator.In(t.Context(), f.sandbox.ID, func(tx *tenant.Tx) error {
		return setting.Change(t.Context(), tx, authz.Subject{Kind: authz.System, ID: "test"}, values, f.Now())
	})
	if err == nil {
		f.sandbox, err = tenant.NewDirectory(f.Portal).ByID(t.Context(), f.sandbox.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// All of a sandbox's phones have one API key; once that is revoked they are refused, and
// new phones have another.
func TestTheAppsKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.begin(t)
	f.begin(t)
	keys := f.appKeys(t)
	if len(keys) != 1 || keys[0].Kind != client.Device {
		t.Fatalf("keys %v", keys)
	}
	code := f.issue(t).Code
	staff := client.NewStaff(f.Portal, authz.NewPolicies(nil), f.Now)
	owner := authz.Subject{Kind: authz.Person, ID: "0001", Name: "Alex", Roles: []authz.Role{authz.Owner}}
	if _, err := staff.Revoke(t.Context(), f.sandbox, owner, keys[0].ID); err != nil {
		t.Fatal(err)
	}
	refusal(t, "revoked", f.desk.Redeem(t.Context(), f.sandbox, auditor, f.state(t, auditor).Step, code), rehearsal.NoKey)
	f.begin(t)
	f.redeem(t, code)
	if keys := f.appKeys(t); len(keys) != 2 {
		t.Errorf("%d keys", len(keys))
	}
}

func (f *fixture) appKeys(t *testing.T) (keys []client.Key) {
	t.Helper()
	staff := client.NewStaff(f.Portal, authz.NewPolicies(nil), f.Now)
	keys, err := staff.List(t.Context(), f.sandbox, authz.Subject{Kind: authz.Person, ID: "0001", Roles: []authz.Role{authz.Owner}})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Production has no rehearsals: not by the desk, and not by the database's owner.
func TestProductionHasNone(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	production := f.Create("north")
	for what, step := range map[string]func() error{
		"find":    func() error { _, err := f.desk.Find(t.Context(), production, auditor); return err },
		"begin":   func() error { return f.desk.Begin(t.Context(), production, auditor, 0) },
		"issue":   func() error { return f.desk.Issue(t.Context(), production, auditor, 1) },
		"redeem":  func() error { return f.desk.Redeem(t.Context(), production, auditor, 1, "1") },
		"publish": func() error { return f.desk.Publish(t.Context(), production, auditor, 1) },
		"look":    func() error { return f.desk.Look(t.Context(), production, auditor, 1) },
	} {
		if err := step(); !errors.Is(err, rehearsal.ErrNotSandbox) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("somebody asked for %q", f.asked)
	}
	for constraint, statement := range map[string]string{
		"simulated_phones_kind_fkey": `insert into simulated_phones (tenant_id, person, stage, step, sealed, started_at, expires_at)
			values ($1, 'robin', 'met', 1, '', now(), now() + interval '1 hour')`,
		"simulated_phones_sandbox": `insert into simulated_phones (tenant_id, person, kind, stage, step, sealed, started_at, expires_at)
			values ($1, 'robin', 'production', 'met', 1, '', now(), now() + interval '1 hour')`,
		"simulated_app_kind_fkey": `with k as (insert into api_key (tenant_id, api_key_id, kind, name, digest, preview)
			values ($1, gen_random_uuid(), 'device', 'k', sha256('k'), 'k') returning tenant_id, api_key_id)
			insert into simulated_app (tenant_id, api_key_id, sealed) select tenant_id, api_key_id, '' from k`,
	} {
		_, err := f.Database.Super().ExecContext(t.Context(), statement, production.ID)
		if !tenant.Violates(err, constraint) {
			t.Errorf("%s: %v", constraint, err)
		}
	}
}

// Nothing in the database shows a code, a key or the app's API key, and after a day the
// phones are gone.
func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.begin(t)
	code := f.issue(t).Code
	var kept string
	if err := f.Database.Super().QueryRowContext(t.Context(), `select encode(sealed, 'escape') from simulated_phones`).Scan(&kept); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(kept, code) || strings.Contains(kept, "Keys") {
		t.Error("what phones remember is not sealed")
	}
	other := f.Create("south-sandbox", func(s *onboarding.Spec) { s.Kind, s.Region = tenant.Sandbox, "ZZ-SSS" })
	if r, err := f.desk.Find(t.Context(), other, auditor); r != nil || err != nil {
		t.Errorf("in another sandbox: %v, %v", r, err)
	}
	f.Advance(rehearsal.Life - time.Second)
	f.cleanup(t)
	f.state(t, auditor)
	f.Advance(time.Second)
	if r, err := f.desk.Find(t.Context(), f.sandbox, auditor); r != nil || err != nil {
		t.Errorf("after a day, before the job: %v, %v", r, err)
	}
	if err := f.desk.Issue(t.Context(), f.sandbox, auditor, 2); !errors.Is(err, rehearsal.ErrOver) {
		t.Errorf("a step of one that is over: %v", err)
	}
	if err := f.desk.Begin(t.Context(), f.sandbox, auditor, 0); err != nil {
		t.Errorf("begin in the place of one that is over: %v", err)
	}
	f.Advance(rehearsal.Life)
	f.cleanup(t)
	var rows int
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from simulated_phones`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows are left (%v)", rows, err)
	}
}

func (f *fixture) cleanup(t *testing.T) {
	t.Helper()
	if err := rehearsal.Cleanup(t.Context(), f.Jobs, f.sandbox.ID, f.Now()); err != nil {
		t.Fatal(err)
	}
}
