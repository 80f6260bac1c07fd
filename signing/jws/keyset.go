package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Bounds of key sets.
const (
	// MaxKeySet is the size of the largest set that [ParseKeySet] reads, in bytes.
	MaxKeySet = 64 << 10
	// MaxSetKeys is how many keys a set may list, whatever they are for.
	MaxSetKeys = 20
)

// ErrKeySet means that a text is not a set of public keys. The error's text says why;
// it repeats nothing of the set.
var ErrKeySet = errors.New("not a usable set of public keys")

// PublicKey is a key of a set, under the name by which tokens refer to it.
type PublicKey struct {
	KeyID string
	Key   *ecdsa.PublicKey
}

// keyIDForm admits printable ASCII: a key ID is shown to people and written to logs.
var keyIDForm = regexp.MustCompile(`^[!-~]{1,200}$`)

// ValidKeyID reports whether a key of a set may have this name: 1 to 200 printable
// ASCII characters.
func ValidKeyID(kid string) bool { return keyIDForm.MatchString(kid) }

// ParseKeySet reads the P-256 keys of a JSON Web Key Set (RFC 7517 §5), or of a bare
// array of keys, as other verification servers publish them (key server protocol §2.7):
// [ErrKeySet] if it is none.
//
// Keys of another type, curve, use or algorithm are skipped, as RFC 7517 asks. A set is
// taken whole or not at all: it is refused if nothing is left, if a key cannot be read
// or has no key ID, if two have the same one, and if any tells a private part.
func ParseKeySet(text []byte) ([]PublicKey, error) {
	if len(text) > MaxKeySet {
		return nil, unusable("it is too large")
	}
	list, err := listed(text)
	if err != nil {
		return nil, err
	}
	if len(list) > MaxSetKeys {
		return nil, unusable(fmt.Sprintf("it lists more than %d keys", MaxSetKeys))
	}
	var keys []PublicKey
	for i, raw := range list {
		k, err := parseSetKey(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if k == nil {
			continue
		}
		if slices.ContainsFunc(keys, func(other PublicKey) bool { return other.KeyID == k.KeyID || other.Key.Equal(k.Key) }) {
			return nil, unusable("it lists a key or a key ID twice")
		}
		keys = append(keys, *k)
	}
	if len(keys) == 0 {
		return nil, unusable("it lists no P-256 key for signatures")
	}
	return keys, nil
}

func unusable(why string) error { return fmt.Errorf("%w: %s", ErrKeySet, why) }

// listed splits a set of either form.
func listed(text []byte) (list []json.RawMessage, err error) {
	text = bytes.TrimSpace(text)
	if bytes.HasPrefix(text, []byte("{")) {
		members, err := Members(text)
		if err != nil {
			return nil, unusable("it is not JSON")
		}
		text = members["keys"]
	}
	if !bytes.HasPrefix(text, []byte("[")) || json.Unmarshal(text, &list) != nil {
		return nil, unusable("it is no list of keys")
	}
	return list, nil
}

// privateParts are the members by which a key tells what nobody may know (RFC 7518
// §6.2.2, §6.3.2, §6.4.1).
var privateParts = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parseSetKey reads one key; nil if it is for something else.
func parseSetKey(raw json.RawMessage) (*PublicKey, error) {
	m, err := Members(raw)
	if err != nil {
		return nil, unusable("it is not a JSON object with each member once")
	}
	for _, name := range privateParts {
		if _, given := m[name]; given {
			return nil, unusable("it tells a private part: that key is anybody's")
		}
	}
	if !forSignatures(m) {
		return nil, nil
	}
	kid, _ := stringOf(m["kid"])
	if !ValidKeyID(kid) {
		return nil, unusable("it has no key ID of up to 200 printable characters")
	}
	point := []byte{4} // uncompressed
	for _, name := range []string{"x", "y"} {
		text, _ := stringOf(m[name])
		coordinate, err := base64URL.DecodeString(text)
		if err != nil || len(coordinate) != halfSize || len(text) != base64URL.EncodedLen(halfSize) {
			return nil, unusable("its coordinates are not of 32 bytes")
		}
		point = append(point, coordinate...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, unusable("it is not on its curve")
	}
	return &PublicKey{KeyID: kid, Key: key}, nil
}

// forSignatures tells whether a key could verify ES256. What a key does not say of
// itself does not speak against it.
func forSignatures(m map[string]json.RawMessage) bool {
	for name, want := range map[string]string{"kty": "EC", "crv": "P-256"} {
		if s, ok := stringOf(m[name]); !ok || s != want {
			return false
		}
	}
	for name, want := range map[string]string{"use": "sig", "alg": es256} {
		if raw, given := m[name]; given {
			if s, ok := stringOf(raw); !ok || s != want {
				return false
			}
		}
	}
	return true
}
