package idp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/idp"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

const platform = "https://platform.example"

// fixture is a world with providers.
type fixture struct {
	*tenanttest.World
	config  idp.Config
	staff   *idp.Staff
	dir     *idp.Directory
	records map[string][]string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{World: tenanttest.New(t), records: map[string][]string{}}
	f.config = idp.Config{
		DB: f.Portal, Keys: key.NewRing(f.Portal, f.Root), Policies: authz.NewPolicies(nil),
		Network: outbound.New(true), Platform: platform, BaseURL: "https://carillon.example",
		Records: func(_ context.Context, name string) ([]string, error) { return f.records[name], nil },
		Now:     f.Now,
	}
	f.staff, f.dir = &idp.Staff{Config: f.config}, idp.NewDirectory(f.config)
	return f
}

// owner is somebody whom every policy allows everything.
var (
	owner         = authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Name: "Ola", Roles: []authz.Role{authz.Owner}}
	administrator = authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Name: "Ada", Roles: []authz.Role{authz.Administrator}}
	caseworker    = authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Name: "Kim", Roles: []authz.Role{authz.Caseworker}}
)

func settings(issuer string, change ...func(*idp.Settings)) idp.Settings {
	s := idp.Settings{
		Name: "Staff account", Issuer: issuer, ClientID: "carillon", Proof: idp.BySecret, Secret: "s3cr3t-canary",
		EmailDomains: []string{"Health.example"}, RoleClaim: "groups", Roles: []idp.Grant{{Value: "tracers", Role: authz.Caseworker}},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// add makes an active provider; the authority gets an owner at the platform's.
func (f *fixture) add(t *testing.T, at *tenant.Tenant, s idp.Settings) uuid.UUID {
	t.Helper()
	id, err := f.staff.Add(t.Context(), at, owner, s)
	if err != nil {
		t.Fatal(err)
	}
	f.member(t, at, platform, "ola@health.example", authz.Owner)
	if err := f.staff.Passed(t.Context(), at, owner, id, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.staff.Activate(t.Context(), at, owner, id); err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) member(t *testing.T, at *tenant.Tenant, issuer, email string, role authz.Role) {
	t.Helper()
	err := f.Operator.In(t.Context(), at.ID, func(tx *tenant.Tx) error {
		return member.Add(t.Context(), tx, member.Member{Issuer: issuer, Email: email, Name: email, Roles: []authz.Role{role}})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) state(t *testing.T, at *tenant.Tenant, id uuid.UUID) idp.Provider {
	t.Helper()
	p, err := f.staff.Find(t.Context(), at, owner, id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAProvidersLife(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north, south := f.Create("north"), f.Create("south")
	id, err := f.staff.Add(t.Context(), north, owner, settings("https://idp.health.example"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.staff.Activate(t.Context(), north, owner, id); !errors.Is(err, idp.ErrNoOwner) {
		t.Errorf("without an owner elsewhere: %v, want ErrNoOwner", err)
	}
	f.member(t, north, platform, "ola@health.example", authz.Owner)
	if err := f.staff.Activate(t.Context(), north, owner, id); !errors.Is(err, idp.ErrUntried) {
		t.Errorf("before a trial: %v, want ErrUntried", err)
	}
	if err := f.staff.Passed(t.Context(), north, owner, id, 7); !errors.Is(err, idp.ErrChanged) {
		t.Errorf("a trial of another version: %v, want ErrChanged", err)
	}
	if err := f.staff.Passed(t.Context(), north, owner, id, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.staff.Activate(t.Context(), north, owner, id); err != nil {
		t.Fatal(err)
	}
	p := f.state(t, north, id)
	if p.State != idp.Active || p.Secret != "" || p.EmailDomains[0] != "health.example" {
		t.Errorf("it is %v %q", p.State, p.EmailDomains)
	}

	// A new name changes nothing; anything else makes it a draft again.
	renamed := settings("https://idp.health.example", func(s *idp.Settings) { s.Name, s.Secret = "Other name", "" })
	if err := f.staff.Change(t.Context(), north, owner, id, 1, renamed); err != nil || f.state(t, north, id).State != idp.Active {
		t.Errorf("a new name: %v, %v", err, f.state(t, north, id).State)
	}
	for i, change := range []func(*idp.Settings){
		func(s *idp.Settings) { s.Secret = "another secret" },
		func(s *idp.Settings) { s.Roles = nil },
		func(s *idp.Settings) { s.Issuer = "https://other.health.example" },
		func(s *idp.Settings) { s.TrustPrompt = true },
		func(s *idp.Settings) { s.Proof = idp.ByKey },
	} {
		name := []string{"secret", "list of roles", "issuer", "trust", "proof"}[i]
		version := f.state(t, north, id).Version
		was := f.state(t, north, id).Settings
		was.Secret = ""
		change(&was)
		if err := f.staff.Change(t.Context(), north, owner, id, version, was); err != nil {
			t.Fatal(err)
		}
		if p := f.state(t, north, id); p.State != idp.Draft || p.Version != version+1 {
			t.Errorf("after another %s it is %v of version %d", name, p.State, p.Version)
		}
		if err := f.staff.Change(t.Context(), north, owner, id, version, was); !errors.Is(err, idp.ErrChanged) {
			t.Errorf("an editor who saw the old %s: %v, want ErrChanged", name, err)
		}
		if err := errors.Join(f.staff.Passed(t.Context(), north, owner, id, version+1), f.staff.Activate(t.Context(), north, owner, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.staff.SwitchOff(t.Context(), north, owner, id); err != nil || f.state(t, north, id).State != idp.Off {
		t.Errorf("switch off: %v", err)
	}
	if err := f.staff.Activate(t.Context(), north, owner, id); !errors.Is(err, idp.ErrUntried) {
		t.Errorf("without another trial: %v, want ErrUntried", err)
	}

	// Another authority sees none of it.
	for name, err := range map[string]error{
		"change":     f.staff.Change(t.Context(), south, owner, id, 1, renamed),
		"passed":     f.staff.Passed(t.Context(), south, owner, id, 1),
		"switch off": f.staff.SwitchOff(t.Context(), south, owner, id),
	} {
		if !errors.Is(err, idp.ErrMissing) {
			t.Errorf("%s by another authority: %v, want ErrMissing", name, err)
		}
	}
	var stored int
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from identity_provider where position('canary'::bytea in sealed) > 0`).Scan(&stored); err != nil || stored != 0 {
		t.Errorf("%d secrets are stored in the clear (%v)", stored, err)
	}
	var entries int
	if err := f.Database.Super().QueryRowContext(t.Context(), `select count(*) from audit_entry where tenant_id = $1 and action like 'sign-in:%' and actor_name = 'Ola' and detail::text not like '%canary%'`, north.ID).Scan(&entries); err != nil || entries != 20 {
		t.Errorf("%d audit entries (%v), want one for each of 20 changes", entries, err)
	}
}

func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	public := f.config
	public.Network = outbound.New(false, 443)
	strict := &idp.Staff{Config: public}
	for name, c := range map[string]struct {
		by     authz.Subject
		change func(*idp.Settings)
		want   error
	}{
		"no name":               {owner, func(s *idp.Settings) { s.Name = " " }, idp.ErrName},
		"name that turns round": {owner, func(s *idp.Settings) { s.Name = "a\u202eb" }, idp.ErrName},
		"http":                  {owner, func(s *idp.Settings) { s.Issuer = "http://idp.example" }, idp.ErrIssuer},
		"loopback":              {owner, func(s *idp.Settings) { s.Issuer = "http://127.0.0.1/idp" }, idp.ErrIssuer},
		"a file":                {owner, func(s *idp.Settings) { s.Issuer = "file:///etc/passwd" }, idp.ErrIssuer},
		"password in it":        {owner, func(s *idp.Settings) { s.Issuer = "https://u:p@idp.example" }, idp.ErrIssuer},
		"the platform's own":    {owner, func(s *idp.Settings) { s.Issuer = platform }, idp.ErrIssuer},
		"no client":             {owner, func(s *idp.Settings) { s.ClientID = "" }, idp.ErrClientID},
		"no secret":             {owner, func(s *idp.Settings) { s.Secret = "" }, idp.ErrSecret},
		"no such proof":         {owner, func(s *idp.Settings) { s.Proof = "magic" }, idp.ErrSecret},
		"many scopes":           {owner, func(s *idp.Settings) { s.Scopes = make([]string, 21) }, idp.ErrScopes},
		"no domain":             {owner, func(s *idp.Settings) { s.EmailDomains = []string{"health"} }, idp.ErrDomains},
		"homograph":             {owner, func(s *idp.Settings) { s.EmailDomains = []string{"he\u0430lth.example"} }, idp.ErrDomains},
		"trust in all":          {owner, func(s *idp.Settings) { s.EmailDomains, s.TrustEmail = nil, true }, idp.ErrDomains},
		"roles of no claim":     {owner, func(s *idp.Settings) { s.RoleClaim = "" }, idp.ErrClaim},
		"owner by claim":        {owner, func(s *idp.Settings) { s.Roles = []idp.Grant{{Value: "all", Role: authz.Owner}} }, idp.ErrRoles},
		"no such role":          {owner, func(s *idp.Settings) { s.Roles = []idp.Grant{{Value: "all", Role: "magician"}} }, idp.ErrRoles},
		"platform's role":       {owner, func(s *idp.Settings) { s.Roles = []idp.Grant{{Value: "all", Role: authz.Operator}} }, idp.ErrRoles},
		"more than she holds":   {administrator, func(s *idp.Settings) { s.Roles = []idp.Grant{{Value: "all", Role: authz.KeyCustodian}} }, idp.ErrRoles},
		"words":                 {owner, func(s *idp.Settings) { s.ACR = []string{"a b"} }, idp.ErrStrength},
		"nobody may":            {caseworker, func(s *idp.Settings) { s.Roles = nil }, authz.ErrForbidden},
	} {
		_, err := strict.Add(t.Context(), north, c.by, settings("https://idp.example", c.change))
		if !errors.Is(err, c.want) || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	list, err := f.staff.List(t.Context(), north, owner)
	if err != nil || len(list) != 0 {
		t.Errorf("%d providers were added (%v)", len(list), err)
	}
	for i := range 5 {
		if _, err := strict.Add(t.Context(), north, owner, settings("https://idp.example", func(s *idp.Settings) { s.Name = fmt.Sprint("number ", i) })); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := strict.Add(t.Context(), north, owner, settings("https://idp.example")); !errors.Is(err, idp.ErrFull) {
		t.Errorf("a sixth: %v, want ErrFull", err)
	}
	// Whoever changes a provider answers for all the roles that follow from it.
	id := first(t, f, north)
	custodian := settings("https://idp.example", func(s *idp.Settings) {
		s.Name, s.Roles = "number 0", []idp.Grant{{Value: "all", Role: authz.KeyCustodian}}
	})
	if err := strict.Change(t.Context(), north, owner, id, 1, custodian); err != nil {
		t.Fatal(err)
	}
	custodian.Issuer = "https://idp.of-the-administrator.example"
	if err := strict.Change(t.Context(), north, administrator, id, 2, custodian); !errors.Is(err, idp.ErrRoles) {
		t.Errorf("an administrator leads custodians elsewhere: %v, want ErrRoles", err)
	}
}

func first(t *testing.T, f *fixture, at *tenant.Tenant) uuid.UUID {
	t.Helper()
	list, err := f.staff.List(t.Context(), at, owner)
	if err != nil || len(list) == 0 {
		t.Fatal(err)
	}
	return list[0].ID
}

// site is an OpenID provider that asserts whoever is asked for.
type site struct {
	*httptest.Server
	mu     sync.Mutex
	key    *ecdsa.PrivateKey // guarded by mu
	kid    string            // guarded by mu
	nonce  string
	claims map[string]any
	form   url.Values
	asked  int
	now    func() time.Time
}

func newSite(t *testing.T, now func() time.Time) *site {
	t.Helper()
	s := &site{now: now}
	s.rotate(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys",
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.kid, Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.form = r.PostForm
		if id, secret, ok := r.BasicAuth(); ok {
			s.form.Set("basic", id+" "+secret)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": s.token(nil)})
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *site) rotate(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.kid = rand.Text()
}

func (s *site) token(changes map[string]any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, (&jose.SignerOptions{}).WithHeader("kid", s.kid))
	if err != nil {
		panic(err)
	}
	c := map[string]any{
		"iss": s.URL, "sub": "robin", "aud": "carillon", "nonce": s.nonce, "iat": s.now().Unix(), "exp": s.now().Add(time.Minute).Unix(),
		"email": "robin@health.example", "email_verified": true, "groups": []string{"tracers"},
	}
	for _, more := range []map[string]any{s.claims, changes} {
		for k, v := range more {
			c[k] = v
		}
	}
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		panic(err)
	}
	return text
}

// signIn goes through p; the browser is not needed.
func (s *site) signIn(t *testing.T, p *oidc.Provider) (oidc.Identity, error) {
	t.Helper()
	to, flow, err := p.Begin(t.Context())
	if err != nil {
		return oidc.Identity{}, err
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	s.nonce = u.Query().Get("nonce")
	return p.Finish(t.Context(), flow, url.Values{"state": {flow.State}, "code": {"code"}})
}

func (f *fixture) provider(t *testing.T, at *tenant.Tenant, id uuid.UUID) *oidc.Provider {
	t.Helper()
	p, err := f.dir.Provider(t.Context(), at.ID.String(), id.String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Two authorities with one provider, down to the client: what it says to one of them is
// nothing to the other.
func TestTwoAuthoritiesWithOneProvider(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north, south := f.Create("north"), f.Create("south")
	s := newSite(t, f.Now)
	atNorth, atSouth := f.add(t, north, settings(s.URL)), f.add(t, south, settings(s.URL))
	f.member(t, north, s.URL, "robin@health.example", authz.Analyst)
	f.member(t, south, s.URL, "robin@health.example", authz.Owner)

	who, err := s.signIn(t, f.provider(t, north, atNorth))
	if err != nil {
		t.Fatal(err)
	}
	if s.form.Get("basic") != "carillon s3cr3t-canary" {
		t.Errorf("the client proves itself by %q", s.form.Get("basic"))
	}
	subject, err := member.Authenticate(t.Context(), f.Portal, north, who)
	if diff := cmp.Diff([]authz.Role{authz.Analyst, authz.Caseworker}, subject.Roles); err != nil || diff != "" {
		t.Errorf("at north: %v (-want +got):\n%s", err, diff)
	}
	if _, err := member.Authenticate(t.Context(), f.Portal, south, who); !errors.Is(err, member.ErrNotMember) {
		t.Errorf("north's word at south: %v, want ErrNotMember", err)
	}
	if list, err := member.Memberships(t.Context(), f.Portal, who); err != nil || len(list) != 1 || list[0].Tenant != north.ID {
		t.Errorf("memberships %v, %v", list, err)
	}
	// A flow that was begun with one does not end with the other.
	_, flow, err := f.provider(t, north, atNorth).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.provider(t, south, atSouth).Finish(t.Context(), flow, url.Values{"state": {flow.State}, "code": {"code"}}); !errors.Is(err, oidc.ErrState) {
		t.Errorf("north's flow at south: %v, want ErrState", err)
	}
	for name, at := range map[string][2]string{
		"north's at south": {south.ID.String(), atNorth.String()}, "nobody's": {north.ID.String(), uuid.NewString()},
		"no realm": {"", atNorth.String()}, "no IDs": {"a", "b"},
	} {
		if _, err := f.dir.Provider(t.Context(), at[0], at[1]); !errors.Is(err, idp.ErrMissing) {
			t.Errorf("%s: %v, want ErrMissing", name, err)
		}
	}
	// It asserts the platform's issuer, or somebody of the platform's: nobody.
	s.claims = map[string]any{"iss": platform}
	if _, err := s.signIn(t, f.provider(t, north, atNorth)); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("as the platform's provider: %v, want ErrToken", err)
	}
	s.claims = map[string]any{"email": "ola@health.example"}
	who, err = s.signIn(t, f.provider(t, north, atNorth))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Authenticate(t.Context(), f.Portal, north, who); !errors.Is(err, member.ErrNotMember) {
		t.Errorf("as the owner of the platform's provider: %v, want ErrNotMember", err)
	}
}

// A provider changes its keys while people sign in and out: the new ones are fetched, and
// the old ones are not believed for long.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	s := newSite(t, f.Now)
	p := f.provider(t, north, f.add(t, north, settings(s.URL)))
	if _, err := s.signIn(t, p); err != nil {
		t.Fatal(err)
	}
	old := s.token(map[string]any{"nonce": nil, "jti": "1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})
	s.rotate(t)
	if _, err := s.signIn(t, p); err != nil {
		t.Errorf("after a change of keys: %v", err)
	}
	if s.asked != 2 {
		t.Errorf("keys were fetched %d times, want 2", s.asked)
	}
	if _, err := p.VerifyLogout(t.Context(), old); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("signed by the withdrawn key: %v, want ErrToken", err)
	}
}

func TestClientWithAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	s := newSite(t, f.Now)
	id := f.add(t, north, settings(s.URL, func(s *idp.Settings) { s.Proof = idp.ByKey }))
	if _, err := s.signIn(t, f.provider(t, north, id)); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := f.dir.WriteKeys(t.Context(), north.ID, id, &text); err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text.String()), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("key set %s, %v", text.String(), err)
	}
	token, err := jwt.ParseSigned(s.form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var c jwt.Claims
	if err := token.Claims(set.Key(token.Headers[0].KeyID)[0].Key, &c); err != nil {
		t.Fatal(err)
	}
	want := jwt.Expected{Issuer: "carillon", Subject: "carillon", AnyAudience: jwt.Audience{s.URL + "/token"}, Time: f.Now()}
	if err := c.ValidateWithLeeway(want, 0); err != nil || c.ID == "" || s.form.Get("basic") != "" {
		t.Errorf("assertion %+v: %v", c, err)
	}
	if err := f.dir.WriteKeys(t.Context(), f.Create("south").ID, id, &text); !errors.Is(err, idp.ErrMissing) {
		t.Errorf("at another authority: %v, want ErrMissing", err)
	}
}

// A provider that does not say when somebody signed in is believed to have asked her anew only
// if the authority has chosen so, and one that says otherwise never.
func TestProvidersThatDoNotSayWhen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	s := newSite(t, f.Now)
	for i, c := range []struct {
		trust bool
		said  map[string]any
		want  error
	}{
		{false, nil, oidc.ErrNoAuthTime},
		{true, nil, nil},
		{true, map[string]any{"auth_time": f.Now().Add(-time.Hour).Unix()}, oidc.ErrStale},
		{false, map[string]any{"auth_time": f.Now().Unix()}, nil},
	} {
		id := f.add(t, north, settings(s.URL, func(set *idp.Settings) { set.Name, set.TrustPrompt = fmt.Sprint("number ", i), c.trust }))
		s.claims = c.said
		p := f.provider(t, north, id)
		to, flow, err := p.BeginFresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		s.nonce = u.Query().Get("nonce")
		if _, err := p.Finish(t.Context(), flow, url.Values{"state": {flow.State}, "code": {"code"}}); !errors.Is(err, c.want) {
			t.Errorf("trusted %v, said %v: %v, want %v", c.trust, c.said, err, c.want)
		}
	}
}

// Outside development a provider leads nowhere into private networks, wherever its name
// or its documents point.
func TestPrivateNetworks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	s := newSite(t, f.Now)
	id := f.add(t, north, settings(s.URL))
	closed := f.config
	closed.Network = outbound.New(false, 443)
	p, err := idp.NewDirectory(closed).Provider(t.Context(), north.ID.String(), id.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Begin(t.Context()); !errors.Is(err, oidc.ErrProvider) {
		t.Errorf("the loopback: %v, want ErrProvider", err)
	}
	if s.asked != 0 {
		t.Error("it was reached")
	}
}

// Those who signed in with a provider are out when it is switched off or changed, and
// others are not.
func TestSessionsEndWithTheProvider(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *fixture, at *tenant.Tenant, id uuid.UUID) error{
		"off": func(f *fixture, at *tenant.Tenant, id uuid.UUID) error {
			return f.staff.SwitchOff(context.Background(), at, owner, id)
		},
		"change": func(f *fixture, at *tenant.Tenant, id uuid.UUID) error {
			return f.staff.Change(context.Background(), at, owner, id, 1, settings("https://other.example", func(s *idp.Settings) { s.Secret = "" }))
		},
	} {
		f := newFixture(t)
		north := f.Create("north")
		id := f.add(t, north, settings("https://idp.example"))
		sessions := member.NewSessions(f.Portal, f.Now)
		for digest, provider := range map[string]string{"theirs": id.String(), "platform": "", "another": uuid.NewString()} {
			data, err := member.Pack(member.Owner{Provider: provider, Subject: "robin"}, []byte("data"))
			if err == nil {
				err = sessions.CommitCtx(t.Context(), digest, data, f.Now().Add(time.Hour))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := end(f, north, id); err != nil {
			t.Fatal(err)
		}
		for digest, want := range map[string]bool{"theirs": false, "platform": true, "another": true} {
			if _, found, err := sessions.FindCtx(t.Context(), digest); err != nil || found != want {
				t.Errorf("%s: %s is there: %v (%v), want %v", name, digest, found, err, want)
			}
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north, south := f.Create("north"), f.Create("south")
	found := func(domain string) string {
		t.Helper()
		list, err := f.dir.ByDomain(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		var slugs []string
		for _, a := range list {
			slugs = append(slugs, string(a.Slug))
		}
		return strings.Join(slugs, " ")
	}
	for _, at := range []*tenant.Tenant{north, south} {
		if err := f.staff.AddDomain(t.Context(), at, owner, " Health.Example "); err != nil {
			t.Fatal(err)
		}
	}
	if got := found("health.example"); got != "" {
		t.Errorf("before a proof: %q", got)
	}
	list, err := f.staff.Domains(t.Context(), north, owner)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	f.records[list[0].RecordName()] = []string{"other", list[0].RecordText()}
	if err := f.staff.ProveDomain(t.Context(), south, owner, "health.example"); !errors.Is(err, idp.ErrUnproved) {
		t.Errorf("by another's record: %v, want ErrUnproved", err)
	}
	if err := f.staff.ProveDomain(t.Context(), north, owner, "health.example"); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{"HEALTH.example": "north", "x.health.example": "", "'; drop": "", "": ""} {
		if got := found(domain); got != want {
			t.Errorf("%q leads to %q, want %q", domain, got, want)
		}
	}
	// Before a tenant is chosen, nothing else is seen.
	err = f.Portal.ForDomain(t.Context(), "health.example", func(tx *tenant.Tx) error {
		for query, want := range map[string]int{
			`select count(*) from sign_in_domain`: 1, `select count(*) from identity_provider`: 0, `select count(*) from member`: 0,
		} {
			var n int
			if err := tx.Get(t.Context(), &n, query); err != nil || n != want {
				t.Errorf("%s = %d (%v), want %d", query, n, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"health", "-a.example", "a..example", "he\u0430lth.example", strings.Repeat("a", 64) + ".example"} {
		if err := f.staff.AddDomain(t.Context(), north, owner, bad); !errors.Is(err, idp.ErrDomain) {
			t.Errorf("%q: %v, want ErrDomain", bad, err)
		}
	}
	if err := f.staff.DropDomain(t.Context(), north, owner, "health.example"); err != nil || found("health.example") != "" {
		t.Errorf("dropped: %v, leads to %q", err, found("health.example"))
	}
}

// What signing in costs a page: the session and the person, a round trip each.
func TestRoundTripsOfAPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	north := f.Create("north")
	f.member(t, north, platform, "robin@health.example", authz.Analyst)
	who := oidc.Identity{Issuer: platform, Subject: "robin", Email: "robin@health.example"}
	sessions := member.NewSessions(f.Portal, f.Now)
	if err := sessions.CommitCtx(t.Context(), "digest", []byte("data"), f.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	page := func() {
		if _, found, err := sessions.FindCtx(t.Context(), "digest"); !found || err != nil {
			t.Errorf("session: %v, %v", found, err)
		}
		if _, err := member.Authenticate(t.Context(), f.Portal, north, who); err != nil {
			t.Error(err)
		}
	}
	page() // the first one notes that she was here
	if trips := f.Trips(page); trips != 2 {
		t.Errorf("%d round trips, want 2", trips)
	}
}
