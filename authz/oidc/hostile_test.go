package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	clientID     = "carillon"
	clientSecret = "client-secret"
	redirectURL  = "https://carillon.example/login/callback"
	subject      = "248289761001"
)

// tokenEndpoint and the others are the hostile provider's paths.
const (
	discoveryEndpoint = "/.well-known/openid-configuration"
	tokenEndpoint     = "/token"
	keysEndpoint      = "/keys"
	userinfoEndpoint  = "/userinfo"
	// moved, before a path, is where it works whatever the fault.
	moved = "/moved"
)

// hostile is an OpenID provider that is correct until told otherwise.
type hostile struct {
	*httptest.Server

	mu      sync.Mutex
	key     any // *ecdsa.PrivateKey or *rsa.PrivateKey
	alg     jose.SignatureAlgorithm
	kid     string
	codes   map[string]url.Values // the question that each code answers
	release chan struct{}         // ends requests that are made to hang

	// The faults. Set them before the requests they are meant for.
	document func(map[string]any)                      // changes the discovery document
	claims   func(map[string]any)                      // changes the ID token
	userinfo func(map[string]any)                      // changes the userinfo
	sign     func(h *hostile, payload []byte) string   // signs the ID token
	serve    map[string]http.HandlerFunc               // takes an endpoint over
	answer   func(question, answer url.Values)         // changes what the browser brings back
	token    func(h *hostile, response map[string]any) // changes the token response
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{codes: map[string]url.Values{}, serve: map[string]http.HandlerFunc{}, release: make(chan struct{})}
	h.rotate()
	mux := http.NewServeMux()
	for path, handler := range map[string]http.HandlerFunc{
		discoveryEndpoint: h.serveDiscovery,
		tokenEndpoint:     h.serveToken,
		keysEndpoint:      h.serveKeys,
		userinfoEndpoint:  h.serveUserinfo,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if fault := h.serve[path]; fault != nil {
				fault(w, r)
				return
			}
			handler(w, r)
		})
		mux.HandleFunc(moved+path, handler)
	}
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	t.Cleanup(func() { close(h.release) }) // before Close, which waits for requests
	return h
}

// rotate replaces the signing key; the old one is no longer published.
func (h *hostile) rotate() { h.use(newKey(elliptic.P256()), jose.ES256) }

func newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func (h *hostile) use(key any, alg jose.SignatureAlgorithm) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key, h.alg, h.kid = key, alg, rand.Text()
}

func (h *hostile) public() any {
	switch key := h.key.(type) {
	case *ecdsa.PrivateKey:
		return key.Public()
	case *rsa.PrivateKey:
		return key.Public()
	}
	return nil
}

// redirect sends a request to where it would be answered well.
func (h *hostile) redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, moved+r.URL.Path, http.StatusTemporaryRedirect)
}

// padded answers well, behind more white space than anybody should read.
func padded(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Repeat([]byte(" "), maxBody))
		handler(w, r)
	}
}

// hang keeps a request waiting until the test ends.
func (h *hostile) hang(http.ResponseWriter, *http.Request) { <-h.release }

func (h *hostile) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer":                                h.URL,
		"authorization_endpoint":                h.URL + "/authorize",
		"token_endpoint":                        h.URL + tokenEndpoint,
		"jwks_uri":                              h.URL + keysEndpoint,
		"userinfo_endpoint":                     h.URL + userinfoEndpoint,
		"end_session_endpoint":                  h.URL + "/logout?from=discovery",
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256", "none"},
	}
	if h.document != nil {
		h.document(doc)
	}
	writeJSON(w, doc)
}

// authorize is the browser's way through the sign-in page: from the redirect to
// the query with which it comes back.
func (h *hostile) authorize(t *testing.T, redirect string) url.Values {
	t.Helper()
	u, err := url.Parse(redirect)
	if err != nil {
		t.Fatal(err)
	}
	question, code := u.Query(), rand.Text()
	h.mu.Lock()
	h.codes[code] = question
	h.mu.Unlock()
	answer := url.Values{"code": {code}, "state": {question.Get("state")}}
	if h.answer != nil {
		h.answer(question, answer)
	}
	return answer
}

func (h *hostile) serveToken(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	question, ok := h.codes[r.FormValue("code")]
	delete(h.codes, r.FormValue("code"))
	h.mu.Unlock()

	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case id != clientID || secret != clientSecret:
		refuse(w, "invalid_client")
		return
	case !ok, r.FormValue("redirect_uri") != question.Get("redirect_uri"),
		question.Get("code_challenge_method") != "S256",
		question.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]):
		refuse(w, "invalid_grant")
		return
	}
	access := rand.Text()
	response := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": h.idToken(question, access)}
	if h.token != nil {
		h.token(h, response)
	}
	writeJSON(w, response)
}

func (h *hostile) idToken(question url.Values, access string) string {
	hash := sha256.Sum256([]byte(access))
	c := map[string]any{
		"iss": h.URL, "sub": subject, "aud": clientID,
		"iat": clock().Unix(), "exp": clock().Add(5 * time.Minute).Unix(), "auth_time": clock().Unix(),
		"nonce":   question.Get("nonce"),
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
		"email":   "Alex.Example@North-Shore.Example", "email_verified": true, "name": " Alex Example ",
		"acr": "urn:example:two", "amr": []string{"pwd", "otp"},
	}
	if h.claims != nil {
		h.claims(c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	if h.sign != nil {
		return h.sign(h, payload)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return sign(h.alg, h.key, h.kid, payload)
}

func sign(alg jose.SignatureAlgorithm, key any, kid string, payload []byte) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
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

func (h *hostile) serveKeys(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	writeJSON(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: h.public(), KeyID: h.kid, Use: "sig", Algorithm: string(h.alg)}}})
}

func (h *hostile) serveUserinfo(w http.ResponseWriter, _ *http.Request) {
	c := map[string]any{"sub": subject, "email": "from-userinfo@north-shore.example", "email_verified": true, "name": "From Userinfo"}
	if h.userinfo != nil {
		h.userinfo(c)
	}
	writeJSON(w, c)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "canary"})
}

// set is a fault that replaces claims; nil removes one.
func set(changes map[string]any) func(map[string]any) {
	return func(c map[string]any) {
		maps.Copy(c, changes)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	}
}

// signTyped signs claims under a header of this type, or of none.
func signTyped(h *hostile, typ string, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	options := (&jose.SignerOptions{}).WithHeader("kid", h.kid)
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: h.alg, Key: h.key}, options)
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
