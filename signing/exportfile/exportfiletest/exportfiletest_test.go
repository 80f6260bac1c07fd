package exportfiletest_test

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/exportfile/exportfiletest"
)

// Vector B of the key server protocol §6.2.
const (
	vectorBin = "RUsgRXhwb3J0IHYxICAgIAmALjxgAAAAABHCZjxgAAAAABoCVVMgASgBMh4aAnYyIgMzMTAqEzEuMi44NDAuMTAwNDUuNC4zLjIyHhoCdjEiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMjobChAAESIzRFVmd4iZqrvM3e7/EAgY8p6kASABOh8KEA8eLTxLWml4h5altMPS4fAQABjQnKQBIGQoAzABOh0KEIAAAAAAAAAAAAAAAAAAAH8QBBigmaQBKAIwGzodChD/7t3Mu6qZiHdmVUQzIhEAEAIY4J2kASgBMAZCGwoQGys7S1tre4ubq7vL2+v7CxAEGLCapAEoBUIdChChoqOkpaanqKmqq6ytrq+wEAQYwJukASgBMAI="
	vectorSig = "Cm0KHhoCdjIiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMhABGAEiRzBFAiB0BRYw1PZeViRo5D7Nb5I0WldWLlDbw3SR/PSUJWKEHQIhAOslXPbS2i2ypbBrkEICv1DcbLCBkIAZx5DWqngftBcJCm0KHhoCdjEiAzMxMCoTMS4yLjg0MC4xMDA0NS40LjMuMhABGAEiRzBFAiEAuNP6Oshker+uwVJNp9D+CXsrGZQtkD9Szqi2JQPp1H4CIFs/a6PR8+ICLoinPwG8CgKv3U2P38mfYJJJ76uixNs4"
	publicK1  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEastnmuCNiCiXeocDzeT1JHFtfT197mYWaJd3JfWzd19dYRxC4djJBgc80hTAqAk92kgB7agbAi/1uzWiGsu+mw=="
	publicK2  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUJROxJ6iH+7eFf1WmC2P/OPTpnqIbW/GM4NVtuAOh4nqBpsJD1LM05XR72/Xl3m5v7u85WgWilGfOBQ45RWAlQ=="
)

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func public(t *testing.T, text string) *ecdsa.PublicKey {
	t.Helper()
	k, err := x509.ParsePKIXPublicKey(unbase64(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return k.(*ecdsa.PublicKey)
}

// archive zips entries, given as name and content in turn.
func archive(t *testing.T, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.Create(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func number(n int32) *int32 { return &n }

func TestVector(t *testing.T) {
	t.Parallel()
	bin, sig := unbase64(t, vectorBin), unbase64(t, vectorSig)
	f, err := exportfiletest.Decode(archive(t, "export.bin", string(bin), "export.sig", string(sig)))
	if err != nil {
		t.Fatal(err)
	}
	const algorithm = "1.2.840.10045.4.3.2"
	v2, v1 := exportfiletest.Info{KeyID: "310", KeyVersion: "v2", Algorithm: algorithm}, exportfiletest.Info{KeyID: "310", KeyVersion: "v1", Algorithm: algorithm}
	key := func(data string, risk, start int32, period, kind, days *int32) exportfiletest.Key {
		return exportfiletest.Key{Data: [16]byte([]byte(data)), Risk: &risk, RollingStart: &start, RollingPeriod: period, Type: kind, Days: days}
	}
	want := &exportfiletest.File{
		Start: 1614556800, End: 1614571202, Region: "US", BatchNum: 1, BatchSize: 1, Infos: []exportfiletest.Info{v2, v1},
		Keys: []exportfiletest.Key{
			key("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 8, 2690930, number(1), nil, nil),
			key("\x0f\x1e\x2d\x3c\x4b\x5a\x69\x78\x87\x96\xa5\xb4\xc3\xd2\xe1\xf0", 0, 2690640, number(100), number(3), number(-1)),
			key("\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f", 4, 2690208, nil, number(2), number(-14)),
			key("\xff\xee\xdd\xcc\xbb\xaa\x99\x88\x77\x66\x55\x44\x33\x22\x11\x00", 2, 2690784, nil, number(1), number(3)),
		},
		Revised: []exportfiletest.Key{
			key("\x1b\x2b\x3b\x4b\x5b\x6b\x7b\x8b\x9b\xab\xbb\xcb\xdb\xeb\xfb\x0b", 4, 2690352, nil, number(5), nil),
			key("\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf\xb0", 4, 2690496, nil, number(1), number(1)),
		},
		Signatures: []exportfiletest.Signature{
			{Info: v2, BatchNum: 1, BatchSize: 1, DER: sig[40:111]}, {Info: v1, BatchNum: 1, BatchSize: 1, DER: sig[151:]},
		},
		Bin: bin,
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := f.Keys[3].Period(); got != 144 {
		t.Errorf("period %d where none is written, want 144", got)
	}
	for version, key := range map[string]string{"v2": publicK2, "v1": publicK1} {
		if err := f.Verify("310", version, public(t, key)); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	for name, err := range map[string]error{
		"another key": f.Verify("310", "v1", public(t, publicK2)), "another version": f.Verify("310", "v3", public(t, publicK1)),
		"another ID": f.Verify("311", "v1", public(t, publicK1)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f.Bin[20] ^= 1
	if f.Verify("310", "v1", public(t, publicK1)) == nil {
		t.Error("verified over changed bytes")
	}
}

// Only what a protobuf library would write is a file.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	bin, sig := string(unbase64(t, vectorBin)), string(unbase64(t, vectorSig))
	const empty = "EK Export v1    "
	for name, file := range map[string][]byte{
		"no zip":             []byte("x"),
		"one entry":          archive(t, "export.bin", bin),
		"another order":      archive(t, "export.sig", sig, "export.bin", bin),
		"a third entry":      archive(t, "export.bin", bin, "export.sig", sig, "x", ""),
		"another header":     archive(t, "export.bin", "EK Export v2    "+bin[16:], "export.sig", sig),
		"cut short":          archive(t, "export.bin", bin[:len(bin)-1], "export.sig", sig),
		"an unknown field":   archive(t, "export.bin", bin+"\x48\x01", "export.sig", sig),
		"a field twice":      archive(t, "export.bin", bin+"\x20\x01", "export.sig", sig),
		"another wire order": archive(t, "export.bin", empty+"\x28\x01\x20\x01", "export.sig", sig),
		"a long varint":      archive(t, "export.bin", empty+"\x20\x81\x00", "export.sig", sig),
		"a key of 15 bytes":  archive(t, "export.bin", empty+"\x3a\x11\x0a\x0f"+strings.Repeat("k", 15), "export.sig", sig),
		"signatures cut":     archive(t, "export.bin", bin, "export.sig", sig[:len(sig)-1]),
	} {
		if _, err := exportfiletest.Decode(file); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}
