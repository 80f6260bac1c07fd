package oidc

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func clock() time.Time { return time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC) }

func client(t *testing.T, h *hostile, changes ...func(*Config)) *Provider {
	t.Helper()
	c := Config{
		Issuer: h.URL, ClientID: clientID, ClientSecret: clientSecret, RedirectURL: redirectURL,
		HTTPClient: &http.Client{Transport: h.Client().Transport}, Now: clock,
	}
	for _, change := range changes {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// impatient gives up after 50 ms.
func impatient(c *Config) { c.HTTPClient.Timeout = 50 * time.Millisecond }

func signIn(t *testing.T, p *Provider, h *hostile) (Identity, error) {
	t.Helper()
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		return Identity{}, err
	}
	return p.Finish(t.Context(), f, h.authorize(t, redirect))
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	got, err := signIn(t, client(t, h), h)
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{
		Issuer: h.URL, Subject: subject, Email: "alex.example@north-shore.example", Name: "Alex Example",
		AuthTime: clock(), ACR: "urn:example:two", AMR: []string{"pwd", "otp"},
		IDToken: got.IDToken,
	}
	if strings.Count(got.IDToken, ".") != 2 {
		t.Error("no ID token to sign out with")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": clientID, "redirect_uri": redirectURL, "scope": "openid email profile",
		"state": f.State, "nonce": f.Nonce, "code_challenge_method": "S256", "prompt": "", "max_age": "",
	} {
		if q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q.Get(name), want)
		}
	}
	for name, secret := range map[string]string{"verifier": f.Verifier, "client secret": clientSecret} {
		if strings.Contains(redirect, secret) {
			t.Errorf("the redirect shows the %s", name)
		}
	}
	_, again, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.State == again.State || f.Nonce == again.Nonce || f.Verifier == again.Verifier || f.State == f.Nonce {
		t.Error("two sign-ins share a secret")
	}
	for name, secret := range map[string]string{"state": f.State, "nonce": f.Nonce, "verifier": f.Verifier} {
		if len(secret) < 26 { // 128 bits in base32
			t.Errorf("%s has %d characters", name, len(secret))
		}
	}
}

// What the provider may vary without harm.
func TestSignInVariations(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		vary   func(h *hostile)
		config func(*Config)
		email  string // alex.example@… unless set
	}{
		{name: "RS256", vary: func(h *hostile) { h.use(rsaKey, jose.RS256) }},
		{name: "no at_hash", vary: func(h *hostile) { h.claims = set(map[string]any{"at_hash": nil}) }},
		{name: "two audiences, ours authorised", vary: func(h *hostile) {
			h.claims = set(map[string]any{"aud": []string{"other", clientID}, "azp": clientID})
		}},
		{name: "verified in quotes", vary: func(h *hostile) { h.claims = set(map[string]any{"email_verified": "true"}) }},
		{name: "iss parameter", vary: func(h *hostile) {
			h.document = set(map[string]any{"authorization_response_iss_parameter_supported": true})
			h.answer = func(_, a url.Values) { a.Set("iss", h.URL) }
		}},
		{name: "secret in the form", vary: func(h *hostile) {
			h.document = set(map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}})
		}},
		{name: "e-mail from userinfo", vary: func(h *hostile) {
			h.claims = set(map[string]any{"email": nil, "email_verified": nil})
		}, email: "from-userinfo@north-shore.example"},
		{name: "verification from userinfo", vary: func(h *hostile) {
			h.claims = set(map[string]any{"email_verified": nil})
		}, email: "from-userinfo@north-shore.example"},
		{name: "scopes of our own", vary: func(*hostile) {}, config: func(c *Config) { c.Scopes = []string{"email"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			tt.vary(h)
			var changes []func(*Config)
			if tt.config != nil {
				changes = append(changes, tt.config)
			}
			got, err := signIn(t, client(t, h, changes...), h)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.email
			if want == "" {
				want = "alex.example@north-shore.example"
			}
			if got.Email != want || got.Subject != subject {
				t.Errorf("identity of %q, %q; want %q", got.Subject, got.Email, want)
			}
		})
	}
}

func TestHostileProvider(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault func(h *hostile)
		want  error
	}{
		// The answer that the browser brings.
		{"another state", func(h *hostile) { h.answer = func(_, a url.Values) { a.Set("state", "canary") } }, ErrState},
		{"no state", func(h *hostile) { h.answer = func(_, a url.Values) { a.Del("state") } }, ErrState},
		{"two states", func(h *hostile) { h.answer = func(_, a url.Values) { a.Add("state", "canary") } }, ErrState},
		{"no code", func(h *hostile) { h.answer = func(_, a url.Values) { a.Del("code") } }, ErrToken},
		{"two codes", func(h *hostile) { h.answer = func(_, a url.Values) { a.Add("code", "canary") } }, ErrToken},
		{"a code of its own", func(h *hostile) { h.answer = func(_, a url.Values) { a.Set("code", "canary") } }, ErrToken},
		{"another issuer's answer", func(h *hostile) {
			h.answer = func(_, a url.Values) { a.Set("iss", "https://canary.example") }
		}, ErrToken},
		{"iss promised but missing", func(h *hostile) {
			h.document = set(map[string]any{"authorization_response_iss_parameter_supported": true})
		}, ErrToken},
		{"the person refuses", func(h *hostile) { h.answer = answerWith("access_denied") }, ErrDenied},
		{"the provider refuses", func(h *hostile) { h.answer = answerWith("canary") }, ErrDenied},
		{"the provider is in trouble", func(h *hostile) { h.answer = answerWith("temporarily_unavailable") }, ErrProvider},
		{"refusal with another state", func(h *hostile) {
			h.answer = func(_, a url.Values) { a.Set("error", "access_denied"); a.Set("state", "canary") }
		}, ErrState},

		// Discovery.
		{"discovery of another issuer", func(h *hostile) { h.document = set(map[string]any{"issuer": "https://canary.example"}) }, ErrProvider},
		{"issuer with a slash more", func(h *hostile) { h.document = set(map[string]any{"issuer": h.URL + "/"}) }, ErrProvider},
		{"discovery is no JSON", func(h *hostile) { h.serve[discoveryEndpoint] = status(200) }, ErrProvider},
		{"discovery fails", func(h *hostile) { h.serve[discoveryEndpoint] = status(503) }, ErrProvider},
		{"discovery elsewhere", func(h *hostile) { h.serve[discoveryEndpoint] = h.redirect }, ErrProvider},
		{"discovery without end", func(h *hostile) { h.serve[discoveryEndpoint] = padded(h.serveDiscovery) }, ErrProvider},
		{"token endpoint without TLS", func(h *hostile) { h.document = set(map[string]any{"token_endpoint": "http://canary.example/token"}) }, ErrProvider},
		{"no token endpoint", func(h *hostile) { h.document = set(map[string]any{"token_endpoint": nil}) }, ErrProvider},
		{"userinfo without TLS", func(h *hostile) {
			h.document = set(map[string]any{"userinfo_endpoint": "http://canary.example/userinfo"})
		}, ErrProvider},

		// Token endpoint.
		{"exchange fails", func(h *hostile) { h.serve[tokenEndpoint] = status(500) }, ErrProvider},
		{"exchange elsewhere", func(h *hostile) { h.serve[tokenEndpoint] = h.redirect }, ErrProvider},
		{"exchange is no JSON", func(h *hostile) { h.serve[tokenEndpoint] = status(200) }, ErrProvider},
		{"exchange without end", func(h *hostile) { h.serve[tokenEndpoint] = padded(h.serveToken) }, ErrProvider},
		{"client unknown", func(h *hostile) {
			h.serve[tokenEndpoint] = func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_client") }
		}, ErrProvider},
		{"code refused", func(h *hostile) {
			h.serve[tokenEndpoint] = func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_grant") }
		}, ErrToken},
		{"no ID token", func(h *hostile) { h.token = func(_ *hostile, r map[string]any) { delete(r, "id_token") } }, ErrToken},
		{"ID token is a number", func(h *hostile) { h.token = func(_ *hostile, r map[string]any) { r["id_token"] = 1 } }, ErrToken},
		{"another access token", func(h *hostile) { h.token = func(_ *hostile, r map[string]any) { r["access_token"] = "canary" } }, ErrToken},

		// ID token.
		{"wrong issuer", func(h *hostile) { h.claims = set(map[string]any{"iss": "https://canary.example"}) }, ErrToken},
		{"wrong audience", func(h *hostile) { h.claims = set(map[string]any{"aud": "canary"}) }, ErrToken},
		{"no audience", func(h *hostile) { h.claims = set(map[string]any{"aud": nil}) }, ErrToken},
		{"two audiences, nobody authorised", func(h *hostile) { h.claims = set(map[string]any{"aud": []string{clientID, "canary"}}) }, ErrToken},
		{"another client authorised", func(h *hostile) { h.claims = set(map[string]any{"azp": "canary"}) }, ErrToken},
		{"no subject", func(h *hostile) { h.claims = set(map[string]any{"sub": nil}) }, ErrToken},
		{"wrong nonce", func(h *hostile) { h.claims = set(map[string]any{"nonce": "canary"}) }, ErrToken},
		{"no nonce", func(h *hostile) { h.claims = set(map[string]any{"nonce": nil}) }, ErrToken},
		{"wrong at_hash", func(h *hostile) { h.claims = set(map[string]any{"at_hash": "canary"}) }, ErrToken},
		{"expired", func(h *hostile) { h.claims = set(map[string]any{"exp": clock().Add(-time.Second).Unix()}) }, ErrToken},
		{"no expiry", func(h *hostile) { h.claims = set(map[string]any{"exp": nil}) }, ErrToken},
		{"not yet valid", func(h *hostile) { h.claims = set(map[string]any{"nbf": clock().Add(time.Hour).Unix()}) }, ErrToken},
		{"claims of the wrong type", func(h *hostile) { h.claims = set(map[string]any{"amr": "canary"}) }, ErrToken},
		{"algorithm none", func(h *hostile) { h.sign = unsigned }, ErrToken},
		{"HS256 with the client's secret", func(h *hostile) {
			h.sign = macWith(func(*hostile) []byte { return []byte(strings.Repeat(clientSecret, 3)) })
		}, ErrToken},
		{"HS256 with the public key", func(h *hostile) { h.sign = macWith((*hostile).publicDER) }, ErrToken},
		{"ES384, with a published key", func(h *hostile) {
			h.use(newKey(elliptic.P384()), jose.ES384)
			h.claims = set(map[string]any{"at_hash": nil}) // it has another length
		}, ErrToken},
		{"signed by the key in its header", func(h *hostile) { h.sign = signWithItsKey }, ErrToken},
		{"key ID of nothing", func(h *hostile) { h.sign = signAs("../../canary") }, ErrToken},
		{"key ID is a place", func(h *hostile) { h.sign = signAs("https://canary.example/keys") }, ErrToken},
		{"key ID of the published key", func(h *hostile) {
			h.sign = func(h *hostile, payload []byte) string { return signAs(h.kid)(h, payload) }
		}, ErrToken},
		{"signed by another key", func(h *hostile) { h.sign = signByAnother }, ErrToken},
		{"changed after signing", func(h *hostile) { h.sign = tampered }, ErrToken},
		{"no JWT", func(h *hostile) { h.sign = func(*hostile, []byte) string { return "canary" } }, ErrToken},
		{"keys fail", func(h *hostile) { h.serve[keysEndpoint] = status(503) }, ErrProvider},
		{"keys are no JSON", func(h *hostile) { h.serve[keysEndpoint] = status(200) }, ErrProvider},
		{"keys elsewhere", func(h *hostile) { h.serve[keysEndpoint] = h.redirect }, ErrProvider},
		{"keys without end", func(h *hostile) { h.serve[keysEndpoint] = padded(h.serveKeys) }, ErrProvider},

		// E-mail address.
		{"unverified", func(h *hostile) { h.claims = set(map[string]any{"email_verified": false}) }, ErrEmailUnverified},
		{"unverified in userinfo", func(h *hostile) {
			h.claims, h.userinfo = noEmail, set(map[string]any{"email_verified": false})
		}, ErrEmailUnverified},
		{"verification missing everywhere", func(h *hostile) {
			h.claims, h.userinfo = noEmail, set(map[string]any{"email_verified": nil})
		}, ErrEmailUnverified},
		{"verified is the address elsewhere", func(h *hostile) {
			h.claims = set(map[string]any{"email_verified": nil})
			h.userinfo = set(map[string]any{"email": nil})
		}, ErrEmailUnverified},
		{"verified is no address at all", func(h *hostile) {
			h.claims = set(map[string]any{"email": nil})
			h.userinfo = set(map[string]any{"email_verified": nil})
		}, ErrEmailUnverified},
		{"verification makes no sense", func(h *hostile) { h.claims = set(map[string]any{"email_verified": "canary"}) }, ErrToken},
		{"no address anywhere", func(h *hostile) {
			h.claims, h.userinfo = set(map[string]any{"email": nil}), set(map[string]any{"email": nil})
		}, ErrEmail},
		{"no address, no userinfo", func(h *hostile) {
			h.claims, h.document = set(map[string]any{"email": nil}), set(map[string]any{"userinfo_endpoint": nil})
		}, ErrEmail},
		{"no address", func(h *hostile) { h.claims = set(map[string]any{"email": "canary"}) }, ErrEmail},
		{"letter that is lower-cased to ASCII", func(h *hostile) { h.claims = set(map[string]any{"email": "\u212Aanary@north-shore.example"}) }, ErrEmail},
		{"userinfo is somebody else's", func(h *hostile) { h.claims, h.userinfo = noEmail, set(map[string]any{"sub": "canary"}) }, ErrToken},
		{"userinfo has no subject", func(h *hostile) { h.claims, h.userinfo = noEmail, set(map[string]any{"sub": nil}) }, ErrToken},
		{"userinfo's claims of the wrong type", func(h *hostile) { h.claims, h.userinfo = noEmail, set(map[string]any{"name": 1}) }, ErrToken},
		{"userinfo elsewhere", func(h *hostile) { h.claims = noEmail; h.serve[userinfoEndpoint] = h.redirect }, ErrProvider},
		{"userinfo without end", func(h *hostile) { h.claims = noEmail; h.serve[userinfoEndpoint] = padded(h.serveUserinfo) }, ErrProvider},
		{"userinfo fails", func(h *hostile) { h.claims = noEmail; h.serve[userinfoEndpoint] = status(401) }, ErrProvider},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			tt.fault(h)
			got, err := signIn(t, client(t, h), h)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error = %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(Identity{}, got); diff != "" {
				t.Errorf("an identity beside the error:\n%s", diff)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error repeats what the provider wrote: %v", err)
			}
		})
	}
}

func noEmail(c map[string]any) { delete(c, "email"); delete(c, "email_verified") }

func answerWith(code string) func(_, a url.Values) {
	return func(_, a url.Values) {
		a.Del("code")
		a.Set("error", code)
		a.Set("error_description", "canary")
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "canary")
	}
}

func unsigned(h *hostile, payload []byte) string {
	header := fmt.Sprintf(`{"alg":"none","kid":%q}`, h.kid)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func macWith(key func(*hostile) []byte) func(*hostile, []byte) string {
	return func(h *hostile, payload []byte) string { return sign(jose.HS256, key(h), h.kid, payload) }
}

func (h *hostile) publicDER() []byte {
	der, err := x509.MarshalPKIXPublicKey(h.public())
	if err != nil {
		panic(err)
	}
	return der
}

func signByAnother(h *hostile, payload []byte) string {
	return sign(jose.ES256, newKey(elliptic.P256()), h.kid, payload)
}

func tampered(h *hostile, payload []byte) string {
	parts := strings.Split(sign(h.alg, h.key, h.kid, payload), ".")
	other := strings.Replace(string(payload), subject, "canary", 1)
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(other))
	return strings.Join(parts, ".")
}

func TestSlowProvider(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{discoveryEndpoint, tokenEndpoint, keysEndpoint, userinfoEndpoint} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			h.claims = noEmail
			h.serve[endpoint] = h.hang
			_, err := signIn(t, client(t, h, impatient), h)
			if !errors.Is(err, ErrProvider) || !strings.Contains(err.Error(), "timed out") {
				t.Errorf("error = %v, want ErrProvider, timed out", err)
			}
		})
	}
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.serve[discoveryEndpoint] = h.hang
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := client(t, h).Begin(ctx); !errors.Is(err, ErrProvider) || !errors.Is(err, context.Canceled) {
		t.Errorf("Begin = %v, want ErrProvider, canceled", err)
	}
	h.serve = map[string]http.HandlerFunc{tokenEndpoint: h.hang}
	p := client(t, h)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(ctx, f, h.authorize(t, redirect)); !errors.Is(err, ErrProvider) || !errors.Is(err, context.Canceled) {
		t.Errorf("Finish = %v, want ErrProvider, canceled", err)
	}
}

func TestDeadProvider(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer := h.authorize(t, redirect)
	h.Close()
	if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, ErrProvider) {
		t.Errorf("Finish = %v, want ErrProvider", err)
	}
	if _, _, err := client(t, h).Begin(t.Context()); !errors.Is(err, ErrProvider) {
		t.Errorf("Begin = %v, want ErrProvider", err)
	}
}

// A provider that was down when first asked is asked again.
func TestProviderComesBack(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	var down atomic.Bool
	h.serve[discoveryEndpoint] = func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "canary", http.StatusServiceUnavailable)
			return
		}
		h.serveDiscovery(w, r)
	}
	down.Store(true)
	p := client(t, h)
	if _, err := signIn(t, p, h); !errors.Is(err, ErrProvider) {
		t.Fatalf("while down: %v", err)
	}
	down.Store(false)
	if _, err := signIn(t, p, h); err != nil {
		t.Fatalf("once up: %v", err)
	}
	down.Store(true)
	if _, err := signIn(t, p, h); err != nil {
		t.Errorf("what was discovered did not last: %v", err)
	}
}

func TestDiscoveryIsSharedAndExpires(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	var asked atomic.Int64
	h.serve[discoveryEndpoint] = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h.serveDiscovery(w, r)
	}
	var offset atomic.Int64
	p := client(t, h, func(c *Config) {
		c.Now = func() time.Time { return clock().Add(time.Duration(offset.Load())) }
	})
	begin := func() {
		if _, _, err := p.Begin(t.Context()); err != nil {
			t.Error(err)
		}
	}
	begin()
	var people sync.WaitGroup
	for range 8 {
		people.Go(begin)
	}
	people.Wait()
	if got := asked.Load(); got != 1 {
		t.Errorf("discovered %d times", got)
	}
	offset.Store(int64(metadataLife))
	begin()
	if got := asked.Load(); got != 2 {
		t.Errorf("discovered %d times after an hour, want 2", got)
	}
}

func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	for range 3 {
		if _, err := signIn(t, p, h); err != nil {
			t.Fatal(err)
		}
		h.rotate()
	}
}

func TestAnswersServeOnce(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer := h.authorize(t, redirect)
	if _, err := p.Finish(t.Context(), f, answer); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, ErrToken) {
		t.Errorf("the same answer again: %v, want ErrToken", err)
	}
	// With a new flow, the old answer does not even reach the provider.
	redirect, f, err = p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, ErrState) {
		t.Errorf("the old answer: %v, want ErrState", err)
	}
	// Somebody else's code, slipped into the right answer: PKCE and nonce.
	_, theirs, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mixed := h.authorize(t, redirect)
	mixed.Set("state", theirs.State)
	if _, err := p.Finish(t.Context(), theirs, mixed); !errors.Is(err, ErrToken) {
		t.Errorf("somebody else's code: %v, want ErrToken", err)
	}
}

func TestFlowsThatAreNotForThis(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	p := client(t, h)
	for name, change := range map[string]func(*Flow){
		"empty":          func(f *Flow) { *f = Flow{} },
		"another issuer": func(f *Flow) { f.Issuer = "https://other.example" },
		"another realm":  func(f *Flow) { f.Realm, f.Provider = "south", "its own" },
		"too old":        func(f *Flow) { f.Started = clock().Add(-flowLife - time.Second) },
		"from tomorrow":  func(f *Flow) { f.Started = clock().Add(24 * time.Hour) },
		"no state":       func(f *Flow) { f.State = "" },
	} {
		redirect, f, err := p.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		answer := h.authorize(t, redirect)
		change(&f)
		if f.State == "" {
			answer.Set("state", "")
		}
		if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
	}
}

func TestFreshSignIn(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		authTime any
		trusted  bool
		want     error
	}{
		"now":                          {clock().Unix(), false, nil},
		"clocks differ":                {clock().Add(-skew).Unix(), false, nil},
		"an old session":               {clock().Add(-skew - time.Second).Unix(), false, ErrStale},
		"an old session, trusted":      {clock().Add(-skew - time.Second).Unix(), true, ErrStale},
		"does not say":                 {nil, false, ErrNoAuthTime},
		"says it in vain":              {0, false, ErrNoAuthTime},
		"does not say, and is trusted": {nil, true, nil},
		"before 1970, and not trusted": {-1, false, ErrNoAuthTime},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			h.claims = set(map[string]any{"auth_time": tt.authTime})
			h.answer = func(question, _ url.Values) {
				if question.Get("prompt") != "login" || question.Get("max_age") != "0" {
					t.Errorf("asked with %v", question)
				}
			}
			p := client(t, h, func(c *Config) { c.TrustPrompt = tt.trusted })
			redirect, f, err := p.BeginFresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Finish(t.Context(), f, h.authorize(t, redirect)); !errors.Is(err, tt.want) {
				t.Errorf("Finish = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEndSessionURL(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	got, err := client(t, h).EndSessionURL(t.Context(), "https://carillon.example/bye", "")
	want := h.URL + "/logout?client_id=carillon&from=discovery&post_logout_redirect_uri=https%3A%2F%2Fcarillon.example%2Fbye"
	if err != nil || got != want {
		t.Errorf("EndSessionURL = %q, %v\nwant %q", got, err, want)
	}

	got, err = client(t, h).EndSessionURL(t.Context(), "https://carillon.example/bye", "the.token.of")
	if want = strings.Replace(want, "&post", "&id_token_hint=the.token.of&post", 1); err != nil || got != want {
		t.Errorf("with a token: EndSessionURL = %q, %v\nwant %q", got, err, want)
	}

	without := newHostile(t)
	without.document = set(map[string]any{"end_session_endpoint": nil})
	if got, err := client(t, without).EndSessionURL(t.Context(), "https://carillon.example/bye", ""); err != nil || got != "" {
		t.Errorf("not advertised: %q, %v", got, err)
	}
	without.Close()
	if _, err := client(t, without).EndSessionURL(t.Context(), "", ""); !errors.Is(err, ErrProvider) {
		t.Errorf("dead: %v, want ErrProvider", err)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no issuer":           func(c *Config) { c.Issuer = "" },
		"issuer without TLS":  func(c *Config) { c.Issuer = "http://idp.example" },
		"issuer with query":   func(c *Config) { c.Issuer += "?a=b" },
		"issuer, empty query": func(c *Config) { c.Issuer += "?" },
		"issuer with user":    func(c *Config) { c.Issuer = "https://me@idp.example" },
		"issuer, fragment":    func(c *Config) { c.Issuer += "#a" },
		"issuer no URL":       func(c *Config) { c.Issuer = "idp.example" },
		"no client":           func(c *Config) { c.ClientID = "" },
		"no redirect":         func(c *Config) { c.RedirectURL = "" },
		"relative redirect":   func(c *Config) { c.RedirectURL = "/callback" },
		"redirect, no TLS":    func(c *Config) { c.RedirectURL = "http://carillon.example/callback" },
		"no clock":            func(c *Config) { c.Now = nil },
	} {
		c := Config{Issuer: "https://idp.example/realm", ClientID: clientID, RedirectURL: redirectURL, Now: clock}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, issuer := range []string{"https://idp.example/", "http://localhost:8080/dev/idp", "http://[::1]:8080", "http://127.0.0.1"} {
		if _, err := New(Config{Issuer: issuer, ClientID: clientID, RedirectURL: "http://127.0.0.1:8080/cb", Now: clock}); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// An issuer with TLS cannot send us to endpoints without.
func TestSecureIssuerHasSecureEndpoints(t *testing.T) {
	t.Parallel()
	d := document{AuthURL: "https://idp.example/a", TokenURL: "https://idp.example/t", KeysURL: "https://idp.example/k"}
	if err := d.validate("https://idp.example"); err != nil {
		t.Fatal(err)
	}
	d.KeysURL = "http://127.0.0.1/k"
	if err := d.validate("https://idp.example"); err == nil {
		t.Error("keys over http on the loopback were accepted")
	}
}

func TestReturn(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/portal/north-shore":        "/portal/north-shore",
		"/portal/north-shore?page=2": "/portal/north-shore?page=2",
		"/":                          "/",
		"":                           "/home",
		"portal":                     "/home",
		"//evil.example":             "/home",
		"/\\evil.example":            "/home",
		"https://evil.example/":      "/home",
		"javascript:alert(1)":        "/home",
		"/\t/evil.example":           "/home",
		"/a b":                       "/home",
		"/a#b":                       "/home",
		"/%zz":                       "/home",
		"/é":                         "/home",
	} {
		if got := (Flow{ReturnPath: path}).Return("/home"); got != want {
			t.Errorf("Return of %q = %q, want %q", path, got, want)
		}
	}
}

func TestFlowIsStorable(t *testing.T) {
	t.Parallel()
	want := Flow{Issuer: "https://idp.example", State: "s", Nonce: "n", Verifier: "v", Started: clock(), Fresh: true, ReturnPath: "/portal"}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Flow
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(gob.NewEncoder(w).Encode(want)) }()
	got = Flow{}
	if err := gob.NewDecoder(r).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("through gob (-want +got):\n%s", diff)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	c := Config{Issuer: "https://idp.example", ClientID: clientID, ClientSecret: "canary", RedirectURL: redirectURL, Now: clock}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		c, &c, p,
		Flow{State: "canary", Nonce: "canary", Verifier: "canary", ReturnPath: "/canary"},
		Identity{Subject: "canary", Email: "canary@example.org", Name: "canary", AMR: []string{"canary"}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "canary") || strings.Contains(got, "63616e617279") {
				t.Errorf("%s of %T shows a secret: %s", verb, v, got)
			}
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("sign-in", "value", v)
		if strings.Contains(log.String(), "canary") {
			t.Errorf("the log of %T shows a secret: %s", v, &log)
		}
	}
}

func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{"", "@", "a@b", "A@B.example", "a@b@c", "a b@c", "\u212A@c", strings.Repeat("a", 249) + "@b", "a@b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseEmail(s)
		if err != nil {
			if !errors.Is(err, ErrEmail) || got != "" {
				t.Errorf("parseEmail(%q) = %q, %v", s, got, err)
			}
			return
		}
		if !strings.EqualFold(got, s) || strings.ToLower(got) != got || strings.Count(got, "@") != 1 || len(got) > maxEmail || len(got) < 3 {
			t.Errorf("parseEmail(%q) = %q", s, got)
		}
		if again, err := parseEmail(got); err != nil || again != got {
			t.Errorf("parseEmail(%q) = %q, %v the second time", got, again, err)
		}
	})
}
