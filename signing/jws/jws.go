// Package jws signs and reads JSON Web Tokens of exactly one kind: compact, ES256
// (RFC 7515, RFC 7518 §3.4), with a key ID.
//
// It is strict where libraries are kind: three segments in canonical base64url,
// a header of known shape with each member once, a signature of 64 bytes. What it
// does not expect, it refuses. Reading and verifying are two steps, because the
// reader must look at the issuer and the key ID before it knows which key to use.
package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode/utf8"
)

// MaxSize is the length of the longest token that [Parse] reads, in bytes.
const MaxSize = 8 << 10

// Why a token is refused.
var (
	ErrMalformed = errors.New("token is malformed")
	ErrAlgorithm = errors.New("token is not signed with ES256")
	ErrNoKeyID   = errors.New("token names no key ID")
	ErrSignature = errors.New("token's signature is not valid")
)

type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

const (
	es256     = "ES256"
	halfSize  = 32
	signature = 2 * halfSize
)

var base64URL = base64.RawURLEncoding.Strict()

// Sign returns a token with these claims, which are marshalled as JSON. The signer
// holds a P-256 key, and kid is not empty. What it returns, [Parse] reads.
func Sign(signer crypto.Signer, kid string, claims any) (string, error) {
	if kid == "" {
		return "", ErrNoKeyID
	}
	if public, ok := signer.Public().(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() {
		return "", ErrAlgorithm
	}
	head, err := json.Marshal(header{Algorithm: es256, KeyID: kid, Type: "JWT"})
	if err != nil {
		return "", fmt.Errorf("token header: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("token claims: %w", err)
	}
	signed := base64URL.EncodeToString(head) + "." + base64URL.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	der, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	raw, err := rawSignature(der)
	if err != nil {
		return "", err
	}
	token := signed + "." + base64URL.EncodeToString(raw)
	if len(token) > MaxSize {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxSize)
	}
	return token, nil
}

type ecdsaSignature struct{ R, S *big.Int }

// rawSignature turns the DER form, which every crypto.Signer returns, into R‖S.
func rawSignature(der []byte) ([]byte, error) {
	var sig ecdsaSignature
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("signer returned no ECDSA signature")
	}
	if sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 8*halfSize || sig.S.BitLen() > 8*halfSize {
		return nil, errors.New("signer returned no P-256 signature")
	}
	raw := make([]byte, signature)
	sig.R.FillBytes(raw[:halfSize])
	sig.S.FillBytes(raw[halfSize:])
	return raw, nil
}

// Unverified is a well-formed token whose signature has not been checked.
type Unverified struct {
	keyID     string
	payload   []byte
	digest    [sha256.Size]byte
	signature []byte
}

// KeyID is the kid of the header, never empty.
func (u *Unverified) KeyID() string { return u.keyID }

// Payload is the JSON of the claims.
func (u *Unverified) Payload() []byte { return u.payload }

// Parse reads a token: [ErrMalformed], [ErrAlgorithm] or [ErrNoKeyID] if it is not
// one that could be valid.
func Parse(token string) (*Unverified, error) {
	if len(token) > MaxSize {
		return nil, ErrMalformed
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, ErrMalformed
	}
	head, err1 := base64URL.DecodeString(parts[0])
	payload, err2 := base64URL.DecodeString(parts[1])
	sig, err3 := base64URL.DecodeString(parts[2])
	// The decoder skips line breaks, which have no place in a token.
	if errors.Join(err1, err2, err3) != nil || strings.ContainsAny(token, "\r\n") {
		return nil, ErrMalformed
	}
	kid, err := readHeader(head)
	if err != nil {
		return nil, err
	}
	if len(sig) != signature {
		return nil, ErrMalformed
	}
	return &Unverified{
		keyID: kid, payload: payload, signature: sig,
		digest: sha256.Sum256([]byte(parts[0] + "." + parts[1])),
	}, nil
}

func readHeader(text []byte) (kid string, err error) {
	members, err := Members(text)
	if err != nil {
		return "", err
	}
	for name := range members {
		if name != "alg" && name != "kid" && name != "typ" {
			return "", ErrMalformed // crit and the like ask for what we do not do
		}
	}
	if alg, ok := stringOf(members["alg"]); !ok || alg != es256 {
		return "", ErrAlgorithm
	}
	if raw, given := members["typ"]; given {
		if typ, ok := stringOf(raw); !ok || typ != "JWT" {
			return "", ErrMalformed
		}
	}
	kid, ok := stringOf(members["kid"])
	if !ok || kid == "" {
		return "", ErrNoKeyID
	}
	return kid, nil
}

// stringOf reads a JSON string; anything else, null and nothing included, is none.
func stringOf(raw json.RawMessage) (string, bool) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", false
	}
	return *s, true
}

// Members reads one JSON object and nothing after it: [ErrMalformed] if it is none,
// names a member twice or is not UTF-8. Names are told apart by case, unlike in
// package json.
func Members(text []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, ErrMalformed
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, ErrMalformed
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, ErrMalformed
		}
		key, ok := name.(string)
		if _, twice := members[key]; !ok || twice {
			return nil, ErrMalformed
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, ErrMalformed
		}
		members[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, ErrMalformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, ErrMalformed
	}
	return members, nil
}

// Verify checks the signature: [ErrSignature] if it is not by this key.
func (u *Unverified) Verify(public *ecdsa.PublicKey) error {
	if public == nil || public.Curve != elliptic.P256() {
		return ErrSignature
	}
	r := new(big.Int).SetBytes(u.signature[:halfSize])
	s := new(big.Int).SetBytes(u.signature[halfSize:])
	if !ecdsa.Verify(public, u.digest[:], r, s) {
		return ErrSignature
	}
	return nil
}

// JWK is a public P-256 key as the key sets list it (RFC 7517, RFC 7518 §6.2).
type JWK struct {
	KeyID string `json:"kid"`
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// NewJWK describes a P-256 public key.
func NewJWK(kid string, public *ecdsa.PublicKey) (JWK, error) {
	point, err := public.Bytes() // 4 ‖ X ‖ Y
	if err != nil || len(point) != 1+2*halfSize {
		return JWK{}, errors.New("not a P-256 public key")
	}
	return JWK{
		KeyID: kid, Type: "EC", Curve: "P-256",
		X: base64URL.EncodeToString(point[1 : 1+halfSize]),
		Y: base64URL.EncodeToString(point[1+halfSize:]),
	}, nil
}
