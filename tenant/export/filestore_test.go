package export_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// A disk that fails, is slow or full: nothing of an object that was not made stays.
func TestFileStoreFaults(t *testing.T) {
	t.Parallel()
	storetest.RunFaults(t, func(t *testing.T) (storetest.Faulty, export.Store) {
		t.Helper()
		dir := t.TempDir()
		s := fileStore(t, dir)
		f := storetest.Faulty{Store: s, Reached: make(chan struct{}), Release: make(chan struct{})}
		f.Set = func(fault storetest.Fault) {
			s.Step(func(name string) error {
				switch {
				case fault == storetest.Failed && name == "written":
					return os.ErrDeadlineExceeded
				case fault == storetest.SaidFailed && name != "written":
					return os.ErrDeadlineExceeded
				case fault == storetest.Slow && name == "written":
					f.Reached <- struct{}{}
					<-f.Release
				}
				return nil
			})
			s.Write((*os.File).Write)
			if fault == storetest.Full {
				s.Write(func(file *os.File, b []byte) (int, error) {
					n, err := file.Write(b[:len(b)/2])
					return n, errors.Join(err, syscall.ENOSPC)
				})
			}
		}
		t.Cleanup(func() {
			leftovers, err := filepath.Glob(filepath.Join(dir, "files/*/.new-*"))
			if err != nil || len(leftovers) > 0 {
				t.Errorf("left behind: %q, %v", leftovers, err)
			}
		})
		return f, fileStore(t, dir)
	})
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

// A process that lives long looks again: what dies beside it is removed, too.
func TestFileStoreLooksForLeftoversAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := fileStore(t, dir)
	put := func(name string, age time.Duration) {
		s.Step(func(step string) error {
			if step != "written" {
				return nil
			}
			at := time.Now().Add(-age)
			fresh, err := filepath.Glob(filepath.Join(dir, "files/north/.new-*"))
			for _, path := range fresh {
				err = errors.Join(err, os.Chtimes(path, at, at))
			}
			return err
		})
		if err := s.PutIfAbsent(t.Context(), name, []byte("a")); err != nil {
			t.Fatal(err)
		}
	}
	put("north/a", 3*time.Hour)
	leftover := filepath.Join(dir, "files/north/.new-left")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put("north/b", 150*time.Minute) // too soon to look again
	if _, err := os.Stat(leftover); err != nil {
		t.Fatal(err)
	}
	s.Step(func(string) error { return nil })
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(leftover, old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.PutIfAbsent(t.Context(), "north/c", []byte("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
}
