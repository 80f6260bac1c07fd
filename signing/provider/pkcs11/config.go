// Package pkcs11 keeps keys in a hardware module that is reached through a PKCS#11 library:
// P-256 keys that sign, and a root key that wraps data keys.
//
// It needs a C compiler and the build tag pkcs11; without it, [Open] says so. It is run
// against SoftHSM in the tests.
package pkcs11

import (
	"errors"
	"path/filepath"
)

// Name is what stored keys say of this provider.
const Name = "pkcs11"

// Config is how to reach the module.
type Config struct {
	// Module is the library's file, such as /usr/lib/softhsm/libsofthsm2.so.
	Module string `json:"module"`
	// Token is the token's label.
	Token string `json:"token"`
	// PINFile holds the user's PIN, and is readable by this user alone.
	PINFile string `json:"pinFile"`
}

func (c Config) check() error {
	switch {
	case !filepath.IsAbs(c.Module):
		return errors.New("PKCS#11: the library is named by its whole path")
	case c.Token == "" || len(c.Token) > 32:
		return errors.New("PKCS#11: a token has a label of 1 to 32 characters")
	case !filepath.IsAbs(c.PINFile):
		return errors.New("PKCS#11: the PIN's file is named by its whole path")
	}
	return nil
}
