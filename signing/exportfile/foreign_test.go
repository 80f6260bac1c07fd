package exportfile

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// trusted are the public halves of signers.
func trusted(t testing.TB, signers []Signer) []TrustedKey {
	t.Helper()
	var keys []TrustedKey
	for _, s := range signers {
		public, ok := s.Key.Public().(*ecdsa.PublicKey)
		if !ok {
			t.Fatal("not an ECDSA key")
		}
		keys = append(keys, TrustedKey{KeyID: s.KeyID, KeyVersion: s.KeyVersion, Key: public})
	}
	return keys
}

// withBin signs an export.bin whatever it says.
func withBin(t testing.TB, signers []Signer, bin []byte) []byte {
	t.Helper()
	sig, err := EncodeSig(bin, signers)
	if err != nil {
		t.Fatal(err)
	}
	return mustArchive(t, bin, sig)
}

func entries(t testing.TB, f *Foreign) (list []Entry) {
	t.Helper()
	err := f.Each(func(e Entry) error {
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != f.Count {
		t.Errorf("%d entries of %d", len(list), f.Count)
	}
	return list
}

// A good file gives what Decode gives.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	signers := append(oneSigner(t), oneSigner(t)...)
	signers[1].KeyVersion = "v2"
	zipped, err := Encode(sample(50), signers)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := Decode(zipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]TrustedKey{trusted(t, signers[:1]), trusted(t, signers[1:]), trusted(t, append(oneSigner(t), signers...))} {
		f, err := OpenForeign(zipped, keys)
		if err != nil {
			t.Fatal(err)
		}
		if f.Frame != want.Frame() {
			t.Errorf("frame %+v, want %+v", f.Frame, want.Frame())
		}
		var got File
		for _, e := range entries(t, f) {
			if e.Problem != "" {
				t.Errorf("a good key: %s", e.Problem)
			}
			if e.Revised {
				got.Revised = append(got.Revised, e.Key)
			} else {
				got.Keys = append(got.Keys, e.Key)
			}
		}
		if !slices.Equal(got.Keys, want.Keys) || !slices.Equal(got.Revised, want.Revised) {
			t.Error("other keys than Decode's")
		}
	}
	stop := errors.New("stop")
	f, err := OpenForeign(zipped, trusted(t, signers))
	if err != nil {
		t.Fatal(err)
	}
	visits := 0
	if err := f.Each(func(Entry) error { visits++; return stop }); !errors.Is(err, stop) || visits != 1 {
		t.Errorf("%v after %d visits", err, visits)
	}
}

// Only a trusted key under its own names makes a file believed.
func TestForeignFileNeedsATrustedKey(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	zipped, err := Encode(sample(3), signers)
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := Encode(sample(3), nil)
	if err != nil {
		t.Fatal(err)
	}
	good := trusted(t, signers)[0]
	otherID, otherVersion, otherKey, noKey := good, good, trusted(t, oneSigner(t))[0], good
	otherID.KeyID, otherVersion.KeyVersion, noKey.Key = "311", "v2", nil
	for name, test := range map[string]struct {
		file []byte
		keys []TrustedKey
	}{
		"no key":          {zipped, nil},
		"another ID":      {zipped, []TrustedKey{otherID}},
		"another version": {zipped, []TrustedKey{otherVersion}},
		"another key":     {zipped, []TrustedKey{otherKey}},
		"an empty key":    {zipped, []TrustedKey{noKey}},
		"no signature":    {unsigned, []TrustedKey{good}},
	} {
		if _, err := OpenForeign(test.file, test.keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bin, sig, err := unpack(zipped)
	if err != nil {
		t.Fatal(err)
	}
	for i := range bin {
		changed := bytes.Clone(bin)
		changed[i] ^= 1
		if _, err := OpenForeign(mustArchive(t, changed, sig), []TrustedKey{good}); !errors.Is(err, ErrSignature) {
			t.Fatalf("byte %d of export.bin changed: %v", i, err)
		}
	}
}

// A bad key is told with its place, and costs no other key.
func TestForeignFileTellsBadKeys(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	bin, err := EncodeBin(sample(0), signers)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 16)
	cases := []struct {
		key     message
		problem string
	}{
		{message{}.bytes(1, data), ""},
		{message{}.bytes(1, data[:15]), "key data"},
		{message{}.bytes(1, make([]byte, 17)), "key data"},
		{message{}, "key without data"},
		{message{}.bytes(1, data).varint(2, 9), "transmission risk 9"},
		{message{}.bytes(1, data).varint(3, 1<<64-1), "number in field 3"},
		{message{}.bytes(1, data).varint(4, 0), "rolling period 0"},
		{message{}.bytes(1, data).varint(4, 145), "rolling period 145"},
		{message{}.bytes(1, data).varint(5, 6), "report type 6"},
		{message{}.bytes(1, data).varint(6, protowire.EncodeZigZag(-15)), "-15 days since onset"},
		{append(message{}.bytes(1, data), 0x12), "protobuf value"},
		{message{}.bytes(1, data).varint(99, 1), ""},
	}
	for i, c := range cases {
		bin = message(bin).bytes(protowire.Number(7+i%2), c.key)
	}
	f, err := OpenForeign(withBin(t, signers, bin), trusted(t, signers))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries(t, f) {
		if e.Problem != cases[i].problem || e.Revised != (i%2 == 1) {
			t.Errorf("entry %d: problem %q, revised %v; want %q", i, e.Problem, e.Revised, cases[i].problem)
		}
	}
}

// A file whose frame is broken is no file, whoever signed it.
func TestForeignFileRefuses(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	head, err := EncodeBin(sample(0), signers)
	if err != nil {
		t.Fatal(err)
	}
	head = slices.Clip(head)
	one := message{}.bytes(1, make([]byte, 16))
	zipped := withBin(t, signers, head)
	bin, sig, err := unpack(zipped)
	if err != nil {
		t.Fatal(err)
	}
	big := append(bytes.Clone(head), bytes.Repeat(message{}.bytes(7, one), 100_000)...)
	for name, file := range map[string][]byte{
		"empty":           nil,
		"a page":          []byte("<html></html>"),
		"cut":             zipped[:len(zipped)-1],
		"other header":    withBin(t, signers, bytes.Replace(head, []byte("v1 "), []byte("v2 "), 1)),
		"batch 2":         withBin(t, signers, message(head).varint(4, 2)),
		"no end":          withBin(t, signers, message(head).fixed(2, 0)),
		"key a number":    withBin(t, signers, message(head).varint(7, 1)),
		"field cut":       withBin(t, signers, append(bytes.Clone(head), 0x3a, 5)),
		"another signer":  withBin(t, signers, bytes.Replace(head, []byte("310"), []byte("311"), 1)),
		"too many keys":   withBin(t, signers, append(bytes.Clone(head), bytes.Repeat(message{}.bytes(7, nil), MaxKeys+1)...)),
		"bomb":            withBin(t, signers, message(head).bytes(99, make([]byte, MaxBin))),
		"smaller bomb":    withBin(t, signers, big),
		"bomb of sig":     zipOf(t, zipEntry{binName, bin}, zipEntry{sigName, make([]byte, maxSig+1)}),
		"twice":           zipOf(t, zipEntry{binName, bin}, zipEntry{binName, bin}),
		"traversal":       zipOf(t, zipEntry{"../" + binName, bin}, zipEntry{sigName, sig}),
		"absolute":        zipOf(t, zipEntry{"/" + binName, bin}, zipEntry{sigName, sig}),
		"more than those": zipOf(t, zipEntry{binName, bin}, zipEntry{sigName, sig}, zipEntry{"../../etc/passwd", nil}),
		"too large":       make([]byte, MaxZip+1),
	} {
		if _, err := OpenForeign(file, trusted(t, signers)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenForeign(zipped, trusted(t, signers)); err != nil {
		t.Errorf("what the rest builds on: %v", err)
	}
}

// FuzzForeign takes an archive, and an export.bin whose signature is taken for good.
func FuzzForeign(f *testing.F) {
	signers := oneSigner(f)
	good, err := Encode(sample(4), signers)
	if err != nil {
		f.Fatal(err)
	}
	bin, sig, err := unpack(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, bin)
	f.Add(zipOf(f, zipEntry{"../" + binName, bin}, zipEntry{sigName, sig}), bin[:len(bin)-1])
	f.Add(zipOf(f, zipEntry{binName, bin}, zipEntry{binName, bin}), []byte(message(bin).bytes(7, message{}.varint(4, 200))))
	f.Add(zipOf(f, zipEntry{binName, make([]byte, 1<<16)}, zipEntry{sigName, sig}), []byte(header))
	f.Add([]byte("PK\x05\x06"+strings.Repeat("\x00", 18)), []byte{})
	keys := trusted(f, signers)
	f.Fuzz(func(t *testing.T, file, bin []byte) {
		known := func(err error) bool { return errors.Is(err, ErrMalformed) || errors.Is(err, ErrSignature) }
		if _, err := OpenForeign(file, keys); err != nil && !known(err) {
			t.Fatalf("unknown error %v", err)
		}
		signatures, err := decodeSig(sig)
		if err != nil {
			t.Fatal(err)
		}
		foreign := &Foreign{bin: bin, signatures: signatures}
		good := true
		err = foreign.Each(func(e Entry) error {
			if good = good && e.Problem == ""; e.Problem == "" && e.Key.validate() != nil {
				t.Fatal("a bad key is taken for good")
			}
			return nil
		})
		if err != nil && !known(err) {
			t.Fatalf("unknown error %v", err)
		}
		// Files without a bad key are those that Decode takes.
		if _, strict := decodeBin(bin, signatures); (strict == nil) != (err == nil && good) {
			t.Fatalf("strict: %v; key by key: %v, all good: %v", strict, err, good)
		}
	})
}
