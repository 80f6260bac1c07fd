package exportfile

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"io"
	"slices"
	"strings"
)

// TrustedKey is a public key by which files of another key server are believed.
type TrustedKey struct {
	KeyID, KeyVersion string
	Key               *ecdsa.PublicKey
}

// Foreign is a file of another key server that one of its trusted keys has signed.
type Foreign struct {
	// Frame is what the file says of itself.
	Frame Frame
	// Count is how many entries it has, those that cannot be used included.
	Count int

	bin        []byte
	signatures []Signature
}

// Entry is one key of a [Foreign] file, or what is wrong with it.
type Entry struct {
	// Revised tells which of the two lists it is in.
	Revised bool
	Key     Key
	// Problem is empty, or says in a few words why there is no Key.
	Problem string
}

// maxRatio is how much larger than the archive its export.bin may be. Keys are random,
// so that a file of them hardly gets smaller: what shrinks more is a bomb.
const maxRatio = 16

// OpenForeign reads a file of another key server: [ErrMalformed] if its frame is none
// that phones accept, [ErrSignature] unless a trusted key has signed it under its ID
// and version. Unlike [Decode] it does not judge the keys; [Foreign.Each] does, one by one.
func OpenForeign(file []byte, trusted []TrustedKey) (*Foreign, error) {
	z, err := openZip(file)
	if err != nil {
		return nil, err
	}
	sig, err := entry(z.File[1], maxSig)
	if err != nil {
		return nil, err
	}
	f := &Foreign{}
	if f.signatures, err = decodeSig(sig); err != nil {
		return nil, err
	}
	// Nothing is kept in memory that nobody has signed.
	limit := min(MaxBin, maxRatio*int64(len(file)))
	digest, err := digestOf(z.File[0], limit)
	if err != nil {
		return nil, err
	}
	if !f.signedBy(trusted, digest) {
		return nil, ErrSignature
	}
	if f.bin, err = entry(z.File[0], limit); err != nil {
		return nil, err
	}
	err = f.read(func(Entry) error {
		f.Count++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// digestOf is the SHA-256 of an entry of at most limit bytes.
func digestOf(e *zip.File, limit int64) ([]byte, error) {
	r, err := e.Open()
	if err != nil {
		return nil, malformed("unreadable entry")
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, malformed("unreadable entry")
	case n > limit:
		return nil, malformed("entry too large")
	}
	return h.Sum(nil), nil
}

func (f *Foreign) signedBy(trusted []TrustedKey, digest []byte) bool {
	return slices.ContainsFunc(f.signatures, func(s Signature) bool { return s.by(trusted, digest) })
}

// by reports whether the signature of a digest is by one of the keys, under its ID and version.
func (s Signature) by(trusted []TrustedKey, digest []byte) bool {
	return slices.ContainsFunc(trusted, func(k TrustedKey) bool {
		return k.Key != nil && k.Key.Curve == elliptic.P256() &&
			sameKey(s, Signature{KeyID: k.KeyID, KeyVersion: k.KeyVersion}) && ecdsa.VerifyASN1(k.Key, digest, s.DER)
	})
}

// Each calls visit for each entry, in the order of the file, until visit returns an
// error.
func (f *Foreign) Each(visit func(Entry) error) error { return f.read(visit) }

// read goes through the whole message and judges it.
func (f *Foreign) read(visit func(Entry) error) error {
	if !bytes.HasPrefix(f.bin, []byte(header)) {
		return malformed("header")
	}
	var d binDecoder
	err := fields(f.bin[len(header):], func(one field) error {
		if one.id != fieldKeys && one.id != fieldRevised {
			return d.field(one)
		}
		if err := one.isBytes(); err != nil {
			return err
		}
		if d.count++; d.count > MaxKeys {
			return malformed("too many keys")
		}
		return visit(foreignEntry(one))
	})
	if err != nil {
		return err
	}
	f.Frame = d.frame
	return d.end(f.signatures)
}

func foreignEntry(one field) Entry {
	e := Entry{Revised: one.id == fieldRevised}
	var err error
	if e.Key, err = decodeKey(one.bytes); err != nil {
		e.Problem = problem(err)
	}
	return e
}

// problem is an error's text without those of the sentinels.
func problem(err error) string {
	text := err.Error()
	for _, sentinel := range []error{ErrMalformed, ErrInvalid} {
		text = strings.TrimPrefix(text, sentinel.Error()+": ")
	}
	return text
}
