package verification_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/token"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

// The MAC of vector 1 in the verification protocol §3.1, and the same bytes
// spelled for URLs.
const (
	hmacText      = "OFF5DEd0myppE/koSvQ3Q6r0YbOBUxPdsMozMY1hjqU="
	hmacTextURL   = "OFF5DEd0myppE_koSvQ3Q6r0YbOBUxPdsMozMY1hjqU"
	otherHMACText = "bccHKEF+rtN5Ro172REMH7mQHxMVeyoRDtGUP0Nf+PY="
)

func (f *fixture) certificate(tb testing.TB, at *tenant.Tenant, tok, hmac string) string {
	tb.Helper()
	signed, err := f.device.Certificate(tb.Context(), at, verification.CertificateRequest{Token: tok, EKeyHMAC: hmac})
	if err != nil {
		tb.Fatalf("Certificate: %v", explain(err))
	}
	return signed
}

// The certificate says what §2.4 asks for, under the tenant's key, and a key
// server accepts it at once.
func TestCertificate(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	at := with(f.north, func(s *tenant.Settings) {
		s.Issuer, s.Audience, s.CertificateLife = "gov.example.us-zz", "exposure-notifications-server", 20*time.Minute
	})
	// §2.4: 2021-06-15 is interval 2706192.
	now := time.Date(2021, 6, 16, 12, 0, 0, 999, time.UTC)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer, f.device = f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
	cases := []struct {
		name string
		r    verification.IssueRequest
		hmac string
		want certificate.Claims
	}{
		{
			"symptom date",
			verification.IssueRequest{TestType: "confirmed", SymptomDate: "2021-06-15", TestDate: "2021-06-16"},
			hmacText,
			certificate.Claims{ReportType: certificate.Confirmed, SymptomOnsetInterval: 2706192, TEKMAC: hmacText},
		},
		{
			"test date only, URL spelling",
			verification.IssueRequest{TestType: "likely", TestDate: "2021-06-16"},
			hmacTextURL,
			certificate.Claims{ReportType: certificate.Likely, TEKMAC: hmacTextURL},
		},
		{
			"user report",
			verification.IssueRequest{TestType: "user-report", Phone: phone},
			otherHMACText,
			certificate.Claims{ReportType: certificate.UserReport, TEKMAC: otherHMACText},
		},
		{
			"negative",
			verification.IssueRequest{TestType: "negative"},
			otherHMACText,
			certificate.Claims{ReportType: certificate.Negative, TEKMAC: otherHMACText},
		},
	}
	public, err := key.NewRing(f.world.Device, f.world.Root).Public(t.Context(), at.ID, signing.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		signed := f.certificate(t, at, f.token(t, at, c.r), c.hmac)
		unverified, err := certificate.Parse(signed)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if unverified.KeyID() != public[0].KeyID {
			t.Errorf("%s: key ID %q, want %q", c.name, unverified.KeyID(), public[0].KeyID)
		}
		got, err := unverified.Verify(public[0].Key, nil, now, "exposure-notifications-server")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		whole := now.Truncate(time.Second)
		c.want.Issuer, c.want.Audience = "gov.example.us-zz", "exposure-notifications-server"
		c.want.IssuedAt, c.want.NotBefore = whole.Add(-5*time.Second), whole.Add(-5*time.Second)
		c.want.Expires = whole.Add(20 * time.Minute)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: claims (-want +got)\n%s", c.name, diff)
		}
		_, hasOnset := payload(t, signed)["symptomOnsetInterval"]
		if wantOnset := c.r.SymptomDate != ""; hasOnset != wantOnset {
			t.Errorf("%s: symptomOnsetInterval present %t, want %t", c.name, hasOnset, wantOnset)
		}
	}
}

// payload is what a certificate says on the wire.
func payload(tb testing.TB, signed string) map[string]any {
	tb.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
	if err != nil {
		tb.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		tb.Fatal(err)
	}
	return claims
}

// Each row of §2.2 with its recommended code. None of them spends the token.
func TestCertificateRefuses(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tok := f.token(t, f.north, verification.IssueRequest{})
	const (
		badToken = "invalid verification token"
		spent    = "verification token invalid"
	)
	notStored := f.reseal(t, f.north, tok, func(c *token.Contents) { c.ID[0]++ })
	cases := []struct {
		name       string
		tenant     *tenant.Tenant
		token      string
		hmac       string
		kind       error
		text       string
		beforeHMAC bool // refused before the HMAC is looked at
	}{
		{"2 no token", f.north, "", hmacText, verification.ErrTokenInvalid, badToken, true},
		{"2 no base64", f.north, "#", hmacText, verification.ErrTokenInvalid, badToken, true},
		{"2 a JWT", f.north, "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", hmacText, verification.ErrTokenInvalid, badToken, true},
		{"2 changed", f.north, changed(tok), hmacText, verification.ErrTokenInvalid, badToken, true},
		{"2 blank after it", f.north, tok + " ", hmacText, verification.ErrTokenInvalid, badToken, true},
		{"2 another tenant's", f.south, tok, hmacText, verification.ErrTokenInvalid, badToken, true},
		{"3 expired", f.north, f.reseal(t, f.north, tok, func(c *token.Contents) { c.Expires = f.world.Now().UTC().Truncate(time.Second) }), hmacText, verification.ErrTokenExpired, "verification token expired", true},
		{"5 no base64", f.north, tok, "#", verification.ErrHMACInvalid, "", false},
		{"5 line feed", f.north, tok, hmacText + "\n", verification.ErrHMACInvalid, "", false},
		{"6 empty", f.north, tok, "", verification.ErrHMACInvalid, "exposure key HMAC is not the correct length, want: 32 got: 0", false},
		{"6 31 bytes", f.north, tok, base64.StdEncoding.EncodeToString(make([]byte, 31)), verification.ErrHMACInvalid, "exposure key HMAC is not the correct length, want: 32 got: 31", false},
		{"6 33 bytes", f.north, tok, base64.StdEncoding.EncodeToString(make([]byte, 33)), verification.ErrHMACInvalid, "exposure key HMAC is not the correct length, want: 32 got: 33", false},
		{"8 not stored", f.north, notStored, hmacText, verification.ErrTokenInvalid, spent, false},
	}
	for _, c := range cases {
		requests := []string{c.hmac}
		if c.beforeHMAC {
			requests = append(requests, "#")
		}
		for _, hmac := range requests {
			signed, err := f.device.Certificate(t.Context(), c.tenant, verification.CertificateRequest{Token: c.token, EKeyHMAC: hmac})
			if signed != "" {
				t.Errorf("%s: got a certificate", c.name)
			}
			t.Run(c.name, func(t *testing.T) {
				wantProblem(t, err, c.kind, c.text)
				if c.name == "5 no base64" && !strings.HasPrefix(explain(err).Error(), c.kind.Error()+": exposure key HMAC is not a valid base64: ") {
					t.Errorf("text %q", explain(err))
				}
			})
		}
	}
	f.certificate(t, f.north, tok, hmacText)
}

// changed flips a bit of a token's sealed part.
func changed(tok string) string {
	raw, err := base64.RawURLEncoding.DecodeString(tok)
	if err != nil {
		panic(err)
	}
	raw[len(raw)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

// reseal changes what a token says, as nobody without the tenant's key could.
func (f *fixture) reseal(tb testing.TB, of *tenant.Tenant, tok string, change func(*token.Contents)) string {
	tb.Helper()
	live, err := key.NewRing(f.world.Device, f.world.Root).Secrets(tb.Context(), of.ID, signing.Token)
	if err != nil {
		tb.Fatal(err)
	}
	contents, err := token.Open(live[0].Bytes, of.ID.String(), tok)
	if err != nil {
		tb.Fatal(err)
	}
	change(&contents)
	resealed, err := token.Seal(live[0].KeyID, live[0].Bytes, of.ID.String(), contents)
	if err != nil {
		tb.Fatal(err)
	}
	return resealed
}

// Another tenant's token stays invalid though that tenant's database knows its ID.
func TestCertificateResealedForAnotherTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tok := f.token(t, f.north, verification.IssueRequest{})
	live, err := key.NewRing(f.world.Device, f.world.Root).Secrets(t.Context(), f.south.ID, signing.Token)
	if err != nil {
		t.Fatal(err)
	}
	var contents token.Contents
	f.reseal(t, f.north, tok, func(c *token.Contents) { contents = *c })
	stolen, err := token.Seal(live[0].KeyID, live[0].Bytes, f.south.ID.String(), contents)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.device.Certificate(t.Context(), f.south, verification.CertificateRequest{Token: stolen, EKeyHMAC: hmacText})
	wantProblem(t, err, verification.ErrTokenInvalid, "verification token invalid")
	f.certificate(t, f.north, tok, hmacText)
}

func TestCertificateTokenExpiry(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer, f.device = f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
	first := f.token(t, f.north, verification.IssueRequest{})
	second := f.token(t, f.north, verification.IssueRequest{})
	// The row's expiry counts as well as the token's own.
	longer := f.reseal(t, f.north, second, func(c *token.Contents) { c.Expires = c.Expires.Add(time.Hour) })

	now = now.Add(f.north.Settings.TokenLife - time.Nanosecond)
	f.certificate(t, f.north, first, hmacText)
	now = now.Add(time.Nanosecond)
	for _, tok := range []string{first, second, longer} {
		_, err := f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: hmacText})
		wantProblem(t, err, verification.ErrTokenExpired, "verification token expired")
	}
}

// A lost answer can be asked for again with the same HMAC text while the first
// certificate is valid. Anything else finds the token spent (§2.2).
func TestCertificateRepeat(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now().UTC().Truncate(time.Second)
	clock := func(c *verification.Config) { c.Now = func() time.Time { return now } }
	f.issuer, f.device = f.service(f.world.Issuer, clock), f.service(f.world.Device, clock)
	tok := f.token(t, f.north, verification.IssueRequest{SymptomDate: dayOf(now)})
	first := payload(t, f.certificate(t, f.north, tok, hmacText))
	refused := func(hmac string) {
		t.Helper()
		_, err := f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: hmac})
		wantProblem(t, err, verification.ErrTokenInvalid, "verification token invalid")
	}
	refused(otherHMACText)
	refused(hmacTextURL) // the same bytes, another text

	start := now
	now = start.Add(f.north.Settings.CertificateLife - time.Nanosecond)
	repeat := payload(t, f.certificate(t, f.north, tok, hmacText))
	for _, claim := range []string{"iss", "aud", "reportType", "symptomOnsetInterval", "tekmac"} {
		if first[claim] != repeat[claim] {
			t.Errorf("%s is %v in the repeat, want %v", claim, repeat[claim], first[claim])
		}
	}
	refused(otherHMACText)
	now = start.Add(f.north.Settings.CertificateLife) // counted from the first, not from the repeat
	refused(hmacText)
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// A token has one HMAC: of many texts at once, one gets certificates.
func TestCertificateOneWinner(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tok := f.token(t, f.north, verification.IssueRequest{})
	const callers = 60
	errs := make([]error, callers)
	texts := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		texts[i] = hmacOf(i / 3) // each thrice
		wg.Go(func() {
			_, errs[i] = f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: texts[i]})
		})
	}
	wg.Wait()
	winners := map[string]int{}
	for i, err := range errs {
		switch {
		case err == nil:
			winners[texts[i]]++
		case !errors.Is(err, verification.ErrTokenInvalid):
			t.Fatalf("a loser got %v, want ErrTokenInvalid", explain(err))
		}
	}
	if len(winners) != 1 {
		t.Fatalf("%d texts got certificates, want one", len(winners))
	}
	for text, n := range winners {
		if n != 3 {
			t.Errorf("%s got %d certificates, want 3: repeats are allowed", text, n)
		}
	}
}

// hmacOf is one of many HMACs.
func hmacOf(i int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune('A'+i)), 32)))
}

// Without a key to sign with there is no certificate, and the token is as good
// as before once there is one.
func TestCertificateSigningFails(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tok := f.token(t, f.north, verification.IssueRequest{})
	setState := func(from, to string) {
		in(t, f.world.Operator, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, `update signing_key set state = $2 where purpose = 'certificate' and state = $1`, from, to)
			return err
		})
		f.device = f.service(f.world.Device, nil) // with a ring that has not seen the old state
	}
	setState("active", "verify-only")
	_, err := f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: hmacText})
	if !errors.Is(err, key.ErrNoKey) {
		t.Fatalf("Certificate: %v, want ErrNoKey", err)
	}
	setState("verify-only", "active")
	f.certificate(t, f.north, tok, otherHMACText)
}

func TestCertificateRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.certificate(t, f.north, f.token(t, f.north, verification.IssueRequest{}), hmacText) // keys are cached now
	tok := f.token(t, f.north, verification.IssueRequest{})
	for _, hmac := range []string{hmacText, hmacText, otherHMACText} {
		got := f.world.Trips(func() {
			_, _ = f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: tok, EKeyHMAC: hmac})
		})
		if got != 1 {
			t.Errorf("%d round trips, want 1", got)
		}
	}
	refused := f.world.Trips(func() {
		_, _ = f.device.Certificate(t.Context(), f.north, verification.CertificateRequest{Token: changed(tok), EKeyHMAC: hmacText})
	})
	if refused != 0 {
		t.Errorf("%d round trips for a forged token, want none", refused)
	}
}
