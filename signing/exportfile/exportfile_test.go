package exportfile

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/flate"
	"google.golang.org/protobuf/encoding/protowire"

	"carillon/signing"
)

// sample is a file with n keys of every shape, out of order.
func sample(n int) File {
	f := File{Start: time.Unix(1614556800, 0).UTC(), End: time.Unix(1614571200, 0).UTC(), Region: "US-XX"}
	for i := range n {
		k := Key{
			TransmissionRisk: int32(i % 9), RollingStart: 2690352 + int32(i), RollingPeriod: 144 - int32(i%144),
			ReportType: ReportType(i % 6), HasOnset: i%3 > 0,
		}
		if k.HasOnset {
			k.DaysSinceOnset = int32(i%29) - 14
		}
		// A multiplicative hash of i stands for randomness.
		binary.BigEndian.PutUint64(k.Data[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(k.Data[8:], uint64(i+1)*0xd1b54a32d192ed03)
		if i%5 == 4 {
			f.Revised = append(f.Revised, k)
		} else {
			f.Keys = append(f.Keys, k)
		}
	}
	return f
}

func oneSigner(t testing.TB) []Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []Signer{{KeyID: "310", KeyVersion: "v1", Key: key}}
}

func TestFileComesBackSorted(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 4, 5, 500} {
		signers := oneSigner(t)
		given := sample(n)
		zipped, err := Encode(given, signers)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sample(n), given); diff != "" {
			t.Errorf("encoding changed its input:\n%s", diff)
		}
		got, signatures, err := Decode(zipped)
		if err != nil {
			t.Fatal(err)
		}
		want := sample(n)
		for _, list := range [][]Key{want.Keys, want.Revised} {
			slices.SortFunc(list, func(a, b Key) int { return bytes.Compare(a.Data[:], b.Data[:]) })
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d keys (-want +got):\n%s", n, diff)
		}
		if len(signatures) != 1 || signatures[0].KeyID != "310" || signatures[0].KeyVersion != "v1" {
			t.Errorf("signatures %+v", signatures)
		}
	}
}

// The order in which keys arrived must not be seen in a file (key server protocol §4).
func TestOrderOfInputLeavesNoTrace(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	f := sample(100)
	one, err := Encode(f, signers)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(f.Keys)
	slices.Reverse(f.Revised)
	two, err := Encode(f, signers)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("bytes differ (%v)", err)
	}
}

// A key as the database seals it signs as deterministically as a bare one.
func TestSealedKeyIsDeterministic(t *testing.T) {
	t.Parallel()
	root, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	dk, _, err := signing.NewDataKey(t.Context(), root, "north")
	if err != nil {
		t.Fatal(err)
	}
	b := signing.Binding{Tenant: "north", Purpose: signing.Export, KeyID: "310"}
	sealed, der, err := signing.NewP256(dk, b)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.OpenP256(dk, b, sealed)
	if err != nil {
		t.Fatal(err)
	}
	signers := []Signer{{KeyID: "310", KeyVersion: "v1", Key: key}}
	one, err1 := Encode(sample(3), signers)
	two, err2 := Encode(sample(3), signers)
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
		t.Errorf("bytes differ (%v)", err)
	}
	public, err := signing.ParsePublicDER(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(one, "310", "v1", public); err != nil {
		t.Error(err)
	}
}

// deviceSigner is a key outside memory, which wants randomness.
type deviceSigner struct{ key *ecdsa.PrivateKey }

func (d deviceSigner) Public() crypto.PublicKey { return d.key.Public() }

func (d deviceSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if random == nil {
		return nil, errors.New("no randomness")
	}
	return d.key.Sign(random, digest, opts)
}

func TestOtherSignersGetRandomness(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	key, ok := signers[0].Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("not a key in memory")
	}
	signers[0].Key = deviceSigner{key}
	zipped, err := Encode(sample(1), signers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(zipped, "310", "v1", &key.PublicKey); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	signers, other := oneSigner(t), oneSigner(t)
	public, stranger := signers[0].Key.Public().(*ecdsa.PublicKey), other[0].Key.Public().(*ecdsa.PublicKey)
	zipped, err := Encode(sample(10), signers)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name, id, version string
		key               *ecdsa.PublicKey
		want              error
	}{
		{"right", "310", "v1", public, nil},
		{"other key", "310", "v1", stranger, ErrSignature},
		{"other ID", "311", "v1", public, ErrSignature},
		{"other version", "310", "v2", public, ErrSignature},
		{"P-384", "310", "v1", &p384.PublicKey, ErrSignature},
		{"no key", "310", "v1", nil, ErrSignature},
	} {
		if _, err := Verify(zipped, v.id, v.version, v.key); !errors.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", v.name, err, v.want)
		}
	}
	if _, err := VerifyAny(zipped, public); err != nil {
		t.Errorf("any: %v", err)
	}
	if _, err := VerifyAny(zipped, stranger); !errors.Is(err, ErrSignature) {
		t.Errorf("any, other key: %v", err)
	}
	bin, sig, err := unpack(zipped)
	if err != nil {
		t.Fatal(err)
	}
	for i := range bin {
		damaged := bytes.Clone(bin)
		damaged[i] ^= 1
		if _, err := Verify(mustArchive(t, damaged, sig), "310", "v1", public); !errors.Is(err, ErrSignature) {
			t.Fatalf("byte %d of export.bin changed: %v", i, err)
		}
	}
}

func mustArchive(t testing.TB, bin, sig []byte) []byte {
	t.Helper()
	return zipOf(t, zipEntry{binName, bin}, zipEntry{sigName, sig})
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	good := oneSigner(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Signer)) []Signer {
		s := slices.Clone(good)
		change(&s[0])
		return s
	}
	changed := func(change func(*Key)) File {
		f := sample(3)
		change(&f.Keys[2])
		return f
	}
	file := func(change func(*File)) File {
		f := sample(3)
		change(&f)
		return f
	}
	for name, v := range map[string]struct {
		file    File
		signers []Signer
	}{
		"11 signers":        {sample(1), slices.Repeat(good, 11)},
		"too many keys":     {File{Start: sample(0).Start, End: sample(0).End, Keys: make([]Key, MaxKeys), Revised: make([]Key, 1)}, good},
		"ID empty":          {sample(1), with(func(s *Signer) { s.KeyID = "" })},
		"ID with a hyphen":  {sample(1), with(func(s *Signer) { s.KeyID = "us-xx" })},
		"ID with a break":   {sample(1), with(func(s *Signer) { s.KeyID = "310\n" })},
		"version with dot":  {sample(1), with(func(s *Signer) { s.KeyVersion = "v1.2" })},
		"no key":            {sample(1), with(func(s *Signer) { s.Key = nil })},
		"P-384":             {sample(1), with(func(s *Signer) { s.Key = p384 })},
		"ends at its start": {file(func(f *File) { f.End = f.Start }), good},
		"before 1970":       {file(func(f *File) { f.Start = time.Unix(-1, 0) }), good},
		"no times":          {file(func(f *File) { f.Start, f.End = time.Time{}, time.Time{} }), good},
		"region not UTF-8":  {file(func(f *File) { f.Region = "\xff" }), good},
		"risk 9":            {changed(func(k *Key) { k.TransmissionRisk = 9 }), good},
		"risk -1":           {changed(func(k *Key) { k.TransmissionRisk = -1 }), good},
		"period 0":          {changed(func(k *Key) { k.RollingPeriod = 0 }), good},
		"period 145":        {changed(func(k *Key) { k.RollingPeriod = 145 }), good},
		"start -1":          {changed(func(k *Key) { k.RollingStart = -1 }), good},
		"type 6":            {changed(func(k *Key) { k.ReportType = 6 }), good},
		"type -1":           {changed(func(k *Key) { k.ReportType = -1 }), good},
		"day 15":            {changed(func(k *Key) { k.HasOnset, k.DaysSinceOnset = true, 15 }), good},
		"day -15":           {changed(func(k *Key) { k.HasOnset, k.DaysSinceOnset = true, -15 }), good},
	} {
		if _, err := Encode(v.file, v.signers); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, signers := range map[string][]Signer{
		"10 signers": slices.Repeat(good, 10), "no signers": nil,
		"dot in the ID": with(func(s *Signer) { s.KeyID = "com.example.north" }), "no version": with(func(s *Signer) { s.KeyVersion = "" }),
	} {
		zipped, err := Encode(sample(1), signers)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, got, err := Decode(zipped); err != nil || len(got) != len(signers) {
			t.Errorf("%s: %d signatures, %v", name, len(got), err)
		}
	}
}

// message builds protobuf by hand, to be wrong on purpose.
type message []byte

func (m message) varint(n protowire.Number, v uint64) message { return appendVarint(m, n, v) }
func (m message) bytes(n protowire.Number, v []byte) message  { return appendBytes(m, n, v) }
func (m message) fixed(n protowire.Number, v uint64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, n, protowire.Fixed64Type), v)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	info := message{}.bytes(3, []byte("v1")).bytes(4, []byte("310")).bytes(5, []byte(signatureAlgorithm))
	sig := message{}.bytes(1, message{}.bytes(1, info).varint(2, 1).varint(3, 1).bytes(4, []byte("DER")))
	data := make([]byte, 16)
	frame := message(header).fixed(1, 1614556800).fixed(2, 1614571200).bytes(3, []byte("US")).varint(4, 1).varint(5, 1)
	head := slices.Clip(frame.bytes(6, info))
	key := func(k message) message { return head.bytes(7, k) }

	if _, _, err := Decode(mustArchive(t, key(message{}.bytes(1, data)), sig)); err != nil {
		t.Fatalf("what the rest builds on: %v", err)
	}
	unknown := key(message{}.bytes(1, data).varint(7, 1).varint(8, 2)).varint(99, 1)
	if _, _, err := Decode(mustArchive(t, unknown, sig)); err != nil {
		t.Errorf("unknown fields: %v", err)
	}
	short := message(header)
	for name, v := range map[string]struct{ bin, sig []byte }{
		"empty":               {nil, sig},
		"header cut":          {head[:15], sig},
		"header only":         {message(header), nil},
		"header version 2":    {bytes.Replace(head, []byte("v1 "), []byte("v2 "), 1), sig},
		"no start":            {slices.Clip(short).fixed(2, 1614571200).varint(4, 1).varint(5, 1).bytes(6, info), sig},
		"no end":              {slices.Clip(short).fixed(1, 1614556800).varint(4, 1).varint(5, 1).bytes(6, info), sig},
		"start a varint":      {head.varint(1, 1614556800), sig},
		"end far away":        {head.fixed(2, 1<<63), sig},
		"region a number":     {head.varint(3, 1), sig},
		"region not UTF-8":    {head.bytes(3, []byte{0xff}), sig},
		"batch 2":             {head.varint(4, 2), sig},
		"batch of 2":          {head.varint(5, 2), sig},
		"batch 1 + 2^32":      {head.varint(4, 1+1<<32), sig},
		"key a number":        {head.varint(7, 1), sig},
		"revised a number":    {head.varint(8, 1), sig},
		"key of 15 bytes":     {key(message{}.bytes(1, data[:15])), sig},
		"key of 17 bytes":     {key(message{}.bytes(1, append(data, 0))), sig},
		"key without data":    {key(message{}.varint(2, 1)), sig},
		"data a number":       {key(message{}.varint(1, 1)), sig},
		"risk 9":              {key(message{}.bytes(1, data).varint(2, 9)), sig},
		"risk 1 + 2^32":       {key(message{}.bytes(1, data).varint(2, 1+1<<32)), sig},
		"start negative":      {key(message{}.bytes(1, data).varint(3, 1<<64-1)), sig},
		"period 0":            {key(message{}.bytes(1, data).varint(4, 0)), sig},
		"period 145":          {key(message{}.bytes(1, data).varint(4, 145)), sig},
		"type 6":              {key(message{}.bytes(1, data).varint(5, 6)), sig},
		"day 15":              {key(message{}.bytes(1, data).varint(6, protowire.EncodeZigZag(15))), sig},
		"day -15":             {key(message{}.bytes(1, data).varint(6, protowire.EncodeZigZag(-15))), sig},
		"field cut":           {append(head, 0x3a, 5), sig},
		"field number 0":      {append(head, 0, 0), sig},
		"other signer":        {frame.bytes(6, bytes.Replace(info, []byte("310"), []byte("311"), 1)), sig},
		"signer not in sig":   {head, nil},
		"signer not in bin":   {slices.Clip(frame), sig},
		"signer twice":        {head.bytes(6, info), sig},
		"algorithm":           {frame.bytes(6, bytes.Replace(info, []byte("4.3.2"), []byte("4.3.3"), 1)), sig},
		"info a number":       {head.varint(6, 1), sig},
		"sig cut":             {head, sig[:len(sig)-1]},
		"sig a number":        {head, message{}.varint(1, 1)},
		"sig batch 2":         {head, message{}.bytes(1, message{}.bytes(1, info).varint(2, 2).varint(3, 1).bytes(4, []byte("DER")))},
		"sig without info":    {head, message{}.bytes(1, message{}.varint(2, 1).varint(3, 1).bytes(4, []byte("DER")))},
		"sig with 11 entries": {head, bytes.Repeat(sig, 11)},
		"sig DER a number":    {head, message{}.bytes(1, message{}.bytes(1, info).varint(2, 1).varint(3, 1).varint(4, 1))},
		"sig too large":       {head, slices.Clone(sig).bytes(99, make([]byte, maxSig))},
	} {
		if _, _, err := Decode(mustArchive(t, v.bin, v.sig)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type zipEntry struct {
	name string
	body []byte
}

func zipOf(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, e := range entries {
		method := zip.Deflate
		if len(e.body) == 0 {
			method = zip.Store // a compressor each would take most of the time
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestContainerRefuses(t *testing.T) {
	t.Parallel()
	zipped, err := Encode(sample(2), oneSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	body, sign, err := unpack(zipped)
	if err != nil {
		t.Fatal(err)
	}
	bin, sig := zipEntry{binName, body}, zipEntry{sigName, sign}
	// Sixty-four megabytes and a bit, of one byte: small to send, large to read.
	bomb := zipEntry{binName, append([]byte(header), make([]byte, MaxBin)...)}
	spoiled := bytes.Clone(zipped)
	spoiled[len(binName)+30+40] ^= 0xff
	for name, file := range map[string][]byte{
		"empty":         nil,
		"no zip":        []byte("EK Export v1    "),
		"cut":           zipped[:len(zipped)-1],
		"spoiled":       spoiled,
		"one entry":     zipOf(t, bin),
		"three entries": zipOf(t, bin, sig, zipEntry{"more", nil}),
		"other order":   zipOf(t, sig, bin),
		"twice bin":     zipOf(t, bin, bin),
		"in a folder":   zipOf(t, zipEntry{"x/" + binName, body}, sig),
		"other case":    zipOf(t, zipEntry{"Export.bin", body}, sig),
		"bomb":          zipOf(t, bomb, sig),
		"too large":     make([]byte, MaxZip+1),
	} {
		if _, _, err := Decode(file); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Decode(zipOf(t, bin, sig)); err != nil {
		t.Errorf("another zip writer's: %v", err)
	}
}

// The directory of a zip is held against its end before it is read: whatever number the
// end gives, entries cost memory one by one. This counts what the process allocates, and so
// runs by itself.
func TestDirectoryBombIsNotRead(t *testing.T) {
	zipped, err := Encode(sample(2), oneSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	bin, sig, err := unpack(zipped)
	if err != nil {
		t.Fatal(err)
	}
	two := []zipEntry{{binName, bin}, {sigName, sig}}
	many := slices.Concat(two, make([]zipEntry, 1<<16)) // 2, to a number of 16 bits
	bomb := zipOf(t, many...)
	told := func(n uint16, file []byte) []byte {
		end := file[len(file)-endLength:]
		binary.LittleEndian.PutUint16(end[8:], n)
		binary.LittleEndian.PutUint16(end[10:], n)
		return file
	}
	for name, file := range map[string][]byte{
		"so many":                  bomb,
		"a number of 16 bits":      told(2, slices.Clone(bomb)),
		"a number that is not two": told(3, zipOf(t, two...)),
		"more than it tells":       told(2, zipOf(t, many[:90]...)),
		"behind its comment":       append(zipOf(t, two...), bomb...),
	} {
		const few = 1000
		allocated := testing.AllocsPerRun(1, func() { _, _, err = Decode(file) })
		if !errors.Is(err, ErrMalformed) || allocated > few {
			t.Errorf("%s: %v, %.0f allocations", name, err, allocated)
		}
	}
	if _, _, err := Decode(told(2, zipOf(t, two...))); err != nil {
		t.Errorf("two entries: %v", err)
	}
}

func TestKeyHidesItself(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%v %+v %#v", Key{}, []Key{{}}, Key{}); got != "[key] [[key]] [key]" {
		t.Errorf("prints %s", got)
	}
}

// FuzzDecode takes export.bin and export.sig, so that the fuzzer need not make zips;
// one form of container is fuzzed beside them.
func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 3} {
		zipped, err := Encode(sample(n), oneSigner(f))
		if err != nil {
			f.Fatal(err)
		}
		bin, sig, err := unpack(zipped)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(zipped, bin, sig)
	}
	f.Add([]byte("PK\x05\x06"), []byte(header), []byte{})
	f.Fuzz(func(t *testing.T, file, bin, sig []byte) {
		if _, _, err := Decode(file); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("unknown error %v", err)
		}
		if endsAsTwo(file) {
			const leastEntry = 46 // bytes of a directory
			if z, err := zip.NewReader(bytes.NewReader(file), int64(len(file))); err == nil && len(z.File) > maxDirectory/leastEntry {
				t.Fatalf("%d entries are read", len(z.File))
			}
		}
		signatures, err := decodeSig(sig)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		got, err := decodeBin(bin, signatures)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		// What is read can be written, and is then read as the same.
		again, err := EncodeBin(got, nil)
		if err != nil {
			t.Fatalf("decoded what cannot be encoded: %v", err)
		}
		back, err := decodeBin(again, nil)
		if err != nil {
			t.Fatal(err)
		}
		got.Keys, got.Revised = sorted(got.Keys), sorted(got.Revised)
		if len(back.Keys) != len(got.Keys) || len(back.Revised) != len(got.Revised) || back.Region != got.Region ||
			!back.Start.Equal(got.Start) || !back.End.Equal(got.End) {
			t.Fatalf("came back as %+v, was %+v", back, got)
		}
	})
}

// BenchmarkEncode makes a file of 30,000 keys and reports its ratio to a floor
// measured in the same run: writing the same bytes field by field in memory, and
// deflating them.
func BenchmarkEncode(b *testing.B) {
	f, signers := sample(30_000), oneSigner(b)
	bin, err := EncodeBin(f, signers)
	if err != nil {
		b.Fatal(err)
	}
	const rounds = 10
	start := time.Now()
	for range rounds {
		if got := marshalFloor(f); len(got) == 0 {
			b.Fatal("nothing")
		}
		w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(bin); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	floor := float64(time.Since(start)) / rounds
	var size int
	for b.Loop() {
		zipped, err := Encode(f, signers)
		if err != nil {
			b.Fatal(err)
		}
		size = len(zipped)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/floor, "x-marshal+deflate")
	b.ReportMetric(float64(size), "B/file")
}

// marshalFloor is the least work of writing keys: no order, no checks.
func marshalFloor(f File) []byte {
	var b, entry []byte
	for _, list := range [][]Key{f.Keys, f.Revised} {
		for i := range list {
			entry = list[i].append(entry[:0])
			b = appendBytes(b, fieldKeys, entry)
		}
	}
	return b
}

// Public keys of the vectors in the key server protocol §6.2.
func TestVectorKeys(t *testing.T) {
	t.Parallel()
	for scalar, want := range map[string]string{
		scalar1: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEastnmuCNiCiXeocDzeT1JHFtfT197mYWaJd3JfWzd19dYRxC4djJBgc80hTAqAk92kgB7agbAi/1uzWiGsu+mw==",
		scalar2: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUJROxJ6iH+7eFf1WmC2P/OPTpnqIbW/GM4NVtuAOh4nqBpsJD1LM05XR72/Xl3m5v7u85WgWilGfOBQ45RWAlQ==",
	} {
		der, err := base64.StdEncoding.DecodeString(want)
		if err != nil {
			t.Fatal(err)
		}
		public, err := signing.ParsePublicDER(der)
		if err != nil {
			t.Fatal(err)
		}
		if !testKey(t, scalar).PublicKey.Equal(public) {
			t.Errorf("scalar %s has another public key", scalar)
		}
	}
}
