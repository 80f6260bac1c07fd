package adminui_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"carillon/admin-ui/report"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/reportpage"
	"carillon/tenant/tenanttest"
)

// landingWorld is the page of links, whose site and authority a test chooses.
type landingWorld struct {
	*browser
	world *tenanttest.World
	north *tenant.Tenant
	site  app.Site
	log   *lines
}

const (
	linkCode  = "abcd1234efgh5678"
	iosStore  = "https://apps.example/north"
	playStore = "https://play.example/north"
)

func newLandingWorld(t *testing.T) *landingWorld {
	t.Helper()
	w := tenanttest.New(t)
	f := &landingWorld{world: w, north: w.Create("north"), log: &lines{}}
	f.site = app.Site{Region: f.north.Region, Served: true, ENX: true}
	l, err := report.NewLanding(reportpage.NewBook(w.Publish), slog.New(slog.NewTextHandler(f.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	links := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.ServeLink(w, r, f.north, f.site) })
	server := httptest.NewTLSServer(report.Files(links))
	t.Cleanup(server.Close)
	f.browser = newBrowser(t, server)
	return f
}

func (f *landingWorld) follow(path string, headers ...string) *page {
	f.t.Helper()
	r := f.request(http.MethodGet, path, nil)
	r.Header.Set("User-Agent", "Windows")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return f.do(r)
}

func (f *landingWorld) brand(look reportpage.Look, texts ...reportpage.Text) {
	f.t.Helper()
	by := authz.Subject{Kind: authz.System, ID: "test"}
	err := f.world.Operator.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		for _, text := range texts {
			if err := reportpage.SetText(f.t.Context(), tx, by, text, f.world.Now()); err != nil {
				return err
			}
		}
		return reportpage.SetLook(f.t.Context(), tx, by, look, f.world.Now())
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// Each kind of device is told what it can do, and shown the code, which goes nowhere else.
func TestLandingPage(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	apps := []app.Record{{OS: app.IOS, Name: "N", ID: "T.n", StoreURL: iosStore}, {OS: app.Android, Name: "N", ID: "n.n", StoreURL: playStore}}
	for _, test := range []struct {
		name, agent, heading string
		apps                 []app.Record
		enx                  bool
		status               int
		links                []string // what the page leads to, besides its languages
	}{
		{"computer", "Windows", "Open this link on your phone", apps, true, http.StatusNotFound, []string{iosStore, playStore}},
		{"tablet", "Macintosh", "Open this link on your phone", nil, true, http.StatusOK, nil},
		{"iPhone, ENX", "iPhone", "Continue on this phone", nil, true, http.StatusOK, []string{"ens://v?c=" + linkCode + "&r=" + f.north.Region}},
		{"iPhone, app", "iPhone", "Continue on this phone", apps, false, http.StatusOK, []string{iosStore}},
		{"iPhone, nothing", "iPhone", "This phone cannot open the link", nil, false, http.StatusNotFound, nil},
		{"Android, none", "Android", "Continue on this phone", nil, true, http.StatusOK, []string{"ensonboarding://picker/" + strings.ToLower(f.north.Region)}},
	} {
		f.site.Apps, f.site.ENX = test.apps, test.enx
		p := f.follow("/v?c="+linkCode, "User-Agent", test.agent).wants(test.status, test.heading)
		p.contains("Health of north").contains("abcd 1234 efgh 5678").contains("works once")
		var links []string
		for n := range p.all("a") {
			if href := attr(n, "href"); !strings.HasPrefix(href, "/v?") {
				links = append(links, href)
			}
		}
		if strings.Join(links, " ") != strings.Join(test.links, " ") {
			t.Errorf("%s: leads to %q, want %q", test.name, links, test.links)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", test.name, name, got, want)
			}
		}
		if p.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: keeps something", test.name)
		}
	}
	if log := f.log.String(); log != "" {
		t.Errorf("the page has logged %q", log)
	}
}

// An app's own page of Android is an intent with the store behind it.
func TestLandingPageOpensAndroidApps(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	f.site.Apps = []app.Record{{OS: app.Android, Name: "N", ID: "n.n", StoreURL: playStore}}
	p := f.follow("/v?c="+linkCode, "User-Agent", "Android")
	want := "intent://v?c=" + linkCode + "&r=" + f.north.Region + "#Intent;scheme=ens;package=n.n;"
	for n := range p.all("a") {
		if strings.HasPrefix(attr(n, "href"), want) {
			return
		}
	}
	t.Errorf("nothing leads to %q", want)
}

// The page speaks the reader's language, which can be changed on it, and the authority's words.
func TestLandingPageSpeaks(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	f.brand(reportpage.Look{
		Color: "#f0f0f0", ImageURL: "https://logo.example/l.svg", LearnMoreURL: "https://north.example/more",
		ContactPhone: "+1 (206) 555-0100", ContactEmail: "help@north.example",
	}, reportpage.Text{Language: "ar", Agency: "صحة الشمال", Link: "كلماتنا <b>"})
	p := f.follow("/v?c="+linkCode, "Accept-Language", "ar,en;q=0.5").wants(http.StatusNotFound, "افتح هذا الرابط على هاتفك")
	p.contains("صحة الشمال").contains("كلماتنا <b>").lacks("Health of north")
	if !strings.Contains(p.body, `<html lang="ar" dir="rtl">`) || !strings.Contains(p.body, "agency--light") {
		t.Error("not in Arabic from right to left, or without the color")
	}
	var links []string
	for n := range p.all("a") {
		links = append(links, attr(n, "href"))
	}
	for _, want := range []string{"tel:+12065550100", "mailto:help@north.example", "https://north.example/more"} {
		if !slices.Contains(links, want) {
			t.Errorf("%q does not lead to %s", links, want)
		}
	}
	if got := p.header.Get("Content-Security-Policy"); !strings.Contains(got, "img-src 'self' https://logo.example;") || !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("policy %q", got)
	}
	for n := range p.all("a") {
		if attr(n, "hreflang") == "es" {
			p = f.follow(attr(n, "href"), "Accept-Language", "ar").wants(http.StatusNotFound, "Abra este enlace en su teléfono")
			p.contains("abcd 1234 efgh 5678")
			return
		}
	}
	t.Error("no way to Spanish")
}

// What is no code is not shown, and nothing of the URL gets into the page.
func TestLandingPageShowsOnlyCodes(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	for _, query := range []string{"c=" + url.QueryEscape(`"><script>alert(1)</script>`), "c=1", "lang=%22%3E%3Cscript%3E&c=x", "x=1"} {
		p := f.follow("/v?"+query).wants(http.StatusNotFound, "Open this link on your phone")
		p.lacks("Your code").lacks("alert")
		for n := range p.all("script") {
			if attr(n, "src") == "" {
				t.Errorf("%s: a script", query)
			}
		}
	}
}

// A link of nobody says so in the reader's language; and where there are no colors, the
// code is still there.
func TestLandingPageOfNobody(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	north := f.north
	f.north = nil
	f.follow("/v?c="+linkCode, "Accept-Language", "es").wants(http.StatusNotFound, "Este enlace no lleva a ninguna parte").lacks("abcd")
	f.north = north
	if _, err := f.world.Database.Super().ExecContext(t.Context(), `revoke select on report_page from carillon_publish`); err != nil {
		t.Fatal(err)
	}
	f.follow("/v?c="+linkCode).wants(http.StatusNotFound, "Open this link on your phone").contains("abcd 1234")
	if log := f.log.String(); !strings.Contains(log, "look of a page not read") || strings.Contains(log, "abcd") {
		t.Errorf("log %q", log)
	}
}

// Every file that the page asks for is there, without the hosted page.
func TestLandingPageHasItsFiles(t *testing.T) {
	t.Parallel()
	f := newLandingWorld(t)
	n := 0
	for _, name := range []string{"link", "script"} {
		for node := range f.follow("/v?c=" + linkCode).all(name) {
			n++
			if src := attr(node, "src") + attr(node, "href"); f.follow(src).status != http.StatusOK {
				t.Errorf("%s is missing", src)
			}
		}
	}
	if n != 3 {
		t.Errorf("%d files, want 3", n)
	}
}
