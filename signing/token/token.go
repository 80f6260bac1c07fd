// Package token is the format of the long-term token that a phone holds between
// verifying a code and asking for a certificate.
//
// Phones return it byte for byte and never look inside. It is sealed rather than
// signed: whoever holds it must not be able to read what kind of test it was, nor
// when (verification protocol §1.4). All tokens have the same length.
package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"carillon/signing/certificate"
)

// ErrMalformed means that a text is not a token, or not one of this tenant under
// this key.
var ErrMalformed = errors.New("token is malformed or not ours")

// IDSize is the length of a token's random ID in bytes.
const IDSize = 32

// Contents are what a token says. They print as a fixed word.
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

// Format hides the contents from every verb of package fmt.
func (Contents) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[token]") }

// A token is the URL-safe base64, without padding, of
//
//	version (1, = 1) | length of the key ID (1) | key ID | nonce (12) | AES-256-GCM of the contents
//
// whose contents are
//
//	ID (32) | report type (1) | symptom date (4) | test date (4) | expiry (8)
//
// with dates in days and the expiry in seconds since 1970, big-endian, and the
// lowest number for a date that is not there. Everything before the nonce and the
// tenant are associated data.
const (
	version     = 1
	nonceSize   = 12
	contentSize = IDSize + 1 + 4 + 4 + 8
	tagSize     = 16
	maxKeyID    = 100
	maxText     = 400
	noDate      = -1 << 31
	day         = 24 * time.Hour
)

var encoding = base64.RawURLEncoding.Strict()

var reportTypes = []certificate.ReportType{
	certificate.Confirmed, certificate.Likely, certificate.Negative, certificate.UserReport,
}

// Seal makes a token under a key of 32 bytes.
func Seal(kid string, key []byte, tenant string, c Contents) (string, error) {
	if kid == "" || len(kid) > maxKeyID {
		return "", errors.New("key ID has 1 to 100 bytes")
	}
	plain, err := c.append(make([]byte, 0, contentSize))
	if err != nil {
		return "", err
	}
	aead, err := newGCM(key)
	if err != nil {
		return "", err
	}
	head := append([]byte{version, byte(len(kid))}, kid...)
	aad := associated(head, tenant)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	blob := append(head, nonce...)
	return encoding.EncodeToString(aead.Seal(blob, nonce, plain, aad)), nil
}

// KeyID reads which key a token claims to be sealed with: [ErrMalformed] if it
// cannot be a token.
func KeyID(tok string) (string, error) {
	kid, _, _, err := split(tok)
	return kid, err
}

// Open reads a token: [ErrMalformed] unless it was sealed with this key for this
// tenant. Whether it has expired is for the caller to see.
func Open(key []byte, tenant, tok string) (Contents, error) {
	_, head, sealed, err := split(tok)
	if err != nil {
		return Contents{}, err
	}
	aead, err := newGCM(key)
	if err != nil {
		return Contents{}, err
	}
	plain, err := aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], associated(head, tenant))
	if err != nil {
		return Contents{}, ErrMalformed
	}
	return parse(plain)
}

func split(tok string) (kid string, head, sealed []byte, err error) {
	if len(tok) > maxText {
		return "", nil, nil, ErrMalformed
	}
	blob, err := encoding.DecodeString(tok)
	if err != nil || encoding.EncodedLen(len(blob)) != len(tok) || len(blob) < 2 || blob[0] != version {
		return "", nil, nil, ErrMalformed
	}
	headSize := 2 + int(blob[1])
	if blob[1] == 0 || len(blob) != headSize+nonceSize+contentSize+tagSize {
		return "", nil, nil, ErrMalformed
	}
	return string(blob[2:headSize]), blob[:headSize], blob[headSize:], nil
}

func associated(head []byte, tenant string) []byte {
	return append(append([]byte("carillon token"), head...), tenant...)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, errors.New("a token key has 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (c Contents) append(b []byte) ([]byte, error) {
	kind := -1
	for i, r := range reportTypes {
		if r == c.ReportType {
			kind = i
		}
	}
	if kind < 0 {
		return nil, certificate.ErrReportType
	}
	b = append(b, c.ID[:]...)
	b = append(b, byte(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(dayNumber(c.SymptomDate)))
	b = binary.BigEndian.AppendUint32(b, uint32(dayNumber(c.TestDate)))
	return binary.BigEndian.AppendUint64(b, uint64(c.Expires.Unix())), nil
}

func parse(b []byte) (Contents, error) {
	var c Contents
	copy(c.ID[:], b)
	b = b[IDSize:]
	if int(b[0]) >= len(reportTypes) {
		return Contents{}, ErrMalformed
	}
	c.ReportType = reportTypes[b[0]]
	c.SymptomDate = date(int32(binary.BigEndian.Uint32(b[1:])))
	c.TestDate = date(int32(binary.BigEndian.Uint32(b[5:])))
	c.Expires = time.Unix(int64(binary.BigEndian.Uint64(b[9:])), 0).UTC()
	return c, nil
}

func dayNumber(t time.Time) int32 {
	if t.IsZero() {
		return noDate
	}
	return int32(t.Unix() / int64(day/time.Second))
}

func date(n int32) time.Time {
	if n == noDate {
		return time.Time{}
	}
	return time.Unix(int64(n)*int64(day/time.Second), 0).UTC()
}
