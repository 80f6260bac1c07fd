package exportfile

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Decode reads a file without checking signatures: [ErrMalformed] if it is not an
// export file of the form that phones accept. The two lists of signers must agree.
// Unknown protobuf fields are skipped; a known one of another type is refused.
func Decode(file []byte) (File, []Signature, error) {
	bin, sig, err := unpack(file)
	if err != nil {
		return File{}, nil, err
	}
	signatures, err := decodeSig(sig)
	if err != nil {
		return File{}, nil, err
	}
	f, err := decodeBin(bin, signatures)
	if err != nil {
		return File{}, nil, err
	}
	return f, signatures, nil
}

// Verify reads a file whose signature with this key ID and version is valid:
// [ErrSignature] if there is none, [ErrMalformed] as [Decode].
func Verify(file []byte, keyID, version string, public *ecdsa.PublicKey) (File, error) {
	return verify(file, public, func(s Signature) bool { return s.KeyID == keyID && s.KeyVersion == version })
}

// VerifyAny is [Verify] for whatever key ID and version the file's signatures name.
func VerifyAny(file []byte, public *ecdsa.PublicKey) (File, error) {
	return verify(file, public, func(Signature) bool { return true })
}

func verify(file []byte, public *ecdsa.PublicKey, wanted func(Signature) bool) (File, error) {
	if public == nil || public.Curve != elliptic.P256() {
		return File{}, ErrSignature
	}
	bin, sig, err := unpack(file)
	if err != nil {
		return File{}, err
	}
	signatures, err := decodeSig(sig)
	if err != nil {
		return File{}, err
	}
	digest := sha256.Sum256(bin)
	for _, s := range signatures {
		if wanted(s) && ecdsa.VerifyASN1(public, digest[:], s.DER) {
			return decodeBin(bin, signatures)
		}
	}
	return File{}, ErrSignature
}

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

// maxSig bounds export.sig, in bytes: ten signatures are about 1.2 KB.
const maxSig = 64 << 10

func unpack(file []byte) (bin, sig []byte, err error) {
	z, err := openZip(file)
	if err != nil {
		return nil, nil, err
	}
	if bin, err = entry(z.File[0], MaxBin); err != nil {
		return nil, nil, err
	}
	sig, err = entry(z.File[1], maxSig)
	return bin, sig, err
}

func openZip(file []byte) (*zip.Reader, error) {
	if len(file) > MaxZip {
		return nil, malformed("too large")
	}
	if !endsAsTwo(file) {
		return nil, malformed("not a zip of two entries")
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(z.File) != 2 || z.File[0].Name != binName || z.File[1].Name != sigName {
		return nil, malformed("not a zip of export.bin and export.sig")
	}
	return z, nil
}

// The record at the end of a zip without a comment (PKWARE's APPNOTE, 4.3.16), and how
// large a directory of two entries may be, in bytes.
const (
	endLength    = 22
	endSignature = 0x06054b50
	maxDirectory = 4 << 10
)

// endsAsTwo reports whether a file ends as a zip of two entries does. Package zip reads
// all entries that it finds behind the directory's beginning before it tells how many
// there are: 16 MB hold 350,000, which take twenty times as much memory.
func endsAsTwo(file []byte) bool {
	at := len(file) - endLength
	if at < 0 {
		return false
	}
	end, number := file[at:], binary.LittleEndian
	size, offset := int64(number.Uint32(end[12:])), int64(number.Uint32(end[16:]))
	return number.Uint32(end) == endSignature && number.Uint16(end[10:]) == 2 && number.Uint16(end[20:]) == 0 &&
		size <= maxDirectory && offset+size == int64(at)
}

func entry(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, malformed("unreadable entry")
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, malformed("unreadable entry")
	}
	if int64(len(b)) > limit {
		return nil, malformed("entry too large")
	}
	return b, nil
}

// field is one field of a message: bytes if its type is that, a number otherwise.
type field struct {
	id     protowire.Number
	kind   protowire.Type
	bytes  []byte
	number uint64
}

// fields calls visit for each field of a message.
func fields(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		f, size, err := nextField(b)
		if err != nil {
			return err
		}
		b = b[size:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// nextField reads the field at the beginning of b.
func nextField(b []byte) (f field, size int, err error) {
	id, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return f, 0, malformed("protobuf tag")
	}
	f = field{id: id, kind: kind}
	switch b = b[tag:]; kind {
	case protowire.VarintType:
		f.number, size = protowire.ConsumeVarint(b)
	case protowire.Fixed64Type:
		f.number, size = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		f.bytes, size = protowire.ConsumeBytes(b)
	default:
		size = protowire.ConsumeFieldValue(id, kind, b)
	}
	if size < 0 {
		return f, 0, malformed("protobuf value")
	}
	return f, tag + size, nil
}

// isBytes refuses a field of another type.
func (f field) isBytes() error {
	if f.kind != protowire.BytesType {
		return malformed(fmt.Sprintf("type of field %d", f.id))
	}
	return nil
}

// small reads a number that is never negative into an int32.
func (f field) small(to *int32) error {
	if f.kind != protowire.VarintType || f.number > math.MaxInt32 {
		return malformed(fmt.Sprintf("number in field %d", f.id))
	}
	*to = int32(f.number)
	return nil
}

func (f field) seconds(to *time.Time) error {
	if f.kind != protowire.Fixed64Type || f.number > lastSecond {
		return malformed("timestamp")
	}
	*to = time.Unix(int64(f.number), 0).UTC()
	return nil
}

func (f field) text(to *string) error {
	*to = string(f.bytes)
	return f.isBytes()
}

func decodeBin(bin []byte, signatures []Signature) (File, error) {
	if !bytes.HasPrefix(bin, []byte(header)) {
		return File{}, malformed("header")
	}
	var d binDecoder
	var keys, revised []Key
	d.key = func(list protowire.Number, k Key) error {
		to := &keys
		if list == fieldRevised {
			to = &revised
		}
		*to = append(*to, k)
		return nil
	}
	if err := fields(bin[len(header):], d.field); err != nil {
		return File{}, err
	}
	f := File{Start: d.frame.Start, End: d.frame.End, Region: d.frame.Region, Keys: keys, Revised: revised}
	return f, d.end(signatures)
}

// binDecoder reads the message of export.bin field by field.
type binDecoder struct {
	// key is told each key and the list that it is in.
	key func(list protowire.Number, k Key) error

	frame        Frame
	number, size int32
	infos        []Signature
	count        int
}

func (d *binDecoder) field(f field) error {
	switch f.id {
	case fieldStart:
		return f.seconds(&d.frame.Start)
	case fieldEnd:
		return f.seconds(&d.frame.End)
	case fieldRegion:
		return f.text(&d.frame.Region)
	case fieldBatchNum:
		return f.small(&d.number)
	case fieldBatchSize:
		return f.small(&d.size)
	case fieldSignatureInfos:
		return addInfo(&d.infos, f)
	case fieldKeys, fieldRevised:
		return d.addKey(f)
	}
	return nil
}

func (d *binDecoder) addKey(f field) error {
	if err := f.isBytes(); err != nil {
		return err
	}
	if d.count++; d.count > MaxKeys {
		return malformed("too many keys")
	}
	k, err := decodeKey(f.bytes)
	if err != nil {
		return err
	}
	return d.key(f.id, k)
}

// end judges what was read as a whole.
func (d *binDecoder) end(signatures []Signature) error {
	if d.number != batchNumber || d.size != batchSize {
		return malformed("batch number or size is not 1")
	}
	if err := d.frame.validate(); err != nil {
		return malformed("times or region")
	}
	if !slices.EqualFunc(d.infos, signatures, sameKey) {
		return malformed("signers of export.bin and export.sig differ")
	}
	return nil
}

func sameKey(a, b Signature) bool { return a.KeyID == b.KeyID && a.KeyVersion == b.KeyVersion }

func decodeKey(b []byte) (Key, error) {
	k := Key{RollingPeriod: defaultPeriod}
	hasData := false
	for len(b) > 0 { // not by fields, because this is done for every key of every file
		d, size, err := nextField(b)
		if err != nil {
			return Key{}, err
		}
		b = b[size:]
		if d.id == fieldData {
			hasData = true
		}
		if err := k.set(d); err != nil {
			return Key{}, err
		}
	}
	if !hasData {
		return Key{}, malformed("key without data")
	}
	if err := k.validate(); err != nil {
		return Key{}, malformed(err.Error())
	}
	return k, nil
}

// set puts a field of the message into its place.
func (k *Key) set(d field) error {
	switch d.id {
	case fieldData:
		if d.kind != protowire.BytesType || copy(k.Data[:], d.bytes) != len(d.bytes) || len(d.bytes) != len(k.Data) {
			return malformed("key data")
		}
	case fieldRisk:
		return d.small(&k.TransmissionRisk)
	case fieldRollingStart:
		return d.small(&k.RollingStart)
	case fieldRollingPeriod:
		return d.small(&k.RollingPeriod)
	case fieldReportType:
		return d.small((*int32)(&k.ReportType))
	case fieldDays:
		var zigzag int32
		err := d.small(&zigzag)
		k.DaysSinceOnset, k.HasOnset = int32(protowire.DecodeZigZag(uint64(zigzag))), true
		return err
	}
	return nil
}

func decodeSig(sig []byte) ([]Signature, error) {
	var list []Signature
	err := fields(sig, func(d field) error {
		if d.id != fieldSignature {
			return nil
		}
		if err := d.isBytes(); err != nil {
			return err
		}
		if len(list) == MaxSigners {
			return malformed("too many signatures")
		}
		s, err := decodeSignature(d.bytes)
		list = append(list, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func decodeSignature(b []byte) (Signature, error) {
	var s Signature
	var infos []Signature
	var number, size int32
	err := fields(b, func(d field) error {
		switch d.id {
		case fieldInfo:
			return addInfo(&infos, d)
		case fieldSigBatchNum:
			return d.small(&number)
		case fieldSigBatchSize:
			return d.small(&size)
		case fieldDER:
			s.DER = bytes.Clone(d.bytes)
			return d.isBytes()
		}
		return nil
	})
	if err != nil {
		return Signature{}, err
	}
	if len(infos) != 1 || number != batchNumber || size != batchSize {
		return Signature{}, malformed("signature entry")
	}
	s.KeyID, s.KeyVersion = infos[0].KeyID, infos[0].KeyVersion
	return s, nil
}

// addInfo reads a SignatureInfo; the algorithm must be the one there is.
func addInfo(list *[]Signature, d field) error {
	if err := d.isBytes(); err != nil {
		return err
	}
	if len(*list) == MaxSigners {
		return malformed("too many signers")
	}
	var s Signature
	var algorithm string
	err := fields(d.bytes, func(d field) error {
		switch d.id {
		case fieldVersion:
			return d.text(&s.KeyVersion)
		case fieldKeyID:
			return d.text(&s.KeyID)
		case fieldAlgorithm:
			return d.text(&algorithm)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if algorithm != signatureAlgorithm {
		return malformed("signature algorithm")
	}
	*list = append(*list, s)
	return nil
}
