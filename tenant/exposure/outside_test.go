package exposure_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/issuer"
)

// outsider is a verification server that is not ours.
type outsider struct {
	name, audience, kid string
	key                 *ecdsa.PrivateKey
}

func newOutsider(tb testing.TB, name string) outsider {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return outsider{name: name, audience: "keys." + name, kid: "v1", key: key}
}

// accepted makes a tenant accept the server's certificates.
func (f *fixture) accepted(tb testing.TB, of *tenant.Tenant, o outsider) {
	tb.Helper()
	err := f.world.Operator.In(tb.Context(), of.ID, func(tx *tenant.Tx) error {
		return issuer.Accept(tb.Context(), tx, of, authz.Subject{Kind: authz.System}, issuer.Spec{
			Issuer: o.name, Audience: o.audience, Keys: []jws.PublicKey{{KeyID: o.kid, Key: &o.key.PublicKey}},
		}, f.world.Now())
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// upload is one of a phone whose user the server has given a code.
func (o outsider) upload(tb testing.TB, f *fixture, keys []exposure.UploadKey, change ...func(*certificate.Claims)) exposure.Upload {
	tb.Helper()
	var claims certificate.Claims
	u := f.phone.Upload(confirmed, keys, func(c *certificate.Claims) {
		c.Issuer, c.Audience = o.name, o.audience
		for _, do := range change {
			do(c)
		}
		claims = *c
	})
	var err error
	if u.VerificationPayload, err = certificate.Sign(o.key, o.kid, claims); err != nil {
		tb.Fatal(err)
	}
	return u
}

// A certificate of an accepted server is as good as the tenant's own, with its own
// audience, its own keys and the same rules; and for that tenant alone (§2.2).
func TestOutsideCertificates(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	o, stranger := newOutsider(t, "outside.example"), newOutsider(t, "stranger.example")
	f.accepted(t, f.north, o)
	f.accepted(t, f.south, stranger)
	if r := f.publish(t, o.upload(t, f, f.phone.Keys(3))); r.Inserted != 3 || r.RevisionToken == "" {
		t.Errorf("receipt %v", r)
	}
	if r := f.publish(t, f.phone.Upload(confirmed, f.phone.Keys(2))); r.Inserted != 2 {
		t.Errorf("the tenant's own certificate: %v", r)
	}
	north := f.north.Settings
	asOwn := o
	asOwn.name, asOwn.audience, asOwn.kid = north.Issuer, north.Audience, "north-c1"
	asSouth := o
	asSouth.name = f.south.Settings.Issuer
	otherName := o
	otherName.kid = "v2"
	otherKey := newOutsider(t, o.name)
	upload := func(o outsider, change ...func(*certificate.Claims)) exposure.Upload {
		return o.upload(t, f, f.phone.Keys(1), change...)
	}
	for name, test := range map[string]struct {
		upload exposure.Upload
		text   string
	}{
		"a server that another tenant accepts":  {upload(stranger), "issuer not found: stranger.example"},
		"another tenant":                        {f.other.Upload(confirmed, f.phone.Keys(1)), "issuer not found: health.south.example"},
		"its key in another tenant's name":      {upload(asSouth), "issuer not found: health.south.example"},
		"its key in the tenant's name":          {upload(asOwn), "signature is not valid"},
		"a key ID that it does not have":        {upload(otherName), "no active public keys for health authority"},
		"a key that it does not have":           {upload(otherKey), "signature is not valid"},
		"the tenant's audience":                 {upload(o, func(c *certificate.Claims) { c.Audience = north.Audience }), "another audience"},
		"its name in another case":              {upload(o, func(c *certificate.Claims) { c.Issuer = strings.ToUpper(o.name) }), "issuer not found: OUTSIDE.EXAMPLE"},
		"expired":                               {upload(o, func(c *certificate.Claims) { c.Expires = f.world.Now().Add(-time.Second) }), "expired"},
		"the audience of the other certificate": {f.phone.Upload(confirmed, f.phone.Keys(1), func(c *certificate.Claims) { c.Audience = o.audience }), "another audience"},
	} {
		test.upload.HealthAuthorityID = f.north.HealthAuthorityID
		_, err := f.service.Publish(t.Context(), f.north, test.upload)
		wantErr(t, err, exposure.ErrCertificate)
		if got := explain(err); !strings.Contains(got, test.text) {
			t.Errorf("%s: %q, want %q", name, got, test.text)
		}
	}
	if n := f.count(t); n != 5 {
		t.Errorf("%d keys are stored, want 5", n)
	}
}

// What an outside server leaves out of its certificates is made up for as always: the
// onset is guessed, unless the phone tells it (§2.6).
func TestOutsideCertificateWithoutOnset(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	o := newOutsider(t, "outside.example")
	f.accepted(t, f.north, o)
	keys := f.phone.Keys(2)
	f.publish(t, o.upload(t, f, keys, func(c *certificate.Claims) {
		c.SymptomOnsetInterval, c.IssuedAt, c.NotBefore = 0, time.Time{}, time.Time{}
		c.ReportType = likely
	}))
	if r := f.row(t, f.north, keys[0]); r.Days != 3 || r.Type != "likely" || r.Risk != 4 {
		t.Errorf("stored as %+v", r)
	}
}

// A certificate that does not tell when it was made, or is good for years, makes neither
// statistics of a day long ago nor a receipt that stays for years.
func TestOutsideCertificatesWithOddTimes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	o := newOutsider(t, "outside.example")
	f.accepted(t, f.north, o)
	now := f.world.Now()
	for name, issued := range map[string]time.Time{"not told": {}, "years ago": now.Add(-20000 * time.Hour)} {
		r := f.publish(t, o.upload(t, f, f.phone.Keys(1), func(c *certificate.Claims) {
			c.IssuedAt, c.Expires = issued, now.Add(20000*time.Hour)
		}))
		if !r.Facts.Certified.Equal(now) {
			t.Errorf("%s: made at %v", name, r.Facts.Certified)
		}
	}
	var latest time.Time
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select max(expires_at) from publish_receipt`).Scan(&latest); err != nil {
		t.Fatal(err)
	}
	if latest.After(now.Add(26 * time.Hour)) {
		t.Errorf("a receipt is kept until %v", latest)
	}
}

// Once a process knows a tenant's servers, their certificates cost no round trip more
// than the tenant's own; and neither do those of servers that nobody accepts.
func TestOutsideCertificatesCostNoRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	o := newOutsider(t, "outside.example")
	f.accepted(t, f.north, o)
	f.publish(t, o.upload(t, f, f.phone.Keys(1)))
	f.publish(t, f.phone.Upload(confirmed, f.phone.Keys(1)))
	own := f.world.Trips(func() { f.publish(t, f.phone.Upload(confirmed, f.phone.Keys(14))) })
	if n := f.world.Trips(func() { f.publish(t, o.upload(t, f, f.phone.Keys(14))) }); n != own {
		t.Errorf("%d round trips, the tenant's own certificates cost %d", n, own)
	}
	u := newOutsider(t, "stranger.example").upload(t, f, f.phone.Keys(14))
	if n := f.world.Trips(func() { _, _ = f.service.Publish(t.Context(), f.north, u) }); n != 0 {
		t.Errorf("%d round trips for a stranger's certificate", n)
	}
}
