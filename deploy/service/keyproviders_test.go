package service

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/provider/providertest"
	"carillon/signing/provider/vault"
	"carillon/signing/provider/vault/vaulttest"
	"carillon/tenant/key"
	"carillon/tenant/key/rootkey"
	"carillon/tenant/tenanttest"
)

// A process that would wrap by a root key that is retired does not start, whatever its
// role; one that only opens by it does.
func TestARetiredRootKeyIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	w.Create("north")
	old, is := w.Root.Root.(signing.NamedRoot)
	if !is {
		t.Fatal("the root key has no name")
	}
	fresh, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "fresh.key"))
	if err != nil {
		t.Fatal(err)
	}
	both, err := signing.NewRoots(fresh, old)
	if err != nil {
		t.Fatal(err)
	}
	by := authz.Subject{Kind: authz.System, ID: "test"}
	if _, err := rootkey.Rewrap(t.Context(), w.Operator, both, by, w.Now, nil); err != nil {
		t.Fatal(err)
	}
	for _, role := range Roles() {
		open(t, config(t, w, role)) // before
	}
	if err := rootkey.Retire(t.Context(), w.Operator, by, old.Name(), w.Now()); err != nil {
		t.Fatal(err)
	}
	for _, role := range Roles() {
		if s, err := Open(t.Context(), config(t, w, role)); !errors.Is(err, rootkey.ErrRetired) {
			t.Errorf("%s starts: %v", role, err)
			if err == nil {
				_ = s.Close()
			}
		}
		c := config(t, w, role)
		c.Root = signing.Custody{Root: both}
		open(t, c)
	}
}

// What is asked of the providers of keys is counted by its result and timed.
func TestCallsOfProvidersAreCounted(t *testing.T) {
	t.Parallel()
	w, server := tenanttest.New(t), vaulttest.New(t)
	outside, err := vault.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	custody := signing.Custody{Root: w.Root.Root}
	if custody.Providers, err = signing.NewProviders(vault.Name, outside); err != nil {
		t.Fatal(err)
	}
	w.Root = custody
	north := w.Create("north") // its keys are made in the service
	c := config(t, w, Device, Jobs)
	s := open(t, c)
	metrics := func() string {
		answer := httptest.NewRecorder()
		s.Operations().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return answer.Body.String()
	}
	signer, err := key.NewRing(w.Jobs, s.config.Root).Signer(t.Context(), north.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	sign := func() error {
		_, err := signer.Key.Sign(rand.Reader, make([]byte, sha256.Size), crypto.SHA256)
		return err
	}
	if err := sign(); err != nil {
		t.Fatal(err)
	}
	server.Set(providertest.Dead)
	if err := sign(); !errors.Is(err, signing.ErrUnavailable) {
		t.Errorf("a dead service: %v", err)
	}
	text := metrics()
	for _, want := range []string{
		`carillon_key_provider_calls_total{operation="sign",provider="vault",result="ok"} 1`,
		`carillon_key_provider_calls_total{operation="sign",provider="vault",result="unavailable"} 1`,
		`carillon_key_provider_seconds_count{operation="sign",provider="vault"} 2`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
