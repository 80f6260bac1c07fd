package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"carillon/signing"
)

func TestP256SurvivesSealing(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	b := signing.Binding{Tenant: "north", Purpose: signing.Certificate, KeyID: "c1"}
	sealed, der, err := signing.NewP256(dk, b)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signing.OpenP256(dk, b, sealed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := signing.ParsePublicPEM([]byte(signing.PublicPEM(der)))
	if err != nil {
		t.Fatal(err)
	}
	if !public.Equal(signer.Public()) {
		t.Error("public halves differ")
	}
	digest := sha256.Sum256([]byte("message"))
	one, err := signer.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(public, digest[:], one) {
		t.Fatalf("signature is not valid (%v)", err)
	}
	two, err := signer.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("signing without randomness is not deterministic (%v)", err)
	}
	assertHidden(t, signer, "[private key]")

	b.Purpose = signing.SMS
	if _, err := signing.OpenP256(dk, b, sealed); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("for another purpose: %v", err)
	}
}

// What opens but is no P-256 key is refused, in words that do not quote it.
func TestOpenP256RefusesOtherContents(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	b := signing.Binding{Tenant: "north", Purpose: signing.Export, KeyID: "e1"}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string][]byte{"text": []byte("canary"), "P-384": other} {
		sealed, err := dk.Seal(b, plain)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signing.OpenP256(dk, b, sealed); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretSurvivesSealing(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	b := signing.Binding{Tenant: "north", Purpose: signing.CodeMAC, KeyID: "m1"}
	sealed, err := signing.NewSecret(dk, b, 128)
	if err != nil {
		t.Fatal(err)
	}
	one, err := signing.OpenSecret(dk, b, sealed)
	if err != nil || len(one) != 128 || bytes.Equal(one, make([]byte, 128)) {
		t.Fatalf("secret of %d bytes, %v", len(one), err)
	}
	again, err := signing.OpenSecret(dk, b, sealed)
	if err != nil || !bytes.Equal(one, again) {
		t.Errorf("opening again gives another secret (%v)", err)
	}
	if _, err := signing.NewSecret(dk, b, 15); err == nil {
		t.Error("a secret that can be guessed was made")
	}
	b.Tenant = "south"
	if _, err := signing.OpenSecret(dk, b, sealed); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("for another tenant: %v", err)
	}
}

func TestParsePublicPEMRefuses(t *testing.T) {
	t.Parallel()
	_, der, err := signing.NewP256(newDataKey(t, newRoot(t)), signing.Binding{Tenant: "north"})
	if err != nil {
		t.Fatal(err)
	}
	good := signing.PublicPEM(der)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	spki := func(public any) string {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return signing.PublicPEM(der)
	}
	for name, text := range map[string]string{
		"nothing":       "",
		"no PEM":        "MFkwEwYH",
		"two keys":      good + good,
		"trailing text": good + "more",
		"other block":   strings.ReplaceAll(good, "PUBLIC", "EC PRIVATE"),
		"headers":       string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{"a": "b"}, Bytes: der})),
		"cut":           signing.PublicPEM(der[:len(der)-1]),
		"P-384":         spki(&p384.PublicKey),
		"RSA":           spki(&rsaKey.PublicKey),
	} {
		if _, err := signing.ParsePublicPEM([]byte(text)); !errors.Is(err, signing.ErrPublicKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The table of purposes in the README is whole.
func TestReadmeTellsOfEachPurpose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range signing.Purposes() {
		if !strings.Contains(string(text), "\n| `"+string(p)+"` | ") {
			t.Errorf("README.md has no row for %s", p)
		}
	}
}
