// Package exportfile is the format of export files, in which phones download the
// temporary exposure keys of people who tested positive.
//
// A file is a zip of export.bin, a 16-byte header and a protobuf message, and
// export.sig, ECDSA signatures over all of export.bin (key server protocol §6).
// Encoding is deterministic: the same keys and signers give the same bytes, so a
// file can be written twice without harm. [Encode] and [Decode] are for files whose
// keys are at hand; [Writer] and [Check] pass over any number of keys without holding
// them.
package exportfile

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"
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

// Key is one temporary exposure key in a file. It prints and logs as a fixed word:
// before a file is published its keys are nobody's business.
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

// Format hides the key from every verb of package fmt.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// LogValue hides the key from package slog.
func (Key) LogValue() slog.Value { return slog.StringValue("[key]") }

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

// Frame is what a file says of itself beside its keys.
type Frame struct {
	// Start, End and Region are as in [File].
	Start, End time.Time
	Region     string
}

// Frame is the file without its keys.
func (f File) Frame() Frame { return Frame{Start: f.Start, End: f.End, Region: f.Region} }

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

const (
	maxRegion  = 100
	lastSecond = 253402300799 // the end of the year 9999
)

// Limits of the platforms (§6.1, §7) and, for MaxBin and MaxZip in bytes, of what
// [Decode] reads.
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
	// Google's set, and the dot that Apple allows in IDs (§6.1).
	keyIDForm   = regexp.MustCompile(`^[A-Za-z0-9_.]{1,100}$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9_]{0,20}$`)
)

func validateSigners(signers []Signer) error {
	if len(signers) > MaxSigners {
		return fmt.Errorf("%w: more than %d signers", ErrInvalid, MaxSigners)
	}
	for _, s := range signers {
		if !keyIDForm.MatchString(s.KeyID) || !versionForm.MatchString(s.KeyVersion) {
			return fmt.Errorf("%w: key ID %q, version %q", ErrInvalid, s.KeyID, s.KeyVersion)
		}
		if s.Key == nil {
			return fmt.Errorf("%w: signer %q has no key", ErrInvalid, s.KeyID)
		}
		if public, ok := s.Key.Public().(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() {
			return fmt.Errorf("%w: signer %q is not a P-256 key", ErrInvalid, s.KeyID)
		}
	}
	return nil
}

func (f Frame) validate() error {
	if f.Start.Unix() < 0 || f.Start.Unix() >= f.End.Unix() || f.End.Unix() > lastSecond {
		return fmt.Errorf("%w: it does not end after its start", ErrInvalid)
	}
	if len(f.Region) > maxRegion || !utf8.ValidString(f.Region) {
		return fmt.Errorf("%w: region", ErrInvalid)
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
