package erasure_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/signing/erasure"
	"carillon/signing/jws"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	want := erasure.Certificate{
		Tenant: uuid.New(), Slug: "north", HealthAuthorityID: "org.north.health",
		Begun: at.AddDate(0, 0, -30), KeyDestroyed: at.Add(-time.Hour), Scanned: at,
		Deleted: map[string]int64{"member": 3}, Objects: 14, Tables: []string{"member"},
		BackupKey: "destroyed", Remains: []string{"the slug"},
	}
	key := newKey(t)
	statement, err := want.Sign(key, "e1", at)
	if err != nil {
		t.Fatal(err)
	}
	keys := erasure.Keys{"e1": &key.PublicKey}
	got, signed, err := keys.Open(statement)
	if err != nil || !signed.Equal(at) {
		t.Fatalf("%v, %v", signed, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-signed +read):\n%s", diff)
	}
	other, err := jws.Sign(key, "e1", map[string]string{"type": "carillon audit checkpoint 1"})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(statement, ".")
	for name, c := range map[string]struct {
		keys      erasure.Keys
		statement string
	}{
		"nothing":            {keys, ""},
		"an unknown key":     {erasure.Keys{"e2": &key.PublicKey}, statement},
		"another key":        {erasure.Keys{"e1": &newKey(t).PublicKey}, statement},
		"changed":            {keys, parts[0] + "." + parts[1][:20] + "A" + parts[1][21:] + "." + parts[2]},
		"of something else":  {keys, other},
		"without signature":  {keys, parts[0] + "." + parts[1] + "."},
		"with words around":  {keys, statement + "\n"},
		"no keys whatsoever": {nil, statement},
	} {
		if _, _, err := c.keys.Open(c.statement); !errors.Is(err, erasure.ErrCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
