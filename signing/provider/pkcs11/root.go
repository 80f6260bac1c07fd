//go:build pkcs11

package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"

	p11 "github.com/miekg/pkcs11"

	"carillon/signing"
)

// Root is an AES-256 key of the token that wraps data keys by AES-GCM.
type Root struct {
	*Module
	id string
}

var _ signing.NamedRoot = Root{}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// What a root key has wrapped is
//
//	version (1 byte, 1) | nonce (12 bytes) | ciphertext and tag
const (
	wrapVersion = 1
	nonceSize   = 12
	tagBits     = 128
)

// Root returns the key whose CKA_ID is id. It must be there, made by whoever looks after
// the token.
func (m *Module) Root(id string) (signing.NamedRoot, error) {
	if !idPattern.MatchString(id) {
		return nil, errors.New("PKCS#11: a root key's ID has letters, digits, dots, hyphens and underscores")
	}
	return Root{m, id}, nil
}

// Name implements [signing.NamedRoot].
func (r Root) Name() string { return Name + ":" + r.id }

// Format hides what there is from every verb of package fmt.
func (Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[root key]") }

// Wrap implements [signing.Root].
func (r Root) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	wrapped := make([]byte, 1+nonceSize)
	wrapped[0] = wrapVersion
	rand.Read(wrapped[1:])
	var sealed []byte
	err := r.crypt(ctx, wrapped[1:], aad, r.module.EncryptInit, func(s p11.SessionHandle) (err error) {
		sealed, err = r.module.Encrypt(s, plaintext)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(sealed) != len(plaintext)+tagBits/8 {
		return nil, fmt.Errorf("ciphertext: %w", signing.ErrUntrusted)
	}
	return append(wrapped, sealed...), nil
}

// Unwrap implements [signing.Root].
func (r Root) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < 1+nonceSize+tagBits/8 || wrapped[0] != wrapVersion {
		return nil, signing.ErrSealed
	}
	nonce, sealed := wrapped[1:1+nonceSize], wrapped[1+nonceSize:]
	var plain []byte
	err := r.crypt(ctx, nonce, aad, r.module.DecryptInit, func(s p11.SessionHandle) (err error) {
		plain, err = r.module.Decrypt(s, sealed)
		// SoftHSM has no code of its own for what does not open.
		if errors.Is(err, p11.Error(p11.CKR_GENERAL_ERROR)) || errors.Is(err, p11.Error(p11.CKR_FUNCTION_FAILED)) {
			return fmt.Errorf("%w: the module refuses", signing.ErrSealed)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(plain) != len(sealed)-tagBits/8 {
		return nil, fmt.Errorf("plaintext: %w", signing.ErrUntrusted)
	}
	return plain, nil
}

type initialiser func(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error

func (r Root) crypt(ctx context.Context, nonce, aad []byte, begin initialiser, work func(p11.SessionHandle) error) error {
	return r.run(ctx, func(s p11.SessionHandle) error {
		key, err := r.object(s, p11.CKO_SECRET_KEY, []byte(r.id))
		if err != nil {
			return err
		}
		parameters := p11.NewGCMParams(nonce, aad, tagBits)
		defer parameters.Free()
		if err := begin(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, parameters)}, key); err != nil {
			return err
		}
		return work(s)
	})
}
