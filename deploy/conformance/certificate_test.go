package conformance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func someHMAC(seed byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{seed}, 32))
}

// certificateRules are §2: a token and an HMAC become a certificate.
func certificateRules() []rule {
	tokenInvalid := refusal{status: bad, code: "token_invalid", text: "invalid verification token"}
	hmac := func(text, says string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			token := w.token(t, w.open, nil)
			wantRefusal(t, w.post(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": text}),
				refusal{status: bad, code: "hmac_invalid", text: says})
			w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(1)})
		}
	}
	return []rule{
		{"2.2", "a body that cannot be read is unparsable_request", "token_invalid", func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodPost, "/t/open/api/certificate", header{"Content-Type": jsonType, "X-API-Key": w.open.device}, `{`)
			wantRefusal(t, a, refusal{status: bad, code: unparsable, text: "malformed json"})
		}},
		{"2.2", "what is no token is token_invalid", "", func(t *testing.T, w *world) {
			good := w.token(t, w.open, nil)
			for _, token := range []string{"", "x", good + "A", good[:len(good)-4] + "AAAA"} {
				wantRefusal(t, w.post(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(1)}), tokenInvalid)
			}
		}},
		{"2.2", "another tenant's token is token_invalid", "", func(t *testing.T, w *world) {
			token := w.token(t, w.other, nil)
			wantRefusal(t, w.post(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(1)}), tokenInvalid)
		}},
		{"2.2", "an expired token is token_expired", "token_invalid, though its documents say token_expired", expiredToken},
		{"2.2", "an HMAC that is no base64 is hmac_invalid and burns nothing", "", hmac("*", "exposure key HMAC is not a valid base64…")},
		{"2.2", "an HMAC of 31 bytes is hmac_invalid", "", hmac(base64.StdEncoding.EncodeToString(make([]byte, 31)), "exposure key HMAC is not the correct length, want: 32 got: 31")},
		{"2.2", "an HMAC of 33 bytes is hmac_invalid", "", hmac(base64.StdEncoding.EncodeToString(make([]byte, 33)), "exposure key HMAC is not the correct length, want: 32 got: 33")},
		{"2.2", "a spent token with another HMAC is token_invalid", "token_expired, though its documents say token_invalid", func(t *testing.T, w *world) {
			token := w.token(t, w.open, nil)
			w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(1)})
			wantRefusal(t, w.post(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(2)}),
				refusal{status: bad, code: "token_invalid", text: "verification token invalid"})
		}},
		{"2.2", "the same token with the same HMAC gets a certificate again while the first is valid", "refused: a phone that lost the answer needs a new code", repeatedCertificate},
		{"2.2", "of simultaneous uses of a token with different HMACs one gets a certificate, the others token_invalid", "", simultaneousUses},
		{"2.4", "reportType is the test type of the code", "", func(t *testing.T, w *world) {
			for _, kind := range []string{"confirmed", "likely", "negative", "user-report"} {
				if got := w.claims(t, object{"testType": kind, "phone": newPhone()}, someHMAC(5))["reportType"]; got != kind {
					t.Errorf("reportType is %v, want %s", got, kind)
				}
			}
		}},
		{"2.3", "the answer has certificate and padding, and no other member", "", func(t *testing.T, w *world) {
			m := w.must(t, w.open, "/api/certificate", object{"token": w.token(t, w.open, nil), "ekeyhmac": someHMAC(1)}).members()
			if _, ok := m["certificate"].(string); !ok || len(m) != 2 {
				t.Errorf("%d members", len(m))
			}
		}},
		{"2.4", "the header is ES256, JWT and the key's ID; the signature is R‖S and verifies under /jwks", "", certificateSignature},
		{"2.4", "iat and nbf are five seconds ago, exp is the certificate's life from now; aud is one string", "", certificateClaims},
		{"2.4", "symptomOnsetInterval is the UTC midnight of the symptom date, and absent without one; a test date does not stand in", "documents let a test date stand in; the code does not", onsetInterval},
		{"2.4", "tekmac is the ekeyhmac as it was sent", "", func(t *testing.T, w *world) {
			text := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))
			if got := w.claims(t, nil, text)["tekmac"]; got != text {
				t.Errorf("tekmac is %v, want %q", got, text)
			}
		}},
		{"0.4", "maintenance of a tenant does not keep its tokens from being used", "", func(t *testing.T, w *world) {
			w.must(t, w.shut, "/api/certificate", object{"token": w.earlierToken, "ekeyhmac": someHMAC(1)})
		}},
	}
}

func expiredToken(t *testing.T, w *world) {
	brief := w.brief
	token := w.token(t, brief, nil)
	w.Advance(brief.Settings.TokenLife)
	wantRefusal(t, w.post(t, brief, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(1)}),
		refusal{status: bad, code: "token_expired", text: "verification token expired"})
}

func repeatedCertificate(t *testing.T, w *world) {
	token := w.token(t, w.open, nil)
	ask := object{"token": token, "ekeyhmac": someHMAC(1)}
	first := jwtPart(t, w.must(t, w.open, "/api/certificate", ask).text("certificate"), 1)
	w.Advance(time.Minute)
	second := jwtPart(t, w.must(t, w.open, "/api/certificate", ask).text("certificate"), 1)
	for _, claim := range []string{"tekmac", "reportType", "iss", "aud"} {
		if first[claim] != second[claim] {
			t.Errorf("%s is %v, then %v", claim, first[claim], second[claim])
		}
	}
	w.Advance(w.open.Settings.CertificateLife)
	wantRefusal(t, w.post(t, w.open, "/api/certificate", ask),
		refusal{status: bad, code: "token_invalid", text: "verification token invalid"})
}

// claims gets a certificate and reads its claims.
func (w *world) claims(t *testing.T, issue object, hmac string) map[string]any {
	t.Helper()
	token := w.token(t, w.open, issue)
	return jwtPart(t, w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": hmac}).text("certificate"), 1)
}

// jwtPart decodes the header, 0, or the claims, 1.
func jwtPart(t *testing.T, jwt string, part int) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func certificateSignature(t *testing.T, w *world) {
	jwt := w.must(t, w.open, "/api/certificate", object{"token": w.token(t, w.open, nil), "ekeyhmac": someHMAC(1)}).text("certificate")
	head := jwtPart(t, jwt, 0)
	var keys []struct{ Kid, Kty, Crv, X, Y string }
	if err := json.Unmarshal(w.ask(t, http.MethodGet, "/t/open/jwks", nil, "").body, &keys); err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	k := keys[0]
	if head["alg"] != "ES256" || head["typ"] != "JWT" || head["kid"] != k.Kid || k.Kty != "EC" || k.Crv != "P-256" {
		t.Errorf("header %v, key %v", head, k)
	}
	at := strings.LastIndexByte(jwt, '.')
	signature := unbase64(t, jwt[at+1:])
	if len(signature) != 64 {
		t.Fatalf("signature of %d bytes", len(signature))
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, unbase64(t, k.X), unbase64(t, k.Y)))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(jwt[:at]))
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature does not verify")
	}
}

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func certificateClaims(t *testing.T, w *world) {
	got := w.claims(t, nil, someHMAC(3))
	now := float64(w.Now().Unix())
	want := map[string]any{
		"iss": w.open.Settings.Issuer, "aud": w.open.Settings.Audience, "iat": now - 5, "nbf": now - 5,
		"exp": now + w.open.Settings.CertificateLife.Seconds(), "reportType": "confirmed", "tekmac": someHMAC(3),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func onsetInterval(t *testing.T, w *world) {
	day := w.Now().UTC().AddDate(0, 0, -2)
	got := w.claims(t, object{"symptomDate": day.Format(time.DateOnly)}, someHMAC(4))
	if want := float64(day.Truncate(24*time.Hour).Unix() / 600); got["symptomOnsetInterval"] != want {
		t.Errorf("symptomOnsetInterval is %v, want %v", got["symptomOnsetInterval"], want)
	}
	got = w.claims(t, object{"testDate": day.Format(time.DateOnly)}, someHMAC(4))
	if _, there := got["symptomOnsetInterval"]; there {
		t.Error("symptomOnsetInterval for a test date alone")
	}
}

func simultaneousUses(t *testing.T, w *world) {
	token := w.token(t, w.open, nil)
	answers := make([]answer, 20)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			answers[i] = w.post(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(byte(i))})
		})
	}
	all.Wait()
	certificates := 0
	for _, a := range answers {
		if a.StatusCode == http.StatusOK {
			certificates++
			continue
		}
		wantRefusal(t, a, refusal{status: bad, code: "token_invalid", text: "verification token invalid"})
	}
	if certificates != 1 {
		t.Errorf("%d certificates for one token", certificates)
	}
}
