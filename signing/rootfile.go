package signing

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// RootFile is a root key in a file that its owner alone may read. It prints and
// logs as a fixed word.
type RootFile struct {
	name string
	aead cipher.AEAD
}

// What can be wrong with a root key's file.
var (
	ErrRootExposed   = errors.New("the root key's file may be read by others: run chmod 600 on it, and consider the key known to whoever could read it")
	ErrRootMalformed = errors.New("the root key's file does not hold 32 bytes")
)

// CreateRootFile makes a root key. The file appears whole or not at all, with
// mode 0600, and never replaces another: that would make every tenant unreadable.
func CreateRootFile(path string) (*RootFile, error) {
	key := make([]byte, keySize)
	defer clear(key)
	rand.Read(key)
	f, err := os.CreateTemp(filepath.Dir(path), ".root-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil { // refuses an existing path
		return nil, err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return newRootFile(key)
}

// syncFolder makes a new name in a folder survive a power loss. A root key that
// vanished after tenants were created would take them with it.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenRootFile reads a root key: [fs.ErrNotExist] if there is no file,
// [ErrRootExposed] if others may read it, [ErrRootMalformed] if it is something else.
func OpenRootFile(path string) (*RootFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, ErrRootMalformed)
	}
	if info.Mode().Perm()&(fs.ModePerm&^0o700) != 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrRootExposed)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	defer clear(key)
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("%s: %w", path, ErrRootMalformed)
	}
	return newRootFile(key)
}

func newRootFile(key []byte) (*RootFile, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(append([]byte("carillon root key's name"), key...))
	return &RootFile{name: "file:" + hex.EncodeToString(digest[:8]), aead: aead}, nil
}

// Name implements [NamedRoot]: it is computed from the key, so that a file may be moved.
func (r *RootFile) Name() string { return r.name }

// Wrap implements [Root].
func (r *RootFile) Wrap(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	return sealBlob(r.aead, plaintext, aad), nil
}

// Unwrap implements [Root]. What [Roots] wrapped by this key opens too.
func (r *RootFile) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	wrapped = bytes.TrimPrefix(wrapped, named(r.name))
	return openBlob(r.aead, wrapped, aad)
}

// Format hides the key from every verb of package fmt.
func (*RootFile) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[root key]") }

// LogValue hides the key from package slog.
func (*RootFile) LogValue() slog.Value { return slog.StringValue("[root key]") }
