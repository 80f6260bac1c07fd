package certificate_test

import (
	"crypto/ecdsa"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/signing/certificate"
	"carillon/signing/jws"
)

// A memory saves the check of a signature, and no other check. What it knows is one
// certificate under one key, to the letter. (That it is believed at all shows in a
// signature that is noted although it is wrong.)
func TestMemory(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	good := sign(t, key)
	forged := good[:strings.LastIndexByte(good, '.')+1] + strings.Repeat("A", 86)
	known := certificate.NewMemory()
	known.Note(&key.PublicKey, forged)

	for name, v := range map[string]struct {
		token    string
		key      *ecdsa.PrivateKey
		known    *certificate.Memory
		audience string
		at       time.Time
		want     error
	}{
		"known":                  {forged, key, known, audience, issuedAt, nil},
		"unknown and good":       {good, key, known, audience, issuedAt, nil},
		"no memory":              {forged, key, nil, audience, issuedAt, jws.ErrSignature},
		"another memory":         {forged, key, certificate.NewMemory(), audience, issuedAt, jws.ErrSignature},
		"known of another key":   {forged, other, known, audience, issuedAt, jws.ErrSignature},
		"known with another end": {forged[:len(forged)-1] + "Q", key, known, audience, issuedAt, jws.ErrSignature},
		"known, other audience":  {forged, key, known, "elsewhere", issuedAt, certificate.ErrAudience},
		"known, expired":         {forged, key, known, audience, issuedAt.Add(24 * time.Hour), certificate.ErrExpired},
	} {
		u, err := certificate.Parse(v.token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := u.Verify(&v.key.PublicKey, v.known, v.at, v.audience); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", name, err, v.want)
		}
	}
}

// What was checked once is known; what failed is not.
func TestMemoryOfChecks(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	known := certificate.NewMemory()
	for _, step := range []struct {
		key  *ecdsa.PrivateKey
		want error
	}{{other, jws.ErrSignature}, {other, jws.ErrSignature}, {key, nil}, {key, nil}, {other, jws.ErrSignature}} {
		u, err := certificate.Parse(sign(t, key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Verify(&step.key.PublicKey, known, issuedAt, audience); !errors.Is(err, step.want) {
			t.Errorf("%v, want %v", err, step.want)
		}
	}
}

// The oldest are forgotten, however many come at once.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	good := sign(t, key)
	forged := good[:strings.LastIndexByte(good, '.')+1] + strings.Repeat("A", 86)
	known := certificate.NewMemory()
	known.Note(&key.PublicKey, forged)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 4096 {
				known.Note(&key.PublicKey, strconv.Itoa(i)+" "+strconv.Itoa(j))
			}
		})
	}
	all.Wait()
	u, err := certificate.Parse(forged)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Verify(&key.PublicKey, known, issuedAt, audience); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("%v, want ErrSignature", err)
	}
}

func sign(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	token, err := certificate.Sign(key, "v1", certificate.Claims{
		Issuer: "issuer", Audience: audience, IssuedAt: issuedAt, NotBefore: issuedAt, Expires: issuedAt.Add(15 * time.Minute),
		ReportType: certificate.Confirmed, TEKMAC: "mac",
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}
