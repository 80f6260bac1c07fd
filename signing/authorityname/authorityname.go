// Package authorityname signs the name of a health authority for Apple's change call
// (protocol/enx-config.md section 3.1). It is all that the call's signature covers: not
// the body, no time, no nonce. So whoever has one can change the region at Apple until
// the key is another, and a [Pair] is handled like a password: made on demand, never
// logged, sent to one host.
package authorityname

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"carillon/signing"
)

// The headers of the call.
const (
	HeaderName      = "X-Apple-verification-data"
	HeaderSignature = "X-Apple-signature"
)

const hidden = "[signed name of a health authority]"

// Pair is what the two headers carry. It prints and logs as a fixed word.
type Pair struct {
	// Name is the name in base64, Signature the signature over that text, also in base64.
	Name, Signature string
}

// Format hides the pair from every verb of package fmt.
func (Pair) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the pair from package slog.
func (Pair) LogValue() slog.Value { return slog.StringValue(hidden) }

// ErrName means that there is no name.
var ErrName = errors.New("the authority has no registered name")

// Sign signs a name: ECDSA over SHA-256, in ASN.1 form. What is signed is the base64 text
// that the header carries: the article speaks of the string in the header. Whether Apple
// reads it so is not known. Keys in memory sign deterministically. [ErrName] if the name
// is empty; other errors are the signer's.
func Sign(name string, key crypto.Signer) (Pair, error) {
	if name == "" {
		return Pair{}, ErrName
	}
	p := Pair{Name: base64.StdEncoding.EncodeToString([]byte(name))}
	digest := sha256.Sum256([]byte(p.Name))
	random := rand.Reader
	switch key.(type) {
	case *signing.PrivateKey, *ecdsa.PrivateKey:
		random = nil // RFC 6979
	}
	der, err := key.Sign(random, digest[:], crypto.SHA256)
	if err != nil {
		return Pair{}, fmt.Errorf("sign authority's name: %w", err)
	}
	p.Signature = base64.StdEncoding.EncodeToString(der)
	return p, nil
}

// Verify reports whether a pair is a name signed by the key.
func Verify(p Pair, key *ecdsa.PublicKey) (name string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(p.Name)
	if err != nil {
		return "", false
	}
	der, err := base64.StdEncoding.DecodeString(p.Signature)
	if err != nil {
		return "", false
	}
	digest := sha256.Sum256([]byte(p.Name))
	return string(text), ecdsa.VerifyASN1(key, digest[:], der)
}
