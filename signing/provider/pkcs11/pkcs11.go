//go:build pkcs11

package pkcs11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"time"

	p11 "github.com/miekg/pkcs11"

	"carillon/signing"
	"carillon/signing/provider"
)

const callTimeout = 10 * time.Second

// Module is an open hardware module: one token of it, on which the user has logged in.
// Close it last.
type Module struct {
	module module
	pool   *pool
	label  string
}

// Open opens the token. The library is loaded into this process: it is trusted with it.
func Open(c Config) (*Module, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	pin, err := readPIN(c.PINFile)
	if err != nil {
		return nil, err
	}
	m := p11.New(c.Module)
	if m == nil {
		return nil, errors.New("PKCS#11: the library cannot be loaded")
	}
	if err := m.Initialize(); err != nil && !errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil, fmt.Errorf("PKCS#11: initialise: %w", err)
	}
	slot, err := find(m, c.Token)
	if err != nil {
		return nil, err
	}
	return open(m, slot, c.Token, pin)
}

func readPIN(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("PKCS#11: PIN: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", errors.New("PKCS#11: the PIN's file may be read by others: run chmod 600 on it")
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// find looks for the token with the label: exactly one.
func find(m *p11.Ctx, label string) (uint, error) {
	slots, err := m.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("PKCS#11: list slots: %w", err)
	}
	var found []uint
	for _, slot := range slots {
		if info, err := m.GetTokenInfo(slot); err == nil && strings.TrimRight(info.Label, " \x00") == label {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("PKCS#11: %d tokens have the label that is configured, not one", len(found))
	}
	return found[0], nil
}

func open(m module, slot uint, label, pin string) (*Module, error) {
	pool := newPool(m, slot)
	// The login holds for all sessions while one is open.
	first, err := m.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return nil, fmt.Errorf("PKCS#11: open session: %w", err)
	}
	if err := m.Login(first, p11.CKU_USER, pin); err != nil && !errors.Is(err, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil, fmt.Errorf("PKCS#11: log in: %w", err)
	}
	pool.free <- first
	return &Module{module: m, pool: pool, label: label}, nil
}

// Provider keeps keys that sign.
type Provider struct{ *Module }

var _ signing.KeyProvider = Provider{}

// Provider returns the token as a provider.
func (m *Module) Provider() signing.KeyProvider { return Provider{m} }

// Name implements [signing.KeyProvider].
func (Provider) Name() string { return Name }

// Format hides what there is from every verb of package fmt.
func (Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[pkcs11]") }

var p256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7} // RFC 5480, §2.1.1.1

// Generate implements [signing.KeyProvider]. The reference is the keys' CKA_ID, and their
// label; the private half is sensitive and never leaves the token.
func (p Provider) Generate(ctx context.Context, b signing.Binding) (ref, publicDER []byte, err error) {
	curve, err := asn1.Marshal(p256)
	if err != nil {
		return nil, nil, fmt.Errorf("curve: %w", err)
	}
	ref = []byte(provider.NewName(b))
	named := []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, ref), p11.NewAttribute(p11.CKA_LABEL, ref), p11.NewAttribute(p11.CKA_TOKEN, true)}
	public := append([]*p11.Attribute{p11.NewAttribute(p11.CKA_EC_PARAMS, curve), p11.NewAttribute(p11.CKA_VERIFY, true)}, named...)
	private := append([]*p11.Attribute{
		p11.NewAttribute(p11.CKA_SIGN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
	}, named...)
	err = p.run(ctx, func(s p11.SessionHandle) error {
		mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)}
		handle, _, err := p.module.GenerateKeyPair(s, mechanism, public, private)
		if err != nil {
			return err
		}
		publicDER, err = p.public(s, handle)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return ref, publicDER, nil
}

// public reads a public key as DER-encoded SPKI.
func (p Provider) public(s p11.SessionHandle, handle p11.ObjectHandle) ([]byte, error) {
	got, err := p.module.GetAttributeValue(s, handle, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_EC_PARAMS, nil), p11.NewAttribute(p11.CKA_EC_POINT, nil),
	})
	if err != nil {
		return nil, err
	}
	if len(got) != 2 {
		return nil, fmt.Errorf("public key: %w", signing.ErrUntrusted)
	}
	var curve asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(got[0].Value, &curve); err != nil || len(rest) > 0 || !curve.Equal(p256) {
		return nil, fmt.Errorf("a key of another curve: %w", signing.ErrReference)
	}
	var point []byte // DER OCTET STRING (PKCS#11 v2.40, §2.3.3)
	if rest, err := asn1.Unmarshal(got[1].Value, &point); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("public key: %w", signing.ErrUntrusted)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", signing.ErrUntrusted)
	}
	return signing.PublicDER(key)
}

// object finds the one object of a class with the ID.
func (m *Module) object(s p11.SessionHandle, class uint, id []byte) (p11.ObjectHandle, error) {
	if err := m.module.FindObjectsInit(s, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_TOKEN, true),
	}); err != nil {
		return 0, err
	}
	found, _, err := m.module.FindObjects(s, 2)
	if err = errors.Join(err, m.module.FindObjectsFinal(s)); err != nil {
		return 0, err
	}
	switch len(found) {
	case 0:
		return 0, signing.ErrReference
	case 1:
		return found[0], nil
	default:
		return 0, fmt.Errorf("several objects have one ID: %w", signing.ErrUntrusted)
	}
}

// Signer implements [signing.KeyProvider].
func (p Provider) Signer(ctx context.Context, b signing.Binding, ref []byte) (crypto.Signer, error) {
	if err := provider.CheckName(b, string(ref)); err != nil {
		return nil, err
	}
	var der []byte
	err := p.run(ctx, func(s p11.SessionHandle) error {
		if _, err := p.object(s, p11.CKO_PRIVATE_KEY, ref); err != nil {
			return err
		}
		handle, err := p.object(s, p11.CKO_PUBLIC_KEY, ref)
		if err == nil {
			der, err = p.public(s, handle)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	public, err := signing.ParsePublicDER(der)
	if err != nil {
		return nil, err
	}
	return signing.NewRemote(public, callTimeout, func(ctx context.Context, digest []byte) ([]byte, error) {
		return p.sign(ctx, ref, digest)
	}), nil
}

// sign looks the key up each time: handles end with the token's login, and a key that is
// destroyed must not sign.
func (p Provider) sign(ctx context.Context, ref, digest []byte) ([]byte, error) {
	var raw []byte
	err := p.run(ctx, func(s p11.SessionHandle) error {
		handle, err := p.object(s, p11.CKO_PRIVATE_KEY, ref)
		if err != nil {
			return err
		}
		if err := p.module.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDSA, nil)}, handle); err != nil {
			return err
		}
		raw, err = p.module.Sign(s, digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	const half = 32
	if len(raw) != 2*half {
		return nil, fmt.Errorf("signature: %w", signing.ErrUntrusted)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

// Destroy implements [signing.KeyProvider].
func (p Provider) Destroy(ctx context.Context, b signing.Binding, ref []byte) error {
	if err := provider.CheckName(b, string(ref)); err != nil {
		return err
	}
	return p.run(ctx, func(s p11.SessionHandle) error {
		for _, class := range []uint{p11.CKO_PRIVATE_KEY, p11.CKO_PUBLIC_KEY} {
			handle, err := p.object(s, class, ref)
			if errors.Is(err, signing.ErrReference) {
				continue
			}
			if err == nil {
				err = p.module.DestroyObject(s, handle)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
