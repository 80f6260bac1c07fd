package signing

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
)

const keySize = 32

// A sealed blob is
//
//	version (1 byte, 1) | nonce (12 bytes) | AES-256-GCM ciphertext and tag
//
// with associated data that names what it belongs to: each part preceded by its
// length, so that no two bindings have the same bytes.
const (
	blobVersion = 1
	nonceSize   = 12
)

// newGCM returns AES-256-GCM under a 32-byte key.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealBlob(aead cipher.AEAD, plaintext, aad []byte) []byte {
	blob := make([]byte, 1+nonceSize, 1+nonceSize+len(plaintext)+aead.Overhead())
	blob[0] = blobVersion
	rand.Read(blob[1:])
	return aead.Seal(blob, blob[1:], plaintext, aad)
}

func openBlob(aead cipher.AEAD, blob, aad []byte) ([]byte, error) {
	if len(blob) < 1+nonceSize+aead.Overhead() || blob[0] != blobVersion {
		return nil, ErrSealed
	}
	plaintext, err := aead.Open(nil, blob[1:1+nonceSize], blob[1+nonceSize:], aad)
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

// associated joins texts unambiguously.
func associated(parts ...string) []byte {
	var aad []byte
	for _, p := range parts {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(p)))
		aad = append(aad, p...)
	}
	return aad
}

func (b Binding) aad() []byte {
	return associated("carillon sealed", b.Tenant, string(b.Purpose), b.KeyID)
}

// Digest is SHA-256 over all that the binding names: what providers outside know it by.
func (b Binding) Digest() [sha256.Size]byte { return sha256.Sum256(b.aad()) }

func dataKeyAAD(tenant string) []byte { return associated("carillon data key", tenant) }

// DataKey seals what belongs to one tenant. It prints and logs as a fixed word.
type DataKey struct {
	tenant string
	aead   cipher.AEAD
}

// NewDataKey makes a data key for a tenant, and the wrapped form to store.
func NewDataKey(ctx context.Context, root Root, tenant string) (*DataKey, []byte, error) {
	key := make([]byte, keySize)
	defer clear(key)
	rand.Read(key)
	wrapped, err := root.Wrap(ctx, key, dataKeyAAD(tenant))
	if err != nil {
		return nil, nil, fmt.Errorf("wrap data key: %w", err)
	}
	dk, err := newDataKey(key, tenant)
	return dk, wrapped, err
}

// OpenDataKey unwraps a tenant's data key: [ErrSealed] if it is another tenant's
// or was wrapped by another root.
func OpenDataKey(ctx context.Context, root Root, tenant string, wrapped []byte) (*DataKey, error) {
	key, err := root.Unwrap(ctx, wrapped, dataKeyAAD(tenant))
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	defer clear(key)
	return newDataKey(key, tenant)
}

func newDataKey(key []byte, tenant string) (*DataKey, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	return &DataKey{tenant: tenant, aead: aead}, nil
}

// Seal encrypts plaintext for what b names. It refuses a binding of another tenant.
func (dk *DataKey) Seal(b Binding, plaintext []byte) ([]byte, error) {
	if b.Tenant != dk.tenant {
		return nil, fmt.Errorf("seal for another tenant: %w", ErrSealed)
	}
	return sealBlob(dk.aead, plaintext, b.aad()), nil
}

// Open is the reverse of Seal: [ErrSealed] unless b is the binding it was sealed with.
func (dk *DataKey) Open(b Binding, sealed []byte) ([]byte, error) {
	if b.Tenant != dk.tenant {
		return nil, ErrSealed
	}
	return openBlob(dk.aead, sealed, b.aad())
}

// Format hides the key from every verb of package fmt.
func (*DataKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[data key]") }

// LogValue hides the key from package slog.
func (*DataKey) LogValue() slog.Value { return slog.StringValue("[data key]") }
