package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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

// OpenP256 opens a key that [NewP256] sealed with the same binding.
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
	return private, nil
}

// NewSecret makes n random bytes, sealed.
func NewSecret(dk *DataKey, b Binding, n int) (sealed []byte, err error) {
	secret := make([]byte, n)
	defer clear(secret)
	rand.Read(secret)
	return dk.Seal(b, secret)
}

// OpenSecret opens what [NewSecret] sealed with the same binding.
func OpenSecret(dk *DataKey, b Binding, sealed []byte) ([]byte, error) {
	return dk.Open(b, sealed)
}

// ErrPublicKey means that a text or blob is not a P-256 public key.
var ErrPublicKey = errors.New("not a P-256 public key")

const publicBlock = "PUBLIC KEY"

// PublicPEM writes a public key, given as DER-encoded SPKI, as PEM.
func PublicPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}))
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
