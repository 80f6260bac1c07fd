package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"carillon/signing"
	"carillon/signing/provider/awskms"
	"carillon/signing/provider/pkcs11"
	"carillon/signing/provider/vault"
)

// keyOptions are where a command finds the platform's root key, and where private keys are
// kept.
type keyOptions struct {
	RootKey string `required:"" env:"CARILLON_ROOT_KEY" help:"The platform's root key: a file that this user alone may read, or a key of --key-services: vault:NAME, aws-kms:ARN or pkcs11:ID." placeholder:"KEY"`
	outsideKeys
}

// outsideKeys are the services that keep keys, and what is kept there.
type outsideKeys struct {
	OldRootKey  []string `env:"CARILLON_OLD_ROOT_KEY" help:"Another root key, which opens what it wrapped but wraps nothing: while one takes the place of another. May be given several times, or with commas." placeholder:"KEY"`
	KeyServices string   `env:"CARILLON_KEY_SERVICES" type:"path" help:"JSON file that says how to reach Vault, AWS KMS or a PKCS#11 module." placeholder:"FILE"`
	KeyProvider string   `default:"sealed" enum:"sealed,vault,aws-kms,pkcs11" env:"CARILLON_KEY_PROVIDER" help:"Where new keys that sign certificates, exports and text messages are kept: sealed in the database, or in a service of --key-services. Those that are there stay where they are." placeholder:"PROVIDER"`
}

// keyServices is the file of --key-services.
type keyServices struct {
	Vault  *vault.Config  `json:"vault"`
	AWSKMS *awskms.Config `json:"awsKms"`
	PKCS11 *pkcs11.Config `json:"pkcs11"`
}

func readKeyServices(path string) (s keyServices, err error) {
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("key services: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("key services: %w", err)
	}
	if d.More() {
		return s, errors.New("key services: there is more than one JSON object in the file")
	}
	return s, nil
}

// openKeys is what keyOptions come to.
type openKeys struct {
	signing.Custody
	roots  *signing.Roots
	module *pkcs11.Module
}

// Close ends the sessions with a module.
func (k *openKeys) Close() {
	if k.module != nil {
		_ = k.module.Close() // the process ends
	}
}

// open reaches everything that is configured. create makes a root key's file that is not
// there.
func (o keyOptions) open(ctx context.Context, create bool) (*openKeys, error) {
	if err := forbidDumps(); err != nil {
		return nil, err
	}
	services, err := readKeyServices(o.KeyServices)
	if err != nil {
		return nil, err
	}
	k := &openKeys{}
	if services.PKCS11 != nil {
		if k.module, err = pkcs11.Open(*services.PKCS11); err != nil {
			return nil, err
		}
	}
	if k.roots, err = o.openRoots(ctx, services, k.module, create); err != nil {
		k.Close()
		return nil, fmt.Errorf("root key: %w", err)
	}
	k.Root = k.roots
	if k.Providers, err = o.providers(ctx, services, k.module); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

func (o keyOptions) openRoots(ctx context.Context, s keyServices, m *pkcs11.Module, create bool) (*signing.Roots, error) {
	current, err := openRoot(ctx, o.RootKey, s, m)
	if create && errors.Is(err, fs.ErrNotExist) && len(o.OldRootKey) == 0 {
		current, err = signing.CreateRootFile(kong.ExpandPath(o.RootKey))
	}
	if err != nil {
		return nil, err
	}
	var others []signing.NamedRoot
	for _, text := range o.OldRootKey {
		other, err := openRoot(ctx, text, s, m)
		if err != nil {
			return nil, err
		}
		others = append(others, other)
	}
	return signing.NewRoots(current, others...)
}

var errNoService = errors.New("it is not in the file of --key-services")

func openRoot(ctx context.Context, text string, s keyServices, m *pkcs11.Module) (signing.NamedRoot, error) {
	kind, which, _ := strings.Cut(text, ":")
	switch {
	case kind == vault.Name && s.Vault != nil:
		return vault.NewRoot(*s.Vault, which)
	case kind == awskms.Name && s.AWSKMS != nil:
		return awskms.NewRoot(ctx, *s.AWSKMS, which)
	case kind == pkcs11.Name && m != nil:
		return m.Root(which)
	case slices.Contains([]string{vault.Name, awskms.Name, pkcs11.Name}, kind):
		return nil, fmt.Errorf("%s: %w", kind, errNoService)
	default:
		return signing.OpenRootFile(kong.ExpandPath(text))
	}
}

func (o keyOptions) providers(ctx context.Context, s keyServices, m *pkcs11.Module) (*signing.Providers, error) {
	var outside []signing.KeyProvider
	if s.Vault != nil {
		p, err := vault.New(*s.Vault)
		if err != nil {
			return nil, err
		}
		outside = append(outside, p)
	}
	if s.AWSKMS != nil {
		p, err := awskms.New(ctx, *s.AWSKMS)
		if err != nil {
			return nil, err
		}
		outside = append(outside, p)
	}
	if m != nil {
		outside = append(outside, m.Provider())
	}
	return signing.NewProviders(o.KeyProvider, outside...)
}
