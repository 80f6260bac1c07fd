package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"carillon/migrations"
)

// Format is the version of what this package writes. It reads this one and no other.
const Format = 1

const (
	manifestName = "manifest.json"
	maxManifest  = 256 << 20 // some kilobytes of each tenant

	folderMode = 0o700
	fileMode   = 0o600
)

// Why a backup is refused.
var (
	ErrNoManifest = errors.New("there is no manifest: this is no backup, or one that was not finished")
	ErrNewer      = errors.New("the backup was written by a newer release: restore it with that one")
	ErrAltered    = errors.New("the backup is not what was written")
	ErrNotEmpty   = errors.New("the database is not empty: restore into a new one")
	ErrEncrypted  = errors.New("the backup is encrypted: an identity that opens it is needed")
)

// Manifest says what a backup has. It is written last: what has none was not finished.
type Manifest struct {
	Format int `json:"format"`
	// Schema is the version of the last migration.
	Schema int64 `json:"schema"`
	// RecoveryPoint is the instant of the database's own clock that the rows are of.
	RecoveryPoint time.Time `json:"recovery_point"`
	FinishedAt    time.Time `json:"finished_at"`
	// Tenant is whose the backup is, its slug; empty if it is of the whole deployment.
	Tenant    string            `json:"tenant,omitempty"`
	Encrypted bool              `json:"encrypted"`
	LeftOut   map[string]string `json:"left_out"`
	// Platform has the rows of no tenant; Tenants, one part of each, are sorted by ID.
	Platform Part   `json:"platform"`
	Tenants  []Part `json:"tenants"`
	// Files are the published ones that the rows name.
	Files Files `json:"files"`
}

// Part is a file of rows.
type Part struct {
	Name   string `json:"name"` // relative to the manifest, with slashes
	Size   int64  `json:"size"`
	SHA256 Sum    `json:"sha256"` // of the file as it is on disk
	// Tenant and Slug say whose the rows are; nobody's for the platform's.
	Tenant uuid.UUID `json:"tenant,omitzero"`
	Slug   string    `json:"slug,omitempty"`
	// HasKey: the key store had the tenant's data key when this was written.
	HasKey bool `json:"has_key,omitempty"`
	// Tables are in the order of the file.
	Tables []Content `json:"tables"`
}

// Content is what a part has of one table.
type Content struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	// SHA256 is of the rows, each with a line end: what the database, too, must give again.
	SHA256 Sum `json:"sha256"`
}

// Files counts export files.
type Files struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
	// Missing were listed by the database but not in the store, or had other content.
	Missing []string `json:"missing,omitempty"`
}

// Sum is a SHA-256; its text is hexadecimal.
type Sum [sha256.Size]byte

func sumOf(h hash.Hash) (s Sum) {
	h.Sum(s[:0])
	return s
}

// String gives the sum in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText gives the sum in hexadecimal.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a sum in hexadecimal.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) != 2*len(s) {
		return fmt.Errorf("a SHA-256 has %d hexadecimal digits", 2*len(s))
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// Rows counts all rows of the backup.
func (m *Manifest) Rows() (n int64) {
	for _, p := range m.parts() {
		for _, c := range p.Tables {
			n += c.Rows
		}
	}
	return n
}

func (m *Manifest) parts() []Part { return append([]Part{m.Platform}, m.Tenants...) }

func (m *Manifest) write(dir string) error {
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, manifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(append(body, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// ReadManifest reads the manifest of a backup's folder: [ErrNoManifest], [ErrNewer] or
// [ErrAltered] if it is not one that this release restores.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoManifest
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxManifest {
		return nil, fmt.Errorf("manifest: %w", ErrAltered)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", ErrAltered, err)
	}
	switch {
	case m.Format > Format || m.Schema > migrations.Newest():
		return nil, ErrNewer
	case m.Format != Format:
		return nil, fmt.Errorf("manifest: %w: format %d", ErrAltered, m.Format)
	}
	for _, p := range m.parts() {
		if !fs.ValidPath(p.Name) {
			return nil, fmt.Errorf("manifest: %w: a part is named %q", ErrAltered, p.Name)
		}
	}
	return &m, nil
}
