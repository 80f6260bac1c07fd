package exportfile

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Decode reads a file without checking signatures: [ErrMalformed] if it is not an
// export file of the form that phones accept. Unknown protobuf fields are skipped.
func Decode(file []byte) (File, []Signature, error) {
	bin, sig, err := unpack(file)
	if err != nil {
		return File{}, nil, err
	}
	f, err := decodeBin(bin)
	if err != nil {
		return File{}, nil, err
	}
	signatures, err := decodeSig(sig)
	return f, signatures, err
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
			return decodeBin(bin)
		}
	}
	return File{}, ErrSignature
}

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

func unpack(file []byte) (bin, sig []byte, err error) {
	if len(file) > MaxZip {
		return nil, nil, malformed("too large")
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(z.File) != 2 || z.File[0].Name != binName || z.File[1].Name != sigName {
		return nil, nil, malformed("not a zip of export.bin and export.sig")
	}
	if bin, err = entry(z.File[0], MaxBin); err != nil {
		return nil, nil, err
	}
	sig, err = entry(z.File[1], 1<<20)
	return bin, sig, err
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

// fields calls visit for each field of a message.
func fields(b []byte, visit func(n protowire.Number, t protowire.Type, value []byte, number uint64) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return malformed("protobuf tag")
		}
		b = b[size:]
		var value []byte
		var number uint64
		switch t {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			number, size = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 {
			return malformed("protobuf value")
		}
		b = b[size:]
		if err := visit(n, t, value, number); err != nil {
			return err
		}
	}
	return nil
}

func decodeBin(bin []byte) (File, error) {
	if !bytes.HasPrefix(bin, []byte(header)) {
		return File{}, malformed("header")
	}
	var f File
	err := fields(bin[len(header):], func(n protowire.Number, t protowire.Type, value []byte, number uint64) error {
		switch {
		case n == fieldStart && t == protowire.Fixed64Type:
			return setTime(&f.Start, number)
		case n == fieldEnd && t == protowire.Fixed64Type:
			return setTime(&f.End, number)
		case n == fieldRegion && t == protowire.BytesType:
			f.Region = string(value)
		case (n == fieldBatchNum || n == fieldBatchSize) && number != 1:
			return malformed("batch number or size is not 1")
		case n == fieldKeys && t == protowire.BytesType:
			return addKey(&f.Keys, value)
		case n == fieldRevised && t == protowire.BytesType:
			return addKey(&f.Revised, value)
		}
		return nil
	})
	if err != nil {
		return File{}, err
	}
	if len(f.Keys)+len(f.Revised) > MaxKeys {
		return File{}, malformed("too many keys")
	}
	return f, nil
}

func setTime(t *time.Time, seconds uint64) error {
	if seconds > math.MaxInt32*4 {
		return malformed("timestamp")
	}
	*t = time.Unix(int64(seconds), 0).UTC()
	return nil
}

func addKey(keys *[]Key, b []byte) error {
	k := Key{RollingPeriod: defaultPeriod}
	hasData := false
	err := fields(b, func(n protowire.Number, t protowire.Type, value []byte, number uint64) error {
		if n == fieldData && t == protowire.BytesType {
			if len(value) != len(k.Data) {
				return malformed("key length")
			}
			copy(k.Data[:], value)
			hasData = true
			return nil
		}
		if t != protowire.VarintType {
			return nil
		}
		switch n {
		case fieldRisk:
			k.TransmissionRisk = int32(number)
		case fieldRollingStart:
			k.RollingStart = int32(number)
		case fieldRollingPeriod:
			k.RollingPeriod = int32(number)
		case fieldReportType:
			k.ReportType = ReportType(int32(number))
		case fieldDays:
			k.DaysSinceOnset, k.HasOnset = int32(protowire.DecodeZigZag(number)), true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !hasData {
		return malformed("key without data")
	}
	if err := k.validate(); err != nil {
		return errors.Join(ErrMalformed, err)
	}
	*keys = append(*keys, k)
	return nil
}

func decodeSig(sig []byte) ([]Signature, error) {
	var list []Signature
	err := fields(sig, func(n protowire.Number, t protowire.Type, value []byte, _ uint64) error {
		if n != fieldSignature || t != protowire.BytesType {
			return nil
		}
		s, err := decodeSignature(value)
		list = append(list, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(list) > MaxSigners {
		return nil, malformed("too many signatures")
	}
	return list, nil
}

func decodeSignature(b []byte) (Signature, error) {
	var s Signature
	err := fields(b, func(n protowire.Number, t protowire.Type, value []byte, _ uint64) error {
		if t != protowire.BytesType {
			return nil
		}
		switch n {
		case fieldInfo:
			return fields(value, func(n protowire.Number, _ protowire.Type, value []byte, _ uint64) error {
				switch n {
				case fieldVersion:
					s.KeyVersion = string(value)
				case fieldKeyID:
					s.KeyID = string(value)
				}
				return nil
			})
		case fieldDER:
			s.DER = bytes.Clone(value)
		}
		return nil
	})
	return s, err
}
