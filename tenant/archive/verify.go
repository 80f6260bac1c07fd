package archive

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Archive is one whose every byte is what its manifest says.
type Archive struct {
	Manifest Manifest
	files    map[string]*zip.File
	entries  map[string]Entry
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrArchive, fmt.Sprintf(format, args...))
}

// Open reads the manifest and then all the archive, and verifies every file against it:
// [ErrArchive] if anything is missing, altered, unknown or too large. limit is how many bytes
// it may have when it is unpacked; zero means [MaxSize]. [ErrNewer] if its rows are of a
// newer schema than the given one.
func Open(r io.ReaderAt, size, limit, schema int64) (*Archive, error) {
	if limit == 0 {
		limit = MaxSize
	}
	packed, err := zip.NewReader(r, size)
	if err != nil {
		return nil, refuse("it is cut off, or no ZIP file: %v", err)
	}
	a := &Archive{files: map[string]*zip.File{}, entries: map[string]Entry{}}
	for _, f := range packed.File {
		if f.Name != manifestName && !entryForm.MatchString(f.Name) {
			return nil, refuse("there is a file in it called %.120q", f.Name)
		}
		if a.files[f.Name] != nil {
			return nil, refuse("%s is there twice", f.Name)
		}
		a.files[f.Name] = f
	}
	if err := a.readManifest(); err != nil {
		return nil, err
	}
	if a.Manifest.Schema > schema {
		return nil, ErrNewer
	}
	var sum int64
	for _, e := range a.Manifest.Entries {
		if e.Size < 0 || e.Size > limit || sum > limit-e.Size {
			return nil, refuse("unpacked it has more than %d bytes", limit)
		}
		sum += e.Size
	}
	for _, e := range a.Manifest.Entries {
		if err := a.read(e.Name, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *Archive) readManifest() error {
	f := a.files[manifestName]
	if f == nil {
		return refuse("there is no manifest in it")
	}
	r, err := f.Open()
	if err != nil {
		return refuse("manifest: %v", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err = errors.Join(err, r.Close()); err != nil || len(text) > maxManifest {
		return refuse("its manifest cannot be read")
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	m := &a.Manifest
	if err := strict.Decode(m); err != nil {
		return refuse("manifest: %v", err)
	}
	if m.Format != Format {
		if strings.HasPrefix(m.Format, "carillon archive ") {
			return ErrNewer
		}
		return refuse("its manifest is of another kind")
	}
	if len(m.Entries) > maxEntries {
		return refuse("it has more than %d files", maxEntries)
	}
	for _, e := range m.Entries {
		if _, twice := a.entries[e.Name]; twice || a.files[e.Name] == nil || e.Name == manifestName {
			return refuse("the manifest names %.120q, which is not there once", e.Name)
		}
		a.entries[e.Name] = e
	}
	if len(a.entries) != len(a.files)-1 {
		return refuse("there are files in it that the manifest does not name")
	}
	for _, t := range tables {
		if _, there := a.entries[tablePrefix+t.name+tableSuffix]; !there {
			return refuse("table %s is missing", t.name)
		}
	}
	if _, there := a.entries[sealedName]; there != m.Keys {
		return refuse("the sealed part is not as the manifest says")
	}
	return nil
}

// read has use read a file of the archive, and all of it: [ErrArchive] if it is not what the
// manifest says. use may have seen bytes that are not: it must be taken back then.
func (a *Archive) read(name string, use func(io.Reader) error) error {
	e, f := a.entries[name], a.files[name]
	packed, err := f.Open()
	if err != nil {
		return refuse("%s: %v", name, err)
	}
	v := &verifying{from: io.LimitReader(packed, e.Size+1), sum: sha256.New()}
	err = use(v)
	if err == nil {
		_, err = io.Copy(io.Discard, v)
	}
	_ = packed.Close() // it is read
	switch {
	case v.failed != nil:
		return refuse("%s: %v", name, v.failed)
	case err != nil:
		return err
	case v.size != e.Size || hex.EncodeToString(v.sum.Sum(nil)) != e.SHA256:
		return refuse("%s is not what the manifest says", name)
	}
	return nil
}

// verifying sums up what is read through it.
type verifying struct {
	from   io.Reader
	sum    hash.Hash
	size   int64
	failed error // why the archive could not be read
}

func (v *verifying) Read(b []byte) (int, error) {
	n, err := v.from.Read(b)
	v.sum.Write(b[:n])
	v.size += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		v.failed = err
	}
	return n, err
}
