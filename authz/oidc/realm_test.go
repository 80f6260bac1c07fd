package oidc

import (
	"crypto/elliptic"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// signWithItsKey brings its own key in the header.
func signWithItsKey(_ *hostile, payload []byte) string {
	key := newKey(elliptic.P256())
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// signAs signs by a key that nobody published, under any name.
func signAs(kid string) func(*hostile, []byte) string {
	return func(_ *hostile, payload []byte) string {
		return sign(jose.ES256, newKey(elliptic.P256()), kid, payload)
	}
}

// owned is a tenant's provider with all that it can ask for.
func owned(c *Config) {
	c.Realm, c.ID = "north", "theirs"
	c.ACR, c.AMR = []string{"urn:example:three", "urn:example:two"}, []string{"otp"}
	c.EmailDomains = []string{"north-shore.example"}
	c.RoleClaim = "groups"
	c.Roles = map[string][]string{"tracers": {"caseworker"}, "leads": {"administrator", "caseworker"}}
}

func TestSignInAtATenantsProvider(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.claims = set(map[string]any{"groups": []string{"leads", "tracers", "choir"}, "sid": "session-1"})
	p := client(t, h, owned)
	redirect, f, err := p.Begin(t.Context())
	if err != nil || !strings.Contains(redirect, "acr_values=urn%3Aexample%3Athree+urn%3Aexample%3Atwo") {
		t.Fatalf("%s, %v", redirect, err)
	}
	r, err := p.Examine(t.Context(), f, h.authorize(t, redirect))
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{
		Issuer: h.URL, Subject: subject, Email: "alex.example@north-shore.example", Name: "Alex Example",
		AuthTime: clock(), ACR: "urn:example:two", AMR: []string{"pwd", "otp"},
		Realm: "north", Provider: "theirs", Roles: []string{"administrator", "caseworker"}, SID: "session-1", IDToken: r.Identity.IDToken,
	}
	if diff := cmp.Diff(want, r.Identity); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if !slices.Contains(r.Claims, "groups") || !slices.IsSorted(r.Claims) || slices.Contains(r.Claims, "choir") {
		t.Errorf("claims %v", r.Claims)
	}
}

// What a tenant asks for beyond a sign-in, and what a trial shows of one that fails.
func TestRequirements(t *testing.T) {
	t.Parallel()
	none := map[string]any{}
	for name, c := range map[string]struct {
		claims map[string]any
		change func(*Config)
		want   error
		roles  []string
	}{
		"another class":                {map[string]any{"acr": "urn:example:one"}, nil, ErrAssurance, nil},
		"no class":                     {map[string]any{"acr": nil}, nil, ErrAssurance, nil},
		"another method":               {map[string]any{"amr": []string{"pwd"}}, nil, ErrAssurance, nil},
		"no method":                    {map[string]any{"amr": nil}, nil, ErrAssurance, nil},
		"another domain":               {map[string]any{"email": "alex@south.example"}, nil, ErrDomain, nil},
		"a domain below":               {map[string]any{"email": "alex@evil.north-shore.example"}, nil, ErrDomain, nil},
		"not verified":                 {map[string]any{"email_verified": false}, nil, ErrEmailUnverified, nil},
		"not verified, though trusted": {map[string]any{"email_verified": false}, func(c *Config) { c.TrustEmail = true }, ErrEmailUnverified, nil},
		"trusted":                      {map[string]any{"email_verified": nil}, func(c *Config) { c.TrustEmail = true }, nil, nil},
		"trusted of another domain": {
			map[string]any{"email_verified": nil, "email": "alex@south.example"},
			func(c *Config) { c.TrustEmail = true }, ErrDomain, nil, // the userinfo vouches for an address of its own
		},
		"one value":         {map[string]any{"groups": "tracers"}, nil, nil, []string{"caseworker"}},
		"values of numbers": {map[string]any{"groups": []int{1}}, nil, nil, nil},
		"nested": {
			map[string]any{"realm_access": map[string]any{"roles": []string{"tracers"}}},
			func(c *Config) { c.RoleClaim = "realm_access.roles" }, nil,
			[]string{"caseworker"},
		},
		"name with dots": {
			map[string]any{"https://north.example/roles": []string{"tracers"}},
			func(c *Config) { c.RoleClaim = "https://north.example/roles" }, nil,
			[]string{"caseworker"},
		},
		"nothing there": {none, func(c *Config) { c.RoleClaim = "a.b.c" }, nil, nil},
		"not inside":    {map[string]any{"a": "text"}, func(c *Config) { c.RoleClaim = "a.b" }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			h.claims, h.userinfo = set(c.claims), func(info map[string]any) {
				if name == "trusted of another domain" {
					info["email"] = "alex@south.example"
				}
			}
			changes := []func(*Config){owned}
			if c.change != nil {
				changes = append(changes, c.change)
			}
			p := client(t, h, changes...)
			redirect, f, err := p.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Examine(t.Context(), f, h.authorize(t, redirect))
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if r.Identity.Issuer != h.URL || len(r.Claims) == 0 {
				t.Errorf("a trial shows nothing: %+v", r.Claims)
			}
			if diff := cmp.Diff(c.roles, r.Identity.Roles); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}

// Two tenants with the same issuer: what was begun with one does not end with the other.
func TestFlowsOfAnotherRealm(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	north := client(t, h, owned)
	south := client(t, h, owned, func(c *Config) { c.Realm = "south" })
	other := client(t, h, owned, func(c *Config) { c.ID = "another of theirs" })
	platform := client(t, h)
	for name, at := range map[string]*Provider{"south": south, "other": other, "platform": platform} {
		redirect, f, err := north.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := at.Finish(t.Context(), f, h.authorize(t, redirect)); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
	}
}

func TestClientThatSigns(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	var form url.Values
	h.serve[tokenEndpoint] = func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Header.Get("Authorization") != "" {
			t.Errorf("%v, or a secret", err)
		}
		form = r.PostForm
		refuse(w, "invalid_grant")
	}
	p := client(t, h, func(c *Config) {
		c.ClientSecret = ""
		c.Assert = func(audience string) (string, error) { return "assertion for " + audience, nil }
	})
	if _, err := signIn(t, p, h); !errors.Is(err, ErrToken) {
		t.Errorf("%v, want ErrToken", err)
	}
	for name, want := range map[string]string{
		"client_id": clientID, "client_secret": "", "client_assertion": "assertion for " + h.URL + tokenEndpoint,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	} {
		if form.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, form.Get(name), want)
		}
	}
	broken := client(t, h, func(c *Config) { c.Assert = func(string) (string, error) { return "", errors.New("no key") } })
	if _, err := signIn(t, broken, h); err == nil {
		t.Error("signed in without an assertion")
	}
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutToken is a good one, changed.
func (h *hostile) logoutToken(typ string, changes map[string]any) string {
	c := map[string]any{
		"iss": h.URL, "aud": clientID, "sub": subject, "sid": "session-1", "jti": "token-1",
		"iat": clock().Unix(), "exp": clock().Add(2 * time.Minute).Unix(),
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	set(changes)(c)
	return signTyped(h, typ, c)
}

func TestVerifyLogout(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	want := Logout{Subject: subject, SID: "session-1", ID: "token-1", Expires: clock().Add(logoutLife)}
	for name, c := range map[string]struct {
		typ     string
		changes map[string]any
		want    Logout
	}{
		"typed":         {"logout+jwt", nil, want},
		"as any JWT":    {"JWT", nil, want},
		"without type":  {"", nil, want},
		"subject alone": {"logout+jwt", map[string]any{"sid": nil}, Logout{Subject: subject, ID: "token-1", Expires: want.Expires}},
		"session alone": {"logout+jwt", map[string]any{"sub": nil}, Logout{SID: "session-1", ID: "token-1", Expires: want.Expires}},
		"two audiences": {"logout+jwt", map[string]any{"aud": []string{"other", clientID}}, want},
	} {
		got, err := p.VerifyLogout(t.Context(), h.logoutToken(c.typ, c.changes))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestForgedLogouts(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	good := h.logoutToken("logout+jwt", nil)
	for name, raw := range map[string]string{
		"nothing":               "",
		"no token":              "canary",
		"another issuer":        h.logoutToken("logout+jwt", map[string]any{"iss": "https://canary.example"}),
		"another client":        h.logoutToken("logout+jwt", map[string]any{"aud": "canary"}),
		"no audience":           h.logoutToken("logout+jwt", map[string]any{"aud": nil}),
		"no event":              h.logoutToken("logout+jwt", map[string]any{"events": nil}),
		"another event":         h.logoutToken("logout+jwt", map[string]any{"events": map[string]any{"canary": map[string]any{}}}),
		"event is no object":    h.logoutToken("logout+jwt", map[string]any{"events": map[string]any{logoutEvent: "canary"}}),
		"event is null":         h.logoutToken("logout+jwt", map[string]any{"events": map[string]any{logoutEvent: nil}}),
		"a nonce":               h.logoutToken("logout+jwt", map[string]any{"nonce": "canary"}),
		"neither sub nor sid":   h.logoutToken("logout+jwt", map[string]any{"sub": nil, "sid": nil}),
		"no jti":                h.logoutToken("logout+jwt", map[string]any{"jti": nil}),
		"expired":               h.logoutToken("logout+jwt", map[string]any{"exp": clock().Add(-time.Second).Unix()}),
		"no expiry":             h.logoutToken("logout+jwt", map[string]any{"exp": nil}),
		"no time":               h.logoutToken("logout+jwt", map[string]any{"iat": nil}),
		"of tomorrow":           h.logoutToken("logout+jwt", map[string]any{"iat": clock().Add(24 * time.Hour).Unix(), "exp": clock().Add(25 * time.Hour).Unix()}),
		"of yesterday":          h.logoutToken("logout+jwt", map[string]any{"iat": clock().Add(-24 * time.Hour).Unix(), "exp": clock().Add(time.Hour).Unix()}),
		"type of access tokens": h.logoutToken("at+jwt", nil),
		"signature cut off":     good[:strings.LastIndex(good, ".")+1],
		"signature of another":  good[:strings.LastIndex(good, ".")] + good[strings.LastIndex(good, "."):][:10] + "AAAA" + good[strings.LastIndex(good, ".")+14:],
		"an ID token":           h.idToken(url.Values{"nonce": {"canary"}}, "access"),
		"unsigned":              unsigned(h, []byte(`{"iss":"`+h.URL+`"}`)),
		"signed by another":     signAs(h.kid)(h, []byte(`{"iss":"`+h.URL+`","aud":"carillon","sub":"s","jti":"j"}`)),
		"signed by its own key": signWithItsKey(h, []byte(`{"iss":"`+h.URL+`","aud":"carillon","sub":"s","jti":"j"}`)),
		"MAC with public key":   macWith((*hostile).publicDER)(h, []byte(`{"iss":"`+h.URL+`","aud":"carillon","sub":"s","jti":"j"}`)),
	} {
		got, err := p.VerifyLogout(t.Context(), raw)
		if !errors.Is(err, ErrToken) || got != (Logout{}) {
			t.Errorf("%s: %+v, %v, want ErrToken", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats what it was sent: %v", name, err)
		}
	}
	h.Close()
	if _, err := client(t, h).VerifyLogout(t.Context(), good); !errors.Is(err, ErrProvider) {
		t.Errorf("provider is down: %v, want ErrProvider", err)
	}
}
