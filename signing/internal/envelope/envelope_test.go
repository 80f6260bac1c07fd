package envelope_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"carillon/signing/internal/envelope"
)

const kind envelope.Kind = "test"

var key = bytes.Repeat([]byte{7}, envelope.KeySize)

func TestEnvelopeOpensForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	b, err := kind.Seal("k1", key, "north", []byte("contents"))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != envelope.Size(2, len("contents")) || bytes.Contains(b, []byte("contents")) {
		t.Errorf("envelope is %x", b)
	}
	if got, err := kind.Open(key, "north", b); err != nil || string(got) != "contents" {
		t.Errorf("open: %q, %v", got, err)
	}
	if kid, err := envelope.KeyID(b); err != nil || kid != "k1" {
		t.Errorf("key ID %q, %v", kid, err)
	}
	again, err := kind.Seal("k1", key, "north", []byte("contents"))
	if err != nil || bytes.Equal(b, again) {
		t.Errorf("sealing twice gives the same (%v)", err)
	}
	if _, err := kind.Open(key, "south", b); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := kind.Open(bytes.Repeat([]byte{8}, 32), "north", b); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("another key: %v", err)
	}
	if _, err := envelope.Kind("tes").Open(key, "tnorth", b); !errors.Is(err, envelope.ErrMalformed) {
		t.Errorf("another kind: %v", err)
	}
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1
		if _, err := kind.Open(key, "north", damaged); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := kind.Open(key, "north", b[:i]); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, kid := range []string{"", strings.Repeat("k", envelope.MaxKeyID+1)} {
		if _, err := kind.Seal(kid, key, "north", nil); err == nil {
			t.Errorf("key ID %q was taken", kid)
		}
	}
	b, err := kind.Seal(strings.Repeat("k", envelope.MaxKeyID), key, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, short := range [][]byte{nil, key[:31], append(bytes.Clone(key), 0)} {
		if _, err := kind.Seal("k1", short, "north", nil); err == nil {
			t.Errorf("sealed with %d bytes", len(short))
		}
		if _, err := kind.Open(short, "", b); err == nil || errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("opened with %d bytes: %v", len(short), err)
		}
	}
}
