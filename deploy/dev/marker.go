//go:build !release

package dev

import (
	"os"
	"path/filepath"
)

// marker is a file that says that a department was seeded.
type marker string

func newMarker(data, slug string) marker { return marker(filepath.Join(data, "seeded-"+slug)) }

func (m marker) exists() bool {
	_, err := os.Stat(string(m))
	return err == nil
}

func (m marker) make() error { return os.WriteFile(string(m), nil, 0o600) }
