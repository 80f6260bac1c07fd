package exportfile

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/flate"
	"google.golang.org/protobuf/encoding/protowire"
)

// Writer makes a file key by key, in one pass: what was added is encoded, hashed and
// deflated, and then forgotten. It holds a few megabytes, however many keys
// there are. It is for one goroutine.
type Writer struct {
	bin     *binWriter
	zip     *zip.Writer
	digest  hash.Hash // of export.bin
	signers []Signer
}

// NewWriter begins a file: [ErrInvalid] if the frame is out of range. Signers are listed
// in the order given, as [Encode] does.
func NewWriter(to io.Writer, f Frame, signers []Signer) (*Writer, error) {
	w := &Writer{zip: zip.NewWriter(to), digest: sha256.New(), signers: signers}
	w.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, Level)
	})
	entry, err := w.entry(binName)
	if err != nil {
		return nil, err
	}
	w.bin, err = newBinWriter(io.MultiWriter(w.digest, entry), f, signers)
	return w, err
}

// Level is how hard export.bin is deflated. Higher levels save 2 % and take up to three
// times as long: most of a key is random.
const Level = 2

// archiveTime is in every file, so that bytes do not depend on when.
var archiveTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *Writer) entry(name string) (io.Writer, error) {
	return w.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: archiveTime})
}

// Add adds a new key: [ErrInvalid] if it is out of range, does not follow the one before
// it in the order of their bytes, comes after a revised one, or is one too many.
func (w *Writer) Add(k Key) error { return w.bin.add(fieldKeys, &k) }

// AddRevised adds a revised key. All of them come after the new ones.
func (w *Writer) AddRevised(k Key) error { return w.bin.add(fieldRevised, &k) }

// Close signs what was written and ends the file. It does not close what is below.
func (w *Writer) Close() error {
	if err := w.bin.flush(); err != nil {
		return err
	}
	sig, err := encodeSig(w.digest.Sum(nil), w.signers)
	if err != nil {
		return err
	}
	entry, err := w.entry(sigName)
	if err != nil {
		return err
	}
	if _, err := entry.Write(sig); err != nil {
		return err
	}
	return w.zip.Close()
}

// binWriter writes export.bin in blocks.
type binWriter struct {
	to    io.Writer
	block []byte // what is not written yet
	list  protowire.Number
	last  Key // of the list
	count int
}

const (
	blockSize = 32 << 10
	maxEntry  = 64 // bytes of a key with its tag and length: 36 at most
)

func newBinWriter(to io.Writer, f Frame, signers []Signer) (*binWriter, error) {
	if err := validateSigners(signers); err != nil {
		return nil, err
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, blockSize), header...)
	b = protowire.AppendTag(b, fieldStart, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(f.Start.Unix()))
	b = protowire.AppendTag(b, fieldEnd, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(f.End.Unix()))
	b = appendString(b, fieldRegion, f.Region)
	b = appendVarint(b, fieldBatchNum, batchNumber)
	b = appendVarint(b, fieldBatchSize, batchSize)
	for _, s := range signers {
		b = appendBytes(b, fieldSignatureInfos, s.info())
	}
	return &binWriter{to: to, block: b, list: fieldKeys}, nil
}

// lists writes the keys of a file in the order of their bytes.
func (w *binWriter) lists(f File) error {
	for _, list := range []struct {
		field protowire.Number
		keys  []Key
	}{{fieldKeys, f.Keys}, {fieldRevised, f.Revised}} {
		for _, k := range sorted(list.keys) {
			if err := w.add(list.field, &k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *binWriter) add(list protowire.Number, k *Key) error {
	if err := k.validate(); err != nil {
		return err
	}
	if w.count == MaxKeys {
		return fmt.Errorf("%w: more than %d keys", ErrInvalid, MaxKeys)
	}
	if list < w.list || (list == w.list && bytes.Compare(k.Data[:], w.last.Data[:]) < 0) {
		return fmt.Errorf("%w: keys are not in order", ErrInvalid)
	}
	w.count, w.list, w.last = w.count+1, list, *k
	if len(w.block)+maxEntry > cap(w.block) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.block = appendEntry(w.block, list, k)
	return nil
}

func (w *binWriter) flush() error {
	_, err := w.to.Write(w.block)
	w.block = w.block[:0]
	return err
}

// appendEntry appends a key as an entry of its list. Its length takes one byte, being
// less than 128.
func appendEntry(b []byte, list protowire.Number, k *Key) []byte {
	b = protowire.AppendTag(b, list, protowire.BytesType)
	b = append(b, 0)
	start := len(b)
	b = k.append(b)
	b[start-1] = byte(len(b) - start)
	return b
}
