package service

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
)

// Two tabs of one browser with two authorities: what is sent from each is of its own, and
// what was done at one is not told on a page of the other.
func TestTwoTabsWithTwoAuthorities(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	owner := string(authz.Owner)
	const status = `class="usa-alert usa-alert--success usa-alert--slim" role="status"`
	for at, of := range map[*tenant.Tenant]*tenant.Tenant{e.own: e.sandbox, e.sandbox: e.own} {
		slug, other := string(at.Slug), string(of.Slug)
		e.visit(t, owner, http.MethodGet, "/portal/"+slug+"/alerts/new", nil)
		e.visit(t, owner, http.MethodGet, "/portal/"+other+"/alerts/new", nil)
		before := e.rowsOf(t, of)
		form := url.Values{"figure": {"claimed-below"}, "threshold": {"20"}, "emails": {"team@people.example"}, "webhook": {""}, "webhook_secret": {""}}
		if got := e.visit(t, owner, http.MethodPost, "/portal/"+slug+"/alerts/new", form); got.status != http.StatusSeeOther {
			t.Fatalf("at %s: %v", slug, got)
		}
		if diff := cmp.Diff(before, e.rowsOf(t, of)); diff != "" {
			t.Errorf("a form sent at %s has changed %s:\n%s", slug, of.Slug, diff)
		}
		if got := e.visit(t, owner, http.MethodGet, "/portal/"+other+"/alerts", nil); strings.Contains(got.body, status) {
			t.Errorf("a page of %s tells what was done at %s", other, slug)
		}
		if got := e.visit(t, owner, http.MethodGet, "/portal/"+slug+"/alerts", nil); !strings.Contains(got.body, status) {
			t.Errorf("%s does not tell that it was done: %v", slug, got)
		}
		if got := e.visit(t, owner, http.MethodGet, "/portal/"+slug+"/alerts", nil); strings.Contains(got.body, status) {
			t.Errorf("%s tells it twice", slug)
		}
	}
}

// A role that is taken while its holder fills in forms: none of them does anything any more,
// at whatever route, each is answered by a page that says so, and her next page is one that
// is still hers.
func TestARoleIsTakenMeanwhile(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	holder := string(authz.Administrator)
	policy, err := authz.NewPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	var lost []authz.Route
	for _, r := range e.portalRoutes() {
		may := func(role authz.Role) bool {
			return policy.Allow(authz.Subject{Kind: authz.Person, ID: "p", Roles: []authz.Role{role}}, r.Action)
		}
		if r.Method == http.MethodPost && r.Action != "" && may(authz.Administrator) && !may(authz.Analyst) {
			lost = append(lost, r)
		}
	}
	if len(lost) < 50 {
		t.Fatalf("only %d routes are lost", len(lost))
	}
	if got := e.visit(t, holder, http.MethodGet, "/portal/north/alerts/new", nil); got.status != http.StatusOK {
		t.Fatalf("she has no form: %v", got)
	}
	e.sql(t, `update member set roles = '{analyst}' where tenant_id = $1 and email = $2`, e.own.ID, holder+"@people.example")
	before := e.rows(t, nil)
	for _, r := range lost {
		got := e.visit(t, holder, r.Method, e.urlOf(t, r, nil), exampleOf(r).form)
		if got.status != http.StatusForbidden || !strings.Contains(got.body, "<h1>") {
			t.Errorf("%s %s, whose role was taken: %v", r.Method, r.Path, got)
		}
	}
	e.wantUnchanged(t, "forms of a role that was taken", before)
	if got := e.visit(t, holder, http.MethodGet, "/portal/north/", nil); !strings.HasSuffix(got.header.Get("Location"), "/statistics") {
		t.Errorf("she is led to %v", got)
	}
}
