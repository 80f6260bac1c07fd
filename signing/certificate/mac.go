package certificate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// TEK is a temporary exposure key as a phone sends it. The text of the key, not
// its bytes, goes into the HMAC. It prints and logs as a fixed word.
type TEK struct {
	// Key is the base64 text exactly as sent.
	Key string
	// RollingStart is the key's first 10-minute interval, RollingPeriod how many
	// it covers; absent counts as 0.
	RollingStart  int32
	RollingPeriod int32
	// TransmissionRisk is 0 to 8; absent counts as 0.
	TransmissionRisk int32
}

// Format hides the key from every verb of package fmt.
func (TEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// LogValue hides the key from package slog.
func (TEK) LogValue() slog.Value { return slog.StringValue("[key]") }

// MACSize is the length of the HMAC in bytes.
const MACSize = sha256.Size

var (
	// ErrNoKeys means that there is nothing to make an HMAC of.
	ErrNoKeys = errors.New("no exposure keys")
	// ErrMACMismatch means that an HMAC is not that of these keys.
	ErrMACMismatch = errors.New("HMAC does not match the exposure keys")
	// ErrBase64 means that a text is not base64 of any variant.
	ErrBase64 = errors.New("not base64")
)

// MAC is the HMAC-SHA-256 over the four-field form of the keys, in whatever order
// they are given (verification protocol §3). The secret is the phone's and may
// have any length. [ErrNoKeys] if there are none.
func MAC(secret []byte, keys []TEK) ([]byte, error) {
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	return mac(secret, keys, true), nil
}

// VerifyMAC reports whether want is the HMAC of the keys: [ErrMACMismatch] if not.
// The three-field form counts only if every key's risk is zero. Both forms are
// always computed and compared in constant time.
func VerifyMAC(secret []byte, keys []TEK, want []byte) error {
	if len(keys) == 0 {
		return ErrNoKeys
	}
	riskless := !slices.ContainsFunc(keys, func(k TEK) bool { return k.TransmissionRisk != 0 })
	four := hmac.Equal(mac(secret, keys, true), want)
	three := hmac.Equal(mac(secret, keys, false), want)
	if four || (three && riskless) {
		return nil
	}
	return ErrMACMismatch
}

func mac(secret []byte, keys []TEK, withRisk bool) []byte {
	sorted := slices.Clone(keys)
	slices.SortStableFunc(sorted, func(a, b TEK) int { return strings.Compare(a.Key, b.Key) })
	var text []byte
	for i, k := range sorted {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, k.Key...)
		text = appendField(text, k.RollingStart)
		text = appendField(text, k.RollingPeriod)
		if withRisk {
			text = appendField(text, k.TransmissionRisk)
		}
	}
	h := hmac.New(sha256.New, secret)
	h.Write(text)
	return h.Sum(nil)
}

func appendField(text []byte, n int32) []byte {
	return strconv.AppendInt(append(text, '.'), int64(n), 10)
}

var toURLAlphabet = strings.NewReplacer("+", "-", "/", "_")

// ParseBase64 decodes base64 of either alphabet, padded or not (verification
// protocol §0): [ErrBase64] if it is none of these. Padding need not be complete,
// and the alphabets may be mixed; blanks and line breaks are refused.
func ParseBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the decoder would skip them
		return nil, ErrBase64
	}
	b, err := base64.RawURLEncoding.DecodeString(toURLAlphabet.Replace(strings.TrimRight(s, "=")))
	if err != nil {
		return nil, ErrBase64
	}
	return b, nil
}
