// Package envelope seals what Carillon hands out and later gets back: bytes that
// nobody else can read or make, which say in the open only which key they need.
//
// An envelope is
//
//	version (1, = 1) | length of the key ID (1) | key ID | nonce (12) | AES-256-GCM ciphertext and tag
//
// with the kind of envelope, everything before the nonce, and the tenant as
// associated data. So an envelope of another tenant, kind or key ID does not open.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// MaxKeyID is the length of the longest key ID in bytes.
	MaxKeyID = 100

	version   = 1
	nonceSize = 12
	tagSize   = 16
)

// ErrMalformed means that bytes are no envelope, or none that opens.
var ErrMalformed = errors.New("envelope is malformed or not ours")

// Kind is what envelopes hold, a short fixed text.
type Kind string

// Size is the length of an envelope with a key ID and contents of these lengths.
func Size(kid, contents int) int { return 2 + kid + nonceSize + contents + tagSize }

// Seal puts contents into an envelope under a key of [KeySize] bytes. The key ID
// has 1 to [MaxKeyID] bytes.
func (k Kind) Seal(kid string, key []byte, tenant string, contents []byte) ([]byte, error) {
	if kid == "" || len(kid) > MaxKeyID {
		return nil, fmt.Errorf("a key ID has 1 to %d bytes", MaxKeyID)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, Size(len(kid), len(contents)))
	b = append(b, version, byte(len(kid)))
	b = append(b, kid...)
	aad := k.associated(b, tenant)
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	b = append(b, nonce[:]...)
	return aead.Seal(b, nonce[:], contents, aad), nil
}

// KeyID reads which key an envelope claims to be sealed with: [ErrMalformed] if it
// cannot be one.
func KeyID(b []byte) (string, error) {
	head, _, err := split(b)
	if err != nil {
		return "", err
	}
	return string(head[2:]), nil
}

// Open takes the contents out: [ErrMalformed] unless they were sealed as this kind,
// with this key, for this tenant.
func (k Kind) Open(key []byte, tenant string, b []byte) ([]byte, error) {
	head, sealed, err := split(b)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	contents, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], k.associated(head, tenant))
	if err != nil {
		return nil, ErrMalformed
	}
	return contents, nil
}

func split(b []byte) (head, sealed []byte, err error) {
	if len(b) < 2 || b[0] != version || b[1] == 0 || b[1] > MaxKeyID {
		return nil, nil, ErrMalformed
	}
	kid := int(b[1])
	if len(b) < Size(kid, 0) {
		return nil, nil, ErrMalformed
	}
	return b[:2+kid], b[2+kid:], nil
}

// associated joins what an envelope belongs to, each part preceded by its length.
func (k Kind) associated(head []byte, tenant string) []byte {
	var aad []byte
	for _, part := range []string{string(k), string(head), tenant} {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(part)))
		aad = append(aad, part...)
	}
	return aad
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a sealing key has %d bytes", KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
