package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// FileStore is a [Store] in a folder. It survives a power failure between any two
// system calls: an object that was put is on disk before PutIfAbsent returns.
type FileStore struct {
	dir string
}

const (
	dirMode  = 0o755
	fileMode = 0o644
)

// NewFileStore keeps objects below dir, which is made if it is not there.
func NewFileStore(dir string) (*FileStore, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("folder of files: %w", err)
	}
	return &FileStore{dir: dir}, nil
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
	temporary, err := write(path, body)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	err = os.Link(temporary, path)
	if errors.Is(err, fs.ErrExist) {
		return same(path, body)
	}
	if err != nil {
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
	temporary, err := write(path, body)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(path))
}

// write puts the body into a temporary file beside path, safely on disk. Its name
// begins with a dot, so no object has it.
func write(path string, body []byte) (temporary string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(fileMode), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
