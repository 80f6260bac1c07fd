package exportfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"carillon/signing"
)

const (
	header  = "EK Export v1    "
	binName = "export.bin"
	sigName = "export.sig"

	// signatureAlgorithm is ECDSA with SHA-256.
	signatureAlgorithm = "1.2.840.10045.4.3.2"
	defaultPeriod      = 144
	// Split batches are told apart by their end, never by number (§5.5).
	batchNumber, batchSize = 1, 1
)

// Field numbers of the messages (§6.1).
const (
	fieldStart, fieldEnd, fieldRegion, fieldBatchNum, fieldBatchSize = 1, 2, 3, 4, 5
	fieldSignatureInfos, fieldKeys, fieldRevised                     = 6, 7, 8

	fieldData, fieldRisk, fieldRollingStart, fieldRollingPeriod = 1, 2, 3, 4
	fieldReportType, fieldDays                                  = 5, 6

	fieldVersion, fieldKeyID, fieldAlgorithm = 3, 4, 5

	fieldSignature                                           = 1
	fieldInfo, fieldSigBatchNum, fieldSigBatchSize, fieldDER = 1, 2, 3, 4
)

// Encode makes the file: [ErrInvalid] if the content is out of range. Signers are
// listed in the order given, most recently effective first (§6.1). A file without
// signers can be made; devices have no use for it.
func Encode(f File, signers []Signer) ([]byte, error) {
	var out bytes.Buffer
	w, err := NewWriter(&out, f.Frame(), signers)
	if err != nil {
		return nil, err
	}
	if err := w.bin.lists(f); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// EncodeBin makes export.bin. It leaves f as it is.
func EncodeBin(f File, signers []Signer) ([]byte, error) {
	var out bytes.Buffer
	b, err := newBinWriter(&out, f.Frame(), signers)
	if err != nil {
		return nil, err
	}
	if err := b.lists(f); err != nil {
		return nil, err
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// EncodeSig makes export.sig for an export.bin, which lists the same signers.
func EncodeSig(bin []byte, signers []Signer) ([]byte, error) {
	if err := validateSigners(signers); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(bin)
	return encodeSig(digest[:], signers)
}

func encodeSig(digest []byte, signers []Signer) ([]byte, error) {
	var b []byte
	for _, s := range signers {
		der, err := s.sign(digest)
		if err != nil {
			return nil, err
		}
		var entry []byte
		entry = appendBytes(entry, fieldInfo, s.info())
		entry = appendVarint(entry, fieldSigBatchNum, batchNumber)
		entry = appendVarint(entry, fieldSigBatchSize, batchSize)
		entry = appendBytes(entry, fieldDER, der)
		b = appendBytes(b, fieldSignature, entry)
	}
	return b, nil
}

func (k *Key) append(b []byte) []byte {
	b = appendBytes(b, fieldData, k.Data[:])
	b = appendVarint(b, fieldRisk, uint64(k.TransmissionRisk))
	if k.RollingStart != 0 {
		b = appendVarint(b, fieldRollingStart, uint64(k.RollingStart))
	}
	if k.RollingPeriod != defaultPeriod {
		b = appendVarint(b, fieldRollingPeriod, uint64(k.RollingPeriod))
	}
	if k.ReportType != Unknown {
		b = appendVarint(b, fieldReportType, uint64(k.ReportType))
	}
	if k.HasOnset {
		b = appendVarint(b, fieldDays, protowire.EncodeZigZag(int64(k.DaysSinceOnset)))
	}
	return b
}

func (s Signer) info() []byte {
	var b []byte
	if s.KeyVersion != "" {
		b = appendString(b, fieldVersion, s.KeyVersion)
	}
	if s.KeyID != "" {
		b = appendString(b, fieldKeyID, s.KeyID)
	}
	return appendString(b, fieldAlgorithm, signatureAlgorithm)
}

// sign is deterministic (RFC 6979) for keys in memory: then a file that is made
// again has the same bytes. Other signers may need randomness.
func (s Signer) sign(digest []byte) ([]byte, error) {
	random := rand.Reader
	switch s.Key.(type) {
	case *signing.PrivateKey, *ecdsa.PrivateKey:
		random = nil
	}
	der, err := s.Key.Sign(random, digest, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign export: %w", err)
	}
	return der, nil
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendString(b []byte, field protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
}
