// Package revision is the format of the revision token, with which a phone proves
// that keys it wants to change are keys it uploaded (key server protocol §3).
//
// Phones store it and send it back. It is sealed, and its length does not tell how
// many keys it lists: room is made in steps of [Step] entries.
package revision

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"carillon/signing/certificate"
)

// ErrMalformed means that a text is not a revision token, or not one of this
// tenant under this key.
var ErrMalformed = errors.New("revision token is malformed or not ours")

// Step is how many entries a token has room for, or a multiple of it.
const Step = 28

// MaxEntries is how many keys a token can list.
const MaxEntries = 10 * Step

// Entry is one key that the token's holder uploaded. It prints as a fixed word.
type Entry struct {
	TEK           [16]byte
	RollingStart  int32
	RollingPeriod int32
}

// Format hides the key from every verb of package fmt.
func (Entry) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// A token is the standard base64 of
//
//	version (1, = 1) | length of the key ID (1) | key ID | nonce (12) | AES-256-GCM of the contents
//
// whose contents are the number of entries (2, big-endian), the entries, each
//
//	key (16) | start (4) | period (4)
//
// and zeros up to a multiple of Step entries. Everything before the nonce and the
// tenant are associated data.
const (
	version   = 1
	nonceSize = 12
	tagSize   = 16
	countSize = 2
	entrySize = 16 + 4 + 4
	maxKeyID  = 100
	maxText   = 16 << 10
)

// Seal makes a token under a key of 32 bytes, for 1 to [MaxEntries] entries.
func Seal(kid string, key []byte, tenant string, entries []Entry) (string, error) {
	if kid == "" || len(kid) > maxKeyID {
		return "", errors.New("key ID has 1 to 100 bytes")
	}
	if len(entries) == 0 || len(entries) > MaxEntries {
		return "", fmt.Errorf("a revision token lists 1 to %d keys", MaxEntries)
	}
	aead, err := newGCM(key)
	if err != nil {
		return "", err
	}
	head := append([]byte{version, byte(len(kid))}, kid...)
	aad := associated(head, tenant)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	blob := append(head, nonce...)
	return base64.StdEncoding.EncodeToString(aead.Seal(blob, nonce, marshal(entries), aad)), nil
}

// KeyID reads which key a token claims to be sealed with: [ErrMalformed] if it
// cannot be a token. Any variant of base64 is read.
func KeyID(tok string) (string, error) {
	kid, _, _, err := split(tok)
	return kid, err
}

// Open reads a token: [ErrMalformed] unless it was sealed with this key for this
// tenant.
func Open(key []byte, tenant, tok string) ([]Entry, error) {
	_, head, sealed, err := split(tok)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], associated(head, tenant))
	if err != nil {
		return nil, ErrMalformed
	}
	return unmarshal(plain)
}

func split(tok string) (kid string, head, sealed []byte, err error) {
	if len(tok) > maxText {
		return "", nil, nil, ErrMalformed
	}
	blob, err := certificate.ParseBase64(tok)
	if err != nil || len(blob) < 2 || blob[0] != version || blob[1] == 0 {
		return "", nil, nil, ErrMalformed
	}
	headSize := 2 + int(blob[1])
	if len(blob) < headSize+nonceSize+tagSize {
		return "", nil, nil, ErrMalformed
	}
	return string(blob[2:headSize]), blob[:headSize], blob[headSize:], nil
}

func associated(head []byte, tenant string) []byte {
	return append(append([]byte("carillon revision"), head...), tenant...)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("a revision key has 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func marshal(entries []Entry) []byte {
	room := (len(entries) + Step - 1) / Step * Step
	b := binary.BigEndian.AppendUint16(make([]byte, 0, countSize+room*entrySize), uint16(len(entries)))
	for _, e := range entries {
		b = append(b, e.TEK[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(e.RollingStart))
		b = binary.BigEndian.AppendUint32(b, uint32(e.RollingPeriod))
	}
	return b[:cap(b)]
}

func unmarshal(b []byte) ([]Entry, error) {
	if len(b) < countSize {
		return nil, ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[countSize:]
	if n == 0 || n > MaxEntries || len(b) < n*entrySize {
		return nil, ErrMalformed
	}
	entries := make([]Entry, n)
	for i := range entries {
		copy(entries[i].TEK[:], b)
		entries[i].RollingStart = int32(binary.BigEndian.Uint32(b[16:]))
		entries[i].RollingPeriod = int32(binary.BigEndian.Uint32(b[20:]))
		b = b[entrySize:]
	}
	return entries, nil
}
