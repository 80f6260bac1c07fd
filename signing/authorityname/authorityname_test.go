package authorityname_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carillon/signing/authorityname"
)

func TestSign(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const name = "Département de la santé"
	p, err := authorityname.Sign(name, key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := authorityname.Sign(name, key)
	if err != nil || again != p {
		t.Errorf("signed twice, it differs: %v", err)
	}
	if got, ok := authorityname.Verify(p, &key.PublicKey); !ok || got != name {
		t.Errorf("%q, %v", got, ok)
	}
	if _, ok := authorityname.Verify(p, &other.PublicKey); ok {
		t.Error("another key has signed it, too")
	}
	changed := p
	changed.Name = "eA=="
	if _, ok := authorityname.Verify(changed, &key.PublicKey); ok {
		t.Error("the signature covers another name")
	}
	if _, err := authorityname.Sign("", key); !errors.Is(err, authorityname.ErrName) {
		t.Errorf("%v", err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "pair", p)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p), log.String()} {
		if strings.Contains(text, p.Signature) || strings.Contains(text, p.Name) {
			t.Errorf("it shows: %s", text)
		}
	}
}
