package adminui_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	adminui "carillon/admin-ui"
	"carillon/admin-ui/adminuitest"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key/custody"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	caseworker = "caseworker@north-shore.example"
	analyst    = "analyst@north-shore.example"
	auditor    = "auditor@north-shore.example"
	custodian  = "custodian@north-shore.example"
	owner      = "owner@north-shore.example"
	stranger   = "stranger@elsewhere.example"
	operator   = "operator@platform.example"
	supporter  = "support@platform.example"
)

var noon = time.Date(2026, time.November, 26, 12, 0, 0, 0, time.UTC)

// world is a portal with two health authorities.
type world struct {
	*browser
	server    *httptest.Server
	portal    *adminui.Portal
	codes     *adminuitest.Codes
	sharing   *adminuitest.Sharing
	signIns   *adminuitest.SignIn
	support   *adminuitest.Support
	leaving   *adminuitest.Leaving
	archives  *adminuitest.Archives
	operators *adminuitest.Operators
	desk      *adminuitest.Desk
	audit     *adminuitest.Audit
	figures   *adminuitest.Figures
	exports   *adminuitest.Exports
	staff     *adminuitest.Staff
	login     *adminuitest.Login
	sessions  *adminuitest.Sessions
	log       *lines

	mu  sync.Mutex
	now time.Time // guarded by mu
}

// lines is a log that several requests may write to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, changes ...func(*adminui.Config)) *world {
	t.Helper()
	w := &world{
		now: noon, log: &lines{}, sessions: &adminuitest.Sessions{},
		staff: &adminuitest.Staff{
			Tenants: []*tenant.Tenant{
				authority("north-shore", "North Shore Department of Health"),
				authority("river-valley", "River Valley Public Health"),
			},
			Roles: map[string]map[tenant.Slug][]authz.Role{
				caseworker: {"north-shore": {authz.Caseworker}},
				auditor:    {"north-shore": {authz.Auditor}},
				custodian:  {"north-shore": {authz.KeyCustodian}},
				owner:      {"north-shore": {authz.Owner}},
				analyst:    {"north-shore": {authz.Analyst}, "river-valley": {authz.Analyst}},
			},
		},
	}
	w.sharing = &adminuitest.Sharing{Now: w.clock}
	w.support, w.desk = &adminuitest.Support{Now: w.clock}, &adminuitest.Desk{}
	w.leaving = &adminuitest.Leaving{Now: w.clock}
	w.archives = &adminuitest.Archives{Now: w.clock, Body: "the archive"}
	w.operators = &adminuitest.Operators{Roles: map[string]authz.Role{operator: authz.Operator, supporter: authz.Support}}
	w.figures, w.exports = &adminuitest.Figures{Now: w.clock}, &adminuitest.Exports{Now: w.clock}
	w.codes, w.audit = &adminuitest.Codes{Now: w.clock}, &adminuitest.Audit{}
	w.login = &adminuitest.Login{As: identity(caseworker), Now: w.clock}
	w.signIns = &adminuitest.SignIn{Realm: w.staff.Tenants[0].ID, Login: w.login}
	config := adminui.Config{
		BaseURL: "https://carillon.example", Login: w.login, Staff: w.staff, Codes: w.codes, Audit: w.audit, Sharing: w.sharing, SignIn: w.signIns, Providers: directory{w.signIns}, Directory: w.staff,
		Members: struct{ adminui.Members }{}, // with a database in the tests of the staff page
		APIKeys: (*client.Staff)(nil), KeyUse: (*stats.Service)(nil), Figures: w.figures, Exports: w.exports, Keys: (*custody.Staff)(nil),
		Signup: &adminuitest.Signup{}, SignupIssuer: "https://login.example",
		Support: w.support, Leaving: w.leaving, Archives: w.archives, Operators: w.operators, Desk: w.desk,
		Policies: authz.NewPolicies(nil), Sessions: w.sessions, Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.clock,
	}
	config.Roles = struct{ adminui.Roles }{} // whoever looks at roles brings some
	config.Packs = struct{ adminui.Packs }{}
	for _, change := range changes {
		change(&config)
	}
	var err error
	if w.portal, err = adminui.New(config); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewTLSServer(w.portal.Handler())
	t.Cleanup(w.server.Close)
	w.browser = newBrowser(t, w.server)
	return w
}

func authority(slug tenant.Slug, name string) *tenant.Tenant {
	return &tenant.Tenant{
		ID: tenant.NewID(), Slug: slug, Name: name, Region: "XA-NS", State: tenant.Active,
		Settings: tenant.Settings{
			TestTypes: []string{"confirmed", "likely", "negative"}, RequireDate: true, SMSEnabled: true, SMSCountry: "US", TimeZone: "America/Los_Angeles",
			CodeDigits: 8, CodeLife: 15 * time.Minute, LongCodeLife: 24 * time.Hour,
		},
	}
}

func identity(email string) oidc.Identity {
	return oidc.Identity{Issuer: "https://login.example", Subject: "subject of " + email, Email: email, Name: "Name of " + email}
}

// signIn signs somebody in and returns the page that she lands on.
func (w *world) signIn(email string) *page {
	w.t.Helper()
	w.login.As = identity(email)
	return w.get("/login/start")
}

// filledIn is the form for a new code as the page has it, filled in.
func (w *world) filledIn(change ...string) url.Values {
	w.t.Helper()
	p := w.get("/portal/north-shore/codes/new").wants(200, "Issue a verification code")
	form := url.Values{
		"code_id": {p.value("code_id")}, "test_type": {"confirmed"}, "test_date": {"2026-11-25"}, "tz_offset": {"-480"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		form.Set(change[i], change[i+1])
	}
	return form
}

const newPath = "/portal/north-shore/codes/new"

func TestACodeIsIssuedOnceAndFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker).wants(200, "Choose a health authority").contains("North Shore Department of Health").lacks("River Valley")
	form := w.filledIn("phone", "+1 206 555 0142")

	p := w.post(newPath, form).wants(200, "Verification code issued")
	p.contains("1234 5678").contains("one two three four, five six seven eight").contains("04:15 PST").marks(`title="2026-11-26 12:15 UTC"`).
		contains("15 minutes").contains("number ending in 0142").contains(form.Get("code_id")).lacks("555")
	if strings.Contains(p.text("title"), "1234") || strings.Contains(p.url.String(), "1234") {
		t.Error("the code is in the title or the URL")
	}
	want := []verification.IssueRequest{{
		UUID: form.Get("code_id"), TestType: "confirmed", TestDate: "2026-11-25", TZOffset: -480,
		Phone: "+1 206 555 0142", KeepWhenUnsent: true,
	}}
	if diff := cmp.Diff(want, w.codes.Requests); diff != "" {
		t.Error(diff)
	}

	w.post(newPath, form).wants(409, "This form was sent before").lacks(adminuitest.Code)
	if len(w.codes.Requests) != 1 {
		t.Errorf("%d codes, want 1", len(w.codes.Requests))
	}

	status := p.link("See whether it was used")
	w.get(status).wants(200, "Look up a code").contains("Not used yet").lacks(adminuitest.Code)
	w.codes.Claim(form.Get("code_id"))
	w.get(status).wants(200, "Look up a code").contains("Used").lacks("End this code")
	if log := w.log.String(); strings.Contains(log, adminuitest.Code) || strings.Contains(log, "0142") || strings.Contains(log, caseworker) {
		t.Errorf("the log tells too much: %s", log)
	}
}

func TestACodeIsEndedInTwoSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	issued := w.post(newPath, w.filledIn()).wants(200, "Verification code issued")
	found := w.get(issued.link("See whether it was used"))

	question := w.get(found.link("End this code")).wants(200, "End this code?")
	w.get(question.link("Keep it")).wants(200, "Look up a code").contains("Not used yet")

	w.post(question.url.Path, nil).wants(200, "Look up a code").contains("The code has been ended.").contains("Expired")
	w.get(found.url.RequestURI()).wants(200, "Look up a code").lacks("The code has been ended.")
	w.get(question.url.Path).wants(200, "Look up a code").contains("Expired")
}

func TestAUsedCodeCannotBeEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form)
	w.codes.Claim(form.Get("code_id"))
	w.post("/portal/north-shore/codes/"+form.Get("code_id")+"/expire", nil).wants(409, "The code has already been used")
}

func TestCodesExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form)
	path := "/portal/north-shore/codes?id=" + form.Get("code_id")
	w.pass(15*time.Minute - time.Second)
	w.get(path).contains("Not used yet")
	w.pass(time.Second)
	w.get(path).contains("Expired")
}

func TestProblemsAreShownAtTheirField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		fail   error
		change []string
		status int
		field  string
		text   string
	}{
		{"no test result", nil, []string{"test_type", ""}, 422, "test_type", "Choose the test result"},
		{"unsupported", verification.ErrUnsupportedTestType, nil, 422, "test_type", "Choose a test result that your health authority uses"},
		{"no date", verification.ErrMissingDate, nil, 422, "symptom_date", "Enter the day symptoms began or the day of the test"},
		{"symptom date", verification.ErrInvalidDate, []string{"symptom_date", "2026-01-01"}, 422, "symptom_date", "Enter a date within the last 28 days"},
		{"test date", verification.ErrInvalidDate, []string{"test_date", "2026-01-01"}, 422, "test_date", "Enter a date within the last 28 days"},
		{"not a date", verification.ErrUnparsable, []string{"test_date", "yesterday"}, 422, "test_date", "Enter a date with day, month and year"},
		{"telephone number", nil, []string{"phone", "invalid"}, 422, "phone", "Enter a telephone number with its area code"},
		{"no provider", verification.ErrNoProvider, []string{"phone", "+12065550100"}, 422, "phone", "Leave the number empty"},
		{"wrapped", &verification.Problem{Kind: verification.ErrMissingPhone, Text: "canary"}, nil, 422, "phone", "a self-reported result needs one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.signIn(caseworker)
			form := w.filledIn(c.change...)
			w.codes.Fail = c.fail
			p := w.post(newPath, form).wants(c.status, "Issue a verification code").contains(c.text).lacks("canary")
			if !strings.HasPrefix(p.text("title"), "Error: ") {
				t.Errorf("title %q", p.text("title"))
			}
			if !strings.Contains(p.body, `href="#`+c.field+`"`) {
				t.Errorf("the summary does not lead to %s", c.field)
			}
			if p.value("code_id") != form.Get("code_id") || p.value("test_date") != form.Get("test_date") {
				t.Error("what was entered is lost")
			}
			w.codes.Fail = nil
			form.Set("test_type", "confirmed")
			form.Del("phone")
			w.post(newPath, form).wants(200, "Verification code issued")
		})
	}
}

func TestWhatElseWasLeftOutIsNamedWithTheFirstProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn("test_type", "", "test_date", "", "symptom_date", "", "phone", "invalid")
	w.codes.Fail = verification.ErrPhoneInvalid
	p := w.post(newPath, form).wants(422, "Issue a verification code").
		contains("Choose the test result").contains("Enter the day symptoms began").contains("Enter a telephone number with its area code")
	var last int
	for _, field := range []string{"test_type", "symptom_date", "phone"} {
		at := strings.Index(p.body, `href="#`+field+`"`)
		if at < last {
			t.Errorf("the summary names %s at %d, after what follows on the page at %d", field, at, last)
		}
		last = at
	}
}

func TestACodeWhoseMessageFailedIsShown(t *testing.T) {
	t.Parallel()
	for text, unsent := range map[string]error{
		"check the number":                  verification.ErrSMSFailed,
		"Too many messages are waiting":     verification.ErrSMSQueueFull,
		"not set up for your health author": verification.ErrNoProvider,
	} {
		w := newWorld(t)
		w.codes.SendError = unsent
		w.signIn(caseworker)
		w.post(newPath, w.filledIn("phone", "+12065550100")).wants(200, "Verification code issued").
			contains("No text message was sent").contains(text).contains("1234 5678").lacks("on its way")
	}
}

func TestPagesForErrors(t *testing.T) {
	t.Parallel()
	for heading, c := range map[string]struct {
		fail   error
		status int
	}{
		"Today’s codes are used up":      {verification.ErrQuota, 429},
		"No code could be made just now": {verification.ErrNoFreeCode, 503},
		"Something went wrong":           {errors.New("canary"), 500},
		"You may not do this":            {authz.ErrForbidden, 403},
		"The code has already been used": {verification.ErrAlreadyClaimed, 409},
	} {
		w := newWorld(t)
		w.signIn(caseworker)
		form := w.filledIn()
		w.codes.Fail = c.fail
		p := w.post(newPath, form).wants(c.status, heading).lacks("canary")
		p.contains(p.header.Get("X-Request-ID"))
		if c.status == 500 && !strings.Contains(w.log.String(), p.header.Get("X-Request-ID")) {
			t.Error("the log lacks the request's ID")
		}
	}
}

func TestWhoIsNotOfTheStaffSeesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form)
	id := form.Get("code_id")
	for _, path := range []string{"/", "/codes/new", "/codes", "/codes?id=" + id, "/codes/" + id + "/expire"} {
		other := w.get("/portal/river-valley"+path).wants(404, "Page not found")
		none := w.get("/portal/no-such-authority"+path).wants(404, "Page not found")
		same := func(p *page) string { return strings.ReplaceAll(p.body, p.header.Get("X-Request-ID"), "") }
		if diff := cmp.Diff(same(none), same(other)); diff != "" {
			t.Errorf("%s: another authority can be told from none: %s", path, diff)
		}
	}
	w.post("/portal/river-valley/codes/new", form).wants(404, "Page not found")
	w.post("/portal/river-valley/codes/"+id+"/expire", nil).wants(404, "Page not found")
	if len(w.codes.Requests) != 1 {
		t.Error("a code was issued for another authority")
	}
	if !strings.Contains(w.log.String(), "refused somebody of another health authority") {
		t.Error("the crossing is not in the log")
	}

	w.signIn(stranger).wants(200, "No health authority knows you yet").contains(stranger)
	w.get("/portal/north-shore/codes?id="+id).wants(404, "Page not found")
}

func TestAnotherAuthoritysCodeIsNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.staff.Roles[caseworker]["river-valley"] = []authz.Role{authz.Caseworker}
	w.signIn(caseworker)
	form := w.filledIn()
	w.post(newPath, form)
	id := form.Get("code_id")
	w.get("/portal/river-valley/codes?id="+id).wants(404, "Look up a code").contains("No code of your health authority has this ID")
	w.get("/portal/river-valley/codes/"+id+"/expire").wants(404, "Look up a code")
	w.post("/portal/river-valley/codes/"+id+"/expire", nil).wants(404, "Look up a code")
	w.get("/portal/north-shore/codes?id="+id).wants(200, "Look up a code").contains("Not used yet")
}

func TestLookingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	w.get("/portal/north-shore/codes").wants(200, "Look up a code")
	w.get("/portal/north-shore/codes?id=").contains("Enter the code or its ID")
	w.get("/portal/north-shore/codes?id="+url.QueryEscape(`"><script>`)).wants(404, "Look up a code").lacks("<script>")
	w.get("/portal/north-shore/codes?id="+uuid.NewString()).wants(404, "Look up a code")
}

func TestRolesDecideWhatIsOffered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(analyst).wants(200, "Choose a health authority").contains("River Valley")
	w.get("/portal/north-shore/").wants(200, "How the programme does").lacks("/codes")
	w.staff.Roles[analyst]["north-shore"] = []authz.Role{"archivist"}
	w.get("/portal/north-shore/").wants(200, "Welcome to North Shore Department of Health").contains("archivist").lacks("/codes")
	w.staff.Roles[analyst]["north-shore"] = []authz.Role{authz.Analyst}
	w.get(newPath).wants(403, "You may not do this")
	w.post(newPath, url.Values{"code_id": {uuid.NewString()}, "test_type": {"confirmed"}}).wants(403, "You may not do this")
	w.get("/portal/north-shore/codes").wants(403, "You may not do this")
	if len(w.codes.Requests) != 0 {
		t.Error("a code was issued")
	}
}

// Staff are kept to the networks that their authority has listed for the portal.
func TestStaffFromOutsideTheNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	inside, outside := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")
	w.staff.Tenants[0].Settings.PortalNetworks = []netip.Prefix{outside}
	w.get(newPath).wants(401, "This health authority cannot be reached from here")
	w.post(newPath, form).wants(401, "This health authority cannot be reached from here")
	if n := len(w.codes.Requests); n != 0 {
		t.Errorf("%d codes were issued from outside", n)
	}
	w.staff.Tenants[1].Settings.PortalNetworks = []netip.Prefix{outside}
	w.get("/portal/river-valley/").wants(404, "Page not found") // whoever is no member learns nothing
	w.staff.Tenants[0].Settings.PortalNetworks = []netip.Prefix{outside, inside}
	w.get(newPath).wants(200, "Issue a verification code")
}

func TestASuspendedAuthorityIssuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.staff.Tenants[0].State, w.staff.Tenants[1].State = tenant.Suspended, tenant.Suspended
	w.post(newPath, form).wants(403, "This health authority is suspended")
	w.get("/portal/river-valley/").wants(404, "Page not found")
}

// Staff of an authority that is closed are told why, and whoever may read the audit log
// still can.
func TestAClosedAuthorityTellsWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	north := w.staff.Tenants[0]
	north.State, north.StateReason, north.StateSince = tenant.Suspended, "Codes for nobody, of last night", noon.Add(-25*time.Hour)
	w.signIn(caseworker)
	p := w.get("/portal/north-shore/").wants(403, "This health authority is suspended").contains("Codes for nobody, of last night").contains("November 25, 2026")
	p.lacks("/portal/north-shore/audit").lacks("/portal/north-shore/codes")
	w.signIn(auditor)
	p = w.get("/portal/north-shore/sharing").wants(403, "This health authority is suspended")
	w.get(p.link("Read the audit log")).wants(200, "Audit log")
	w.signIn(caseworker)
	w.get("/portal/north-shore/audit").wants(403, "This health authority is suspended")
	north.State = tenant.Leaving
	w.get("/portal/north-shore/").wants(403, "This health authority is leaving")
}

func TestSigningInComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.get(newPath).wants(200, "Sign in")
	w.get(p.link("Continue to sign in")).wants(200, "Issue a verification code")
	w.get("/login").wants(200, "Choose a health authority")

	w = newWorld(t)
	p = w.post(newPath, url.Values{}).wants(200, "Sign in").contains("what you sent was not used")
	w.get(p.link("Continue to sign in")).wants(200, "Issue a verification code")

	w = newWorld(t)
	p = w.post(newPath, url.Values{"phone": {"+1 206 555 0100"}, "test_type": {"confirmed"}}).wants(401, "You were signed out before this was sent")
	w.get(p.link("Sign in, in another tab")).contains("Sign in")

	w = newWorld(t)
	w.get("/login/start?return="+url.QueryEscape("https://evil.example/")).wants(200, "Choose a health authority")
}

// A form that was sent after the session had ended is kept, without scripts, and does once what
// it was for when it is sent again after a sign-in in another tab; also when nobody has
// signed in lately enough for it. What is kept is escaped, secrets are not kept, and nothing is
// while nobody has typed anything.
func TestAFormOutlivesItsSession(t *testing.T) {
	t.Parallel()
	k := newKeyWorld(t)
	k.signIn(owner)
	typed := url.Values{"name": {`Lab "7" <b>Zoë & مختبر</b>`}, "kind": {"admin"}, "client_secret": {"of a provider"}}
	send := func(heading string) {
		t.Helper()
		kept := k.post(keysPath+"/new", typed).wants(401, heading).lacks("of a provider").lacks("<b>")
		again := url.Values{}
		for n := range kept.all("input") {
			if !has(n, "name") {
				continue // of the page around it
			}
			again.Add(attr(n, "name"), attr(n, "value"))
		}
		if got, want := again.Get("name"), typed.Get("name"); got != want || again.Get("kind") != "admin" {
			t.Errorf("kept is %q, typed was %q", again, want)
		}
		k.post(keysPath+"/new", again).wants(401, heading) // nobody has signed in yet
		k.get(k.get(kept.link("Sign in, in another tab")).link("Continue to sign in"))
		k.post(keysPath+"/new", again).wants(200, "The new key: "+typed.Get("name"))
	}
	k.forget()
	send("You were signed out before this was sent")
	typed.Set("name", "Laboratory & sons")
	k.pass(11 * time.Minute)
	send("Sign in again before this is sent")
	k.forget()
	k.post(keysPath+"/new", nil).wants(200, "Sign in").contains("what you sent was not used")
}

// Where more than a form may be sent, strangers may send no more than a form: of what is longer
// nothing is read, kept or given back. So it is for those of the staff who may not do it.
func TestStrangersHaveTheRoomOfAForm(t *testing.T) {
	t.Parallel()
	w, long := newWorld(t), url.Values{"list": {strings.Repeat("x", 100_000)}}
	const path = "/portal/north-shore/staff/import"
	w.post(path, url.Values{"list": {"short"}}).wants(401, "You were signed out before this was sent").marks("short")
	w.post(path, long).wants(200, "Sign in").contains("what you sent was not used").lacks("xxx")
	w.signIn(caseworker)
	w.post(path, long).wants(403, "You may not do this")
}

func TestSignInThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.get("/login/callback?state=guessed&code=x").wants(400, "Sign in").contains("Signing in took too long")
	for _, fail := range oidc.Sentinels() {
		w.login.FailFinish = fail
		p := w.get("/login/start")
		if p.text("h1") != "Sign in" || p.status < 400 || !strings.HasPrefix(p.text("title"), "Error: ") {
			t.Errorf("%v: got %d %q", fail, p.status, p.text("title"))
		}
	}
	w.login.FailFinish, w.login.FailBegin = nil, oidc.ErrProvider
	w.get("/login/start").wants(503, "Sign in").contains("cannot be reached")
	w.get("/portal").wants(200, "Sign in")
}

func TestAnAnswerServesOneSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	first, second := w.get("/login/start").header.Get("Location"), w.get("/login/start").header.Get("Location")
	for _, callback := range []string{first, second} { // two tabs
		if p := w.get(callback); p.status != 303 {
			t.Errorf("got %d, want 303", p.status)
		}
	}
	w.get(first).wants(400, "Sign in")
	other := newBrowser(t, w.server)
	other.get(second).wants(400, "Sign in")
}

func TestTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	start := w.get("/login/start")
	planted := start.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-carillon=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
		if !strings.Contains(planted, want) {
			t.Errorf("cookie %q lacks %q", planted, want)
		}
	}
	if strings.Contains(planted, "Domain") || strings.Contains(planted, "Expires") {
		t.Errorf("cookie %q outlives the browser, or goes to other hosts", planted)
	}
	after := w.get(start.header.Get("Location")).header.Get("Set-Cookie")
	if value(after) == value(planted) {
		t.Error("the cookie did not change at sign-in")
	}
	if digests := w.sessions.Digests(); len(digests) != 1 || digests[0] == value(after) {
		t.Errorf("the store has %q for %q", digests, value(after))
	}
	w.get("/portal").wants(200, "Choose a health authority")

	old := w.request(http.MethodGet, "/portal", nil)
	old.Header.Set("Cookie", "__Host-carillon="+value(planted))
	stale := newBrowser(t, w.server)
	stale.client.CheckRedirect = w.client.CheckRedirect
	if p := stale.do(old); p.status != 303 {
		t.Errorf("the cookie from before sign-in still serves: %d", p.status)
	}
}

// value is what a Set-Cookie header sets.
func value(cookie string) string {
	name, _, _ := strings.Cut(cookie, ";")
	return strings.TrimPrefix(name, "__Host-carillon=")
}

func TestSigningOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	w.get("/logout").wants(200, "Sign out?")
	w.get("/portal").wants(200, "Choose a health authority")
	w.post("/logout", nil).wants(200, "You have signed out").contains("Sign out of your organization’s account")
	w.get("/portal").wants(200, "Sign in")
	if n := len(w.sessions.Digests()); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	w.login.FailBegin = oidc.ErrProvider
	w.get("/logout").wants(200, "You have signed out").lacks("login.example")
}

func TestAnotherSiteCannotSendForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		r := w.request(http.MethodPost, newPath, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(header, value)
		w.do(r).wants(403, "Refused for your safety")
	}
	if len(w.codes.Requests) != 0 {
		t.Error("a code was issued")
	}
}

func TestFormsThatNoPageSends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	w.post(newPath, url.Values{"test_type": {"confirmed"}}).wants(400, "The form could not be read")
	w.post(newPath, w.filledIn("phone", strings.Repeat("1", 100_000))).wants(400, "The form could not be read")
	w.get("/nowhere").wants(404, "Page not found")
	w.post("/portal", nil).wants(405, "Page not found")
}

func TestALimitTellsHowLongToWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	form := w.filledIn()
	w.codes.Fail = verification.ErrInvalidTestType
	for range 30 {
		w.post(newPath, form).wants(422, "Issue a verification code")
	}
	p := w.post(newPath, form).wants(429, "Too many requests")
	if got := p.header.Get("Retry-After"); got != "61" {
		t.Errorf("Retry-After %q, want 61", got)
	}
	w.pass(time.Minute)
	w.codes.Fail = nil
	w.post(newPath, form).wants(200, "Verification code issued")
}

func TestABrokenStoreIsNoWayIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	w.sessions.Fail = errors.New("canary")
	w.get("/portal").wants(500, "Something went wrong").lacks("canary").contains("request ID")
}

func TestAssetsNeverChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.get("/login")
	paths := []string{}
	for n := range p.all("link", "script") {
		paths = append(paths, attr(n, "href")+attr(n, "src"))
	}
	if len(paths) != 3 {
		t.Errorf("assets %q", paths)
	}
	for _, path := range paths {
		a := w.get(path)
		if a.status != 200 || !strings.Contains(a.header.Get("Cache-Control"), "immutable") || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	w.get("/assets/manifest.json").wants(404, "Page not found")
	w.get("/assets/..%2f..%2fmessages%2fen.json").wants(404, "Page not found")
}

func TestUnknownPathsCanBeAnothersBusiness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *adminui.Config) {
		c.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "another's") })
	})
	if p := w.get("/t/north-shore/jwks"); p.body != "another's" {
		t.Errorf("got %q", p.body)
	}
	w.signIn(caseworker)
	w.get("/portal/river-valley/").wants(404, "Page not found")
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	const golden = "testdata/routes.golden"
	routes := newWorld(t).portal.Routes()
	if err := authz.ValidateRoutes(routes); err != nil {
		t.Error(err)
	}
	got := authz.Table(routes)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("routes changed (-golden +now):\n%s", diff)
	}
}

// Every route but the public ones asks for a session before anything else.
func TestNoRouteForgetsItsGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *adminui.Config) { c.NoLimits = true }) // there are more routes than one may ask for in a minute
	open := []string{
		"/", "/assets/:name", "/language", "/login", "/login/start", "/login/callback", "/logout",
		// Of health authorities' own providers: nobody has signed in yet, or a provider speaks.
		"/login/find", "/login/callback/:provider", "/portal/:tenant/login", "/portal/:tenant/login/start", "/portal/:tenant/login/keys/:provider",
		"/login/back-channel-logout", "/portal/:tenant/login/back-channel-logout/:provider",
	}
	for _, r := range w.portal.Routes() {
		if slices.Contains(open, r.Path) || strings.HasPrefix(r.Path, "/signup") {
			continue
		}
		path := strings.NewReplacer(":tenant", "north-shore", ":id", uuid.NewString()).Replace(r.Path)
		send := w.get
		if r.Method == http.MethodPost {
			send = func(path string) *page { return w.post(path, nil) }
		}
		send(path).wants(200, "Sign in")
		w.pass(time.Minute) // so that no limit speaks first
	}
}

func TestNewRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	good := adminui.Config{
		BaseURL: "https://carillon.example", Login: &adminuitest.Login{}, Staff: &adminuitest.Staff{}, Codes: &adminuitest.Codes{}, Audit: &adminuitest.Audit{}, Sharing: &adminuitest.Sharing{},
		SignIn: &adminuitest.SignIn{}, Providers: directory{},
		APIKeys: (*client.Staff)(nil), KeyUse: (*stats.Service)(nil), Figures: (*stats.Service)(nil), Exports: struct{ adminui.Exports }{}, Keys: (*custody.Staff)(nil),
		Directory: &adminuitest.Staff{}, Policies: authz.NewPolicies(nil), Sessions: &adminuitest.Sessions{},
		Members: struct{ adminui.Members }{}, Roles: struct{ adminui.Roles }{},
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if _, err := adminui.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*adminui.Config){
		"base URL with a slash": func(c *adminui.Config) { c.BaseURL += "/" },
		"no base URL":           func(c *adminui.Config) { c.BaseURL = "" },
		"no codes":              func(c *adminui.Config) { c.Codes = nil },
		"no members":            func(c *adminui.Config) { c.Members = nil },
		"nobody to serve":       func(c *adminui.Config) { c.Staff = nil },
		"no sharing":            func(c *adminui.Config) { c.Sharing = nil },
		"no roles":              func(c *adminui.Config) { c.Roles = nil },
		"no API keys":           func(c *adminui.Config) { c.APIKeys = nil },
		"no use of keys":        func(c *adminui.Config) { c.KeyUse = nil },
		"no exports":            func(c *adminui.Config) { c.Exports = nil },
		"no figures":            func(c *adminui.Config) { c.Figures = nil },
		"no audit log":          func(c *adminui.Config) { c.Audit = nil },
		"no clock":              func(c *adminui.Config) { c.Now = nil },
	} {
		c := good
		change(&c)
		if _, err := adminui.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Who is signed in already, but not freshly, signs in again and comes back.
func TestSigningInAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(caseworker)
	before := w.sessions.Digests()
	w.get("/login").wants(200, "Choose a health authority")
	p := w.get("/login?reason=fresh&return=/portal/north-shore/codes").wants(200, "Sign in again").contains("of the last 10 minutes")
	p = w.get(p.link("Continue to sign in")).wants(200, "Look up a code")
	if p.url.Path != "/portal/north-shore/codes" || slices.Equal(before, w.sessions.Digests()) {
		t.Errorf("she is at %s with the old cookie or a new one", p.url)
	}
}
