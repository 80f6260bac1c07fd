package signing_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/provider/providertest"
)

// rows is the database as a provider: what is sealed is kept by row, and a row that is
// destroyed is gone.
type rows struct {
	dk   *signing.DataKey
	mu   sync.Mutex
	rows map[string]signing.Stored // guarded by mu
}

func (*rows) Name() string { return "rows" }

func (r *rows) Generate(_ context.Context, b signing.Binding) (ref, publicDER []byte, err error) {
	var none *signing.Providers
	k, err := none.NewP256(context.Background(), r.dk, b)
	r.mu.Lock()
	defer r.mu.Unlock()
	ref = fmt.Appendf(nil, "row %d", len(r.rows))
	r.rows[string(ref)] = k
	return ref, k.PublicDER, err
}

func (r *rows) Signer(ctx context.Context, b signing.Binding, ref []byte) (crypto.Signer, error) {
	r.mu.Lock()
	k, there := r.rows[string(ref)]
	r.mu.Unlock()
	if !there || k.Sealed == nil {
		return nil, signing.ErrReference
	}
	var none *signing.Providers
	key, err := none.Open(ctx, r.dk, b, k)
	if errors.Is(err, signing.ErrSealed) {
		return nil, fmt.Errorf("%w: %w", signing.ErrReference, err)
	}
	return key, err
}

func (r *rows) Destroy(ctx context.Context, b signing.Binding, ref []byte) error {
	if _, err := r.Signer(ctx, b, ref); err != nil && r.rows[string(ref)].Sealed != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows[string(ref)] = signing.Stored{}
	return nil
}

// The provider that is the default passes the suite of the others, as far as something can
// go wrong with it: there is no other side to fail.
func TestSealedConformance(t *testing.T) {
	t.Parallel()
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		t.Helper()
		root := newRoot(t)
		dk, _, err := signing.NewDataKey(t.Context(), root, providertest.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		return providertest.Subject{Provider: &rows{dk: dk, rows: map[string]signing.Stored{}}}
	})
}

// outside keeps keys in memory, and can be given wrong ones.
type outside struct {
	name string
	keys map[string]*ecdsa.PrivateKey
	sign func(key *ecdsa.PrivateKey, digest []byte) ([]byte, error)
	der  func([]byte) []byte
	gone []string
}

func newOutside(name string) *outside {
	return &outside{
		name: name, keys: map[string]*ecdsa.PrivateKey{}, der: func(der []byte) []byte { return der },
		sign: func(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
			return ecdsa.SignASN1(rand.Reader, key, digest)
		},
	}
}

func (o *outside) Name() string { return o.name }

func (o *outside) Generate(context.Context, signing.Binding) (ref, publicDER []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ref = fmt.Appendf(nil, "key %d", len(o.keys))
	o.keys[string(ref)] = key
	publicDER, err = signing.PublicDER(&key.PublicKey)
	return ref, o.der(publicDER), err
}

func (o *outside) Signer(_ context.Context, _ signing.Binding, ref []byte) (crypto.Signer, error) {
	key := o.keys[string(ref)]
	if key == nil {
		return nil, signing.ErrReference
	}
	return signing.NewRemote(&key.PublicKey, time.Minute, func(_ context.Context, digest []byte) ([]byte, error) { return o.sign(key, digest) }), nil
}

func (o *outside) Destroy(_ context.Context, _ signing.Binding, ref []byte) error {
	o.gone = append(o.gone, string(ref))
	return nil
}

var certificates = signing.Binding{Tenant: "north", Purpose: signing.Certificate, KeyID: "c1/"}

// What may not be outside stays in the database, and what is stored opens at its own
// provider with its own binding alone.
func TestProvidersKeepWhatTheyMay(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	o, other := newOutside("vault"), newOutside("aws-kms")
	var calls []string
	p, err := signing.NewProviders("vault", o, other)
	if err != nil {
		t.Fatal(err)
	}
	p.Observe(func(c signing.Call) { calls = append(calls, c.Provider+" "+c.Operation) })
	for _, purpose := range signing.Purposes() {
		b := certificates
		b.Purpose = purpose
		k, err := p.NewP256(t.Context(), dk, b)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "vault", false: "sealed"}[purpose.Outside()]; k.Provider != want {
			t.Errorf("%s keys are kept by %s, want %s", purpose, k.Provider, want)
		}
	}
	calls = nil
	k, err := p.NewP256(t.Context(), dk, certificates)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.Open(t.Context(), dk, certificates, k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.Within(t.Context(), key).Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	if err := p.Destroy(t.Context(), dk, certificates, k); err != nil || len(o.gone) != 1 {
		t.Errorf("destroyed %v, %v", o.gone, err)
	}
	if got := strings.Join(calls, ", "); got != "vault generate, vault open, vault sign, vault destroy" {
		t.Errorf("told of %s", got)
	}
	assertHidden(t, key, "[key elsewhere]")

	moved := certificates
	moved.KeyID = "c2/"
	elsewhere, inRow := k, k
	elsewhere.Provider, inRow.Provider = "aws-kms", signing.InDatabase
	for name, wrong := range map[string]struct {
		b signing.Binding
		k signing.Stored
	}{
		"another key ID": {moved, k}, "another provider": {certificates, elsewhere}, "a row that says it is sealed": {certificates, inRow},
	} {
		if _, err := p.Open(t.Context(), dk, wrong.b, wrong.k); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (*signing.Providers)(nil).Open(t.Context(), dk, certificates, k); err == nil || !strings.Contains(err.Error(), "vault") {
		t.Errorf("without the provider: %v", err)
	}
}

// A private key in the database never goes anywhere because its row says so.
func TestSealedKeysAreNoReferences(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	o := newOutside("vault")
	p, err := signing.NewProviders(signing.InDatabase, o)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.NewP256(t.Context(), dk, certificates)
	if err != nil {
		t.Fatal(err)
	}
	k.Provider = "vault"
	if _, err := p.Open(t.Context(), dk, certificates, k); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("open: %v", err)
	}
	if err := p.Destroy(t.Context(), dk, certificates, k); !errors.Is(err, signing.ErrSealed) || len(o.gone) > 0 {
		t.Errorf("destroy: %v", err)
	}
}

// What a provider says is looked at before it is used.
func TestProvidersAreNotBelieved(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	o := newOutside("vault")
	p, err := signing.NewProviders("vault", o)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.NewP256(t.Context(), dk, certificates)
	if err != nil {
		t.Fatal(err)
	}
	for ref := range o.keys {
		if o.keys[ref], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Open(t.Context(), dk, certificates, k); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("another public half: %v", err)
	}
	o.der = func([]byte) []byte { return []byte("no key") }
	if _, err := p.NewP256(t.Context(), dk, certificates); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("no public half: %v", err)
	}
}

func TestNewProvidersRefuses(t *testing.T) {
	t.Parallel()
	if _, err := signing.NewProviders("vault"); err == nil {
		t.Error("new keys at a provider that is not there")
	}
	if _, err := signing.NewProviders(signing.InDatabase, newOutside("vault"), newOutside("vault")); err == nil {
		t.Error("a provider twice")
	}
	if _, err := signing.NewProviders(signing.InDatabase, newOutside(signing.InDatabase)); err == nil {
		t.Error("a provider that calls itself the database")
	}
}

// Blobs name the root key that wrapped them, and open with it alone, whichever wraps now.
func TestRoots(t *testing.T) {
	t.Parallel()
	make1 := func() *signing.RootFile {
		r, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "root"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	old, fresh := make1(), make1()
	if old.Name() == fresh.Name() || !strings.HasPrefix(old.Name(), "file:") || len(old.Name()) != len("file:")+16 {
		t.Errorf("names %s and %s", old.Name(), fresh.Name())
	}
	roots := func(current signing.NamedRoot, others ...signing.NamedRoot) *signing.Roots {
		r, err := signing.NewRoots(current, others...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bare, err := old.Wrap(t.Context(), []byte("data key"), []byte("whose"))
	if err != nil {
		t.Fatal(err)
	}
	byOld, err := roots(old).Wrap(t.Context(), []byte("data key"), []byte("whose"))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]signing.Root{"the file": old, "alone": roots(old), "before": roots(old, fresh), "after": roots(fresh, old)} {
		for form, w := range map[string][]byte{"bare": bare, "named": byOld} {
			if got, err := r.Unwrap(t.Context(), w, []byte("whose")); err != nil || string(got) != "data key" {
				t.Errorf("%s, %s: %q, %v", name, form, got, err)
			}
		}
	}
	if _, err := roots(fresh).Unwrap(t.Context(), byOld, []byte("whose")); !errors.Is(err, signing.ErrRootUnknown) {
		t.Errorf("without the old one: %v", err)
	}
	for i := range byOld {
		if _, err := roots(old, fresh).Unwrap(t.Context(), byOld[:i], []byte("whose")); err == nil {
			t.Errorf("cut to %d bytes it opens", i)
		}
	}
	if _, err := signing.NewRoots(old, old); err == nil {
		t.Error("a root key twice")
	}
}
