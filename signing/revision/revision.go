// Package revision is the format of the revision token, with which a phone proves
// that keys it wants to change are keys it uploaded (key server protocol §3).
//
// Phones store it and send it back. It is sealed, and its length does not tell how
// many keys it lists: room is made in steps of [Step] entries, and an empty place is
// as long as a taken one.
package revision

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"carillon/signing/certificate"
	"carillon/signing/internal/envelope"
)

// ErrMalformed means that a text is not a revision token, or not one of this
// tenant under this key.
var ErrMalformed = errors.New("revision token is malformed or not ours")

// Step is how many entries a token has room for, or a multiple of it. One upload has no
// more (key server protocol §15), so tokens of single uploads are of one length.
const Step = 30

// MaxEntries is how many keys a token can list.
const MaxEntries = 10 * Step

// Entry is one key that the token's holder uploaded. It prints and logs as a fixed
// word.
type Entry struct {
	TEK           [16]byte
	RollingStart  int32
	RollingPeriod int32
}

const hidden = "[key]"

// Format hides the key from every verb of package fmt.
func (Entry) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the key from package slog.
func (Entry) LogValue() slog.Value { return slog.StringValue(hidden) }

// A token is the standard base64 of an envelope whose contents are the number of
// entries (2, big-endian), the entries, each
//
//	key (16) | start (4) | period (4)
//
// and zeros up to a multiple of Step entries.
const (
	kind      envelope.Kind = "carillon revision"
	countSize               = 2
	entrySize               = 16 + 4 + 4
)

// maxText leaves room for padding that a phone may have added.
var maxText = base64.StdEncoding.EncodedLen(envelope.Size(envelope.MaxKeyID, countSize+MaxEntries*entrySize)) + 4

// Seal makes a token under a key of 32 bytes, for 1 to [MaxEntries] entries; kid
// has 1 to 100 bytes.
func Seal(kid string, key []byte, tenant string, entries []Entry) (string, error) {
	if len(entries) == 0 || len(entries) > MaxEntries {
		return "", fmt.Errorf("a revision token lists 1 to %d keys, not %d", MaxEntries, len(entries))
	}
	b, err := kind.Seal(kid, key, tenant, marshal(entries))
	if err != nil {
		return "", fmt.Errorf("seal revision token: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// KeyID reads which key a token claims to be sealed with: [ErrMalformed] if it
// cannot be a token. Any variant of base64 is read.
func KeyID(tok string) (string, error) {
	b, err := decode(tok)
	if err != nil {
		return "", err
	}
	kid, err := envelope.KeyID(b)
	if err != nil {
		return "", ErrMalformed
	}
	return kid, nil
}

// Open reads a token: [ErrMalformed] unless it was sealed with this key for this
// tenant. The entries are in the order in which they were sealed.
func Open(key []byte, tenant, tok string) ([]Entry, error) {
	b, err := decode(tok)
	if err != nil {
		return nil, err
	}
	contents, err := kind.Open(key, tenant, b)
	if errors.Is(err, envelope.ErrMalformed) {
		return nil, ErrMalformed
	}
	if err != nil {
		return nil, fmt.Errorf("open revision token: %w", err)
	}
	return unmarshal(contents)
}

func decode(tok string) ([]byte, error) {
	if len(tok) > maxText {
		return nil, ErrMalformed
	}
	b, err := certificate.ParseBase64(tok)
	if err != nil {
		return nil, ErrMalformed
	}
	return b, nil
}

func marshal(entries []Entry) []byte {
	room := (len(entries) + Step - 1) / Step * Step
	b := make([]byte, countSize+room*entrySize)
	binary.BigEndian.PutUint16(b, uint16(len(entries)))
	for i, e := range entries {
		place := b[countSize+i*entrySize:]
		copy(place, e.TEK[:])
		binary.BigEndian.PutUint32(place[16:], uint32(e.RollingStart))
		binary.BigEndian.PutUint32(place[20:], uint32(e.RollingPeriod))
	}
	return b
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
