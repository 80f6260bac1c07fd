package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
)

// keyServer is one that is not ours, as the reference behaves (key server protocol
// §2.7 and verification protocol §2.4): it fetches a bare array of keys, knows a key by
// its PEM text, and revokes what is no longer listed.
type keyServer struct {
	issuer, audience string
	keys             []importedKey
	now              func() time.Time
}

type importedKey struct {
	version, pem string
	revoked      bool
}

var errFetch = errors.New("key set not fetched")

// importKeys is the job that runs every two minutes. Whatever fails leaves the keys as
// they were.
func (k *keyServer) importKeys(status int, body []byte) error {
	if status != http.StatusOK {
		return errFetch
	}
	var listed []struct{ Kid, Kty, Crv, X, Y string }
	if err := json.Unmarshal(body, &listed); err != nil {
		return fmt.Errorf("%w: %w", errFetch, err)
	}
	var current []importedKey
	for _, j := range listed {
		text, err := pemOf(j.Kty, j.Crv, j.X, j.Y)
		if err != nil {
			return err
		}
		current = append(current, importedKey{version: j.Kid, pem: text})
	}
	for i, known := range k.keys {
		k.keys[i].revoked = known.revoked || !slices.ContainsFunc(current, func(c importedKey) bool { return c.pem == known.pem })
	}
	for _, c := range current {
		if !slices.ContainsFunc(k.keys, func(known importedKey) bool { return known.pem == c.pem }) {
			k.keys = append(k.keys, c)
		}
	}
	return nil
}

func pemOf(kty, crv, x, y string) (string, error) {
	if kty != "EC" || crv != "P-256" {
		return "", fmt.Errorf("%w: key of type %s %s", errFetch, kty, crv)
	}
	rawX, errX := base64.RawURLEncoding.DecodeString(x)
	rawY, errY := base64.RawURLEncoding.DecodeString(y)
	public, errP := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, rawX, rawY))
	if err := errors.Join(errX, errY, errP); err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), err
}

var errUntrusted = errors.New("no such key")

// verify judges a certificate as the reference does: without any leeway.
func (k *keyServer) verify(certificate string) error {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(k.issuer), jwt.WithAudience(k.audience),
		jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithTimeFunc(k.now),
	)
	_, err := parser.Parse(certificate, func(t *jwt.Token) (any, error) {
		for _, known := range k.keys {
			if known.version == t.Header["kid"] && !known.revoked {
				return jwt.ParseECPublicKeyFromPEM([]byte(known.pem))
			}
		}
		return nil, errUntrusted
	})
	return err
}

// versions lists the keys that are not revoked.
func (k *keyServer) versions() string {
	var names []string
	for _, known := range k.keys {
		if !known.revoked {
			names = append(names, known.version)
		}
	}
	return strings.Join(names, " ")
}

func (f *fixture) fetchKeys(t *testing.T, k *keyServer) error {
	t.Helper()
	a := f.ask(t, http.MethodGet, "/t/north/jwks", nil, "")
	return k.importKeys(a.StatusCode, a.body)
}

func (f *fixture) certificate(t *testing.T, of account) string {
	t.Helper()
	return must(t, f.post(t, of.Tenant, "/api/certificate", of.device, object{
		"token": f.token(t, of, nil), "ekeyhmac": base64.StdEncoding.EncodeToString(randomBytes(32)),
	})).text("certificate")
}

// nextCertificateKey publishes one more key of a tenant.
func (f *fixture) nextCertificateKey(t *testing.T, of *tenant.Tenant) {
	t.Helper()
	const keyID = "north-c2"
	err := f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		var wrapped []byte
		if err := tx.Get(t.Context(), &wrapped, `select wrapped from data_key`); err != nil {
			return err
		}
		dk, err := signing.OpenDataKey(t.Context(), f.world.Root, of.ID.String(), wrapped)
		if err != nil {
			return err
		}
		sealed, public, err := signing.NewP256(dk, signing.Binding{Tenant: of.ID.String(), Purpose: signing.Certificate, KeyID: keyID + "/"})
		if err != nil {
			return err
		}
		_, err = tx.Exec(t.Context(), `
insert into signing_key (tenant_id, purpose, version, key_id, state, sealed, public_der)
values (current_tenant(), 'certificate', 2, $1, 'next', $2, $3)`, keyID, sealed, public)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) setKeyState(t *testing.T, of *tenant.Tenant, version int, s key.State) {
	t.Helper()
	f.sql(t, `
update signing_key
   set state        = $3,
       sealed       = case when $3 <> 'destroyed' then sealed end,
       destroyed_at = case when $3 = 'destroyed' then now() end
 where tenant_id = $1
   and purpose = 'certificate'
   and version = $2`, of.ID.String(), version, string(s))
}

// A key server that is not ours trusts a tenant by its issuer, its audience and the URL
// of its keys, and goes on doing so through a whole rotation: what deploy/docs/
// outside-key-server.md promises, in its order.
func TestOutsideKeyServer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	outside := &keyServer{issuer: f.north.Settings.Issuer, audience: f.north.Settings.Audience, now: f.world.Now}
	fetch := func(step, want string) {
		t.Helper()
		f.start(t) // past every cache of ours
		if err := f.fetchKeys(t, outside); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if got := outside.versions(); got != want {
			t.Errorf("%s: knows %q, want %q", step, got, want)
		}
	}
	wantVerdict := func(step, certificate string, want error) {
		t.Helper()
		if err := outside.verify(certificate); !errors.Is(err, want) || (want == nil && err != nil) {
			t.Errorf("%s: %v, want %v", step, err, want)
		}
	}

	first := f.certificate(t, f.north)
	wantVerdict("before the first fetch", first, errUntrusted)
	fetch("fetched", "north-c1")
	wantVerdict("fetched", first, nil)
	wantVerdict("another tenant's certificate", f.certificate(t, f.south), errUntrusted)
	other := &keyServer{issuer: f.south.Settings.Issuer, audience: outside.audience, keys: outside.keys, now: f.world.Now}
	if err := other.verify(first); !errors.Is(err, jwt.ErrTokenInvalidIssuer) {
		t.Errorf("under another issuer: %v", err)
	}
	other = &keyServer{issuer: outside.issuer, audience: "another", keys: outside.keys, now: f.world.Now}
	if err := other.verify(first); !errors.Is(err, jwt.ErrTokenInvalidAudience) {
		t.Errorf("under another audience: %v", err)
	}

	f.nextCertificateKey(t, f.north.Tenant)
	fetch("next is published", "north-c1 north-c2")
	f.setKeyState(t, f.north.Tenant, 1, key.VerifyOnly)
	f.setKeyState(t, f.north.Tenant, 2, key.Active)
	f.start(t)
	second := f.certificate(t, f.north)
	wantVerdict("activated, not fetched since", second, nil)
	wantVerdict("signed before, activated", first, nil)
	fetch("activated", "north-c1 north-c2")
	wantVerdict("signed before, fetched", first, nil)

	f.setKeyState(t, f.north.Tenant, 1, key.Destroyed)
	fetch("destroyed", "north-c2")
	wantVerdict("signed with the destroyed key", first, errUntrusted)
	wantVerdict("signed with the active key", second, nil)
	f.world.Advance(f.north.Settings.CertificateLife)
	wantVerdict("a certificate at its end", second, jwt.ErrTokenExpired)
}

// Whatever goes wrong here, an outside key server is told so, instead of being told of
// fewer keys: it would revoke the others.
func TestKeysAreListedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.nextCertificateKey(t, f.north.Tenant)
	f.start(t)
	outside := &keyServer{now: f.world.Now}
	if err := f.fetchKeys(t, outside); err != nil {
		t.Fatal(err)
	}
	a := f.ask(t, http.MethodGet, "/t/north/jwks", nil, "")
	newest, oldest := bytes.Index(a.body, []byte(`{"kid":"north-c2","kty":"EC","crv":"P-256","x":"`)), bytes.Index(a.body, []byte(`{"kid":"north-c1",`))
	if newest != 1 || oldest < newest {
		t.Errorf("not the newest first: %s", a.body)
	}
	for _, fault := range []struct {
		name    string
		breakIt func()
	}{
		{"one key cannot be read", func() {
			f.sql(t, `update signing_key set public_der = 'x' where tenant_id = $1 and key_id = 'north-c1'`, f.north.ID.String())
		}},
		{"erased", func() { f.put(t, f.north.Tenant, tenant.Erased) }},
		{"no database", func() { _ = f.world.Publish.Close() }},
	} {
		fault.breakIt()
		f.start(t)
		for _, path := range []string{"/t/north/jwks", "/t/north/.well-known/jwks.json"} {
			a := f.ask(t, http.MethodGet, path, nil, "")
			if a.StatusCode == http.StatusOK || a.Header.Get("Cache-Control") != "" || bytes.Contains(a.body, []byte("kty")) {
				t.Errorf("%s: %s: %v, %q", fault.name, path, a, a.Header.Get("Cache-Control"))
			}
		}
		if err := f.fetchKeys(t, outside); !errors.Is(err, errFetch) || outside.versions() != "north-c2 north-c1" {
			t.Errorf("%s: %v, knows %q", fault.name, err, outside.versions())
		}
	}
}

// A tenant without a key has an empty list, which is not null.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.setKeyState(t, f.north.Tenant, 1, key.Destroyed)
	f.start(t)
	for path, want := range map[string]string{"/t/north/jwks": `[]`, "/t/north/.well-known/jwks.json": `{"keys":[]}`} {
		if a := f.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusOK || string(a.body) != want {
			t.Errorf("%s: %v, want %s", path, a, want)
		}
	}
}
