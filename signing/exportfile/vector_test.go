package exportfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"testing"
	"time"
)

// testKey is a key of the key server protocol §6.2.
func testKey(t *testing.T, scalar string) *ecdsa.PrivateKey {
	t.Helper()
	d, ok := new(big.Int).SetString(scalar, 16)
	if !ok {
		t.Fatal("scalar")
	}
	raw := make([]byte, 32)
	d.FillBytes(raw)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	scalar1 = "7269c7f53474d9b7fbb1cbb9df55ba04fd24e7a363040bf1dc52cc472008d068"
	scalar2 = "782fb298063be6c2b391c44c32ff1972b61f51c3d73c85c220aa7ed59b03bb72"
)

func key(t *testing.T, data string, risk, start, period int32, kind ReportType, days int32, onset bool) Key {
	t.Helper()
	k := Key{TransmissionRisk: risk, RollingStart: start, RollingPeriod: period, ReportType: kind, DaysSinceOnset: days, HasOnset: onset}
	b, err := hex.DecodeString(data)
	if err != nil || len(b) != 16 {
		t.Fatalf("key %s", data)
	}
	copy(k.Data[:], b)
	return k
}

// Vectors A and B of the key server protocol §6.2.
func TestVectors(t *testing.T) {
	t.Parallel()
	start := time.Unix(1614556800, 0)
	k1, k2 := testKey(t, scalar1), testKey(t, scalar2)
	for _, v := range []struct {
		name     string
		file     File
		signers  []Signer
		bin, sig string
		binSHA   string
	}{
		{
			name: "A",
			file: File{
				Start: start, End: time.Unix(1614571200, 0), Region: "US-XX",
				Keys: []Key{key(t, "000102030405060708090a0b0c0d0e0f", 2, 2690352, 144, Confirmed, 0, true)},
			},
			signers: []Signer{{KeyID: "310", KeyVersion: "v1", Key: k1}},
			bin:     "RUsgRXhwb3J0IHYxICAgIAmALjxgAAAAABHAZjxgAAAAABoFVVMtWFggASgBMh4aAnYxIgMzMTAqEzEuMi44NDAuMTAwNDUuNC4zLjI6HQoQAAECAwQFBgcICQoLDA0ODxACGLCapAEoATAA",
			sig:     "CmwKHhoCdjEiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMhABGAEiRjBEAiA0c5enIxiwMTRfKmSh9Tpqo4WOAdrqxEFCiF19OdFHEwIgA/XmYM+rdA+COgxLytrayNoYQh1qJmhA684wjy3uoYo=",
			binSHA:  "25969de37f6849af2fcf0e8da916e398e0d26047ae78e3ed75da1b5a6cba0bd6",
		},
		{
			name: "B",
			file: File{
				Start: start, End: time.Unix(1614571202, 0), Region: "US",
				Keys: []Key{
					key(t, "ffeeddccbbaa99887766554433221100", 2, 2690784, 144, Confirmed, 3, true),
					key(t, "0f1e2d3c4b5a69788796a5b4c3d2e1f0", 0, 2690640, 100, SelfReport, -1, true),
					key(t, "8000000000000000000000000000007f", 4, 2690208, 144, Clinical, -14, true),
					key(t, "00112233445566778899aabbccddeeff", 8, 2690930, 1, Unknown, 0, false),
				},
				Revised: []Key{
					key(t, "a1a2a3a4a5a6a7a8a9aaabacadaeafb0", 4, 2690496, 144, Confirmed, 1, true),
					key(t, "1b2b3b4b5b6b7b8b9babbbcbdbebfb0b", 4, 2690352, 144, Revoked, 0, false),
				},
			},
			signers: []Signer{{KeyID: "310", KeyVersion: "v2", Key: k2}, {KeyID: "310", KeyVersion: "v1", Key: k1}},
			bin:     "RUsgRXhwb3J0IHYxICAgIAmALjxgAAAAABHCZjxgAAAAABoCVVMgASgBMh4aAnYyIgMzMTAqEzEuMi44NDAuMTAwNDUuNC4zLjIyHhoCdjEiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMjobChAAESIzRFVmd4iZqrvM3e7/EAgY8p6kASABOh8KEA8eLTxLWml4h5altMPS4fAQABjQnKQBIGQoAzABOh0KEIAAAAAAAAAAAAAAAAAAAH8QBBigmaQBKAIwGzodChD/7t3Mu6qZiHdmVUQzIhEAEAIY4J2kASgBMAZCGwoQGys7S1tre4ubq7vL2+v7CxAEGLCapAEoBUIdChChoqOkpaanqKmqq6ytrq+wEAQYwJukASgBMAI=",
			sig:     "Cm0KHhoCdjIiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMhABGAEiRzBFAiB0BRYw1PZeViRo5D7Nb5I0WldWLlDbw3SR/PSUJWKEHQIhAOslXPbS2i2ypbBrkEICv1DcbLCBkIAZx5DWqngftBcJCm0KHhoCdjEiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMhABGAEiRzBFAiEAuNP6Oshker+uwVJNp9D+CXsrGZQtkD9Szqi2JQPp1H4CIFs/a6PR8+ICLoinPwG8CgKv3U2P38mfYJJJ76uixNs4",
			binSHA:  "f13e898b756d42ea6fea2d3c577341bf26d19421a5c09a4e9433fed60915ae3a",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			bin, err := EncodeBin(v.file, v.signers)
			if err != nil {
				t.Fatal(err)
			}
			if got := base64.StdEncoding.EncodeToString(bin); got != v.bin {
				t.Errorf("export.bin\n got %s\nwant %s", got, v.bin)
			}
			if sum := sha256.Sum256(bin); hex.EncodeToString(sum[:]) != v.binSHA {
				t.Errorf("export.bin has SHA-256 %x", sum)
			}
			sig, err := EncodeSig(bin, v.signers)
			if err != nil {
				t.Fatal(err)
			}
			if got := base64.StdEncoding.EncodeToString(sig); got != v.sig {
				t.Errorf("export.sig\n got %s\nwant %s", got, v.sig)
			}
			first, err := Encode(v.file, v.signers)
			if err != nil {
				t.Fatal(err)
			}
			second, err := Encode(v.file, v.signers)
			if err != nil || !bytes.Equal(first, second) {
				t.Errorf("encoding twice gives different bytes (%v)", err)
			}
			for _, s := range v.signers {
				if _, err := Verify(first, s.KeyID, s.KeyVersion, s.Key.Public().(*ecdsa.PublicKey)); err != nil {
					t.Errorf("verify %s: %v", s.KeyVersion, err)
				}
			}
		})
	}
}
