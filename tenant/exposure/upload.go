package exposure

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"carillon/signing/certificate"
)

// UploadKey is a key as it was sent (key server protocol §1.2). It prints and logs
// as a fixed word.
type UploadKey struct {
	// Key is base64 of 16 bytes; its text, not its bytes, is in the HMAC.
	Key string
	// RollingStart and RollingPeriod are in 10-minute intervals; the period is 1 to 144.
	RollingStart, RollingPeriod int32
	// TransmissionRisk is 0 to 8; 0 asks for the report type's default.
	TransmissionRisk int32
}

// Upload is a publish request. It prints and logs as a fixed word.
type Upload struct {
	Keys                []UploadKey
	HealthAuthorityID   string
	VerificationPayload string
	// HMACKey is the phone's secret in base64.
	HMACKey string
	// SymptomOnsetInterval is the phone's idea of the onset; 0 means none.
	SymptomOnsetInterval int32
	Traveler             bool
	// RevisionToken is that of an earlier answer, or empty.
	RevisionToken string
}

// Receipt is the answer to an upload. It prints and logs as its counts alone.
type Receipt struct {
	// RevisionToken lets the phone revise its keys; empty if there are none.
	RevisionToken string
	// Inserted is how many keys are new, Revised how many changed.
	Inserted, Revised int
	// Failure is the text of a partial failure: some keys were dropped, the others
	// are stored. Empty if none was.
	Failure string
	// Warnings tell of keys dropped because they lie too far from the onset.
	Warnings []string
	// Facts are for statistics; nil if the upload does not count, having stored or
	// changed nothing.
	Facts *Facts
}

// Facts are what statistics keep of an upload (key server protocol §9).
type Facts struct {
	// Certified is when the certificate says that it was made.
	Certified time.Time
	// OldestDays is how many days before the upload the oldest key's day began,
	// OnsetDays how many days before it the onset was.
	OldestDays, OnsetDays int
	// MissingOnset: neither phone nor certificate gave an onset to believe.
	MissingOnset bool
}

const (
	hiddenKey    = "[key]"
	hiddenUpload = "[upload]"
)

// Format hides the key from every verb of package fmt.
func (UploadKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenKey) }

// LogValue hides the key from package slog.
func (UploadKey) LogValue() slog.Value { return slog.StringValue(hiddenKey) }

// Format hides the upload from every verb of package fmt.
func (Upload) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenUpload) }

// LogValue hides the upload from package slog.
func (Upload) LogValue() slog.Value { return slog.StringValue(hiddenUpload) }

func (r Receipt) counts() string {
	return fmt.Sprintf("[%d inserted, %d revised]", r.Inserted, r.Revised)
}

// Format hides the token from every verb of package fmt.
func (r Receipt) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.counts()) }

// LogValue hides the token from package slog.
func (r Receipt) LogValue() slog.Value { return slog.StringValue(r.counts()) }

// teks are the keys as the HMAC covers them: all, also those that will be dropped.
func (u Upload) teks() []certificate.TEK {
	teks := make([]certificate.TEK, len(u.Keys))
	for i, k := range u.Keys {
		teks[i] = certificate.TEK(k)
	}
	return teks
}
