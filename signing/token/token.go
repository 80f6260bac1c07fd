// Package token is the format of the long-term token that a phone holds between
// verifying a code and asking for a certificate.
//
// Phones return it byte for byte and never look inside. It is sealed rather than
// signed: a signed token tells whoever holds it, or finds it in a backup, what kind
// of test it was and when (verification protocol §1.4, Caution). For the same
// reason all tokens under key IDs of one length have the same length.
package token

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"carillon/signing/certificate"
	"carillon/signing/internal/envelope"
)

// ErrMalformed means that a text is not a token, or not one of this tenant under
// this key.
var ErrMalformed = errors.New("token is malformed or not ours")

// IDSize is the length of a token's random ID in bytes.
const IDSize = 32

// Contents are what a token says. They print and log as a fixed word.
type Contents struct {
	// ID is random; the database knows the token by its digest.
	ID [IDSize]byte
	// ReportType is the kind of diagnosis.
	ReportType certificate.ReportType
	// SymptomDate and TestDate are days, at 00:00 UTC; the zero time means none.
	SymptomDate time.Time
	TestDate    time.Time
	// Expires ends the token, in whole seconds.
	Expires time.Time
}

const hidden = "[token]"

// Format hides the contents from every verb of package fmt.
func (Contents) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the contents from package slog.
func (Contents) LogValue() slog.Value { return slog.StringValue(hidden) }

// A token is the URL-safe base64, without padding, of an envelope whose contents are
//
//	ID (32) | report type (1) | symptom date (4) | test date (4) | expiry (8)
//
// with report types numbered from 1, dates in days and the expiry in seconds since
// 1970, big-endian, and the lowest number for a date that is not there.
const (
	kind        envelope.Kind = "carillon token"
	contentSize               = IDSize + 1 + 4 + 4 + 8
	noDate                    = math.MinInt32
	daySeconds                = 24 * 60 * 60
)

var encoding = base64.RawURLEncoding.Strict()

var maxText = encoding.EncodedLen(envelope.Size(envelope.MaxKeyID, contentSize))

// reportTypes are numbered by their place. The first place stays empty, so that a
// forgotten type is no type.
var reportTypes = []certificate.ReportType{
	"", certificate.Confirmed, certificate.Likely, certificate.Negative, certificate.UserReport,
}

// Seal makes a token under a key of 32 bytes; kid has 1 to 100 bytes. It refuses
// unknown report types ([certificate.ErrReportType]) and dates that are not days.
func Seal(kid string, key []byte, tenant string, c Contents) (string, error) {
	contents, err := c.marshal()
	if err != nil {
		return "", err
	}
	b, err := kind.Seal(kid, key, tenant, contents)
	if err != nil {
		return "", fmt.Errorf("seal token: %w", err)
	}
	return encoding.EncodeToString(b), nil
}

// KeyID reads which key a token claims to be sealed with: [ErrMalformed] if it
// cannot be a token.
func KeyID(tok string) (string, error) {
	b, err := decode(tok)
	if err != nil {
		return "", err
	}
	kid, err := envelope.KeyID(b)
	if err != nil || len(b) != envelope.Size(len(kid), contentSize) {
		return "", ErrMalformed
	}
	return kid, nil
}

// Open reads a token: [ErrMalformed] unless it was sealed with this key for this
// tenant. Whether it has expired is for the caller to see.
func Open(key []byte, tenant, tok string) (Contents, error) {
	b, err := decode(tok)
	if err != nil {
		return Contents{}, err
	}
	contents, err := kind.Open(key, tenant, b)
	if errors.Is(err, envelope.ErrMalformed) {
		return Contents{}, ErrMalformed
	}
	if err != nil {
		return Contents{}, fmt.Errorf("open token: %w", err)
	}
	return unmarshal(contents)
}

func decode(tok string) ([]byte, error) {
	if len(tok) > maxText {
		return nil, ErrMalformed
	}
	b, err := encoding.DecodeString(tok)
	if err != nil || encoding.EncodedLen(len(b)) != len(tok) { // the decoder skips line breaks
		return nil, ErrMalformed
	}
	return b, nil
}

func (c Contents) marshal() ([]byte, error) {
	number := slices.Index(reportTypes, c.ReportType)
	if number < 1 {
		return nil, certificate.ErrReportType
	}
	symptom, err := dayNumber(c.SymptomDate)
	if err != nil {
		return nil, err
	}
	test, err := dayNumber(c.TestDate)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, contentSize), c.ID[:]...)
	b = append(b, byte(number))
	b = binary.BigEndian.AppendUint32(b, uint32(symptom))
	b = binary.BigEndian.AppendUint32(b, uint32(test))
	return binary.BigEndian.AppendUint64(b, uint64(c.Expires.Unix())), nil
}

func unmarshal(b []byte) (Contents, error) {
	var c Contents
	if len(b) != contentSize {
		return Contents{}, ErrMalformed
	}
	copy(c.ID[:], b)
	b = b[IDSize:]
	if b[0] == 0 || int(b[0]) >= len(reportTypes) {
		return Contents{}, ErrMalformed
	}
	c.ReportType = reportTypes[b[0]]
	c.SymptomDate = date(int32(binary.BigEndian.Uint32(b[1:])))
	c.TestDate = date(int32(binary.BigEndian.Uint32(b[5:])))
	c.Expires = time.Unix(int64(binary.BigEndian.Uint64(b[9:])), 0).UTC()
	return c, nil
}

var errNotADay = errors.New("a date in a token is a day at 00:00 UTC")

func dayNumber(t time.Time) (int32, error) {
	if t.IsZero() {
		return noDate, nil
	}
	s := t.Unix()
	if s%daySeconds != 0 || t.Nanosecond() != 0 || s/daySeconds <= noDate || s/daySeconds > math.MaxInt32 {
		return 0, errNotADay
	}
	return int32(s / daySeconds), nil
}

func date(n int32) time.Time {
	if n == noDate {
		return time.Time{}
	}
	return time.Unix(int64(n)*daySeconds, 0).UTC()
}
