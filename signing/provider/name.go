// Package provider has what the providers of keys outside of the database share. Each of
// them is a package below this one.
package provider

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"carillon/signing"
)

// A key's name outside is
//
//	carillon- | 32 hexadecimal digits of the binding's digest | - | 16 random ones
//
// so that whoever keeps keys sees what is Carillon's, and a name says which binding it
// belongs to and no other, but nothing about the health authority.
const (
	prefix    = "carillon-"
	bindBytes = 16
	ownBytes  = 8
	length    = len(prefix) + 2*bindBytes + 1 + 2*ownBytes
)

// NewName names a new key for b.
func NewName(b signing.Binding) string {
	own := make([]byte, ownBytes)
	rand.Read(own)
	return of(b) + hex.EncodeToString(own)
}

func of(b signing.Binding) string {
	digest := b.Digest()
	return prefix + hex.EncodeToString(digest[:bindBytes]) + "-"
}

// CheckName returns [signing.ErrReference] for what is not a name of a key for b.
func CheckName(b signing.Binding, name string) error {
	own, is := strings.CutPrefix(name, of(b))
	if !is || len(name) != length || strings.Trim(own, "0123456789abcdef") != "" {
		return fmt.Errorf("not a key of this binding: %w", signing.ErrReference)
	}
	return nil
}
