package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
)

// minSecret is the shortest secret that cannot be guessed, in bytes; maxSecret the longest
// that anybody needs.
const (
	minSecret = 16
	maxSecret = 256
)

// NewP256 makes a P-256 key pair: the private half sealed, the public half as
// DER-encoded SPKI.
func NewP256(dk *DataKey, b Binding) (sealed, publicDER []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	defer clear(plain)
	if publicDER, err = x509.MarshalPKIXPublicKey(&private.PublicKey); err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	sealed, err = dk.Seal(b, plain)
	return sealed, publicDER, err
}

// PrivateKey is a P-256 key in memory. It prints and logs as a fixed word. Signing
// without randomness is deterministic (RFC 6979).
type PrivateKey struct {
	key *ecdsa.PrivateKey
}

// Public implements [crypto.Signer]; it returns an [*ecdsa.PublicKey].
func (k *PrivateKey) Public() crypto.PublicKey { return k.key.Public() }

// Sign implements [crypto.Signer] for digests of SHA-256. The signature is in ASN.1 form.
func (k *PrivateKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkDigest(digest, opts); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(k) // it is erased when nobody has it any more
	return k.key.Sign(random, digest, opts)
}

// checkDigest refuses what is no digest of SHA-256: every format here is signed with ES256.
func checkDigest(digest []byte, opts crypto.SignerOpts) error {
	if opts == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return errors.New("only digests of SHA-256 are signed")
	}
	return nil
}

// erase overwrites the key. What the standard library has made of it is out of reach.
func (k *PrivateKey) erase() { clear(k.key.D.Bits()) } //nolint:staticcheck // there is no other way to its memory

// Format hides the key from every verb of package fmt.
func (*PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[private key]") }

// LogValue hides the key from package slog.
func (*PrivateKey) LogValue() slog.Value { return slog.StringValue("[private key]") }

// OpenP256 opens a key that [NewP256] sealed with the same binding: [ErrSealed] if
// it does not open. The signer is a [*PrivateKey].
func OpenP256(dk *DataKey, b Binding, sealed []byte) (crypto.Signer, error) {
	plain, err := dk.Open(b, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errors.New("sealed private key has an unknown form") // the cause could quote the key
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("sealed private key is not a P-256 key")
	}
	k := &PrivateKey{key: private}
	runtime.SetFinalizer(k, (*PrivateKey).erase)
	return k, nil
}

// NewSecret makes n random bytes, 16 to 256, sealed.
func NewSecret(dk *DataKey, b Binding, n int) (sealed []byte, err error) {
	if n < minSecret || n > maxSecret {
		return nil, fmt.Errorf("a secret has %d to %d bytes", minSecret, maxSecret)
	}
	secret := make([]byte, n)
	defer clear(secret)
	rand.Read(secret)
	return dk.Seal(b, secret)
}

// OpenSecret opens what [NewSecret] sealed with the same binding: [ErrSealed] if it
// does not open. The bytes are overwritten when nobody has them any more.
func OpenSecret(dk *DataKey, b Binding, sealed []byte) ([]byte, error) {
	plain, err := dk.Open(b, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return erasable(plain, nil)
}

// ErrPublicKey means that a text or blob is not a P-256 public key.
var ErrPublicKey = errors.New("not a P-256 public key")

const publicBlock = "PUBLIC KEY"

// PublicPEM writes a public key, given as DER-encoded SPKI, as PEM.
func PublicPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}))
}

// PublicDER writes a public key as DER-encoded SPKI.
func PublicDER(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, ErrPublicKey
	}
	return der, nil
}

// ParsePublicPEM reads exactly one P-256 public key in PEM form: [ErrPublicKey] otherwise.
func ParsePublicPEM(text []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != publicBlock || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, ErrPublicKey
	}
	return ParsePublicDER(block.Bytes)
}

// ParsePublicDER reads a P-256 public key in DER-encoded SPKI: [ErrPublicKey] otherwise.
func ParsePublicDER(der []byte) (*ecdsa.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, ErrPublicKey
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, ErrPublicKey
	}
	return public, nil
}
