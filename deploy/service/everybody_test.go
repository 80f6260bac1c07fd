package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/deploy/devidp"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/platform"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// everybody is a whole service, all roles in one process, with tenants in every state and
// people and programs of every role, to try all of its URLs with.
type everybody struct {
	world   *tenanttest.World
	service *Service

	// own is the tenant whose people and keys ask. The people belong to its sandbox, and to
	// suspended, leaving and erased, too, and not to other. nowhere is a name that no tenant
	// has.
	own, sandbox, other, otherSandbox, third *tenant.Tenant
	// cookies are the sessions of people, by name: a role at own, or one of the names below.
	cookies map[string]string
	// keys are own's API keys by kind, sandboxKeys its sandbox's.
	keys, sandboxKeys map[client.Kind]string
	// files are what phones download.
	files export.Store
}

const (
	nowhere   = "nowhere"
	suspended = "resting"
	going     = "going"
	erased    = "gone"
	// stranger belongs to no tenant; neighbor owns other and its sandbox.
	stranger = "stranger"
	neighbor = "neighbor"

	portalURL = "https://carillon.example"
	reportURL = "https://links.example" // where people report who have a positive test
)

func newEverybody(t *testing.T) *everybody {
	t.Helper()
	e := &everybody{
		world: tenanttest.New(t), cookies: map[string]string{}, files: files(t),
		keys: map[client.Kind]string{}, sandboxKeys: map[client.Kind]string{},
	}
	e.world.SetNow(time.Now())
	idp := httptest.NewUnstartedServer(nil)
	issuer := "http://" + idp.Listener.Addr().String() + "/idp"
	// All have the same name: pages show it.
	provider := devidp.Config{Issuer: issuer, Clients: []devidp.Client{{ID: "c", RedirectURIs: []string{portalURL + "/login/callback"}}}}
	for _, name := range e.people() {
		provider.People = append(provider.People, devidp.Person{Login: name, Name: "Somebody", Email: name + "@people.example"})
	}
	var err error
	if idp.Config.Handler, err = devidp.New(provider); err != nil {
		t.Fatal(err)
	}
	idp.Start()
	t.Cleanup(idp.Close)

	e.populate(t, issuer)
	c := config(t, e.world, Roles()...)
	c.BaseURL, c.NoLimits, c.Files = portalURL, true, e.files
	c.Login.Issuer, c.Login.RedirectURL = issuer, portalURL+"/login/callback"
	c.RedirectDomains = []string{strings.TrimPrefix(reportURL, "https://")}
	c.AppleURL = "https://apple.example/enservice/v2" // nothing is sent: no job runs
	e.sql(t, `update tenant_setting set self_report = true, self_report_page = true, email_enabled = true where tenant_id = $1`, e.own.ID)
	e.sql(t, `update tenant_setting set batch_issue = true`)
	e.service = open(t, c)
	wantExamples(t, e.service.Routes())
	for _, name := range e.people() {
		e.cookies[name] = e.signIn(t, name)
	}
	for _, name := range e.members() { // the first visit binds the person to her membership
		for _, slug := range []string{string(e.own.Slug), string(e.sandbox.Slug), suspended, going} {
			e.visit(t, name, http.MethodGet, "/portal/"+slug+"/", nil)
		}
	}
	e.furnish(t)
	return e
}

// people are everybody's names: roles at own, then others.
func (e *everybody) people() []string {
	names := append(e.members(), stranger, neighbor)
	for _, r := range authz.PlatformRoles() {
		names = append(names, string(r))
	}
	return names
}

// members are those of own, by role.
func (e *everybody) members() (names []string) {
	for _, r := range authz.TenantRoles() {
		names = append(names, string(r))
	}
	return names
}

// populate makes tenants and who belongs to them.
func (e *everybody) populate(t *testing.T, issuer string) {
	t.Helper()
	by, now := authz.Subject{Kind: authz.System, ID: "test"}, e.world.Now()
	join := func(of *tenant.Tenant, name string, has authz.Role) {
		t.Helper()
		e.in(t, of, func(ctx context.Context, tx *tenant.Tx) error {
			return member.Add(ctx, tx, member.Member{Issuer: issuer, Email: name + "@people.example", Name: name, Roles: []authz.Role{has}})
		})
	}
	e.own, e.other, e.third = e.world.Create("north"), e.world.Create("south"), e.world.Create("west")
	e.sandbox, e.otherSandbox = e.createSandbox("north-sandbox", "ZZ-NNN"), e.createSandbox("south-sandbox", "ZZ-SSS")
	closed := map[string]tenant.State{suspended: tenant.Suspended, going: tenant.Leaving, erased: tenant.Erased}
	mine := []*tenant.Tenant{e.own, e.sandbox}
	into := map[*tenant.Tenant]tenant.State{}
	for slug, state := range closed {
		of := e.world.Create(slug)
		mine, into[of] = append(mine, of), state
	}
	for _, of := range mine {
		for _, r := range authz.TenantRoles() {
			join(of, string(r), r)
		}
	}
	join(e.other, neighbor, authz.Owner)
	join(e.otherSandbox, neighbor, authz.Owner)
	for _, kind := range keyKinds {
		e.keys[kind], e.sandboxKeys[kind] = e.world.Key(e.own, kind), e.world.Key(e.sandbox, kind)
	}
	e.world.Key(e.other, client.Admin)
	for _, of := range e.furnished() {
		e.in(t, of, func(ctx context.Context, tx *tenant.Tx) error {
			return setting.Change(ctx, tx, by, map[string]string{"require-date": "off", "sms": "on"}, now)
		})
	}
	for _, r := range authz.PlatformRoles() {
		err := platform.Add(t.Context(), e.world.Operator, by, platform.Operator{
			Issuer: issuer, Email: string(r) + "@people.example", Name: string(r), Role: r,
		}, now)
		if err != nil {
			t.Fatal(err)
		}
	}
	for of, state := range into {
		switch state { //nolint:exhaustive // active ones are as they are
		case tenant.Suspended:
			e.sql(t, `update tenant_directory set state = $2 where slug = $1`, of.Slug, state)
		case tenant.Leaving:
			e.world.MarkLeaving(of)
		case tenant.Erased:
			e.world.MarkErased(of)
		}
	}
}

// createSandbox makes a tenant for training.
func (e *everybody) createSandbox(slug, region string) *tenant.Tenant {
	return e.world.Create(slug, func(s *onboarding.Spec) { s.Kind, s.Region = tenant.Sandbox, region })
}

// keyKinds are what an API key may be for, by what routes call it.
var keyKinds = map[authz.Credential]client.Kind{
	authz.CredentialDeviceKey: client.Device, authz.CredentialAdminKey: client.Admin,
	authz.CredentialStatsKey: client.Stats, authz.CredentialSCIMKey: client.SCIM,
}

func (e *everybody) in(t *testing.T, of *tenant.Tenant, fn func(context.Context, *tenant.Tx) error) {
	t.Helper()
	err := e.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error { return fn(t.Context(), tx) })
	if err != nil {
		t.Fatal(err)
	}
}

func (e *everybody) sql(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := e.world.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// reply is what somebody was answered.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %.300s", r.status, r.body) }

// ask sends a request, with a session's cookie unless it is empty.
func (e *everybody) ask(t *testing.T, method, target, cookie, contentType, body string, more ...string) reply {
	t.Helper()
	if !strings.HasPrefix(target, "https://") {
		target = portalURL + target
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-carillon", Value: cookie})
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	w := httptest.NewRecorder()
	e.service.Handler().ServeHTTP(w, r)
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

// visit has a person of some name ask for a page, or send a form.
func (e *everybody) visit(t *testing.T, name, method, target string, form url.Values) reply {
	t.Helper()
	if method == http.MethodGet {
		if len(form) > 0 {
			target += "?" + form.Encode()
		}
		return e.ask(t, method, target, e.cookies[name], "", "")
	}
	return e.ask(t, method, target, e.cookies[name], "application/x-www-form-urlencoded", form.Encode())
}

// signIn has a person go through the identity provider, and returns the session's cookie.
func (e *everybody) signIn(t *testing.T, name string) string {
	t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	start := e.ask(t, http.MethodGet, "/login/start", "", "", "")
	cookie, to := start.cookie(), start.header.Get("Location")
	for range 4 {
		if strings.HasPrefix(to, portalURL) {
			done := e.ask(t, http.MethodGet, strings.TrimPrefix(to, portalURL), cookie, "", "")
			if done.status != http.StatusSeeOther || done.cookie() == "" {
				t.Fatalf("%s cannot sign in: %v", name, done)
			}
			return done.cookie()
		}
		at, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := at.Query().Get("id"); strings.HasSuffix(at.Path, "/login") {
			form := url.Values{"id": {id}, "login": {name}}
			at.RawQuery = ""
			if r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, at.String(), strings.NewReader(form.Encode())); err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		response, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		next, err := response.Location()
		if err != nil {
			t.Fatalf("the way of %s ends at %s: %v", name, to, response.Status)
		}
		to = next.String()
	}
	t.Fatalf("%s is sent in circles", name)
	return ""
}

func (r reply) cookie() string {
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		if c.Name == "__Host-carillon" {
			return c.Value
		}
	}
	return ""
}

// sessionRest is how many seconds a session has left, as pages say it.
var sessionRest = regexp.MustCompile(`(<session-end [^>]*rest=")\d+`)

// comparable is an answer without what differs between any two, and with the words that
// the request itself has brought replaced.
func (r reply) comparable(words ...string) map[string]any {
	h := r.header.Clone()
	id := h.Get("X-Request-Id")
	for _, name := range []string{"X-Request-Id", "X-Ratelimit-Remaining", "Date"} {
		h.Del(name)
	}
	for i, cookie := range h["Set-Cookie"] { // of the same session, used again
		h["Set-Cookie"][i] = strings.Replace(cookie, r.cookie(), "SESSION", 1)
	}
	body := sessionRest.ReplaceAllString(r.body, "${1}REST")
	var members map[string]any
	if json.Unmarshal([]byte(body), &members) == nil && members["padding"] != nil {
		delete(members, "padding")
		text, _ := json.Marshal(members)
		body = string(text)
		h.Del("Content-Length")
	}
	if id != "" {
		body = strings.ReplaceAll(body, id, "ID")
	}
	for i, word := range words {
		for _, w := range []string{word, url.QueryEscape(word), url.PathEscape(word)} {
			body = strings.ReplaceAll(body, w, fmt.Sprint("WORD", i))
			if to := h.Get("Location"); to != "" {
				h.Set("Location", strings.ReplaceAll(to, w, fmt.Sprint("WORD", i)))
			}
		}
	}
	return map[string]any{"status": r.status, "header": h, "body": body}
}

// portalRoutes are the routes for staff of the authority in the URL.
func (e *everybody) portalRoutes() []authz.Route {
	return slices.DeleteFunc(slices.Clone(e.service.Routes()), func(r authz.Route) bool {
		return r.Audience != authz.AudienceStaff || r.TenantFrom != authz.TenantFromURL || !r.Credential.OfSession()
	})
}

// at is a route's URL: its tenant, and what stands for each of its other parameters.
func at(r authz.Route, slug string, values ...string) string {
	parts := strings.Split(r.Path, "/")
	for i, part := range parts {
		switch {
		case part == ":tenant":
			parts[i] = slug
		case strings.HasPrefix(part, ":") && len(values) > 0:
			parts[i], values = url.PathEscape(values[0]), values[1:]
		case strings.HasPrefix(part, ":"):
			parts[i] = uuid.NewString()
		}
	}
	return strings.Join(parts, "/")
}

// rows is what the tables hold, each as a number that changes with any of its rows: those
// of one tenant if it is given.
func (e *everybody) rows(t *testing.T, of *tenant.Tenant) map[string]string {
	t.Helper()
	all, err := e.world.Database.Super().QueryContext(t.Context(), `
select c.relname, exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
  from pg_class c
 where c.relkind in ('r', 'p')
   and c.relnamespace = 'public'::regnamespace
   and c.relname <> 'login_session'`) // which notes that it was used
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	var queries []string
	for all.Next() {
		var name string
		var ofTenant bool
		if err := all.Scan(&name, &ofTenant); err != nil {
			t.Fatal(err)
		}
		where := "true"
		if of != nil && !ofTenant {
			continue
		}
		if of != nil {
			where = "tenant_id = '" + of.ID.String() + "'"
		}
		queries = append(queries, fmt.Sprintf(`select '%[1]s', count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 0)), 0) from %[1]s x where %s`, name, where))
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	sums, err := e.world.Database.Super().QueryContext(t.Context(), strings.Join(queries, " union all "))
	if err != nil {
		t.Fatal(err)
	}
	defer sums.Close()
	rows := map[string]string{}
	for sums.Next() {
		var name, sum string
		if err := sums.Scan(&name, &sum); err != nil {
			t.Fatal(err)
		}
		rows[name] = sum
	}
	if err := sums.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
