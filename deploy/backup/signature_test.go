package backup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A backup that somebody has changed together with its manifest, or that another key signs,
// or nobody, is refused by whoever names the key; so is a signature from another backup.
func TestSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(c *Config) { c.Signer = key }
	restore := func(dir string, public *ecdsa.PublicKey) error {
		c := w.restoreConfig(dir, w.emptyDatabase(t))
		c.SignedBy = public
		_, err := Restore(t.Context(), c)
		return err
	}
	one := func(change ...func(*Config)) string {
		return w.backup(t, append(change, func(c *Config) { c.Folder = filepath.Join(t.TempDir(), "backups") })...)
	}
	good, unsigned, forged, swapped := one(signed), one(), one(signed), one(signed)
	edit(t, filepath.Join(forged, manifestName), `"slug": "north"`, `"slug": "forth"`)
	from, err := os.ReadFile(filepath.Join(good, signatureName))
	if err == nil {
		err = os.WriteFile(filepath.Join(swapped, signatureName), from, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		dir  string
		key  *ecdsa.PublicKey
		want error
	}{
		"signed":                  {good, &key.PublicKey, nil},
		"nobody asks":             {unsigned, nil, nil},
		"unsigned":                {unsigned, &key.PublicKey, ErrUnsigned},
		"by another key":          {good, &other.PublicKey, ErrUnsigned},
		"manifest changed":        {forged, &key.PublicKey, ErrUnsigned},
		"another one's signature": {swapped, &key.PublicKey, ErrUnsigned},
	} {
		if err := restore(test.dir, test.key); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
