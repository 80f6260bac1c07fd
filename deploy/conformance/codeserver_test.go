package conformance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/issuer"
	"carillon/tenant/outbound"
)

// codeServer is an outside verification server, with keys and a key set.
type codeServer struct {
	issuer, audience, url string
	keys                  map[string]*ecdsa.PrivateKey
	answer                atomic.Pointer[http.HandlerFunc]
}

func newCodeServer(t *testing.T, kids ...string) *codeServer {
	t.Helper()
	c := &codeServer{issuer: "codes.example", audience: "of-codes", keys: map[string]*ecdsa.PrivateKey{}}
	for _, kid := range kids {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.keys[kid] = k
	}
	c.says(http.NotFound)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*c.answer.Load())(w, r) }))
	t.Cleanup(s.Close)
	c.url = s.URL + "/jwks"
	return c
}

func (c *codeServer) says(h http.HandlerFunc) { c.answer.Store(&h) }

func (c *codeServer) writes(text string) {
	c.says(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// array is a bare one of these keys.
func (c *codeServer) array(t *testing.T, kids ...string) string {
	t.Helper()
	var list []string
	for _, kid := range kids {
		point, err := c.keys[kid].PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString
		list = append(list, strings.TrimSpace(object{"kty": "EC", "crv": "P-256", "kid": kid, "x": text(point[1:33]), "y": text(point[33:])}.String()))
	}
	return "[" + strings.Join(list, ",") + "]"
}

// pinned is the server with these keys, known by hand; fetched is it with its key set.
func (c *codeServer) pinned(kids ...string) issuer.Spec {
	s := issuer.Spec{Issuer: c.issuer, Audience: c.audience}
	for _, kid := range kids {
		s.Keys = append(s.Keys, jws.PublicKey{KeyID: kid, Key: &c.keys[kid].PublicKey})
	}
	return s
}

func (c *codeServer) fetched() issuer.Spec {
	return issuer.Spec{Issuer: c.issuer, Audience: c.audience, JWKS: c.url}
}

// publish sends a new key with a certificate of the server.
func (c *codeServer) publish(t *testing.T, w *world, to account, kid string, change ...func(*draft)) answer {
	t.Helper()
	d := w.draft(t, to, "confirmed", w.teks(1))
	d.head["kid"], d.claims["iss"], d.claims["aud"] = kid, c.issuer, c.audience
	for _, ch := range change {
		ch(&d)
	}
	return w.send(t, to, object{"verificationPayload": sign(t, c.keys[kid], d.head, d.claims)}.merge(d.body).String())
}

// accept lets a tenant accept a server, and processes know it at once.
func (w *world) accept(t *testing.T, of account, s issuer.Spec) {
	t.Helper()
	err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return issuer.Accept(t.Context(), tx, of.Tenant, tester, s, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	w.fetchKeySets(t, of)
}

func (w *world) fetchKeySets(t *testing.T, of account) {
	t.Helper()
	r := issuer.NewRefresher(issuer.Config{
		DB: w.Jobs, Fetcher: outbound.NewFetcher(outbound.New(true)), Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	if err := r.Turn(t.Context(), of.ID); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
}

// codeServerRules are §2.7: outside verification servers whose certificates are good here.
func codeServerRules() []rule {
	refused := func(t *testing.T, what string, a answer) {
		t.Helper()
		t.Log(what)
		wantUploadRefusal(t, a, http.StatusUnauthorized, certificateInvalid, "unable to validate diagnosis verification: …")
	}
	return []rule{
		{"2.7", "the certificates of an outside server that the tenant accepts publish keys, by pinned keys too; at another tenant its issuer is unknown", "", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1", "k2")
			refused(t, "not accepted yet", c.publish(t, w, of, "k1"))
			w.accept(t, of, c.pinned("k1"))
			wantReceipt(t, c.publish(t, w, of, "k1"), 1)
			refused(t, "a key that is not pinned", c.publish(t, w, of, "k2"))
			refused(t, "another tenant", c.publish(t, w, w.open, "k1"))
			wantReceipt(t, w.publish(t, of, "confirmed", w.teks(1)), 1)
		}},
		{"2.7", "an outside server's certificates have its own audience and keys: the tenant's are not good for it, nor its keys for the tenant", "", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1")
			w.accept(t, of, c.pinned("k1"))
			refused(t, "the tenant's audience", c.publish(t, w, of, "k1", claiming("aud", of.Settings.Audience)))
			refused(t, "as if it were the tenant", c.publish(t, w, of, "k1", claiming("iss", of.Settings.Issuer), claiming("aud", of.Settings.Audience)))
			d := w.draft(t, of, "confirmed", w.teks(1))
			d.claims["iss"], d.claims["aud"], d.head["kid"] = c.issuer, c.audience, "k1"
			refused(t, "the tenant's key", w.send(t, of, w.signed(t, of, d).String()))
		}},
		{"2.7", "a key set is a bare array, or RFC 7517's set; a key that appears in it is trusted from then on", "an array alone", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1", "k2")
			c.writes(c.array(t, "k1"))
			w.accept(t, of, c.fetched())
			wantReceipt(t, c.publish(t, w, of, "k1"), 1)
			refused(t, "not listed yet", c.publish(t, w, of, "k2"))
			c.writes(`{"keys":` + c.array(t, "k1", "k2") + `}`)
			w.fetchKeySets(t, of)
			wantReceipt(t, c.publish(t, w, of, "k1"), 1)
			wantReceipt(t, c.publish(t, w, of, "k2"), 1)
		}},
		{"2.7", "a key that is not listed any more is refused, also if it is listed again", "", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1", "k2")
			c.writes(c.array(t, "k1", "k2"))
			w.accept(t, of, c.fetched())
			for _, list := range []string{c.array(t, "k2"), c.array(t, "k1", "k2")} {
				c.writes(list)
				w.fetchKeySets(t, of)
				refused(t, "revoked", c.publish(t, w, of, "k1"))
				wantReceipt(t, c.publish(t, w, of, "k2"), 1)
			}
		}},
		{"2.7", "an error, a page, an empty set, one that is too large and a redirect change nothing", "an empty set revokes every key", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1")
			c.writes(c.array(t, "k1"))
			w.accept(t, of, c.fetched())
			for _, text := range []string{"", "[]", `{"keys":[]}`, "<html>Sorry</html>", "[" + strings.Repeat(" ", 64<<10) + "]"} {
				c.writes(text)
				w.fetchKeySets(t, of)
			}
			for _, h := range []http.HandlerFunc{http.NotFound, http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP} {
				c.says(h)
				w.fetchKeySets(t, of)
			}
			wantReceipt(t, c.publish(t, w, of, "k1"), 1)
		}},
		{"2.7", "a server that is not accepted any more is one of an unknown issuer", "", func(t *testing.T, w *world) {
			of, c := w.newcomer(), newCodeServer(t, "k1")
			w.accept(t, of, c.pinned("k1"))
			wantReceipt(t, c.publish(t, w, of, "k1"), 1)
			err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
				return issuer.Remove(t.Context(), tx, tester, c.issuer, w.Now())
			})
			if err != nil {
				t.Fatal(err)
			}
			w.restart(t)
			refused(t, "removed", c.publish(t, w, of, "k1"))
		}},
	}
}
