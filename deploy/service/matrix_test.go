package service

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant/client"
)

// difference compares two answers.
func difference(a, b map[string]any) string { return cmp.Diff(a, b) }

// wantUnchanged fails if rows are others than before.
func (e *everybody) wantUnchanged(t *testing.T, what string, before map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, e.rows(t, nil)); diff != "" {
		t.Errorf("%s have written to the database:\n%s", what, diff)
	}
}

// Every route, each role, each kind of key, and tenants of one's own, of others, in every
// state and none. The routes are those that the service lists.
func TestMatrix(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	t.Run("no page of another authority", e.noPageOfAnotherAuthority)
	t.Run("no key opens another tenant", e.noKeyOpensAnotherTenant)
	t.Run("no form from another site", e.noFormFromAnotherSite)
	t.Run("suspended pages", e.suspendedPages)
	t.Run("operator pages", e.operatorPages)
	t.Run("no object of another authority", e.noObjectOfAnotherAuthority)
	t.Run("pages follow the policy", func(t *testing.T) { e.pagesFollowThePolicy(t, string(e.own.Slug)) })
	t.Run("pages of a sandbox follow the policy", func(t *testing.T) { e.pagesFollowThePolicy(t, string(e.sandbox.Slug)) })
}

// Who asks for a page of an authority that she does not belong to is answered as if there
// were no such authority, at every URL, whatever she is elsewhere; and nothing is written.
func (e *everybody) noPageOfAnotherAuthority(t *testing.T) {
	before := e.rows(t, nil)
	for _, r := range e.portalRoutes() {
		x := exampleOf(r)
		ask := func(name, slug string) map[string]any {
			values := make([]string, len(x.objects))
			for i := range values {
				values[i] = "5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"
			}
			word := slug
			if name == "" { // what was typed is given back, names of authorities included
				word = "/portal/" + slug + "/"
			}
			return e.visit(t, name, r.Method, at(r, slug, values...), x.form).comparable(word)
		}
		for _, name := range append(e.people(), "") {
			missing := ask(name, nowhere)
			foreign := []string{string(e.third.Slug)}
			switch name {
			case stranger, neighbor, string(authz.Operator), string(authz.Support), "":
				foreign = append(foreign, string(e.own.Slug), string(e.sandbox.Slug), suspended, going)
			}
			if name != neighbor {
				foreign = append(foreign, string(e.other.Slug), string(e.otherSandbox.Slug))
			}
			foreign = append(foreign, erased) // whoever belonged to it
			want := http.StatusNotFound
			switch {
			case name == "" && len(x.form) > 0 && r.Method == http.MethodPost:
				want = http.StatusUnauthorized // and what was typed is kept
			case name == "":
				want = http.StatusSeeOther
			}
			if missing["status"] != want {
				t.Errorf("%s %s, asked by %q nowhere: %v, want %d", r.Method, r.Path, name, missing["status"], want)
			}
			for _, slug := range foreign {
				if diff := difference(missing, ask(name, slug)); diff != "" {
					t.Errorf("%s %s, asked by %q of %s, differs from nowhere (-nowhere +%s):\n%s", r.Method, r.Path, name, slug, slug, diff)
				}
			}
		}
	}
	e.wantUnchanged(t, "foreign requests", before)
}

// Each built-in role may ask for exactly what the policy allows it, at every URL.
func (e *everybody) pagesFollowThePolicy(t *testing.T, slug string) {
	t.Helper()
	policy, err := authz.NewPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(role authz.Role, r authz.Route) bool {
		return r.Action == "" || policy.Allow(authz.Subject{Kind: authz.Person, ID: "p", Roles: []authz.Role{role}}, r.Action)
	}
	before := e.rows(t, nil)
	for _, r := range e.portalRoutes() {
		for _, role := range authz.TenantRoles() {
			if allowed(role, r) {
				continue
			}
			if got := e.visit(t, string(role), r.Method, at(r, slug), exampleOf(r).form); got.status != http.StatusForbidden {
				t.Errorf("%s %s, asked by a %s, whom nothing allows it: %v", r.Method, r.Path, role, got)
			}
		}
	}
	e.wantUnchanged(t, "refused requests", before)
	for _, r := range e.portalRoutes() {
		for _, role := range authz.TenantRoles() {
			if !allowed(role, r) {
				continue
			}
			got := e.visit(t, string(role), r.Method, at(r, slug), nil) // an empty form harms nothing
			if got.status == http.StatusForbidden || got.status >= 500 || strings.HasPrefix(got.header.Get("Location"), "/login") {
				t.Errorf("%s %s, asked by a %s, who may: %v", r.Method, r.Path, role, got)
			}
		}
	}
}

// No form does anything that another site has a browser send, at whatever URL: what the
// pages' own forms need is not a field but where they come from.
func (e *everybody) noFormFromAnotherSite(t *testing.T) {
	before := e.rows(t, nil)
	for _, r := range e.service.Routes() {
		if !takesForm(r) || !r.Credential.OfSession() && r.Credential != authz.CredentialNone {
			continue
		}
		got := e.ask(t, r.Method, e.urlOf(t, r, nil), e.cookies[whoFills(r)], "application/x-www-form-urlencoded", exampleOf(r).form.Encode(),
			"Sec-Fetch-Site", "cross-site", "Origin", "https://elsewhere.example")
		if got.status != http.StatusForbidden {
			t.Errorf("%s %s takes a form from another site: %v", r.Method, r.Path, got)
		}
	}
	e.wantUnchanged(t, "forms of another site", before)
}

// Members of a suspended authority are told so, and nothing else, at every URL. Whoever
// may read its audit log still can.
func (e *everybody) suspendedPages(t *testing.T) {
	before := e.rows(t, nil)
	for _, state := range []string{suspended, going} {
		for _, name := range e.members() {
			e.closedPages(t, name, state)
		}
	}
	e.wantUnchanged(t, "requests to suspended and leaving authorities", before)
}

// closedPages has a member ask for every page of an authority that is not served.
func (e *everybody) closedPages(t *testing.T, name, slug string) {
	t.Helper()
	var first string
	for _, r := range e.portalRoutes() {
		got := e.visit(t, name, r.Method, at(r, slug), exampleOf(r).form)
		if r.Action == authz.AuditRead && slices.Contains([]string{string(authz.Owner), string(authz.Administrator), string(authz.Auditor)}, name) {
			if got.status != http.StatusOK {
				t.Errorf("%s %s, asked by a %s: %d", r.Method, r.Path, name, got.status)
			}
			continue
		}
		if r.Action == authz.TenantLeave && name == string(authz.Owner) && (strings.HasSuffix(r.Path, "/leaving") || strings.HasSuffix(r.Path, "/stay")) {
			if got.status >= http.StatusBadRequest { // she has it stay, or sees when it ends
				t.Errorf("%s %s, asked by a %s: %d", r.Method, r.Path, name, got.status)
			}
			continue
		}
		if r.Action == authz.TenantArchive && name == string(authz.Owner) {
			if got.status >= http.StatusBadRequest && got.status != http.StatusNotFound { // she takes its data, if she has asked for it
				t.Errorf("%s %s, asked by a %s: %d", r.Method, r.Path, name, got.status)
			}
			continue
		}
		_, main, _ := strings.Cut(fmt.Sprint(got.comparable()["body"]), "<main")
		if first == "" {
			first = main
		}
		if main != first || main == "" || got.status != http.StatusForbidden {
			t.Errorf("%s %s, asked by a %s: %d%s", r.Method, r.Path, name, got.status, cmp.Diff(first, main))
		}
	}
}

// The pages of those who run the platform are for them; to others they are no pages. A
// role of theirs opens what it is for.
func (e *everybody) operatorPages(t *testing.T) {
	for _, r := range e.service.Routes() {
		if r.Audience != authz.AudienceOperator {
			continue
		}
		url := at(r, "")
		ask := func(name string) reply { return e.visit(t, name, r.Method, url, nil) }
		refused := ask(stranger).comparable()
		if refused["status"] != http.StatusNotFound {
			t.Errorf("%s %s, asked by a stranger: %v", r.Method, r.Path, refused)
		}
		for _, name := range append(e.members(), neighbor) {
			if diff := difference(refused, ask(name).comparable()); diff != "" {
				t.Errorf("%s %s, asked by %s, differs from what a stranger sees:\n%s", r.Method, r.Path, name, diff)
			}
		}
		if got := ask(string(authz.Operator)); got.status == http.StatusForbidden || got.status >= 500 {
			t.Errorf("%s %s, asked by an operator: %v", r.Method, r.Path, got)
		}
		got := ask(string(authz.Support))
		if r.Role == authz.Operator && got.status != http.StatusNotFound {
			t.Errorf("%s %s, asked by support: %v", r.Method, r.Path, got)
		}
		if r.Role == authz.Support && (got.status == http.StatusForbidden || got.status >= 500) {
			t.Errorf("%s %s, asked by support: %v", r.Method, r.Path, got)
		}
	}
}

// A tenant's API keys are, at every URL of every other tenant, in whatever state, what a
// key that nobody has is there; and so is a key of the wrong kind at the tenant's own. A
// health authority and its sandbox are two tenants.
func (e *everybody) noKeyOpensAnotherTenant(t *testing.T) {
	before := e.rows(t, nil)
	unknown := e.keys[client.Admin][:len(e.keys[client.Admin])-6] + "AAAAAA"
	holders := map[string]map[client.Kind]string{string(e.own.Slug): e.keys, string(e.sandbox.Slug): e.sandboxKeys}
	for _, r := range e.service.Routes() {
		if r.TenantFrom != authz.TenantFromURL || r.Credential.OfSession() {
			continue
		}
		ask := func(slug, key string) map[string]any {
			return e.ask(t, r.Method, at(r, slug, "7.json"), "", "application/json", "{}",
				"Accept", "application/json", "X-API-Key", key, "Authorization", "Bearer "+key).comparable(slug, key)
		}
		for _, slug := range []string{nowhere, string(e.other.Slug), string(e.otherSandbox.Slug), string(e.own.Slug), string(e.sandbox.Slug), suspended, going, erased} {
			nobodys := ask(slug, unknown)
			if slug == erased {
				if diff := difference(ask(nowhere, unknown), nobodys); diff != "" {
					t.Errorf("%s %s of an erased tenant differs from nowhere (-nowhere +erased):\n%s", r.Method, r.Path, diff)
				}
			}
			for holder, keys := range holders {
				for kind, key := range keys {
					if slug == holder && keyKinds[r.Credential] == kind {
						continue
					}
					if diff := difference(nobodys, ask(slug, key)); diff != "" {
						t.Errorf("%s %s at %s with a %s key of %s differs from an unknown one (-unknown +known):\n%s", r.Method, r.Path, slug, kind, holder, diff)
					}
				}
			}
		}
	}
	e.wantUnchanged(t, "foreign keys", before)
}
