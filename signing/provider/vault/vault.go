// Package vault keeps keys in the transit engine of HashiCorp Vault, or of OpenBao, which
// speaks the same: P-256 keys that sign, and a root key that wraps data keys.
//
// Of the HTTP API it uses, below /v1/{mount}: POST and GET keys/{name}, POST keys/{name}/config,
// DELETE keys/{name}, POST sign/{name}, encrypt/{name} and decrypt/{name}, as documented at
// https://developer.hashicorp.com/vault/api-docs/secret/transit. It has been run against
// package vaulttest only, which stands in for a server.
package vault

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"carillon/signing"
	"carillon/signing/provider"
)

// Name is what stored keys say of this provider.
const Name = "vault"

// Config is how to reach Vault.
type Config struct {
	// Address is https://host:port.
	Address string `json:"address"`
	// Mount is where the transit engine is, such as "transit".
	Mount string `json:"mount"`
	// TokenFile holds the token. It is read for each request, so an agent may renew it.
	TokenFile string `json:"tokenFile"`
	// Namespace is for editions that have some; usually empty.
	Namespace string `json:"namespace"`
	// CAFile has the authorities that vouch for Vault's certificate; empty for the system's.
	CAFile string `json:"caFile"`
	// Insecure lets the address be http, for tests.
	Insecure bool `json:"-"`
}

// Provider keeps keys that sign.
type Provider struct{ client *client }

var _ signing.KeyProvider = (*Provider)(nil)

// New returns a provider. It does not ask Vault for anything yet.
func New(c Config) (*Provider, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	return &Provider{client}, nil
}

// Name implements [signing.KeyProvider].
func (*Provider) Name() string { return Name }

// keyType is what Vault calls P-256.
const keyType = "ecdsa-p256"

// Generate implements [signing.KeyProvider]. The reference is the key's name.
func (p *Provider) Generate(ctx context.Context, b signing.Binding) (ref, publicDER []byte, err error) {
	name := provider.NewName(b)
	want := map[string]any{"type": keyType, "exportable": false, "allow_plaintext_backup": false}
	if err := p.client.call(ctx, http.MethodPost, "keys/"+name, want, nil); err != nil {
		return nil, nil, keyError(err)
	}
	publicDER, err = p.public(ctx, name)
	return []byte(name), publicDER, err
}

// keyInfo is the part of GET keys/{name} that matters. Only version 1 is ever used:
// rotation is Carillon's own.
type keyInfo struct {
	Type string `json:"type"`
	Keys map[string]struct {
		PublicKey string `json:"public_key"`
	} `json:"keys"`
}

func (p *Provider) public(ctx context.Context, name string) ([]byte, error) {
	var info keyInfo
	if err := p.client.call(ctx, http.MethodGet, "keys/"+name, nil, &info); err != nil {
		return nil, keyError(err)
	}
	if info.Type != keyType {
		return nil, fmt.Errorf("a key of another type: %w", signing.ErrReference)
	}
	public, err := signing.ParsePublicPEM([]byte(info.Keys["1"].PublicKey))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", signing.ErrUntrusted)
	}
	return signing.PublicDER(public)
}

// Signer implements [signing.KeyProvider].
func (p *Provider) Signer(ctx context.Context, b signing.Binding, ref []byte) (crypto.Signer, error) {
	name := string(ref)
	if err := provider.CheckName(b, name); err != nil {
		return nil, err
	}
	der, err := p.public(ctx, name)
	if err != nil {
		return nil, err
	}
	public, err := signing.ParsePublicDER(der)
	if err != nil {
		return nil, err
	}
	return signing.NewRemote(public, callTimeout, func(ctx context.Context, digest []byte) ([]byte, error) {
		return p.sign(ctx, name, digest)
	}), nil
}

func (p *Provider) sign(ctx context.Context, name string, digest []byte) ([]byte, error) {
	var answer struct {
		Signature string `json:"signature"`
	}
	err := p.client.call(ctx, http.MethodPost, "sign/"+name, map[string]any{
		"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "hash_algorithm": "sha2-256",
		"marshaling_algorithm": "asn1", "key_version": 1,
	}, &answer)
	if err != nil {
		return nil, keyError(err)
	}
	text, is := strings.CutPrefix(answer.Signature, "vault:v1:")
	signature, err := base64.StdEncoding.DecodeString(text)
	if !is || err != nil {
		return nil, fmt.Errorf("signature: %w", signing.ErrUntrusted)
	}
	return signature, nil
}

// Destroy implements [signing.KeyProvider].
func (p *Provider) Destroy(ctx context.Context, b signing.Binding, ref []byte) error {
	name := string(ref)
	if err := provider.CheckName(b, name); err != nil {
		return err
	}
	err := p.client.call(ctx, http.MethodPost, "keys/"+name+"/config", map[string]any{"deletion_allowed": true}, nil)
	if err == nil {
		err = p.client.call(ctx, http.MethodDelete, "keys/"+name, nil, nil)
	}
	if errors.Is(err, errMissing) || errors.Is(err, errRefused) {
		return p.gone(ctx, name)
	}
	return err
}

// gone makes sure that what could not be destroyed is not there.
func (p *Provider) gone(ctx context.Context, name string) error {
	switch err := p.client.call(ctx, http.MethodGet, "keys/"+name, nil, nil); {
	case errors.Is(err, errMissing):
		return nil
	case err == nil:
		return fmt.Errorf("destruction is refused: %w", signing.ErrUnavailable)
	default:
		return keyError(err)
	}
}

// keyError says what a refusal means for a key.
func keyError(err error) error {
	if errors.Is(err, errMissing) || errors.Is(err, errRefused) {
		return signing.ErrReference
	}
	return err
}

// Format hides what there is from every verb of package fmt.
func (*Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[vault]") }

// Root is a key of Vault's that wraps data keys, of a type that authenticates what goes with
// it, such as aes256-gcm96.
type Root struct {
	client *client
	key    string
}

var _ signing.NamedRoot = (*Root)(nil)

// NewRoot returns the root key called key. It does not ask Vault for anything yet.
func NewRoot(c Config, key string) (*Root, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	if !namePattern.MatchString(key) {
		return nil, errors.New("vault: a key's name has letters, digits, hyphens and underscores")
	}
	return &Root{client, key}, nil
}

// Name implements [signing.NamedRoot].
func (r *Root) Name() string { return Name + ":" + r.client.config.Mount + "/" + r.key }

// Wrap implements [signing.Root].
func (r *Root) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	var answer struct {
		Ciphertext string `json:"ciphertext"`
	}
	err := r.client.call(ctx, http.MethodPost, "encrypt/"+r.key, map[string]string{
		"plaintext": base64.StdEncoding.EncodeToString(plaintext), "associated_data": base64.StdEncoding.EncodeToString(aad),
	}, &answer)
	if err != nil {
		return nil, keyError(err)
	}
	if !strings.HasPrefix(answer.Ciphertext, "vault:v") {
		return nil, fmt.Errorf("ciphertext: %w", signing.ErrUntrusted)
	}
	return []byte(answer.Ciphertext), nil
}

// Unwrap implements [signing.Root].
func (r *Root) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if !strings.HasPrefix(string(wrapped), "vault:v") {
		return nil, signing.ErrSealed
	}
	var answer struct {
		Plaintext []byte `json:"plaintext"` // base64, as JSON has it
	}
	err := r.client.call(ctx, http.MethodPost, "decrypt/"+r.key, map[string]string{
		"ciphertext": string(wrapped), "associated_data": base64.StdEncoding.EncodeToString(aad),
	}, &answer)
	if errors.Is(err, errRefused) {
		return nil, signing.ErrSealed
	}
	if err != nil {
		return nil, keyError(err)
	}
	if len(answer.Plaintext) == 0 {
		return nil, fmt.Errorf("plaintext: %w", signing.ErrUntrusted)
	}
	return answer.Plaintext, nil
}

// Format hides what there is from every verb of package fmt.
func (r *Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[root key]") }
