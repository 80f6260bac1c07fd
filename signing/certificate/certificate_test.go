package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
	"carillon/signing/jws"
)

const audience = "exposure-notifications-server"

// issuedAt is the time of the example in the verification protocol §2.4.
var issuedAt = time.Unix(1623760195, 0).UTC()

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func example() certificate.Claims {
	return certificate.Claims{
		Issuer: "gov.example.us-zz", Audience: audience,
		IssuedAt: issuedAt, NotBefore: issuedAt, Expires: time.Unix(1623761100, 0).UTC(),
		ReportType: certificate.Confirmed, SymptomOnsetInterval: 2705904,
		TEKMAC: "OFF5DEd0myppE/koSvQ3Q6r0YbOBUxPdsMozMY1hjqU=",
	}
}

// The example payload of the verification protocol §2.4, member for member.
func TestSignMatchesExample(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	tok, err := certificate.Sign(key, "c1", example())
	if err != nil {
		t.Fatal(err)
	}
	u, err := jws.Parse(tok)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"aud":"exposure-notifications-server","exp":1623761100,"iat":1623760195,"iss":"gov.example.us-zz",` +
		`"nbf":1623760195,"reportType":"confirmed","symptomOnsetInterval":2705904,` +
		`"tekmac":"OFF5DEd0myppE/koSvQ3Q6r0YbOBUxPdsMozMY1hjqU="}`
	if got := string(u.Payload()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCertificateComesBack(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	onset, bare := example(), example()
	bare.SymptomOnsetInterval = 0
	bare.ReportType = certificate.UserReport
	bare.IssuedAt, bare.NotBefore = time.Time{}, time.Time{}
	bare.TEKMAC = "-_<&>verbatim"
	for name, want := range map[string]certificate.Claims{"all": onset, "least": bare} {
		tok, err := certificate.Sign(key, "c1", want)
		if err != nil {
			t.Fatal(err)
		}
		u, err := certificate.Parse(tok)
		if err != nil {
			t.Fatal(err)
		}
		if u.Issuer() != want.Issuer || u.KeyID() != "c1" {
			t.Errorf("%s: issuer %q, kid %q", name, u.Issuer(), u.KeyID())
		}
		got, err := u.Verify(&key.PublicKey, nil, issuedAt, audience)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	tok, err := certificate.Sign(key, "c1", bare)
	if err != nil {
		t.Fatal(err)
	}
	u, err := jws.Parse(tok)
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"symptomOnsetInterval", "iat", "nbf"} {
		if strings.Contains(string(u.Payload()), absent) {
			t.Errorf("%s is in %s", absent, u.Payload())
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for name, v := range map[string]struct {
		change func(*certificate.Claims)
		want   error
	}{
		"no issuer":     {func(c *certificate.Claims) { c.Issuer = "" }, certificate.ErrMalformed},
		"no audience":   {func(c *certificate.Claims) { c.Audience = "" }, certificate.ErrMalformed},
		"no HMAC":       {func(c *certificate.Claims) { c.TEKMAC = "" }, certificate.ErrMalformed},
		"no expiry":     {func(c *certificate.Claims) { c.Expires = time.Time{} }, certificate.ErrMalformed},
		"no type":       {func(c *certificate.Claims) { c.ReportType = "" }, certificate.ErrReportType},
		"unknown type":  {func(c *certificate.Claims) { c.ReportType = "Confirmed" }, certificate.ErrReportType},
		"huge HMAC":     {func(c *certificate.Claims) { c.TEKMAC = strings.Repeat("A", jws.MaxSize) }, jws.ErrMalformed},
		"key ID absent": {func(*certificate.Claims) {}, jws.ErrNoKeyID},
	} {
		c, kid := example(), "c1"
		v.change(&c)
		if errors.Is(v.want, jws.ErrNoKeyID) {
			kid = ""
		}
		if _, err := certificate.Sign(key, kid, c); !errors.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", name, err, v.want)
		}
	}
}

func TestVerifyTimes(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	tok, err := certificate.Sign(key, "c1", example())
	if err != nil {
		t.Fatal(err)
	}
	u, err := certificate.Parse(tok)
	if err != nil {
		t.Fatal(err)
	}
	expires := example().Expires
	for _, v := range []struct {
		name string
		now  time.Time
		want error
	}{
		{"at issue", issuedAt, nil},
		{"last moment", expires, nil},
		{"no tolerance on expiry", expires.Add(time.Nanosecond), certificate.ErrExpired},
		{"long past", expires.AddDate(10, 0, 0), certificate.ErrExpired},
		{"5 s early", issuedAt.Add(-5 * time.Second), nil},
		{"more than 5 s early", issuedAt.Add(-5*time.Second - time.Nanosecond), certificate.ErrNotYetValid},
	} {
		if _, err := u.Verify(&key.PublicKey, nil, v.now, audience); !errors.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", v.name, err, v.want)
		}
	}
}

// payload is the example with members replaced, or removed if nil.
func payload(t testing.TB, changes map[string]any) map[string]any {
	t.Helper()
	m := map[string]any{
		"iss": "gov.example.us-zz", "aud": audience, "exp": issuedAt.Unix() + 900, "iat": issuedAt.Unix(), "nbf": issuedAt.Unix(),
		"reportType": "likely", "tekmac": "AAAA",
	}
	for name, value := range changes {
		if value == nil {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	return m
}

func TestClaimsOfOthers(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	future := issuedAt.Unix() + 60
	type changes map[string]any
	for _, v := range []struct {
		name    string
		claims  any
		parse   error
		verdict error
	}{
		{"plain", payload(t, nil), nil, nil},
		{"history", payload(t, changes{"trisk": []any{}, "phadata": map[string]any{}, "keyVersion": "1", "jti": "x"}), nil, nil},
		{"no iat, nbf", payload(t, changes{"iat": nil, "nbf": nil}), nil, nil},
		{"iat, nbf 0", payload(t, changes{"iat": 0, "nbf": 0}), nil, nil},
		{"onset", payload(t, changes{"symptomOnsetInterval": uint32(1<<32 - 1)}), nil, nil},

		{"not an object", []string{"x"}, certificate.ErrMalformed, nil},
		{"text", "x", certificate.ErrMalformed, nil},
		{"aud a list", payload(t, changes{"aud": []string{audience}}), certificate.ErrMalformed, nil},
		{"aud a number", payload(t, changes{"aud": 1}), certificate.ErrMalformed, nil},
		{"iss a list", payload(t, changes{"iss": []string{"x"}}), certificate.ErrMalformed, nil},
		{"exp a text", payload(t, changes{"exp": "1623761100"}), certificate.ErrMalformed, nil},
		{"exp a fraction", payload(t, changes{"exp": 1623761100.5}), certificate.ErrMalformed, nil},
		{"exp before 1970", payload(t, changes{"exp": -1}), certificate.ErrMalformed, nil},
		{"exp beyond all years", payload(t, changes{"exp": int64(1<<63 - 1)}), certificate.ErrMalformed, nil},
		{"iat beyond all years", payload(t, changes{"iat": int64(1<<63 - 1)}), certificate.ErrMalformed, nil},
		{"onset negative", payload(t, changes{"symptomOnsetInterval": -1}), certificate.ErrMalformed, nil},
		{"onset too large", payload(t, changes{"symptomOnsetInterval": int64(1) << 32}), certificate.ErrMalformed, nil},
		{"twice", json.RawMessage(`{"aud":"a","aud":"` + audience + `"}`), certificate.ErrMalformed, nil},
		{"tekmac a number", payload(t, changes{"tekmac": 7}), certificate.ErrMalformed, nil},

		{"aud absent", payload(t, changes{"aud": nil}), nil, certificate.ErrAudience},
		{"aud other", payload(t, changes{"aud": audience + "2"}), nil, certificate.ErrAudience},
		{"aud in capitals", payload(t, changes{"aud": nil, "AUD": audience}), nil, certificate.ErrAudience},
		{"exp absent", payload(t, changes{"exp": nil}), nil, certificate.ErrMalformed},
		{"exp in capitals", payload(t, changes{"exp": nil, "EXP": future}), nil, certificate.ErrMalformed},
		{"exp 0", payload(t, changes{"exp": 0}), nil, certificate.ErrExpired},
		{"exp past", payload(t, changes{"exp": issuedAt.Unix() - 1}), nil, certificate.ErrExpired},
		{"iat future", payload(t, changes{"iat": future}), nil, certificate.ErrNotYetValid},
		{"nbf future", payload(t, changes{"nbf": future}), nil, certificate.ErrNotYetValid},
		{"type absent", payload(t, changes{"reportType": nil}), nil, certificate.ErrReportType},
		{"type unknown", payload(t, changes{"reportType": "recursive"}), nil, certificate.ErrReportType},
	} {
		tok, err := jws.Sign(key, "c1", v.claims)
		if err != nil {
			t.Fatal(err)
		}
		u, err := certificate.Parse(tok)
		if !errors.Is(err, v.parse) {
			t.Errorf("%s: parse: got %v, want %v", v.name, err, v.parse)
		}
		if err != nil {
			continue
		}
		if _, err := u.Verify(&key.PublicKey, nil, issuedAt, audience); !errors.Is(err, v.verdict) {
			t.Errorf("%s: verify: got %v, want %v", v.name, err, v.verdict)
		}
	}
}

// Key server protocol §2.2: of several faults, the first in its order is told.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	faults := map[string]any{"aud": "other", "exp": 1, "iat": issuedAt.Unix() + 60, "reportType": "x"}
	for _, step := range []struct {
		want    error
		without string
	}{
		{certificate.ErrAudience, "aud"},
		{certificate.ErrExpired, "exp"},
		{certificate.ErrNotYetValid, "iat"},
		{jws.ErrSignature, ""},
	} {
		tok, err := jws.Sign(key, "c1", payload(t, faults))
		if err != nil {
			t.Fatal(err)
		}
		u, err := certificate.Parse(tok)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Verify(&other.PublicKey, nil, issuedAt, audience); !errors.Is(err, step.want) {
			t.Errorf("got %v, want %v", err, step.want)
		}
		delete(faults, step.without)
	}
}

func TestParseReportType(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"confirmed", "likely", "negative", "user-report"} {
		if got, err := certificate.ParseReportType(s); err != nil || string(got) != s {
			t.Errorf("%s is %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Confirmed", " likely", "user_report", "recursive"} {
		if _, err := certificate.ParseReportType(s); !errors.Is(err, certificate.ErrReportType) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	key := newKey(f)
	for _, claims := range []any{
		payload(f, nil), payload(f, map[string]any{"aud": []string{audience}}), payload(f, map[string]any{"exp": nil}), []int{}, nil,
	} {
		tok, err := jws.Sign(key, "c1", claims)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut(tok, ".")
		body, _, _ := strings.Cut(rest, ".")
		text, err := certificate.ParseBase64(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	// The payload is what varies: a fuzzer that has to keep base64 and the header
	// whole sees little of this package. Package jws has a target for those.
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		tok, err := jws.Sign(key, "c1", json.RawMessage(body))
		if err != nil {
			return
		}
		u, err := certificate.Parse(tok)
		if err != nil {
			if !errors.Is(err, certificate.ErrMalformed) && !errors.Is(err, jws.ErrMalformed) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		c, err := u.Verify(&key.PublicKey, nil, issuedAt, audience)
		if err != nil {
			return
		}
		if c.Audience != audience || c.Expires.Before(issuedAt) || c.IssuedAt.After(issuedAt.Add(certificate.Skew)) {
			t.Fatalf("took %+v", c)
		}
		if _, err := certificate.ParseReportType(string(c.ReportType)); err != nil {
			t.Fatalf("took %+v", c)
		}
	})
}

// BenchmarkSign reports its ratio to the bare signature it cannot do without.
func BenchmarkSign(b *testing.B) {
	key := newKey(b)
	digest := make([]byte, 32)
	const rounds = 200
	start := time.Now()
	for range rounds {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest); err != nil {
			b.Fatal(err)
		}
	}
	floor := float64(time.Since(start)) / rounds
	for b.Loop() {
		if _, err := certificate.Sign(key, "c1", example()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/floor, "x-bare-signature")
}
