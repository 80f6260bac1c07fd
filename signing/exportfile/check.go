package exportfile

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"google.golang.org/protobuf/encoding/protowire"
)

// Check reads a finished file as a phone would and counts its keys, which it does not
// keep: [ErrMalformed] as [Decode] or if the keys are not in the order of their bytes,
// [ErrSignature] unless the file is signed by exactly these signers.
func Check(file []byte, signers []Signer) (keys, revised int, err error) {
	count, digest, signatures, err := check(file)
	if err != nil {
		return 0, 0, err
	}
	return count[fieldKeys], count[fieldRevised], signedBy(digest, signatures, signers)
}

// CheckPublished reads a file as [Check] does, with public keys: [ErrSignature] unless it is
// signed, and each of its signatures is valid and by a trusted key.
func CheckPublished(file []byte, trusted []TrustedKey) error {
	_, digest, signatures, err := check(file)
	if err != nil {
		return err
	}
	if len(signatures) == 0 {
		return ErrSignature
	}
	for _, s := range signatures {
		if !s.by(trusted, digest) {
			return ErrSignature
		}
	}
	return nil
}

// check reads a file and its signatures, which it does not verify.
func check(file []byte) (count map[protowire.Number]int, digest []byte, signatures []Signature, err error) {
	z, err := openZip(file)
	if err != nil {
		return nil, nil, nil, err
	}
	z.RegisterDecompressor(zip.Deflate, flate.NewReader)
	sig, err := entry(z.File[1], maxSig)
	if err != nil {
		return nil, nil, nil, err
	}
	if signatures, err = decodeSig(sig); err != nil {
		return nil, nil, nil, err
	}
	count, digest, err = checkBin(z.File[0], signatures)
	return count, digest, signatures, err
}

func signedBy(digest []byte, signatures []Signature, signers []Signer) error {
	if len(signatures) != len(signers) {
		return ErrSignature
	}
	for i, s := range signers {
		public, ok := s.Key.Public().(*ecdsa.PublicKey)
		if !ok || !sameKey(signatures[i], Signature{KeyID: s.KeyID, KeyVersion: s.KeyVersion}) ||
			!ecdsa.VerifyASN1(public, digest, signatures[i].DER) {
			return ErrSignature
		}
	}
	return nil
}

// checkBin reads export.bin once. It tells how many keys each list has, and the SHA-256
// of the whole.
func checkBin(f *zip.File, signatures []Signature) (count map[protowire.Number]int, digest []byte, err error) {
	r, err := f.Open()
	if err != nil {
		return nil, nil, malformed("unreadable entry")
	}
	defer r.Close()
	hash := sha256.New()
	bin := bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, MaxBin+1), hash), window)
	head := make([]byte, len(header))
	if _, err := io.ReadFull(bin, head); err != nil || string(head) != header {
		return nil, nil, malformed("header")
	}
	count = map[protowire.Number]int{}
	var last Key
	d := binDecoder{key: func(list protowire.Number, k Key) error {
		if count[list] > 0 && bytes.Compare(last.Data[:], k.Data[:]) > 0 {
			return malformed("keys are not in order")
		}
		count[list]++
		last = k
		return nil
	}}
	if err := stream(bin, d.field); err != nil {
		return nil, nil, err
	}
	return count, hash.Sum(nil), d.end(signatures)
}

// window is how much of a message is looked at at once, in bytes; no field is larger.
const window = 64 << 10

// stream calls visit for each field of a message that is read in passing. What a field
// points to is gone after the visit.
func stream(r *bufio.Reader, visit func(field) error) error {
	for {
		b, err := r.Peek(window)
		if err != nil && !errors.Is(err, io.EOF) {
			return malformed("unreadable entry")
		}
		ended := err != nil
		if ended && len(b) == 0 {
			return nil
		}
		read := 0
		for read < len(b) {
			f, size, err := nextField(b[read:])
			if err != nil {
				if ended || read == 0 {
					return err
				}
				break // the rest of the field is beyond the window
			}
			if err := visit(f); err != nil {
				return err
			}
			read += size
		}
		if _, err := r.Discard(read); err != nil {
			return err
		}
	}
}
