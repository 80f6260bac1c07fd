package exportfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// inOrder is the nth of many keys in the order of their bytes.
func inOrder(n int) Key {
	k := Key{TransmissionRisk: 2, RollingStart: 2690352, RollingPeriod: 144, ReportType: Confirmed}
	binary.BigEndian.PutUint64(k.Data[:], uint64(n))
	return k
}

func newWriter(t testing.TB, to io.Writer, signers []Signer) *Writer {
	t.Helper()
	w, err := NewWriter(to, sample(0).Frame(), signers)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A file that was written key by key is the file that was encoded at once.
func TestWriterWritesWhatEncodeDoes(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	const n = 5000 // more than a block of keys
	f := sample(0)
	for i := range n {
		f.Keys = append(f.Keys, inOrder(i))
		f.Revised = append(f.Revised, inOrder(3*i))
	}
	want, err := Encode(f, signers)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	w := newWriter(t, &got, signers)
	for _, k := range f.Keys {
		if err := w.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range f.Revised {
		if err := w.AddRevised(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("other bytes")
	}
	if keys, revised, err := Check(got.Bytes(), signers); keys != n || revised != n || err != nil {
		t.Errorf("%d and %d keys, %v", keys, revised, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	t.Parallel()
	add, revise := (*Writer).Add, (*Writer).AddRevised
	type step struct {
		do  func(*Writer, Key) error
		key int
	}
	for name, steps := range map[string][]step{
		"out of order":         {{add, 2}, {add, 1}},
		"revised out of order": {{add, 1}, {revise, 2}, {revise, 1}},
		"new after revised":    {{revise, 1}, {add, 2}},
	} {
		w := newWriter(t, io.Discard, nil)
		for i, s := range steps {
			if err := s.do(w, inOrder(s.key)); (err != nil) != (i == len(steps)-1) || (err != nil && !errors.Is(err, ErrInvalid)) {
				t.Errorf("%s: step %d: %v", name, i, err)
			}
		}
	}
	if err := newWriter(t, io.Discard, nil).Add(Key{RollingPeriod: 145}); !errors.Is(err, ErrInvalid) {
		t.Errorf("period 145: %v", err)
	}
	if _, err := NewWriter(io.Discard, Frame{}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("no times: %v", err)
	}
	if _, err := NewWriter(io.Discard, sample(0).Frame(), []Signer{{}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a signer without key: %v", err)
	}
}

var errFull = errors.New("full")

// full takes a number of bytes and no more.
type full int

func (f *full) Write(b []byte) (int, error) {
	if *f -= full(len(b)); *f < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// Whatever byte cannot be written, the writer says so.
func TestWriterFailsWithWhatIsBelow(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	write := func(to io.Writer) error {
		w, err := NewWriter(to, sample(0).Frame(), signers)
		if err != nil {
			return err
		}
		for i := range 10 {
			if err := w.Add(inOrder(i)); err != nil {
				return err
			}
		}
		return w.Close()
	}
	var whole bytes.Buffer
	if err := write(&whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		room := full(n)
		if err := write(&room); !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: %v", n, whole.Len(), err)
		}
	}
}

// A file has as many keys as the platforms take and not one more, and neither writing
// nor checking it holds them.
func TestFullFile(t *testing.T) { // alone, because it looks at what all allocate
	signers := oneSigner(t)
	var file bytes.Buffer
	file.Grow(MaxZip)
	w := newWriter(t, &file, signers)
	before := allocated()
	for i := range MaxKeys {
		if err := w.Add(inOrder(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add(inOrder(MaxKeys)); !errors.Is(err, ErrInvalid) {
		t.Errorf("one key more: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	keys, _, err := Check(file.Bytes(), signers)
	if err != nil || keys != MaxKeys {
		t.Errorf("%d keys, %v", keys, err)
	}
	if grown := allocated() - before; grown > 8<<20 {
		t.Errorf("%d bytes for %d keys", grown, keys)
	}
}

// allocated is what was ever allocated, in bytes.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Check takes what Decode takes, from the signers that it is given.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	signers := append(oneSigner(t), oneSigner(t)...)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signers[1].KeyVersion, signers[1].Key = "v2", other
	good, err := Encode(sample(3), signers)
	if err != nil {
		t.Fatal(err)
	}
	bin, sig, err := unpack(good)
	if err != nil {
		t.Fatal(err)
	}
	if keys, revised, err := Check(good, signers); keys != 3 || revised != len(sample(3).Revised) || err != nil {
		t.Fatalf("%d and %d keys, %v", keys, revised, err)
	}
	swapped := slices.Clone(signers)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	exchanged := slices.Clone(signers)
	exchanged[0].Key, exchanged[1].Key = exchanged[1].Key, exchanged[0].Key
	for name, given := range map[string][]Signer{"a signer less": signers[:1], "none": nil, "another order": swapped, "another key": exchanged} {
		if _, _, err := Check(good, given); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	damaged := bytes.Clone(bin)
	damaged[len(damaged)-1] ^= 1
	if _, _, err := Check(mustArchive(t, damaged, sig), signers); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte changed: %v", err)
	}
	// What the signatures are over does not matter for what is refused before them.
	again := appendEntry(bytes.Clone(bin), fieldKeys, &Key{RollingPeriod: 1})
	for name, body := range map[string][]byte{
		"header":       append([]byte("EK Export v2    "), bin[len(header):]...),
		"cut":          bin[:len(bin)-1],
		"empty":        nil,
		"out of order": appendEntry(again, fieldKeys, &Key{RollingPeriod: 1}),
		"large field":  protowire.AppendBytes(protowire.AppendTag(bytes.Clone(bin), 99, protowire.BytesType), make([]byte, window)),
	} {
		if _, _, err := Check(mustArchive(t, body, sig), signers); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Check([]byte("PK"), signers); !errors.Is(err, ErrMalformed) {
		t.Errorf("no zip: %v", err)
	}
}

// A published file is believed by public keys, in whatever order; one signature that nobody
// published spoils it.
func TestCheckPublished(t *testing.T) {
	t.Parallel()
	signers := append(oneSigner(t), oneSigner(t)...)
	signers[1].KeyVersion = "v2"
	good, err := Encode(sample(3), signers)
	if err != nil {
		t.Fatal(err)
	}
	trust := func(s Signer) TrustedKey {
		return TrustedKey{KeyID: s.KeyID, KeyVersion: s.KeyVersion, Key: s.Key.Public().(*ecdsa.PublicKey)}
	}
	first, second := trust(signers[0]), trust(signers[1])
	third := trust(oneSigner(t)[0])
	third.KeyVersion = "v3"
	if err := CheckPublished(good, []TrustedKey{third, second, first}); err != nil {
		t.Errorf("signed by published keys: %v", err)
	}
	renamed := second
	renamed.KeyVersion = "v3"
	for name, trusted := range map[string][]TrustedKey{
		"no key": nil, "one of two": {first}, "another key": {third}, "a key under another version": {first, renamed},
	} {
		if err := CheckPublished(good, trusted); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckPublished(good[:len(good)/2], []TrustedKey{first, second}); !errors.Is(err, ErrMalformed) {
		t.Errorf("half a file: %v", err)
	}
}

// A field is read wherever the window ends.
func TestCheckAtEachOffset(t *testing.T) {
	t.Parallel()
	signers := oneSigner(t)
	for region := range maxRegion { // moves all that follows
		f := sample(0)
		f.Region = fmt.Sprintf("%0*d", region, 0)
		for i := range 2 * window / 30 {
			f.Keys = append(f.Keys, inOrder(i))
		}
		file, err := Encode(f, signers)
		if err != nil {
			t.Fatal(err)
		}
		if keys, _, err := Check(file, signers); err != nil || keys != len(f.Keys) {
			t.Fatalf("%d bytes of region: %d of %d keys, %v", region, keys, len(f.Keys), err)
		}
	}
}
