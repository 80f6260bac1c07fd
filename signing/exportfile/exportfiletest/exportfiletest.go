// Package exportfiletest reads export files with nothing of ours, so that tests can
// hold the files against a reader that shares no code with their writer.
//
// The messages are described in text (key server protocol §6.1) and decoded by the
// general protobuf library, which knows nothing of export files; signatures are taken
// apart and checked by the standard library. It reads and reports what is there and
// judges nothing but form: presence of fields is part of what it reports.
package exportfiletest

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schema is the format of export files as the platforms describe it.
const schema = `
name: "export.proto" syntax: "proto2"
message_type {
  name: "TemporaryExposureKeyExport"
  field { name: "start_timestamp" number: 1 label: LABEL_OPTIONAL type: TYPE_FIXED64 }
  field { name: "end_timestamp"   number: 2 label: LABEL_OPTIONAL type: TYPE_FIXED64 }
  field { name: "region"          number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "batch_num"       number: 4 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "batch_size"      number: 5 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "signature_infos" number: 6 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".SignatureInfo" }
  field { name: "keys"            number: 7 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".TemporaryExposureKey" }
  field { name: "revised_keys"    number: 8 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".TemporaryExposureKey" }
}
message_type {
  name: "SignatureInfo"
  field { name: "verification_key_version" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "verification_key_id"      number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "signature_algorithm"      number: 5 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "TemporaryExposureKey"
  field { name: "key_data"                      number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "transmission_risk_level"       number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "rolling_start_interval_number" number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "rolling_period"                number: 4 label: LABEL_OPTIONAL type: TYPE_INT32 default_value: "144" }
  field { name: "report_type"                   number: 5 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "days_since_onset_of_symptoms"  number: 6 label: LABEL_OPTIONAL type: TYPE_SINT32 }
  field { name: "variant_of_concern"            number: 8 label: LABEL_OPTIONAL type: TYPE_INT32 }
}
message_type {
  name: "TEKSignatureList"
  field { name: "signatures" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".TEKSignature" }
}
message_type {
  name: "TEKSignature"
  field { name: "signature_info" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".SignatureInfo" }
  field { name: "batch_num"      number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "batch_size"     number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "signature"      number: 4 label: LABEL_OPTIONAL type: TYPE_BYTES }
}`

// File is what an export file says.
type File struct {
	// Start and End are in seconds since 1970.
	Start, End          uint64
	Region              string
	BatchNum, BatchSize int32
	Infos               []Info
	Keys, Revised       []Key
	Signatures          []Signature
	// Bin is export.bin, which the signatures are over.
	Bin []byte
}

// Info names the key of a signature.
type Info struct{ KeyID, KeyVersion, Algorithm string }

// Key is one key. A nil number is a field that was not written.
type Key struct {
	Data                                          [16]byte
	Risk, RollingStart, RollingPeriod, Type, Days *int32
}

// Period is how many intervals the key covers, 144 if the file does not say.
func (k Key) Period() int32 {
	if k.RollingPeriod == nil {
		return 144
	}
	return *k.RollingPeriod
}

// Signature is one entry of export.sig.
type Signature struct {
	Info
	BatchNum, BatchSize int32
	DER                 []byte
}

const header = "EK Export v1    "

// Decode reads the bytes of a file. It fails if they are no zip of export.bin and
// export.sig, or those are not what a protobuf library would have written for the
// same content, every field once, in order and known.
func Decode(file []byte) (*File, error) {
	bin, sig, err := unzip(file)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(bin, []byte(header)) {
		return nil, errors.New("export.bin has another header")
	}
	export, err := message("TemporaryExposureKeyExport", bin[len(header):])
	if err != nil {
		return nil, fmt.Errorf("export.bin: %w", err)
	}
	list, err := message("TEKSignatureList", sig)
	if err != nil {
		return nil, fmt.Errorf("export.sig: %w", err)
	}
	f := &File{
		Start: export.get("start_timestamp").Uint(), End: export.get("end_timestamp").Uint(),
		Region: export.get("region").String(), BatchNum: export.number("batch_num"), BatchSize: export.number("batch_size"),
		Bin: bin,
	}
	export.each("signature_infos", func(m fields) { f.Infos = append(f.Infos, m.info()) })
	f.Keys, err = export.keys("keys")
	if err == nil {
		f.Revised, err = export.keys("revised_keys")
	}
	list.each("signatures", func(m fields) {
		f.Signatures = append(f.Signatures, Signature{
			Info:     fields{m.get("signature_info").Message()}.info(),
			BatchNum: m.number("batch_num"), BatchSize: m.number("batch_size"), DER: m.get("signature").Bytes(),
		})
	})
	return f, err
}

// Verify fails unless the signature that names this key and version was made with
// the key, over all of export.bin.
func (f *File) Verify(keyID, version string, public *ecdsa.PublicKey) error {
	for _, s := range f.Signatures {
		if s.KeyID != keyID || s.KeyVersion != version {
			continue
		}
		var point struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(s.DER, &point); err != nil || len(rest) > 0 {
			return fmt.Errorf("signature of %s %s is not DER: %w", keyID, version, err)
		}
		digest := sha256.Sum256(f.Bin)
		if !ecdsa.Verify(public, digest[:], point.R, point.S) {
			return fmt.Errorf("signature of %s %s is of another key or content", keyID, version)
		}
		return nil
	}
	return fmt.Errorf("no signature of %s %s", keyID, version)
}

func unzip(file []byte) (bin, sig []byte, err error) {
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, nil, fmt.Errorf("no zip: %w", err)
	}
	if len(z.File) != 2 || z.File[0].Name != "export.bin" || z.File[1].Name != "export.sig" {
		return nil, nil, errors.New("a zip of other entries than export.bin and export.sig")
	}
	if bin, err = content(z.File[0]); err == nil {
		sig, err = content(z.File[1])
	}
	return bin, sig, err
}

func content(of *zip.File) ([]byte, error) {
	r, err := of.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// fields reads a message by the names of its fields.
type fields struct{ protoreflect.Message }

// message decodes one, and holds it against what would be written for it.
func message(name protoreflect.Name, b []byte) (fields, error) {
	kinds, err := messages()
	if err != nil {
		return fields{}, err
	}
	m := dynamicpb.NewMessage(kinds.ByName(name))
	if err := proto.Unmarshal(b, m); err != nil {
		return fields{}, err
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fields{}, err
	}
	if !bytes.Equal(again, b) {
		return fields{}, errors.New("other bytes than the message would be written as")
	}
	return fields{m}, unknown(m)
}

func messages() (protoreflect.MessageDescriptors, error) {
	var description descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(schema), &description); err != nil {
		return nil, err
	}
	file, err := protodesc.NewFile(&description, nil)
	if err != nil {
		return nil, err
	}
	return file.Messages(), nil
}

// unknown fails for a field that the schema has not, at any depth.
func unknown(m protoreflect.Message) (err error) {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has an unknown field", m.Descriptor().Name())
	}
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.Message() == nil:
		case d.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = unknown(v.List().Get(i).Message())
			}
		default:
			err = unknown(v.Message())
		}
		return err == nil
	})
	return err
}

func (m fields) field(name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

func (m fields) get(name protoreflect.Name) protoreflect.Value { return m.Get(m.field(name)) }

func (m fields) number(name protoreflect.Name) int32 { return int32(m.get(name).Int()) }

// written is a number, or nil if the field is not there.
func (m fields) written(name protoreflect.Name) *int32 {
	if !m.Has(m.field(name)) {
		return nil
	}
	n := m.number(name)
	return &n
}

func (m fields) each(name protoreflect.Name, visit func(fields)) {
	list := m.get(name).List()
	for i := range list.Len() {
		visit(fields{list.Get(i).Message()})
	}
}

func (m fields) info() Info {
	return Info{
		KeyID: m.get("verification_key_id").String(), KeyVersion: m.get("verification_key_version").String(),
		Algorithm: m.get("signature_algorithm").String(),
	}
}

func (m fields) keys(name protoreflect.Name) (list []Key, err error) {
	m.each(name, func(m fields) {
		data := m.get("key_data").Bytes()
		if len(data) != len(Key{}.Data) {
			err = fmt.Errorf("a key of %d bytes among %s", len(data), name)
			return
		}
		list = append(list, Key{
			Data: [16]byte(data),
			Risk: m.written("transmission_risk_level"), RollingStart: m.written("rolling_start_interval_number"),
			RollingPeriod: m.written("rolling_period"), Type: m.written("report_type"), Days: m.written("days_since_onset_of_symptoms"),
		})
	})
	return list, err
}
