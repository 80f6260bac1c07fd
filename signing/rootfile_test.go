package signing_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carillon/signing"
)

func newRoot(t *testing.T) *signing.RootFile {
	t.Helper()
	root, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestRootFileIsCreatedOnceAndPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root")
	made, err := signing.CreateRootFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o600 || info.Size() != 32 {
		t.Errorf("file has mode %v and %d bytes", got, info.Size())
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.CreateRootFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over a root key: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the root key was replaced (%v)", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left behind: %v (%v)", left, err)
	}

	opened, err := signing.OpenRootFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := made.Wrap(t.Context(), []byte("data key"), []byte("whose"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := opened.Unwrap(t.Context(), wrapped, []byte("whose"))
	if err != nil || string(got) != "data key" {
		t.Errorf("unwrap: %q, %v", got, err)
	}
	if _, err := opened.Unwrap(t.Context(), wrapped, []byte("somebody else's")); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("unwrap for another: %v", err)
	}
	if _, err := newRoot(t).Unwrap(t.Context(), wrapped, []byte("whose")); !errors.Is(err, signing.ErrSealed) {
		t.Errorf("unwrap with another root: %v", err)
	}
}

func TestOpenRootFileRefuses(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		name string
		size int
		mode fs.FileMode
		want error
	}{
		{"readable by the group", 32, 0o640, signing.ErrRootExposed},
		{"readable by all", 32, 0o604, signing.ErrRootExposed},
		{"writable by the group", 32, 0o620, signing.ErrRootExposed},
		{"empty", 0, 0o600, signing.ErrRootMalformed},
		{"too short", 31, 0o600, signing.ErrRootMalformed},
		{"too long", 33, 0o600, signing.ErrRootMalformed},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "root")
			if err := os.WriteFile(path, make([]byte, v.size), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, v.mode); err != nil {
				t.Fatal(err)
			}
			_, err := signing.OpenRootFile(path)
			if !errors.Is(err, v.want) {
				t.Fatalf("got %v, want %v", err, v.want)
			}
			if errors.Is(err, signing.ErrRootExposed) && !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("%v does not say what to do", err)
			}
		})
	}
	if _, err := signing.OpenRootFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := signing.OpenRootFile(t.TempDir()); !errors.Is(err, signing.ErrRootMalformed) {
		t.Errorf("folder: %v", err)
	}
}

func TestRootFileHidesItself(t *testing.T) {
	t.Parallel()
	assertHidden(t, newRoot(t), "[root key]")
}

// assertHidden fails unless every way of printing or logging v gives want.
func assertHidden(t *testing.T, v any, want string) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, v); got != want {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := logged(v); !strings.Contains(got, `"v":"`+want+`"`) {
		t.Errorf("logs %s", got)
	}
}
