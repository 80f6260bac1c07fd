package adminui_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"carillon/admin-ui/report"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/reportpage"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// reportWorld is the hosted page over a real database, with one health authority that
// has it and one that has not.
type reportWorld struct {
	*browser
	world        *tenanttest.World
	server       *httptest.Server
	sms          *messagetest.Sender
	north, south *tenant.Tenant
	key          string
	nonce        string
	log          *lines
}

const reportHost = "en.example"

func newReportWorld(t *testing.T, changes ...func(*report.Config)) *reportWorld {
	t.Helper()
	w := tenanttest.New(t)
	f := &reportWorld{world: w, sms: &messagetest.Sender{}, log: &lines{}}
	f.north, f.south = w.Create("north"), w.Create("south")
	f.set(f.north, `self_report = true, self_report_page = true, sms_enabled = true, require_date = true`)
	f.set(f.south, `self_report = true, sms_enabled = true`)
	f.key = w.Key(f.north, client.Device)
	f.nonce = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, verification.NonceSize))
	policies, keys := authz.NewPolicies(nil), key.NewRing(w.Report, w.Root)
	c := report.Config{
		Hosts: []string{reportHost},
		Codes: verification.New(verification.Config{
			DB: w.Report, Keys: keys, Policies: policies, Sender: f.sms, Now: w.Now, Rand: rand.Reader,
		}),
		Apps: client.NewAuthenticator(w.Report, nil, w.Now), Directory: tenant.NewDirectory(w.Report), Policies: policies,
		Pages: reportpage.New(w.Report, keys), Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: w.Now,
	}
	for _, change := range changes {
		change(&c)
	}
	s, err := report.New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewTLSServer(s.Handler())
	t.Cleanup(f.server.Close)
	f.browser = newBrowser(t, f.server)
	return f
}

func (f *reportWorld) set(of *tenant.Tenant, assignments string) {
	query := `update tenant_setting set ` + assignments + ` where tenant_id = $1`
	if _, err := f.world.Database.Super().Exec(query, of.ID); err != nil {
		panic(err)
	}
}

// open opens the page as a phone does; change alters its request.
func (f *reportWorld) open(change func(*http.Request)) *page {
	f.t.Helper()
	r := f.request(http.MethodPost, "/report", nil)
	r.Host = reportHost + ":8443"
	r.Header.Set("X-API-Key", f.key)
	r.Header.Set("X-Nonce", f.nonce)
	if change != nil {
		change(r)
	}
	return f.do(r)
}

// send sends the form as the browser does.
func (f *reportWorld) send(form url.Values, headers ...string) *page {
	f.t.Helper()
	r := f.request(http.MethodPost, "/report/issue", strings.NewReader(form.Encode()))
	r.Host = reportHost
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return f.do(r)
}

func filled() url.Values {
	return url.Values{"testDate": {"2026-11-24"}, "phone": {"+1 206 555 0100"}, "agreement": {"true"}}
}

const (
	formHeading = "Get a code for your positive test"
	sentHeading = "Your request was received"
)

// A person reports, and the phone verifies the code with the nonce that it opened the
// page with.
func TestReportPage(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		f := newReportWorld(t)
		p := f.open(func(r *http.Request) { r.Method = method }).wants(http.StatusOK, formHeading)
		p.contains("Health of north").lacks(f.key)
		cookie := p.header.Get("Set-Cookie")
		for _, want := range []string{"en-user-report=", "; HttpOnly", "; Secure", "; SameSite=Strict", "; Max-Age=3600", "; Path=/report"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("cookie lacks %q", want)
			}
		}
		if strings.Contains(cookie, f.nonce[:20]) {
			t.Error("the cookie shows the nonce")
		}
		p = f.send(filled()).wants(http.StatusOK, sentHeading).lacks("report-sent")
		if !strings.Contains(p.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Error("the nonce stays in the cookie")
		}
		sent := f.sms.Delivered()
		if len(sent) != 1 || sent[0].To != "+12065550100" {
			t.Fatalf("%d messages", len(sent))
		}
		code := regexp.MustCompile(`[0-9]{8}`).FindString(sent[0].Body)
		device := verification.New(verification.Config{
			DB: f.world.Device, Keys: key.NewRing(f.world.Device, f.world.Root), Now: f.world.Now, Rand: rand.Reader,
		})
		v, err := device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: f.nonce})
		if err != nil || v.TestType != "user-report" || v.TestDate != "2026-11-24" {
			t.Errorf("verify: %v", err)
		}
		f.send(filled()).wants(http.StatusNotFound, "This form was used or is too old")
	}
}

// Who may open the page, and what the others see (§5.2).
func TestReportPageOpens(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	admin, other := f.world.Key(f.north, client.Admin), f.world.Key(f.south, client.Device)
	short := base64.StdEncoding.EncodeToString(make([]byte, verification.NonceSize-1))
	for name, c := range map[string]struct {
		change  func(*http.Request)
		status  int
		heading string
	}{
		"another host":      {func(r *http.Request) { r.Host = "us-wa.en.example" }, 401, "This page opens only from the app"},
		"no key":            {func(r *http.Request) { r.Header.Del("X-API-Key") }, 401, "This page opens only from the app"},
		"unknown key":       {func(r *http.Request) { r.Header.Set("X-API-Key", strings.Repeat("A", len(f.key))) }, 401, "This page opens only from the app"},
		"back end's key":    {func(r *http.Request) { r.Header.Set("X-API-Key", admin) }, 401, "This page opens only from the app"},
		"no page there":     {func(r *http.Request) { r.Header.Set("X-API-Key", other) }, 404, "This service is not offered here"},
		"throttled phone":   {func(r *http.Request) { r.Header.Set("X-Nonce", "") }, 200, "Your phone has asked too often"},
		"short nonce":       {func(r *http.Request) { r.Header.Set("X-Nonce", short) }, 200, "This request is not valid"},
		"nonce no base64":   {func(r *http.Request) { r.Header.Set("X-Nonce", "%") }, 200, "This request is not valid"},
		"key in the query":  {func(r *http.Request) { r.Header.Del("X-API-Key"); r.URL.RawQuery = "apikey=" + f.key }, 401, "This page opens only from the app"},
		"blanks around key": {func(r *http.Request) { r.Header.Set("X-API-Key", " "+f.key+" ") }, 200, formHeading},
	} {
		t.Log(name)
		p := f.open(c.change).wants(c.status, c.heading)
		if got := p.header.Get("Set-Cookie") != ""; got != (c.heading == formHeading) {
			t.Errorf("%s: cookie %t", name, got)
		}
	}
}

// A page that is switched off does not exist.
func TestReportPageSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`update tenant_setting set self_report_page = false where tenant_id = $1`,
		`update tenant_setting set self_report = false, self_report_page = false where tenant_id = $1`,
	} {
		f := newReportWorld(t)
		if _, err := f.world.Database.Super().ExecContext(t.Context(), statement, f.north.ID); err != nil {
			t.Fatal(err)
		}
		f.open(nil).wants(http.StatusNotFound, "This service is not offered here")
	}
}

// What a person can put right is told at its field; the visit goes on.
func TestReportPageProblems(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.open(nil)
	for name, c := range map[string]struct {
		change func(url.Values)
		fault  messagetest.Fault
		want   string
	}{
		"not agreed":     {func(v url.Values) { v.Del("agreement") }, messagetest.None, "Check the box"},
		"agreed to what": {func(v url.Values) { v.Set("agreement", "yes") }, messagetest.None, "Check the box"},
		"no date":        {func(v url.Values) { v.Del("testDate") }, messagetest.None, "Enter the date of your test"},
		"old date":       {func(v url.Values) { v.Set("testDate", "2026-01-01") }, messagetest.None, "Enter a date within the last 28 days"},
		"no such date":   {func(v url.Values) { v.Set("testDate", "2026-02-31") }, messagetest.None, "Enter a date within the last 28 days"},
		"no phone":       {func(v url.Values) { v.Del("phone") }, messagetest.None, "Enter your mobile phone number"},
		"no such phone":  {func(v url.Values) { v.Set("phone", "1") }, messagetest.None, "Enter a phone number with its area code"},
		"message failed": {func(url.Values) {}, messagetest.Failed, "The text message could not be sent"},
		"queue full":     {func(url.Values) {}, messagetest.QueueFull, "Too many text messages are waiting"},
	} {
		f.sms.Break(c.fault)
		form := filled()
		c.change(form)
		p := f.send(form).wants(http.StatusOK, formHeading).contains(c.want)
		if !strings.HasPrefix(p.text("title"), "Error: ") || p.value("phone") != form.Get("phone") || p.value("testDate") != form.Get("testDate") {
			t.Errorf("%s: title %q, or what was entered is lost", name, p.text("title"))
		}
	}
	f.sms.Break(messagetest.None)
	f.send(filled()).wants(http.StatusOK, sentHeading)
}

// A number that has reported reads like any other.
func TestReportPageMasksNumbers(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.open(nil)
	first := f.send(filled()).wants(http.StatusOK, sentHeading)
	f.open(nil)
	second := f.send(filled()).wants(http.StatusOK, sentHeading)
	if first.body != second.body {
		t.Error("the pages differ")
	}
	if f.sms.Attempts() != 1 {
		t.Errorf("%d messages, want 1", f.sms.Attempts())
	}
}

func TestReportPageRefusesForms(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.send(filled()).wants(http.StatusNotFound, "This form was used or is too old")
	f.open(nil)
	f.send(filled(), "Sec-Fetch-Site", "cross-site").wants(http.StatusUnauthorized, "This page opens only from the app")
	r := f.request(http.MethodPost, "/report/issue", strings.NewReader("phone=%zz"))
	r.Host = reportHost
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f.do(r).wants(http.StatusUnprocessableEntity, "The form could not be read")
	f.send(url.Values{"phone": {strings.Repeat("1", 20_000)}}).wants(http.StatusRequestEntityTooLarge, "The form could not be read")
	r = f.request(http.MethodGet, "/report/issue", nil)
	r.Host = reportHost
	if p := f.do(r); p.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", p.status)
	}
	f.world.Advance(reportpage.VisitLife)
	f.send(filled()).wants(http.StatusNotFound, "This form was used or is too old")
	if f.sms.Attempts() != 0 {
		t.Error("a message was sent")
	}
}

// iOS closes the sheet itself, if the page says that it is done.
func TestReportPageClosesItsSheet(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"Mozilla/5.0 (iPhone; CPU iPhone OS 15_0)", "CFNetwork DARWIN/20"} {
		f := newReportWorld(t)
		f.open(nil)
		if p := f.send(filled(), "User-Agent", agent).wants(http.StatusOK, sentHeading); !strings.Contains(p.body, "<report-sent>") {
			t.Errorf("%s: no message", agent)
		}
	}
}

// The page is in the reader's language, in the authority's words and colors.
func TestReportPageSpeaks(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	by := authz.Subject{Kind: authz.System, ID: "test"}
	err := f.world.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		look := reportpage.Look{Color: "#102030", ImageURL: "https://logo.example/l.svg", LearnMoreURL: "https://north.example/more"}
		if err := reportpage.SetLook(t.Context(), tx, by, look, f.world.Now()); err != nil {
			return err
		}
		for _, text := range []reportpage.Text{
			{Language: "es-US", Agency: "Salud <b>Norte</b>", Intro: "Nuestras palabras", Success: "Listo"},
			{Language: "ar", Phone: "هاتفك"},
		} {
			if err := reportpage.SetText(t.Context(), tx, by, text, f.world.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	speak := func(accept string) *page {
		return f.open(func(r *http.Request) { r.Header.Set("Accept-Language", accept) })
	}
	p := speak("es-MX,en;q=0.5").wants(http.StatusOK, "Obtenga un código para su prueba positiva")
	p.contains("Salud <b>Norte</b>").contains("Nuestras palabras").lacks("<b>Norte").contains("Más información")
	if got := p.header.Get("Content-Security-Policy"); !strings.Contains(got, "img-src 'self' https://logo.example;") {
		t.Errorf("policy %q", got)
	}
	if !strings.Contains(p.body, `fill="#102030"`) || !strings.Contains(p.body, "agency--dark") {
		t.Error("the color is missing")
	}
	p = speak("ar")
	if !strings.Contains(p.body, `<html lang="ar" dir="rtl">`) || !strings.Contains(p.body, "هاتفك") {
		t.Error("not in Arabic from right to left")
	}
	for _, accept := range []string{"", "fr", "%%%", "en-GB"} {
		speak(accept).wants(http.StatusOK, formHeading)
	}
	p = f.send(filled(), "Accept-Language", "es").wants(http.StatusOK, "Recibimos su solicitud")
	p.contains("Listo")
}

// A person changes the language on the page, without losing what she has typed, and the
// page keeps to it.
func TestReportPageChangesLanguage(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.open(nil).contains("Español").contains("العربية")
	form := filled()
	form.Set("translate", "es")
	p := f.send(form).wants(http.StatusOK, "Obtenga un código para su prueba positiva")
	for _, want := range []string{`value="2026-11-24"`, `value="&#43;1 206 555 0100"`, " checked", `name="lang" value="es"`} {
		if !strings.Contains(p.body, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if len(f.sms.Delivered()) != 0 {
		t.Error("a message was sent for it")
	}
	form.Del("translate")
	form.Set("lang", "es")
	form.Del("agreement")
	f.send(form, "Accept-Language", "ar").wants(http.StatusOK, "Obtenga un código para su prueba positiva").contains("Hay un problema")
	form.Set("lang", `"><b>`)
	f.send(form).wants(http.StatusOK, formHeading)
	form.Set("agreement", "true")
	form.Set("lang", "es")
	f.send(form).wants(http.StatusOK, "Recibimos su solicitud")
}

func TestReportPageFallsBackToTheTenantsLanguage(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.set(f.north, `language = 'es-419'`)
	f.open(nil).wants(http.StatusOK, "Obtenga un código para su prueba positiva")
	f.open(func(r *http.Request) { r.Header.Set("Accept-Language", "en") }).wants(http.StatusOK, formHeading)
}

func TestReportPageIsLimited(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	last := 0
	for range 61 {
		last = f.open(nil).status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("status %d after 61 requests", last)
	}
	if p := f.open(nil).wants(http.StatusTooManyRequests, "Too many requests"); p.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// What is not the page's is served by whoever comes next.
func TestReportPageLeavesTheRest(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f := newReportWorld(t, func(c *report.Config) { c.NotFound = next })
	for path, want := range map[string]int{
		"/": http.StatusTeapot, "/reports": http.StatusTeapot, "/portal": http.StatusTeapot,
		"/report/nothing": http.StatusNotFound, "/report/files/nothing.css": http.StatusNotFound,
	} {
		if p := f.do(f.request(http.MethodGet, path, nil)); p.status != want {
			t.Errorf("%s: %d, want %d", path, p.status, want)
		}
	}
	p := f.open(nil)
	for n := range p.all("link", "script") {
		src := attr(n, "src") + attr(n, "href")
		if got := f.do(f.request(http.MethodGet, src, nil)); got.status != http.StatusOK || !strings.HasPrefix(src, "/report/files/") {
			t.Errorf("%s: %d", src, got.status)
		}
	}
}

func TestReportPageKeepsSecretsFromItsLog(t *testing.T) {
	t.Parallel()
	f := newReportWorld(t)
	f.open(nil)
	f.send(filled())
	f.open(func(r *http.Request) { r.Header.Set("X-Nonce", "%secret") })
	for _, secret := range []string{f.key, f.nonce[:20], "555", "127.0.0.1", "secret"} {
		if strings.Contains(f.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(f.log.String(), "route=/report/issue tenant=north status=200") {
		t.Errorf("log: %s", f.log.String())
	}
}

// All languages say the same things, and say all that the page asks for.
func TestReportPageMessages(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, pattern := range []string{"report/*.html", "report/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`"((?:form|problem|sent|closed|title|link|contact|language)[a-z_.]*|problems)"`).FindAllStringSubmatch(string(text), -1) {
				if strings.Contains(m[1], ".") || m[1] == "problems" {
					used[strings.TrimSuffix(m[1], ".html")] = true
				}
			}
		}
	}
	delete(used, "form")
	delete(used, "link")
	files, err := filepath.Glob("report/messages/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, language := range files {
		text, err := os.ReadFile(language)
		if err != nil {
			t.Fatal(err)
		}
		var messages map[string]string
		if err := json.Unmarshal(text, &messages); err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Sorted(maps.Keys(messages)), slices.Sorted(maps.Keys(used)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, the page says %v", language, got, want)
		}
		for key, message := range messages {
			if strings.TrimSpace(message) == "" {
				t.Errorf("%s: %s is empty", language, key)
			}
		}
	}
}
