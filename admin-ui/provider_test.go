package adminui_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	adminui "carillon/admin-ui"
	"carillon/admin-ui/adminuitest"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/idp"
)

// directory is the stand-in as those see it who sign in.
type directory struct{ *adminuitest.SignIn }

// Active lists the active providers.
func (d directory) Active(_ context.Context, id tenant.ID) ([]idp.Choice, error) {
	var list []idp.Choice
	for _, p := range d.Providers {
		if p.State == idp.Active && id == d.Realm {
			list = append(list, idp.Choice{ID: p.ID, Name: p.Name})
		}
	}
	return list, nil
}

// Provider returns an active one.
func (d directory) Provider(ctx context.Context, realm, id string) (adminui.Login, error) {
	choices, err := d.Active(ctx, d.Realm)
	if err == nil && realm == d.Realm.String() && slices.ContainsFunc(choices, func(c idp.Choice) bool { return c.ID.String() == id }) {
		return ownLogin{d.Login, realm, id}, nil
	}
	return nil, idp.ErrMissing
}

// Trial returns any.
func (d directory) Trial(_ context.Context, realm, id string) (adminui.Login, int, error) {
	return ownLogin{d.Login, realm, id}, 1, nil
}

// ByDomain leads from the domains in Proved to north-shore.
func (d directory) ByDomain(_ context.Context, domain string) ([]idp.Authority, error) {
	var list []idp.Authority
	for _, p := range d.Proved {
		if p.Domain == domain {
			list = append(list, idp.Authority{Slug: "north-shore", Name: "North Shore"})
		}
	}
	return list, nil
}

// WriteKeys writes no keys.
func (d directory) WriteKeys(_ context.Context, _ tenant.ID, _ uuid.UUID, to io.Writer) error {
	_, err := io.WriteString(to, `{"keys":[]}`)
	return err
}

// ownLogin is Login as a provider of an authority's own.
type ownLogin struct {
	*adminuitest.Login
	realm, id string
}

func (l ownLogin) mark(_ string, f oidc.Flow, err error) (string, oidc.Flow, error) {
	f.Realm, f.Provider = l.realm, l.id
	return "/login/callback/" + l.id + "?state=" + f.State, f, err
}

func (l ownLogin) Begin(ctx context.Context) (string, oidc.Flow, error) {
	return l.mark(l.Login.Begin(ctx))
}

func (l ownLogin) BeginFresh(ctx context.Context) (string, oidc.Flow, error) {
	return l.mark(l.Login.BeginFresh(ctx))
}

func (l ownLogin) Finish(ctx context.Context, f oidc.Flow, query url.Values) (oidc.Identity, error) {
	who, err := l.Login.Finish(ctx, f, query)
	who.Realm, who.Provider = l.realm, l.id
	return who, err
}

// withProvider gives the world's first authority a provider in some state.
func (w *world) withProvider(state idp.State) idp.Provider {
	p := idp.Provider{
		ID: uuid.New(), State: state, Version: 1,
		Settings: idp.Settings{Name: "North Shore staff account", Issuer: "https://idp.north-shore.example", ClientID: "carillon", Proof: idp.BySecret},
	}
	w.signIns.Providers = append(w.signIns.Providers, p)
	return p
}

const signInPath = "/portal/north-shore/sign-in"

// A provider is added, tried, made active and switched off.
func TestAProvidersLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(owner)
	w.get("/portal/north-shore/sign-in").wants(200, "Sign-in").contains("You have no provider of your own")
	p := w.post(signInPath+"/new", url.Values{
		"name": {"Staff account"}, "issuer": {"https://idp.north-shore.example"}, "client_id": {"carillon"}, "proof": {"secret"}, "trust_prompt": {"yes"},
		"client_secret": {"s3cr3t-canary"}, "scopes": {"openid email, groups"}, "email_domains": {"North-Shore.example"}, "trust_email": {"yes"},
		"role_claim": {"groups"}, "role_map": {"tracers = caseworker\r\na=b = analyst\r\n"}, "acr": {""}, "amr": {"mfa"},
	}).wants(200, "Staff account").contains("Draft: has to be tried").contains("tracers is Caseworker").lacks("s3cr3t-canary")
	saved := w.signIns.Saved
	if saved.Secret != "s3cr3t-canary" || len(saved.Scopes) != 3 || saved.Roles[1] != (idp.Grant{Value: "a=b", Role: authz.Analyst}) || !saved.TrustEmail || !saved.TrustPrompt {
		t.Errorf("saved %+v", saved.Roles)
	}
	w.login.As.Roles = []string{"caseworker"}
	p = w.get(p.link("Try it")).wants(200, "The trial passed").contains(owner).contains("Caseworker").contains("groups").
		contains("taken to have done so")
	w.get("/portal/north-shore/codes").wants(200, "Look up a code") // she is who she was

	p = w.get(p.link("Make it active")).wants(200, "Make Staff account active?").contains("locks nobody out")
	p = w.post(p.url.Path, nil).wants(200, "Staff account").contains("The provider is active.")
	p = w.get(p.link("Switch it off")).wants(200, "Switch Staff account off?")
	w.post(p.url.Path, nil).wants(200, "Staff account").contains("The provider is off.")
}

// A trial that fails says what was wrong, and the provider stays a draft.
func TestATrialThatFails(t *testing.T) {
	t.Parallel()
	for text, failure := range map[string]error{
		"stronger way to sign in": oidc.ErrAssurance, "of a domain that": oidc.ErrDomain, "could not be verified": oidc.ErrToken,
		"has not been verified": oidc.ErrEmailUnverified, "cannot be reached": oidc.ErrProvider,
	} {
		w := newWorld(t)
		w.signIn(owner)
		p := w.withProvider(idp.Draft)
		w.login.FailFinish = failure
		w.get(signInPath+"/"+p.ID.String()+"/try").wants(200, "The trial did not pass").contains(text).lacks("/activate")
		if got := w.signIns.Providers[0].State; got != idp.Draft {
			t.Errorf("%v: it is %s", failure, got)
		}
		w.login.FailFinish = nil
	}
	w := newWorld(t)
	w.signIn(owner)
	p := w.withProvider(idp.Draft)
	w.login.FailBegin = oidc.ErrProvider
	w.get(signInPath+"/"+p.ID.String()+"/try").wants(200, "The trial did not pass").contains("cannot be reached").contains("said nothing")
}

func TestProblemsOfAProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(owner)
	w.signIns.Fail = errors.Join(idp.ErrIssuer, idp.ErrRoles, idp.ErrName)
	form := url.Values{
		"name": {""}, "issuer": {"http://10.0.0.1"}, "client_id": {"typed"}, "proof": {"key"}, "client_secret": {"canary-secret"},
		"role_map": {"all of them = owner"}, "version": {"1"},
	}
	p := w.post(signInPath+"/new", form).wants(422, "Add an identity provider").contains("nobody becomes an owner").lacks("canary-secret")
	for _, field := range []string{"name", "issuer", "role_map"} {
		if !strings.Contains(p.body, `href="#`+field+`"`) {
			t.Errorf("the summary does not lead to %s", field)
		}
	}
	if p.value("client_id") != "typed" || p.value("issuer") != "http://10.0.0.1" {
		t.Error("what was entered is lost")
	}
	one := w.withProvider(idp.Active)
	w.get(signInPath+"/"+one.ID.String()+"/change").wants(200, "Change this provider").contains("This provider is in use")
	w.post(signInPath+"/"+one.ID.String()+"/change", form).wants(422, "Change this provider").contains("all of them = owner")
	w.signIns.Fail = idp.ErrChanged
	w.post(signInPath+"/"+one.ID.String()+"/change", form).wants(409, "Somebody else changed this provider")
}

// Who may only read sees the providers, and nothing to change them with.
func TestProvidersForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.withProvider(idp.Active)
	w.signIn(auditor)
	w.get(signInPath).wants(200, "Sign-in").lacks(signInPath + "/new")
	w.get(signInPath+"/"+p.ID.String()).wants(200, p.Name).lacks("/off").lacks("/change")
	for _, path := range []string{"/new", "/domains", "/" + p.ID.String() + "/try", "/" + p.ID.String() + "/off"} {
		w.get(signInPath+path).wants(403, "You may not do this")
	}
	w.signIn(caseworker)
	w.get(signInPath).wants(403, "You may not do this")
	w.signIn(owner)
	w.get(signInPath+"/"+uuid.NewString()).wants(404, "Page not found")
	w.get(signInPath+"/canary").wants(404, "Page not found")
}

func TestDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(owner)
	w.post(signInPath+"/domains", url.Values{"domain": {"north-shore.example"}}).wants(200, "E-mail domains that lead here").
		contains("_carillon-sign-in.north-shore.example").contains("carillon-sign-in=TOKEN")
	w.signIns.Fail = idp.ErrUnproved
	w.post(signInPath+"/domains", url.Values{"domain": {"north-shore.example"}, "act": {"prove"}}).wants(422, "E-mail domains that lead here").contains("The record is not there")
	w.signIns.Fail = nil
	w.post(signInPath+"/domains", url.Values{"domain": {"north-shore.example"}, "act": {"drop"}}).contains("You have named no domain")
}

// The sign-in page of an authority that does not exist is that of one without providers.
func TestOwnSignInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	same := func(path string) string {
		return strings.ReplaceAll(w.get(path).wants(200, "Sign in").body, strings.Split(path, "/")[2], "")
	}
	if same("/portal/river-valley/login") != same("/portal/no-such-authority/login") {
		t.Error("no such authority can be told from one without providers")
	}
	p := w.withProvider(idp.Active)
	page := w.get("/portal/north-shore/codes").wants(200, "Sign in")
	if page.url.Path != "/portal/north-shore/login" {
		t.Errorf("she is at %s", page.url)
	}
	w.login.As = identity(caseworker)
	page = w.get(page.link("Continue with "+p.Name)).wants(200, "Look up a code")
	if page.url.Path != "/portal/north-shore/codes" {
		t.Errorf("she is at %s", page.url)
	}
	w.get("/portal/river-valley/").wants(404, "Page not found") // what north's provider says is north's alone
	w.get("/login?reason=fresh&return=/portal/north-shore/codes").wants(200, "Sign in again")
	w.get("/login/start?reason=fresh&return=/portal/north-shore/codes").wants(200, "Look up a code")
	w.post("/logout", nil).wants(200, "You have signed out").link("Sign out of your organization’s account")

	for _, path := range []string{
		"/portal/river-valley/login/start?provider=" + p.ID.String(), "/portal/nowhere/login/start?provider=" + p.ID.String(),
		"/portal/north-shore/login/start?provider=" + uuid.NewString(), "/portal/north-shore/login/start?provider=canary",
	} {
		w.get(path).wants(404, "Page not found")
	}
	w.login.FailBegin = oidc.ErrProvider
	w.get("/portal/north-shore/login/start?provider="+p.ID.String()).wants(503, "Sign in").contains("cannot be reached").
		link("Continue to sign in")
}

// An answer is taken at the callback of the provider that was asked, and nowhere else.
func TestCallbacksAreEachProvidersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.withProvider(idp.Active), w.withProvider(idp.Active)
	for _, at := range []string{"/login/callback", "/login/callback/" + other.ID.String(), "/login/callback/canary"} {
		start := w.noFollow("/portal/north-shore/login/start?provider=" + p.ID.String())
		w.get(at+"?"+start.RawQuery).wants(400, "Sign in").contains("begun in another browser")
		w.get("/login/callback/"+p.ID.String()+"?"+start.RawQuery).wants(400, "Sign in") // and the state is spent
	}
	start := w.noFollow("/portal/north-shore/login/start?provider=" + p.ID.String())
	w.signIns.Providers[0].State = idp.Off
	w.get(start.RequestURI()).wants(400, "Sign in")
}

// noFollow is where a page leads.
func (w *world) noFollow(path string) *url.URL {
	w.t.Helper()
	client := *w.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(w.request(http.MethodGet, path, nil))
	if err != nil {
		w.t.Fatal(err)
	}
	_ = response.Body.Close()
	to, err := response.Location()
	if err != nil {
		w.t.Fatal(err)
	}
	return to
}

func TestSignInByAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIns.Proved = []idp.Domain{{Domain: "north-shore.example"}, {Domain: "two.example"}, {Domain: "two.example"}}
	find := func(email string) *page { return w.post("/login/find", url.Values{"email": {email}}) }
	if p := find("anybody@north-shore.example").wants(200, "Sign in"); p.url.Path != "/portal/north-shore/login" {
		t.Errorf("led to %s", p.url)
	}
	find("x@two.example").wants(200, "Sign in").contains("Choose your health authority")
	find("x@elsewhere.example").wants(200, "Sign in").contains("No health authority has its own sign-in for this address")
	find("no address").wants(422, "Sign in").contains("Enter an e-mail address")
	if strings.Contains(w.log.String(), "elsewhere.example") {
		t.Error("the log has what was typed")
	}
}

func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.withProvider(idp.Active)
	own := "/portal/north-shore/login/back-channel-logout/" + p.ID.String()
	send := func(path, token string) *page {
		r := w.request(http.MethodPost, path, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return w.do(r)
	}
	for _, c := range []struct {
		path, token string
		want        int
	}{
		{own, "token", 200},
		{own, "token", 400}, // again
		{own, "another", 200},
		{own, "", 400},
		{"/login/back-channel-logout", "token", 200}, // another provider's token of the same name
		{"/portal/river-valley/login/back-channel-logout/" + p.ID.String(), "new", 400},
		{"/portal/nowhere/login/back-channel-logout/" + p.ID.String(), "new", 400},
		{"/portal/north-shore/login/back-channel-logout/" + uuid.NewString(), "new", 400},
	} {
		got := send(c.path, c.token)
		if got.status != c.want || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %q: status %d, want %d", c.path, c.token, got.status, c.want)
		}
	}
	want := []string{p.ID.String() + " token", p.ID.String() + " another", " token"}
	if !slices.Equal(w.sessions.Ended, want) {
		t.Errorf("ended %q, want %q", w.sessions.Ended, want)
	}
}
