// Package exportfile is the format of export files, in which phones download the
// temporary exposure keys of people who tested positive.
//
// A file is a zip of export.bin, a 16-byte header and a protobuf message, and
// export.sig, ECDSA signatures over all of export.bin (key server protocol §6).
// Encoding is deterministic: the same keys and signers give the same bytes, so a
// file can be written twice without harm. Nothing here reads or writes anything
// but memory.
package exportfile

import (
	"bytes"
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// ReportType is the kind of diagnosis as export files number it (§6.1).
type ReportType int32

// The report types. Unknown is written as an absent field.
const (
	Unknown    ReportType = 0
	Confirmed  ReportType = 1
	Clinical   ReportType = 2
	SelfReport ReportType = 3
	Recursive  ReportType = 4
	Revoked    ReportType = 5
)

// Key is one temporary exposure key in a file.
type Key struct {
	Data [16]byte
	// TransmissionRisk is 0 to 8; it is always written.
	TransmissionRisk int32
	// RollingStart is the first 10-minute interval; RollingPeriod, 1 to 144, how
	// many the key covers.
	RollingStart  int32
	RollingPeriod int32
	ReportType    ReportType
	// DaysSinceOnset is -14 to 14, if HasOnset.
	DaysSinceOnset int32
	HasOnset       bool
}

// File is the content of one export file.
type File struct {
	// Start and End bound the batch, in whole seconds. Files of one batch differ
	// in End (§5.5).
	Start, End time.Time
	Region     string
	// Keys are new ones, Revised ones whose report type changed. Encoding sorts
	// both by their bytes, so that order tells nothing.
	Keys, Revised []Key
}

// Signer is a key that signs files.
type Signer struct {
	// KeyID and KeyVersion tell phones which of the region's public keys to use.
	KeyID, KeyVersion string
	// Key is a P-256 key.
	Key crypto.Signer
}

// Signature is one entry of export.sig.
type Signature struct {
	KeyID, KeyVersion string
	// DER is the ASN.1 form of the signature.
	DER []byte
}

// Limits of the platforms (§6.1, §7).
const (
	MaxKeys    = 750_000
	MaxSigners = 10
	MaxZip     = 20 << 20
	MaxBin     = 64 << 20
)

// Why a file is refused.
var (
	// ErrInvalid: the content cannot be put into a file.
	ErrInvalid = errors.New("export content is not valid")
	// ErrMalformed: the bytes are not an export file.
	ErrMalformed = errors.New("export file is malformed")
	// ErrSignature: no signature by that key is valid.
	ErrSignature = errors.New("export file has no valid signature by that key")
)

var (
	keyIDForm   = regexp.MustCompile(`^[A-Za-z0-9_.]{1,100}$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9_]{0,20}$`)
)

func (f File) validate(signers []Signer) error {
	if len(signers) > MaxSigners {
		return fmt.Errorf("%w: more than %d signers", ErrInvalid, MaxSigners)
	}
	for _, s := range signers {
		if !keyIDForm.MatchString(s.KeyID) || !versionForm.MatchString(s.KeyVersion) {
			return fmt.Errorf("%w: key ID %q, version %q", ErrInvalid, s.KeyID, s.KeyVersion)
		}
	}
	if len(f.Keys)+len(f.Revised) > MaxKeys {
		return fmt.Errorf("%w: more than %d keys", ErrInvalid, MaxKeys)
	}
	for _, list := range [][]Key{f.Keys, f.Revised} {
		for i := range list {
			if err := list[i].validate(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Key) validate() error {
	switch {
	case k.TransmissionRisk < 0 || k.TransmissionRisk > 8:
		return fmt.Errorf("%w: transmission risk %d", ErrInvalid, k.TransmissionRisk)
	case k.RollingPeriod < 1 || k.RollingPeriod > 144:
		return fmt.Errorf("%w: rolling period %d", ErrInvalid, k.RollingPeriod)
	case k.RollingStart < 0:
		return fmt.Errorf("%w: rolling start %d", ErrInvalid, k.RollingStart)
	case k.ReportType < Unknown || k.ReportType > Revoked:
		return fmt.Errorf("%w: report type %d", ErrInvalid, k.ReportType)
	case k.HasOnset && (k.DaysSinceOnset < -14 || k.DaysSinceOnset > 14):
		return fmt.Errorf("%w: %d days since onset", ErrInvalid, k.DaysSinceOnset)
	}
	return nil
}

func sorted(keys []Key) []Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(bytes.Compare(a.Data[:], b.Data[:]), cmp.Compare(a.RollingStart, b.RollingStart))
	})
	return keys
}
