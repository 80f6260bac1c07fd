package verification_test

import (
	"errors"
	"testing"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/provider/providertest"
	"carillon/signing/provider/vault"
	"carillon/signing/provider/vault/vaulttest"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

// When whoever keeps the key of certificates is dead, or signs wrong, the phone gets an
// error that it may retry, and its token is as good as before.
func TestProviderDiesWhileCertificatesAreSigned(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	server := vaulttest.New(t)
	outside, err := vault.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	if f.world.Root.Providers, err = signing.NewProviders(vault.Name, outside); err != nil {
		t.Fatal(err)
	}
	west := tuned(f.world.Create("west"))
	f.device = f.service(f.world.Device, nil)
	public, err := key.NewRing(f.world.Publish, f.world.Root).Public(t.Context(), west.ID, signing.Certificate)
	if err != nil || len(public) != 1 {
		t.Fatalf("%d public keys (%v)", len(public), err)
	}
	for fault, want := range map[providertest.Fault]error{
		providertest.Dead: signing.ErrUnavailable, providertest.WrongSignature: signing.ErrUntrusted, providertest.Nonsense: signing.ErrUntrusted,
	} {
		tok := f.token(t, west, verification.IssueRequest{})
		other := f.token(t, west, verification.IssueRequest{})
		f.certificate(t, west, other, hmacText) // the key is in memory
		for range 2 {
			server.Set(fault)
			_, err := f.device.Certificate(t.Context(), west, verification.CertificateRequest{Token: tok, EKeyHMAC: hmacText})
			server.Set(providertest.Healthy)
			var refusal *verification.Problem
			if !errors.Is(err, want) || errors.As(err, &refusal) {
				t.Errorf("%s: %v", fault, err)
			}
		}
		signed := f.certificate(t, west, tok, hmacText)
		read, err := certificate.Parse(signed)
		if err == nil {
			_, err = read.Verify(public[0].Key, nil, f.world.Now(), west.Settings.Audience)
		}
		if err != nil {
			t.Errorf("%s: the certificate does not verify: %v", fault, err)
		}
	}
}
