// Package textmessage signs text messages, so that a phone knows that one with a code
// comes from its health authority (verification protocol §7.3).
//
// A signed message is its text, followed by
//
//	" \nAuthentication:" MMDD ":" key ID ":" signature
//
// The signature is ECDSA over P-256 and SHA-256 in ASN.1 form, in unpadded base64, and
// covers the purpose, the recipient's number and the whole date, too. The message must
// reach the phone byte for byte.
package textmessage

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const marker = "Authentication:"

// dateForm is what a message has of the date; the year is only in what is signed.
const dateForm = "0102"

// ErrKeyID means that a key's name cannot be in a message.
var ErrKeyID = errors.New("key ID must be without colons and not empty")

// Contents are what a signature covers beside the text.
type Contents struct {
	// Purpose is "EN Report" or "User Report".
	Purpose string
	// Phone is the recipient's number in E.164 form.
	Phone string
	// Date is the day of signing, in UTC.
	Date time.Time
}

// digest is SHA-256 over what is signed. text ends with the marker.
func (c Contents) digest(text string) []byte {
	sum := sha256.Sum256([]byte(c.Purpose + "." + c.Phone + "." + c.Date.UTC().Format(time.DateOnly) + "." + text))
	return sum[:]
}

// Sign returns the signed message for a text. [ErrKeyID] if the key ID is none; other
// errors are the signer's.
func Sign(random io.Reader, signer crypto.Signer, keyID string, c Contents, text string) (string, error) {
	if keyID == "" || strings.Contains(keyID, ":") {
		return "", ErrKeyID
	}
	text += " \n" + marker
	signature, err := signer.Sign(random, c.digest(text), crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign text message: %w", err)
	}
	return text + c.Date.UTC().Format(dateForm) + ":" + keyID + ":" + base64.RawStdEncoding.EncodeToString(signature), nil
}

// Signed is a message taken apart. It says nothing of who signed it until
// [Signed.Verify] does.
type Signed struct {
	// Text is the message up to the marker, with it.
	Text string
	// Month and Day are those of signing.
	Month time.Month
	Day   int
	KeyID string

	signature []byte
}

// ErrUnsigned means that a message has no signature that could be read.
var ErrUnsigned = errors.New("text message is not signed")

// Parse takes a message apart: [ErrUnsigned] if it has no signature.
func Parse(message string) (Signed, error) {
	at := strings.LastIndex(message, marker)
	if at < 0 {
		return Signed{}, ErrUnsigned
	}
	text, rest := message[:at+len(marker)], message[at+len(marker):]
	last := strings.LastIndexByte(rest, ':')
	if last < 0 {
		return Signed{}, ErrUnsigned
	}
	day, keyID, ok := strings.Cut(rest[:last], ":")
	date, err := time.Parse(dateForm, day)
	if !ok || err != nil || keyID == "" || strings.Contains(keyID, ":") {
		return Signed{}, ErrUnsigned
	}
	signature, err := base64.RawStdEncoding.Strict().DecodeString(rest[last+1:])
	if err != nil || len(signature) == 0 {
		return Signed{}, ErrUnsigned
	}
	return Signed{Text: text, Month: date.Month(), Day: date.Day(), KeyID: keyID, signature: signature}, nil
}

// Verify reports whether the message was signed by the key's holder, for this purpose
// and recipient, on its month and day of c.Date's year.
func (s Signed) Verify(key *ecdsa.PublicKey, c Contents) bool {
	y := c.Date.UTC().Year()
	c.Date = time.Date(y, s.Month, s.Day, 0, 0, 0, 0, time.UTC)
	return ecdsa.VerifyASN1(key, c.digest(s.Text), s.signature)
}
