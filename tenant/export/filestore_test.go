package export_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/tenant/export"
	"carillon/tenant/export/storetest"
)

func TestFileStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, place string) export.Store {
		t.Helper()
		return fileStore(t, place)
	})
}

func fileStore(tb testing.TB, dir string) *export.FileStore {
	tb.Helper()
	s, err := export.NewFileStore(filepath.Join(dir, "files"))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Nothing but objects is left behind, and nobody but owner and group may read.
func TestFileStoreFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := fileStore(t, dir)
	if err := s.PutIfAbsent(t.Context(), "north/a.zip", []byte("a")); err != nil {
		t.Fatal(err)
	}
	_ = s.PutIfAbsent(t.Context(), "north/a.zip", []byte("b"))
	if err := s.Replace(t.Context(), "north/index.txt", []byte("a.zip")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "files/north"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Name(), ".") || info.Mode().Perm() != 0o640 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	info, err := os.Stat(filepath.Join(dir, "files/north"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
}

// Leftovers of a process that died are invisible, and removed when they are old.
func TestFileStoreLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "files/north")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(folder, ".new-1"), filepath.Join(folder, ".new-2")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	s := fileStore(t, dir)
	if err := s.PutIfAbsent(t.Context(), "north/a", []byte("a")); err != nil {
		t.Fatal(err)
	}
	names, err := s.List(t.Context(), "")
	if err != nil || len(names) != 1 {
		t.Errorf("listed %q, %v", names, err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old leftover: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young one may be in use: %v", err)
	}
}
