package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// BinDir is a folder that holds Postgres's server programs.
type BinDir string

// ErrNotFound means that no server programs were found.
var ErrNotFound = errors.New("no PostgreSQL server programs (postgres, initdb) found")

// Find looks for the server programs: in explicit, if that is given and then
// nowhere else; in PATH; where Debian keeps its versions, the newest first; where
// Homebrew does. [ErrNotFound] if there are none.
func Find(explicit string) (BinDir, error) {
	if explicit != "" {
		if !complete(explicit) {
			return "", fmt.Errorf("%s: %w", explicit, ErrNotFound)
		}
		return BinDir(explicit), nil
	}
	for _, dir := range candidates() {
		if complete(dir) {
			return BinDir(dir), nil
		}
	}
	return "", ErrNotFound
}

func candidates() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	dirs = append(dirs, newestFirst("/usr/lib/postgresql/*/bin")...)
	if runtime.GOOS == "darwin" {
		dirs = append(dirs, newestFirst("/opt/homebrew/opt/postgresql@*/bin")...)
		dirs = append(dirs, newestFirst("/usr/local/opt/postgresql@*/bin")...)
	}
	return dirs
}

// newestFirst expands a pattern whose star stands for, or ends in, a version.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // the pattern is well formed
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	return dirs
}

func version(binDir string) int {
	name := filepath.Base(filepath.Dir(binDir))
	digits := ""
	for _, c := range name {
		if c >= '0' && c <= '9' {
			digits += string(c)
		}
	}
	n, _ := strconv.Atoi(digits)
	return n
}

func complete(dir string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

func (b BinDir) program(name string) string { return filepath.Join(string(b), name) }
