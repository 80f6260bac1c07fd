package exposure_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

// signed gives an upload a certificate under another name of the tenant's key.
func (f *fixture) signed(tb testing.TB, of *tenant.Tenant, kid string, u exposure.Upload, c certificate.Claims) exposure.Upload {
	tb.Helper()
	signer, err := key.NewRing(f.world.Device, f.world.Root).Signer(tb.Context(), of.ID, signing.Certificate)
	if err != nil {
		tb.Fatal(err)
	}
	if kid == "" {
		kid = signer.KeyID
	}
	u.VerificationPayload, err = certificate.Sign(signer.Key, kid, c)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// claimsOf catches the claims of an upload that a phone would make.
func claimsOf(p *exposuretest.Phone, keys []exposure.UploadKey) (exposure.Upload, certificate.Claims) {
	var claims certificate.Claims
	u := p.Upload(confirmed, keys, func(c *certificate.Claims) { claims = *c })
	return u, claims
}

// A key ID is looked up among the tenant's own (§2.2): neither an unknown one nor
// another tenant's helps, whoever signed.
func TestCertificateKeyID(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	u, claims := claimsOf(f.phone, f.phone.Keys(2))
	const unknown = "unable to validate diagnosis verification: no active public keys for health authority"
	tests := []struct {
		name   string
		signer *tenant.Tenant
		kid    string
		text   string
	}{
		{"unknown", f.north, "v9", unknown},
		{"the right one in another case", f.north, "NORTH-C1", unknown},
		{"another tenant's", f.south, "south-c1", unknown},
		{"another tenant's name for our key", f.north, "south-c1", unknown},
		{"our name for another tenant's key", f.south, "north-c1", ""},
	}
	for _, test := range tests {
		_, err := f.service.Publish(t.Context(), f.north, f.signed(t, test.signer, test.kid, u, claims))
		wantErr(t, err, exposure.ErrCertificate)
		if got := explain(err); !strings.HasSuffix(got, test.text) {
			t.Errorf("%s: text %q, want %q", test.name, got, test.text)
		}
	}
	if r := f.publish(t, f.signed(t, f.north, "north-c1", u, claims)); r.Inserted != 2 {
		t.Errorf("the right key ID: %v", r)
	}
}

// Expiry has no tolerance; iat and nbf have a few seconds of it (§2.1).
func TestCertificateTimes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := tenanttest.Start
	claim := func(change func(*certificate.Claims)) exposure.Upload {
		return f.phone.Upload(confirmed, f.phone.Keys(1), change)
	}
	tests := []struct {
		name   string
		upload exposure.Upload
		want   string
	}{
		{"expires now", claim(func(c *certificate.Claims) { c.Expires = now }), ""},
		{"expired a second ago", claim(func(c *certificate.Claims) { c.Expires = now.Add(-time.Second) }), "certificate is expired"},
		{"issued in 5 s", claim(func(c *certificate.Claims) { c.IssuedAt = now.Add(5 * time.Second) }), ""},
		{"issued in 6 s", claim(func(c *certificate.Claims) { c.IssuedAt = now.Add(6 * time.Second) }), "certificate is not valid yet"},
		{"starts in 6 s", claim(func(c *certificate.Claims) { c.NotBefore = now.Add(6 * time.Second) }), "certificate is not valid yet"},
		{"never issued", claim(func(c *certificate.Claims) { c.IssuedAt = time.Time{} }), ""},
	}
	for _, test := range tests {
		_, err := f.service.Publish(t.Context(), f.north, test.upload)
		if test.want == "" {
			wantErr(t, err, nil)
			continue
		}
		wantErr(t, err, exposure.ErrCertificate)
		if got := explain(err); !strings.HasSuffix(got, "unable to validate diagnosis verification: "+test.want) {
			t.Errorf("%s: text %q, want %q", test.name, got, test.want)
		}
	}
}

// Issuer and audience are compared exactly.
func TestCertificateNames(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, change := range map[string]func(*certificate.Claims){
		"issuer's case":   func(c *certificate.Claims) { c.Issuer = strings.ToUpper(c.Issuer) },
		"issuer's end":    func(c *certificate.Claims) { c.Issuer += " " },
		"audience's case": func(c *certificate.Claims) { c.Audience = strings.ToUpper(c.Audience) },
		"audience's end":  func(c *certificate.Claims) { c.Audience += "/" },
	} {
		_, err := f.service.Publish(t.Context(), f.north, f.phone.Upload(confirmed, f.phone.Keys(1), change))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		wantErr(t, err, exposure.ErrCertificate)
	}
}

// Newer phones leave the risk out of the HMAC, which counts if all risks are zero (§2.3).
func TestThreeFieldHMAC(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(3)
	risky := f.phone.Keys(3)
	risky[2].TransmissionRisk = 1
	send := func(keys []exposure.UploadKey) error {
		u, claims := claimsOf(f.phone, keys)
		secret := []byte("a phone's secret")
		u.HMACKey = base64.RawURLEncoding.EncodeToString(secret)
		claims.TEKMAC = base64.StdEncoding.EncodeToString(threeFieldMAC(secret, keys))
		_, err := f.service.Publish(t.Context(), f.north, f.signed(t, f.north, "", u, claims))
		return err
	}
	wantErr(t, send(keys), nil)
	err := send(risky)
	wantErr(t, err, exposure.ErrCertificate)
	const want = "unable to validate diagnosis verification: HMAC mismatch, publish request does not match diagnosis verification certificate"
	if got := explain(err); !strings.HasSuffix(got, want) {
		t.Errorf("text %q, want %q", got, want)
	}
	if n := f.count(t); n != 3 {
		t.Errorf("%d keys are stored, want 3", n)
	}
}

func threeFieldMAC(secret []byte, keys []exposure.UploadKey) []byte {
	var fields []string
	for _, k := range keys {
		fields = append(fields, fmt.Sprintf("%s.%d.%d", k.Key, k.RollingStart, k.RollingPeriod))
	}
	slices.Sort(fields) // keys have one length, so this is the order of their texts
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(fields, ",")))
	return h.Sum(nil)
}

// A key that signs no more still vouches for what it signed, until it is destroyed.
func TestCertificateKeyStates(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tests := []struct {
		state string
		want  error
	}{{"next", nil}, {"verify-only", nil}, {"destroyed", exposure.ErrCertificate}}
	for _, test := range tests {
		u := f.phone.Upload(confirmed, f.phone.Keys(1))
		f.setKeyState(t, f.north, signing.Certificate, test.state)
		_, err := f.service.Publish(t.Context(), f.north, u)
		wantErr(t, err, test.want)
	}
}

// setKeyState changes all of a tenant's keys of a purpose, and lets the service know
// at once.
func (f *fixture) setKeyState(tb testing.TB, of *tenant.Tenant, p signing.Purpose, state string) {
	tb.Helper()
	_, err := f.world.Database.Super().ExecContext(tb.Context(),
		`
update signing_key
   set state        = $3,
       sealed       = case when $3 <> 'destroyed' then sealed end,
       destroyed_at = case when $3 = 'destroyed' then now() end
 where tenant_id = $1
   and purpose = $2`, of.ID, string(p), state)
	if err != nil {
		tb.Fatal(err)
	}
	f.restart()
}
