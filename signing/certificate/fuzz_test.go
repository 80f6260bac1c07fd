package certificate_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"strings"
	"testing"

	"carillon/signing/certificate"
	"carillon/signing/jws"
)

// FuzzVerify looks for a certificate that is good although it was not signed: whatever
// is done to a text, what is taken says exactly what one of the signed ones says.
func FuzzVerify(f *testing.F) {
	// The same key in every process of the fuzzer.
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	signed := map[string]certificate.Claims{} // by head and claims, as text
	add := func(c certificate.Claims) string {
		text, err := certificate.Sign(key, "c1", c)
		if err != nil {
			f.Fatal(err)
		}
		signed[text[:strings.LastIndexByte(text, '.')]] = c
		return text
	}
	good := add(example())
	other := example()
	other.ReportType, other.TEKMAC = certificate.Negative, "AAAA"
	second := add(other)
	alien, err := certificate.Sign(newKey(f), "c1", example())
	if err != nil {
		f.Fatal(err)
	}
	at, at2 := strings.LastIndexByte(good, '.'), strings.LastIndexByte(second, '.')
	for _, seed := range []string{
		good, second, alien, good[:at+1], good[:at] + second[at2:], second[:at2] + good[at:], good + "A", "." + good, good + ".", "..", "",
		"eyJhbGciOiJub25lIiwia2lkIjoiYzEifQ." + strings.Split(good, ".")[1] + ".",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := certificate.Parse(text)
		if err != nil {
			wantKind(t, err, certificate.ErrMalformed, jws.ErrMalformed, jws.ErrAlgorithm, jws.ErrNoKeyID)
			return
		}
		c, err := u.Verify(&key.PublicKey, nil, issuedAt, audience)
		if err != nil {
			wantKind(t, err, certificate.ErrAudience, certificate.ErrExpired, certificate.ErrNotYetValid,
				certificate.ErrReportType, certificate.ErrMalformed, jws.ErrSignature)
			return
		}
		if want, known := signed[text[:strings.LastIndexByte(text, '.')]]; !known || c != want {
			t.Fatalf("taken, and never signed: %q", text)
		}
	})
}

func wantKind(t *testing.T, err error, kinds ...error) {
	t.Helper()
	for _, k := range kinds {
		if errors.Is(err, k) {
			return
		}
	}
	t.Fatalf("unknown error %v", err)
}

// FuzzMAC looks for keys that an HMAC fits although it was made of others. Order does
// not matter, numbers do, and the form without risks is of no use beside one.
func FuzzMAC(f *testing.F) {
	f.Add([]byte("secret"), "AAAA", "AAAB", int32(2659968), int32(144), int32(0), int32(1))
	f.Add([]byte{}, "", "", int32(-1), int32(0), int32(8), int32(1<<31-1))
	f.Add([]byte("s"), "AA.1.2.3,BB", "x", int32(1), int32(2), int32(3), int32(-5))
	f.Fuzz(func(t *testing.T, secret []byte, a, b string, start, period, risk, change int32) {
		keys := []certificate.TEK{{Key: a, RollingStart: start, RollingPeriod: period, TransmissionRisk: risk}, {Key: b, RollingStart: period, RollingPeriod: start}}
		sum, err := certificate.MAC(secret, keys)
		if err != nil {
			t.Fatal(err)
		}
		if err := certificate.VerifyMAC(secret, keys, sum); err != nil {
			t.Fatal(err)
		}
		if a != b {
			if err := certificate.VerifyMAC(secret, []certificate.TEK{keys[1], keys[0]}, sum); err != nil {
				t.Fatalf("in another order: %v", err)
			}
		}
		if change == 0 {
			return
		}
		for i := range 3 {
			other := []certificate.TEK{keys[0], keys[1]}
			number := []*int32{&other[0].RollingStart, &other[0].RollingPeriod, &other[0].TransmissionRisk}[i]
			if *number += change; a == b && other[0] == keys[1] {
				continue // the same keys in another order
			}
			if certificate.VerifyMAC(secret, other, sum) == nil {
				t.Fatalf("fits with number %d changed by %d", i, change)
			}
		}
	})
}
