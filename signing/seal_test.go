package signing_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"carillon/signing"
)

func logged(v any) string {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("", "v", v)
	return out.String()
}

// newDataKey is a data key of tenant north.
func newDataKey(t *testing.T, root signing.Root) *signing.DataKey {
	t.Helper()
	dk, _, err := signing.NewDataKey(t.Context(), root, "north")
	if err != nil {
		t.Fatal(err)
	}
	return dk
}

func TestDataKeyOpensForItsTenantOnly(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	b := signing.Binding{Tenant: "north", Purpose: signing.Token, KeyID: "t1"}
	dk, wrapped, err := signing.NewDataKey(t.Context(), root, "north")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := dk.Seal(b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := signing.OpenDataKey(t.Context(), root, "north", wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(b, sealed); err != nil || string(got) != "secret" {
		t.Errorf("open: %q, %v", got, err)
	}
	if _, err := signing.OpenDataKey(t.Context(), root, "south", wrapped); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("another tenant's data key: %v", err)
	}
	if _, err := signing.OpenDataKey(t.Context(), newRoot(t), "north", wrapped); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("another root's data key: %v", err)
	}
	if _, err := signing.OpenDataKey(t.Context(), root, "north", sealed); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("what is no data key: %v", err)
	}
	if _, err := dk.Seal(signing.Binding{Tenant: "south"}, []byte("secret")); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("sealing for another tenant: %v", err)
	}
	if _, err := newDataKey(t, root).Open(b, sealed); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("under another data key: %v", err)
	}
	assertHidden(t, dk, "[data key]")
}

// A blob is bound to all of tenant, purpose and key ID, and to the places of their
// boundaries.
func TestMovedBlobDoesNotOpen(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	home := signing.Binding{Tenant: "north", Purpose: signing.SMS, KeyID: "s1"}
	sealed, err := dk.Seal(home, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []signing.Binding{
		{Tenant: "south", Purpose: signing.SMS, KeyID: "s1"},
		{Tenant: "north", Purpose: signing.Export, KeyID: "s1"},
		{Tenant: "north", Purpose: signing.SMS, KeyID: "s2"},
		{Tenant: "north", Purpose: signing.SMS},
		{Tenant: "north", Purpose: "smss", KeyID: "1"},
		{Tenant: "north", Purpose: "sm", KeyID: "ss1"},
		{},
	} {
		if _, err := dk.Open(b, sealed); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

func TestDamagedBlobDoesNotOpen(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	b := signing.Binding{Tenant: "north", Purpose: signing.SMS, KeyID: "s1"}
	sealed, err := dk.Seal(b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		damaged := bytes.Clone(sealed)
		damaged[i] ^= 1
		if _, err := dk.Open(b, damaged); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := dk.Open(b, sealed[:i]); !errors.Is(err, signing.ErrSealed) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := dk.Open(b, append(sealed, 0)); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("with a byte more: %v", err)
	}
}

// What was stored long ago still opens: the forms, associated data included, cannot
// change without a new version.
func TestStoredBlobsOpen(t *testing.T) {
	t.Parallel()
	const (
		wrapped = "ARyppHr1ewIVrp7NCoQ1IV+u2eUhMo65P8015pNsnRz4eHKfDIqrDrzh8N2M/w/Odt+3Z0JCSHy2HWJHTg=="
		sealed  = "AYCZ2mx3DkYszeg56smq2Dq4uuQn9PSAhkkB3a3Y1gfj19sW8ryufo90anw="
	)
	path := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(path, bytes.Repeat([]byte{5}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := signing.OpenRootFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dk, err := signing.OpenDataKey(t.Context(), root, "north", decode(t, wrapped))
	if err != nil {
		t.Fatal(err)
	}
	got, err := dk.Open(signing.Binding{Tenant: "north", Purpose: signing.CodeMAC, KeyID: "m1"}, decode(t, sealed))
	if err != nil || string(got) != "stored long ago" {
		t.Errorf("opened %q, %v", got, err)
	}
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The stored form is fixed: version 1, nonce, ciphertext, tag; never twice the same.
func TestBlobForm(t *testing.T) {
	t.Parallel()
	dk := newDataKey(t, newRoot(t))
	b := signing.Binding{Tenant: "north", Purpose: signing.SMS, KeyID: "s1"}
	one, err1 := dk.Seal(b, []byte("secret"))
	two, err2 := dk.Seal(b, []byte("secret"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if len(one) != 1+12+len("secret")+16 || one[0] != 1 {
		t.Errorf("blob is %x", one)
	}
	if bytes.Equal(one[1:13], two[1:13]) || bytes.Contains(one, []byte("secret")) {
		t.Errorf("blobs %x and %x", one, two)
	}
}
