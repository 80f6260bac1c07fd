package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// A part is lines of JSON, compressed by zstd and, if asked for, encrypted by age. A
// table begins with an object that has nothing but its name, {"table": "exposure"}, and
// each row is an object of its columns.
type heading struct {
	Table string `json:"table"`
}

const (
	compressed = ".jsonl.zst"
	encrypted  = ".age"

	// zstdMemory bounds what a part may ask of whoever reads it, in bytes.
	zstdMemory = 64 << 20
)

// partWriter writes a part and counts what it wrote.
type partWriter struct {
	file    *os.File
	sum     hash.Hash
	size    int64
	sealing io.WriteCloser // nil if the part is not encrypted
	packing *zstd.Encoder
	lines   *bufio.Writer

	part Part
	rows hash.Hash // of the table that is being written
}

// newPart makes the file of a part, which must not be there.
func newPart(dir, name string, recipients []age.Recipient) (*partWriter, error) {
	name += compressed
	if len(recipients) > 0 {
		name += encrypted
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	w := &partWriter{file: file, sum: sha256.New(), part: Part{Name: name}}
	var to io.Writer = counting{w}
	if len(recipients) > 0 {
		if w.sealing, err = age.Encrypt(to, recipients...); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		to = w.sealing
	}
	if w.packing, err = zstd.NewWriter(to, zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	w.lines = bufio.NewWriterSize(w.packing, 64<<10)
	return w, nil
}

// counting is the end of a part's pipe: the file, with its size and sum.
type counting struct{ w *partWriter }

func (c counting) Write(b []byte) (int, error) {
	n, err := c.w.file.Write(b)
	c.w.sum.Write(b[:n])
	c.w.size += int64(n)
	return n, err
}

// table begins a table; its rows follow.
func (w *partWriter) table(name string) error {
	w.endTable()
	w.rows = sha256.New()
	w.part.Tables = append(w.part.Tables, Content{Table: name})
	line, err := json.Marshal(heading{name})
	if err != nil {
		return err
	}
	_, err = w.lines.Write(append(line, '\n'))
	return err
}

func (w *partWriter) endTable() {
	if w.rows != nil {
		w.part.Tables[len(w.part.Tables)-1].SHA256 = sumOf(w.rows)
	}
	w.rows = nil
}

func (w *partWriter) row(row []byte) error {
	w.part.Tables[len(w.part.Tables)-1].Rows++
	hashLine(w.rows, row)
	if _, err := w.lines.Write(row); err != nil {
		return err
	}
	return w.lines.WriteByte('\n')
}

func hashLine(h hash.Hash, row []byte) {
	h.Write(row)
	h.Write([]byte{'\n'})
}

// close finishes the part, safely on disk.
func (w *partWriter) close() (Part, error) {
	w.endTable()
	err := errors.Join(w.lines.Flush(), w.packing.Close())
	if w.sealing != nil {
		err = errors.Join(err, w.sealing.Close())
	}
	if err = errors.Join(err, w.file.Sync(), w.file.Close()); err != nil {
		return Part{}, err
	}
	w.part.Size, w.part.SHA256 = w.size, sumOf(w.sum)
	return w.part, nil
}

// abandon closes the file of a part that failed.
func (w *partWriter) abandon() { _ = w.file.Close() }

// check reads a part's file and compares it with what the manifest says of it.
func (p Part) check(dir string) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(p.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrAltered, p.Name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if size != p.Size || sumOf(sum) != p.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes with SHA-256 %s, not %d with %s", ErrAltered, p.Name, size, sumOf(sum), p.Size, p.SHA256)
	}
	return nil
}

// maxRow bounds a row, in bytes. The largest are parts of files, a megabyte in
// hexadecimal, and audit entries.
const maxRow = 32 << 20

// reader visits a part. begin is called for each table, and row for each of its rows,
// whose bytes are gone afterwards.
type reader struct {
	begin func(table string) error
	row   func(row []byte) error
}

// read visits a part's rows: [ErrAltered] if they are not those of the manifest,
// [ErrEncrypted] if no identity opens them.
func (p Part) read(dir string, sealed bool, identities []age.Identity, r reader) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(p.Name)))
	if err != nil {
		return err
	}
	defer f.Close()
	var from io.Reader = f
	if sealed {
		if len(identities) == 0 {
			return ErrEncrypted
		}
		if from, err = age.Decrypt(f, identities...); err != nil {
			return fmt.Errorf("%w: %w", ErrEncrypted, err)
		}
	}
	unpacked, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemory))
	if err != nil {
		return err
	}
	defer unpacked.Close()
	if err := p.lines(unpacked, r); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// lines visits the lines of a part, and compares them with the manifest table by table.
func (p Part) lines(from io.Reader, r reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), maxRow)
	for _, want := range p.Tables {
		var h heading
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Table != want.Table {
			return errors.Join(fmt.Errorf("%w: %s does not begin where it should", ErrAltered, want.Table), lines.Err())
		}
		if err := r.begin(want.Table); err != nil {
			return err
		}
		sum := sha256.New()
		for range want.Rows {
			if !lines.Scan() {
				return errors.Join(fmt.Errorf("%w: rows of %s are missing", ErrAltered, want.Table), lines.Err())
			}
			hashLine(sum, lines.Bytes())
			if err := r.row(bytes.Clone(lines.Bytes())); err != nil {
				return err
			}
		}
		if sumOf(sum) != want.SHA256 {
			return fmt.Errorf("%w: the rows of %s have another sum", ErrAltered, want.Table)
		}
	}
	if lines.Scan() || lines.Err() != nil {
		return errors.Join(fmt.Errorf("%w: there is more than the manifest says", ErrAltered), lines.Err())
	}
	return nil
}
