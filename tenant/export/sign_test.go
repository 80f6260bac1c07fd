package export

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/key"
)

var custodian = authz.Subject{Kind: authz.System, ID: "custodian"}

// operate runs fn as the operator does.
func (f *fixture) operate(tb testing.TB, fn func(*tenant.Tx) error) {
	tb.Helper()
	if err := f.world.Operator.In(tb.Context(), f.tenant.ID, fn); err != nil {
		tb.Fatal(err)
	}
}

// While phones learn a new export key, files have both signatures, the new key's first
// (key server protocol §6.1, §11): one that is next signs nothing yet, one that is retired
// signs nothing more.
func TestRotationOfExportKeys(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, stage := range []struct {
		name string
		do   func(*tenant.Tx) error
		want []string
	}{
		{"one key", func(*tenant.Tx) error { return nil }, []string{"v1"}},
		{"the next is there", func(tx *tenant.Tx) error {
			_, err := key.AddExport(t.Context(), tx, f.tenant.ID, f.world.Root, custodian, f.world.Now())
			return err
		}, []string{"v1"}},
		{"both are active", func(tx *tenant.Tx) error {
			return key.ActivateExport(t.Context(), tx, custodian, 2, "both platforms, by letter", f.world.Now())
		}, []string{"v2", "v1"}},
		{"the old one is retired", func(tx *tenant.Tx) error {
			return key.RetireExport(t.Context(), tx, custodian, 1, f.world.Now())
		}, []string{"v2"}},
	} {
		f.operate(t, stage.do)
		f.mustPublish(t, 3)
		f.world.Advance(period)
		f.turn(t, f.service(nil)) // with a ring of its own, that has read nothing yet
		index := f.index(t)
		body, err := f.object(t.Context(), Prefix(f.tenant)+index[len(index)-1])
		if err != nil {
			t.Fatal(err)
		}
		_, signatures, err := exportfile.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		var labels []string
		for _, s := range signatures {
			labels = append(labels, s.KeyVersion)
		}
		if !slices.Equal(labels, stage.want) {
			t.Errorf("%s: signed by %q, want %q", stage.name, labels, stage.want)
		}
		public, err := key.NewRing(f.world.Jobs, f.world.Root).Public(t.Context(), f.tenant.ID, signing.Export)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range public {
			_, err := exportfile.Verify(body, k.KeyID, k.Label, k.Key)
			if signed := slices.Contains(stage.want, k.Label); signed != (err == nil) {
				t.Errorf("%s: %s verifies: %v", stage.name, k.Label, err)
			}
		}
	}
}

// liar signs with another key than it says.
type liar struct {
	crypto.Signer
	says crypto.PublicKey
}

func (l liar) Public() crypto.PublicKey { return l.says }

// A file is believed only when each of its signatures is valid.
func TestOwnOutputIsVerifiedByEachKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	signers, err := f.service(nil).signers(t.Context(), f.tenant)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signers = append(signers, exportfile.Signer{KeyID: "310", KeyVersion: "v2", Key: other})
	encode := func() error {
		f := &filling{
			batch: batch{Start: at("09:00:00"), End: at("10:00:00")}, signers: signers, shares: []share{{keys: 1}},
			store: func(file, []byte) error { return nil }, step: func(string) error { return nil },
		}
		return f.add(exportfile.Key{RollingPeriod: 144})
	}
	if err := encode(); err != nil {
		t.Error(err)
	}
	signers[1].Key = liar{Signer: other, says: signers[0].Key.Public()}
	if err := encode(); !errors.Is(err, exportfile.ErrSignature) {
		t.Errorf("a signature by another key: %v", err)
	}
}
