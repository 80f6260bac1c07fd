package service

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/tenant"
	"carillon/tenant/client"
)

// actBodies are what does something at routes at which the example in bodies is refused.
var actBodies = map[string]map[string]any{
	"POST /t/:tenant/api/codes/batches":   {"codes": []any{map[string]any{"testType": "confirmed"}}},
	"PATCH /t/:tenant/scim/v2/Groups/:id": {"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": []any{map[string]any{"op": "replace", "path": "displayName", "value": "Another name"}}},
	"PUT /t/:tenant/scim/v2/Users/:id":    {"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": thing("user name of a person"), "displayName": "Another Name"},
}

// notActs are routes for programs without an entry, and those whose examples do nothing
// here. A program issues so many codes that each has no entry of its own: the code's row
// says whose key it was, and who makes and changes keys is in the log. What the laboratories'
// feed takes in is on record as such. The others need a message that has gone out, or a
// sealed result, and are the business of the tests of their own packages.
var notActs = map[string]bool{
	"POST /t/:tenant/api/issue":                               true,
	"POST /t/:tenant/api/batch-issue":                         true,
	"POST /t/:tenant/api/lab-feed":                            true,
	"POST /t/:tenant/api/codes/resend":                        true,
	"POST /t/:tenant/api/lab-feed/dead-letters/:letter/retry": true,
}

// actsOf are the routes at which a subject that the policy knows does something: staff,
// or a program with a key.
func (e *everybody) actsOf(ofPeople bool) []authz.Route {
	return slices.DeleteFunc(slices.Clone(e.service.Routes()), func(r authz.Route) bool {
		writes := r.Method != http.MethodGet && r.Method != http.MethodHead
		program := r.Credential == authz.CredentialAdminKey || r.Credential == authz.CredentialSCIMKey
		if ofPeople {
			return !writes || r.TenantFrom != authz.TenantFromURL || !r.Credential.OfSession()
		}
		return !writes || !program || r.Action == authz.CodeRead || notActs[r.Method+" "+r.Path]
	})
}

// act does, as the owner of own or with its keys, what a route is for, and tells what of
// a tenant's rows, or of all, it has changed.
func (e *everybody) act(t *testing.T, r authz.Route, of *tenant.Tenant) (got reply, changes string) {
	t.Helper()
	if before := exampleOf(r).before; before != "" {
		e.sql(t, before)
	}
	before := e.rowsOf(t, of)
	got = e.do(t, r)
	return got, cmp.Diff(before, e.rowsOf(t, of))
}

func (e *everybody) do(t *testing.T, r authz.Route) reply {
	t.Helper()
	x := exampleOf(r)
	pick := func(kind string) string {
		if id := e.found(t, kind, e.own); id != "" {
			return id
		}
		return uuid.NewString()
	}
	var ids []string
	for _, kind := range x.objects {
		ids = append(ids, pick(kind))
	}
	target := at(r, string(e.own.Slug), ids...)
	if r.Credential.OfSession() {
		return e.visit(t, string(authz.Owner), r.Method, target, x.form)
	}
	name := r.Method + " " + r.Path
	body := maps.Clone(bodies[name])
	if better, found := actBodies[name]; found {
		body = maps.Clone(better)
	}
	for member, value := range body {
		if kind, is := value.(thing); is {
			body[member] = pick(string(kind))
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	sent := string(text)
	if r.Action == authz.LabMap { // the mapping as it stands
		sent = e.ask(t, http.MethodGet, target, "", "", "", "X-API-Key", e.keys[client.Admin]).body
	}
	kind := "application/json"
	if r.Credential == authz.CredentialSCIMKey {
		kind = "application/scim+json"
	}
	key := e.keys[keyKinds[r.Credential]]
	return e.ask(t, r.Method, target, "", kind, sent, "Accept", "application/json", "Idempotency-Key", "another", "X-API-Key", key, "Authorization", "Bearer "+key)
}

// If the audit entry cannot be written, no program does anything, at whatever route, and
// is told so, rather than that it was done. Phones are served all the while.
func TestNoEntryNoActOfPrograms(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	server := httptest.NewServer(e.service.Handler())
	defer server.Close()
	own := server.URL + "/t/" + string(e.own.Slug)
	issuer := phone.Issuer{Base: own + "/", AdminKey: e.keys[client.Admin], HTTP: server.Client()}
	code, err := issuer.Issue(t.Context(), "confirmed", time.Now().AddDate(0, 0, -2))
	if err != nil {
		t.Fatal(err)
	}
	e.sql(t, `
do $$
declare r name;
begin
  for r in select distinct grantee from information_schema.role_table_grants where table_name = 'audit_entry' and grantee like 'carillon%' loop
    execute format('revoke insert on audit_entry from %I', r);
  end loop;
end $$`)

	for _, r := range e.actsOf(false) {
		got, changes := e.act(t, r, nil)
		if got.status != http.StatusInternalServerError {
			t.Errorf("%s %s: %v, want a failure", r.Method, r.Path, got)
		}
		if changes != "" {
			t.Errorf("%s %s without an entry has written to the database:\n%s", r.Method, r.Path, changes)
		}
	}

	device := phone.Phone{Server: phone.Server{
		DeviceBase: own + "/", PublishURL: own + "/v1/publish", DeviceKey: e.keys[client.Device], HealthAuthorityID: e.own.HealthAuthorityID,
	}, HTTP: server.Client(), Now: time.Now}
	if _, err := device.Flow(t.Context(), phone.Plan{Code: code.Code}); err != nil {
		t.Errorf("a phone is not served: %v", err)
	}
}

// Every act that changes anything, of staff and of programs, at whatever route, has an
// entry: who did it, what it was and to what, in which request, by which rule. No entry
// has a code, a telephone number, or a key.
func TestEveryActHasAnEntry(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	secrets := append(slices.Collect(maps.Values(e.keys)), "2065550100", "a secret of some length")
	acts := map[string]bool{}
	for _, r := range slices.Concat(e.actsOf(false), e.actsOf(true)) {
		got, changes := e.act(t, r, e.own)
		if got.status >= 500 {
			t.Errorf("%s %s: %v", r.Method, r.Path, got)
			continue
		}
		var issued struct{ Code, LongCode string }
		if json.Unmarshal([]byte(got.body), &issued) == nil && issued.Code != "" {
			secrets = append(secrets, issued.Code)
		}
		if changes == "" {
			continue // the example is refused, or was done before
		}
		acts[r.Method+" "+r.Path] = true
		e.wantEntry(t, r, got)
	}
	for _, name := range wantActs {
		if !acts[name] {
			t.Errorf("%s: the example has changed nothing, so nothing is known of its entry", name)
		}
	}
	var log string
	if err := e.world.Database.Super().QueryRowContext(t.Context(), `select string_agg(x::text, ' ') from audit_entry x`).Scan(&log); err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) || strings.Contains(log, url.QueryEscape(secret)) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// wantActs are acts whose examples must do something, so that the test cannot prove less
// by and by.
var wantActs = []string{
	"POST /t/:tenant/api/expirecode",
	"POST /t/:tenant/api/codes/batches", "POST /t/:tenant/api/codes/batches/:batch/pause",
	"POST /t/:tenant/api/codes/batches/:batch/resume", "POST /t/:tenant/api/codes/batches/:batch/cancel",
	"PUT /t/:tenant/api/lab-feed/mapping", "POST /t/:tenant/api/lab-feed/dead-letters/:letter/discard",
	"POST /t/:tenant/scim/v2/Users", "PATCH /t/:tenant/scim/v2/Users/:id", "POST /t/:tenant/scim/v2/Groups", "PATCH /t/:tenant/scim/v2/Groups/:id",
	"POST /portal/:tenant/codes/new", "POST /portal/:tenant/staff/invite", "POST /portal/:tenant/roles/new",
	"POST /portal/:tenant/api-keys/new", "POST /portal/:tenant/api-keys/:id/revoke", "POST /portal/:tenant/sharing/new",
	"POST /portal/:tenant/settings/quota", "POST /portal/:tenant/texts/edit", "POST /portal/:tenant/texts/test", "POST /portal/:tenant/patients/look", "POST /portal/:tenant/patients/text", "POST /portal/:tenant/limits", "POST /portal/:tenant/alerts/new",
	"POST /portal/:tenant/sign-in/new", "POST /portal/:tenant/support/new",
}

// wantEntry fails unless the newest entry is about what was done at a route just now.
func (e *everybody) wantEntry(t *testing.T, r authz.Route, got reply) {
	t.Helper()
	var kind, who, name, action, target, request, because string
	err := e.world.Database.Super().QueryRowContext(t.Context(), `
  select actor_kind, actor_id, actor_name, action, target, request, because
    from audit_entry
   where tenant_id = $1 and request = $2
order by entry_no desc
   limit 1`, e.own.ID, got.header.Get("X-Request-Id")).Scan(&kind, &who, &name, &action, &target, &request, &because)
	want := string(authz.Person)
	if !r.Credential.OfSession() {
		want = string(authz.APIKey)
	}
	// A tenant has one self-test, and who approves is judged by the kind of what is approved.
	nameless, unruled := action == string(authz.SelfTestRun), strings.HasPrefix(action, "approval:")
	if err != nil || kind != want || who == "" || name == "" || action == "" || (target == "" && !nameless) || (because == "" && !unruled) {
		t.Errorf("%s %s (%d): entry by %s %q (%s): %s of %q, because of %q: %v", r.Method, r.Path, got.status, kind, who, name, action, target, because, err)
	}
}
