//go:build !pkcs11

package pkcs11

import (
	"errors"

	"carillon/signing"
)

// Module is an open hardware module; without the build tag pkcs11 there is none.
type Module struct{}

// Open refuses: this build cannot reach hardware modules.
func Open(c Config) (*Module, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return nil, errors.New("PKCS#11: this binary was built without it: build with CGO_ENABLED=1 and -tags pkcs11")
}

// Close does nothing.
func (*Module) Close() error { return nil }

// Provider returns nil.
func (*Module) Provider() signing.KeyProvider { return nil }

// Root refuses.
func (*Module) Root(string) (signing.NamedRoot, error) { return nil, errors.ErrUnsupported }
