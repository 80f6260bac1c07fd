package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// FileStore is a [Store] in a folder. It survives a power failure between any two
// system calls: an object that was put is on disk before PutIfAbsent returns. Several
// processes may use the folder at once.
type FileStore struct {
	dir string
	// swept says when this process last looked for leftovers in a folder, a time.Time by
	// the file system's clock.
	swept sync.Map

	// writeTo writes to a file; tests have it fail as a full disk does.
	writeTo func(f *os.File, b []byte) (int, error)
	// step is called after each system call that another process could see; tests
	// stop there.
	step func(name string) error
}

const (
	dirMode  = 0o750
	fileMode = 0o640

	temporaryPrefix = ".new-" // no object's name begins with a dot
	leftoverAge     = time.Hour
)

// NewFileStore keeps objects below dir, which is made if it is not there.
func NewFileStore(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("folder of files: %w", err)
	}
	return &FileStore{dir: dir, writeTo: (*os.File).Write, step: func(string) error { return nil }}, nil
}

func (s *FileStore) path(name string) (string, error) {
	if !ValidName(name) {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return filepath.Join(s.dir, filepath.FromSlash(name)), nil
}

// PutIfAbsent implements [Store]: a temporary file is linked to its name, which
// fails if the name exists.
func (s *FileStore) PutIfAbsent(_ context.Context, name string, body []byte) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	temporary, err := s.write(path, body)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	err = os.Link(temporary, path)
	if errors.Is(err, fs.ErrExist) {
		return same(path, body)
	}
	if err = errors.Join(err, s.step("linked")); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func same(path string, body []byte) error {
	there, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(there, body) {
		return ErrConflict
	}
	return syncDir(filepath.Dir(path)) // whoever linked it may have died before this
}

// Replace implements [Store].
func (s *FileStore) Replace(_ context.Context, name string, body []byte) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	temporary, err := s.write(path, body)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := s.step("renamed"); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write puts the body into a temporary file beside path, safely on disk.
func (s *FileStore) write(path string, body []byte) (temporary string, err error) {
	dir := filepath.Dir(path)
	if err := makeDirs(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, temporaryPrefix+"*")
	if err != nil {
		return "", err
	}
	_, err = s.writeTo(f, body)
	if err = errors.Join(err, f.Chmod(fileMode), f.Sync(), f.Close()); err == nil {
		err = s.step("written")
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	s.sweep(f.Name())
	return f.Name(), nil
}

// makeDirs makes a folder and those above it, each safely on disk.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what processes that died have left beside a file that was just
// written, for each folder once in leftoverAge. Ages are by the file system's own
// clock. It is a courtesy: leftovers harm nobody.
func (s *FileStore) sweep(fresh string) {
	dir := filepath.Dir(fresh)
	info, err := os.Stat(fresh)
	if err != nil {
		return
	}
	if last, swept := s.swept.Load(dir); swept && info.ModTime().Sub(last.(time.Time)) < leftoverAge {
		return
	}
	s.swept.Store(dir, info.ModTime())
	leftovers, _ := filepath.Glob(filepath.Join(dir, temporaryPrefix+"*")) // the pattern is well formed
	for _, path := range leftovers {
		old, err := os.Stat(path)
		if err == nil && info.ModTime().Sub(old.ModTime()) > leftoverAge {
			_ = os.Remove(path)
		}
	}
}

// Open implements [Store].
func (s *FileStore) Open(_ context.Context, name string) (Object, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(ErrNotFound, f.Close())
	}
	return fileObject{File: f, info: info}, nil
}

type fileObject struct {
	*os.File
	info fs.FileInfo
}

func (o fileObject) Size() int64         { return o.info.Size() }
func (o fileObject) Modified() time.Time { return o.info.ModTime() }

// Delete implements [Store].
func (s *FileStore) Delete(_ context.Context, name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// List implements [Store].
func (s *FileStore) List(_ context.Context, prefix string) ([]string, error) {
	if !ValidPrefix(prefix) {
		return nil, fmt.Errorf("%w: %q", ErrName, prefix)
	}
	var names []string
	root := filepath.Join(s.dir, filepath.FromSlash(prefix))
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // deleted while we walk, or never there
			return nil
		}
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), temporaryPrefix) {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	slices.Sort(names)
	return names, err
}
