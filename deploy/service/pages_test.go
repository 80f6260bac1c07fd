package service

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"carillon/admin-ui/pagecheck"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/member"
)

// pages are all pages of a service, and what is known of them so far.
type pages struct {
	*everybody
	// routes are those that people's browsers ask for, the patients' first.
	routes []authz.Route
	// empty is an authority of the same people, in which nothing has happened yet.
	empty *tenant.Tenant
	// faults are what is wrong, and where the first page is that has each; seen are the routes that
	// have shown a page, to anybody.
	faults map[string]string
	seen   map[string]bool
	// titles are those of pages, with the route of each.
	titles map[string]string
}

// staffLanguages are those of the portal, patientLanguages those of the pages for people
// who report.
var (
	staffLanguages   = []string{"en", "es"}
	patientLanguages = []string{"en", "es", "ar"}
)

// Every page is a good one: at every URL, for every role that may see it, in every
// language, of an authority that has everything and of one that has nothing, and also where
// it says what is wrong. The routes are those that the service lists; one that shows no
// page to anybody is in noPage.
func TestEveryPageIsStrict(t *testing.T) {
	t.Parallel()
	p := newPages(t)
	for _, r := range p.routes {
		if r.Method == http.MethodGet {
			p.read(t, r)
		}
	}
	for _, r := range p.routes { // what is refused comes before what changes anything
		if takesForm(r) {
			p.sendNothing(t, r)
		}
	}
	for _, r := range p.routes {
		if takesForm(r) && r.Audience != authz.AudiencePatient { // whose app's key is among what is revoked
			p.sendExample(t, r)
		}
	}
	for _, r := range p.routes { // now that everything has been done
		if r.Method == http.MethodGet && r.Audience != authz.AudiencePatient {
			p.everyLanguage(t, r, whoFills(r), p.address(t, r, p.own), nil)
		}
	}
	for _, fault := range slices.Sorted(maps.Keys(p.faults)) {
		t.Errorf("%s\n\tat %s", fault, p.faults[fault])
	}
	for _, r := range p.routes {
		name := r.Method + " " + r.Path
		_, none := noPage[name]
		if shows := p.seen[name]; r.Method == http.MethodGet && shows == none {
			t.Errorf("%s: has shown a page: %v; is in noPage: %v", name, shows, none)
		}
	}
}

// ofPeople tells the routes that the browsers of staff and of the public ask for: below /t/
// are those of programs.
func ofPeople(r authz.Route) bool {
	return !strings.HasPrefix(r.Path, "/t/") && (r.Credential.OfSession() || r.Audience == authz.AudiencePublic)
}

// noPage are the routes for people that show no page here, and why. What comes only in the
// middle of a sign-in is shown in the tests of package adminui, which look at each page in
// the same way.
var noPage = map[string]string{
	"GET /portal/:tenant/bulk/batches/:id/results": "a file",
	"GET /portal/:tenant/bulk/batches/:id/state":   "for scripts",
	"GET /":                                             "leads on",
	"GET /login/start":                                  "leads to the provider",
	"GET /portal/:tenant/login/start":                   "leads to the provider",
	"GET /portal/:tenant/sign-in/:id/try":               "leads to the provider",
	"GET /portal/:tenant/account/link":                  "leads to the provider",
	"GET /login/callback":                               "in a sign-in",
	"GET /login/callback/:provider":                     "in a sign-in",
	"GET /portal/:tenant/account/confirm":               "in a sign-in",
	"GET /portal/:tenant/sign-in/:id/activate":          "after a trial sign-in",
	"GET /portal/:tenant/sign-in/:id/off":               "after a trial sign-in",
	"GET /join/:tenant":                                 "leads on, with what is in a letter",
	"GET /join/:tenant/accept":                          "with what is in a letter",
	"GET /signup/link/:token":                           "with what is in a letter",
	"GET /signup/proof/:token":                          "with what is in a letter",
	"GET /portal/:tenant/":                              "leads on, whoever may do anything",
	"GET /session":                                      "is asked by a script",
	"GET /portal/:tenant/codes/:id/state":               "is asked by a script",
	"GET /portal/:tenant/login/keys/:provider":          "is asked by a provider",
	"GET /.well-known/apple-app-site-association":       "is asked by a phone",
	"GET /.well-known/assetlinks.json":                  "is asked by a phone",
	"GET /*path":                                        "is nowhere",
	"GET /assets/:name":                                 "a file",
	"GET /report/files/:name":                           "a file",
	"GET /portal/:tenant/statistics/file":               "a file",
	"GET /portal/:tenant/audit/log":                     "a file",
	"GET /portal/:tenant/api-keys/:id/report":           "a file",
	"GET /portal/:tenant/pack/translations/sheet":       "a file",
	"GET /portal/:tenant/pack/made/:id/file":            "a file",
	"GET /portal/:tenant/keys/:purpose/public/:version": "a file",
	"GET /portal/:tenant/archive/:id/file":              "a file",
	"GET /portal/:tenant/pack/made/:id/push":            "where changes go to Apple",
}

func newPages(t *testing.T) *pages {
	t.Helper()
	p := &pages{everybody: newEverybody(t), faults: map[string]string{}, seen: map[string]bool{}, titles: map[string]string{}}
	for _, r := range p.service.Routes() {
		switch {
		case r.Audience == authz.AudiencePatient:
			p.routes = slices.Insert(p.routes, 0, r)
		case ofPeople(r):
			p.routes = append(p.routes, r)
		}
	}
	p.empty = p.world.Create("bare")
	p.in(t, p.empty, func(ctx context.Context, tx *tenant.Tx) error {
		for _, r := range authz.TenantRoles() {
			m := member.Member{Issuer: p.service.config.Login.Issuer, Email: string(r) + "@people.example", Name: string(r), Roles: []authz.Role{r}}
			if err := member.Add(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if got := p.visit(t, stranger, http.MethodPost, "/signup/application", applicationForm); got.status != http.StatusSeeOther {
		t.Fatalf("no application: %v", got)
	}
	return p
}

// read asks for a route's page as everybody, with and without a query, also about something
// that is not there.
func (p *pages) read(t *testing.T, r authz.Route) {
	t.Helper()
	x := exampleOf(r)
	p.prepare(t, r)
	for _, of := range []*tenant.Tenant{p.own, p.sandbox, p.empty} {
		for _, name := range p.visitors(r) {
			p.everyLanguage(t, r, name, p.address(t, r, of), nil)
		}
		if len(x.form) > 0 {
			p.everyLanguage(t, r, whoFills(r), p.address(t, r, of), x.form)
		}
		if r.TenantFrom != authz.TenantFromURL {
			return
		}
	}
	for _, slug := range []string{suspended, going, nowhere} {
		p.everyLanguage(t, r, string(authz.Owner), at(r, slug), nil)
	}
}

// sendNothing sends an empty form, which every page refuses or takes for a first step. What
// people report is sent here, too.
func (p *pages) sendNothing(t *testing.T, r authz.Route) {
	t.Helper()
	p.prepare(t, r)
	for _, of := range []*tenant.Tenant{p.own, p.empty} {
		p.everyLanguage(t, r, whoFills(r), p.address(t, r, of), url.Values{})
		if r.Audience == authz.AudiencePatient {
			p.everyLanguage(t, r, "", p.address(t, r, of), exampleOf(r).form)
		}
	}
}

// sendExample sends the form that is filled in.
func (p *pages) sendExample(t *testing.T, r authz.Route) {
	t.Helper()
	for _, lang := range staffLanguages {
		p.prepare(t, r)
		form := maps.Clone(exampleOf(r).form)
		for field, values := range form {
			form[field] = []string{strings.ReplaceAll(values[0], unique, "u"+uuid.NewString()[:8])}
		}
		p.check(t, r, whoFills(r), p.address(t, r, p.own), form, lang)
	}
}

func (p *pages) prepare(t *testing.T, r authz.Route) {
	t.Helper()
	if before := exampleOf(r).before; before != "" {
		p.sql(t, before)
	}
}

// address is a route's URL at a tenant, with what its example is about, if that is there.
func (p *pages) address(t *testing.T, r authz.Route, of *tenant.Tenant) string {
	t.Helper()
	var ids []string
	for _, kind := range exampleOf(r).objects {
		ids = append(ids, cmp.Or(p.found(t, kind, of), uuid.NewString()))
	}
	return at(r, string(of.Slug), ids...)
}

// visitors are the people who ask for a route's page: those whom it is for, and whoever has
// no business there.
func (p *pages) visitors(r authz.Route) []string {
	switch {
	case r.Audience == authz.AudiencePatient:
		return []string{""}
	case r.Audience == authz.AudienceOperator:
		return []string{string(authz.Operator), string(authz.Support), string(authz.Owner)}
	case r.Audience == authz.AudiencePublic:
		return []string{"", stranger, string(authz.Owner)}
	case r.TenantFrom != authz.TenantFromURL:
		return []string{stranger, string(authz.Owner), string(authz.Operator)}
	}
	return append(p.members(), "")
}

func (p *pages) everyLanguage(t *testing.T, r authz.Route, name, target string, form url.Values) {
	t.Helper()
	spoken := staffLanguages
	if r.Audience == authz.AudiencePatient {
		spoken = patientLanguages
	}
	for _, lang := range spoken {
		p.check(t, r, name, target, form, lang)
	}
}

// check asks as somebody in some language, and looks at the page.
func (p *pages) check(t *testing.T, r authz.Route, name, target string, form url.Values, lang string) {
	t.Helper()
	headers := []string{"Accept-Language", lang}
	var got reply
	switch {
	case r.Audience == authz.AudiencePatient:
		got = p.patient(t, r, reportURL+target, form, headers)
	case r.Method == http.MethodGet && len(form) > 0:
		got = p.ask(t, r.Method, target+"?"+form.Encode(), p.cookies[name], "", "", headers...)
	case r.Method == http.MethodGet:
		got = p.ask(t, r.Method, target, p.cookies[name], "", "", headers...)
	default:
		got = p.ask(t, r.Method, target, p.cookies[name], "application/x-www-form-urlencoded", form.Encode(), headers...)
	}
	if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || got.header.Get("Location") != "" {
		return
	}
	where := fmt.Sprintf("%s %s, %d for %q in %s", r.Method, target, got.status, name, lang)
	if got.status == http.StatusOK {
		p.seen[r.Method+" "+r.Path] = true
	}
	if got.status >= 500 {
		p.faults["an error of the server"] = where
	}
	page := pagecheck.Page{Source: got.body, Header: got.header, Lang: lang, Leads: p.leads}
	p.compareTitles(r, page.Title(), target, where, got.status)
	for _, fault := range page.Faults() {
		p.faults[fault] = cmp.Or(p.faults[fault], where)
	}
}

// compareTitles finds pages of whoever is signed in that tabs would show by the same title, and
// those of an authority whose title does not name it.
func (p *pages) compareTitles(r authz.Route, title, target, where string, status int) {
	if status != http.StatusOK || r.Method != http.MethodGet || !r.Credential.OfSession() {
		return
	}
	if of := "Health of " + string(p.own.Slug) + " "; strings.HasPrefix(target, "/portal/"+string(p.own.Slug)+"/") && !strings.Contains(title, of) {
		p.faults["a title that does not name the authority: "+title] = where
	}
	if other, is := p.titles[title]; is && other != r.Path {
		p.faults[fmt.Sprintf("the title of %s, too: %s", other, title)] = where
	}
	p.titles[title] = r.Path
}

// patient asks for a page for people who report: as their app opens it, or in the visit that
// it has opened.
func (p *pages) patient(t *testing.T, r authz.Route, target string, form url.Values, headers []string) reply {
	t.Helper()
	if r.Credential == authz.CredentialDeviceKey {
		headers = append(headers, "X-API-Key", p.keys[client.Device], "X-Nonce", strings.Repeat("A", 342)+"==")
		return p.ask(t, r.Method, target, "", "", "", headers...)
	}
	headers = append(headers, "Cookie", p.openReport(t), "Sec-Fetch-Site", "same-origin")
	return p.ask(t, r.Method, target, "", "application/x-www-form-urlencoded", form.Encode(), headers...)
}

// leads reports whether a request reaches one of the service's routes.
func (p *pages) leads(method, path string) bool {
	return slices.ContainsFunc(p.service.Routes(), func(r authz.Route) bool {
		pattern, parts := strings.Split(r.Path, "/"), strings.Split(path, "/")
		return r.Method == method && slices.EqualFunc(pattern, parts, func(want, got string) bool {
			return want == got || strings.HasPrefix(want, ":") && got != ""
		})
	})
}
