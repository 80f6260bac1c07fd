package verification

import (
	"crypto/hmac"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"carillon/tenant/key"
)

// The alphabets of short and long codes (§6.1).
const (
	shortAlphabet = "0123456789"
	longAlphabet  = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// pair is the two codes of one issue in the clear. They exist in memory until the
// answer, or the message, is on its way.
type pair struct{ short, long string }

func (s *Service) drawPair(digits, longLength int) (pair, error) {
	short, err := draw(s.rand, shortAlphabet, digits)
	if err != nil {
		return pair{}, err
	}
	long, err := draw(s.rand, longAlphabet, longLength)
	if err != nil {
		return pair{}, err
	}
	return pair{short: short, long: long}, nil
}

var errStuck = errors.New("source of randomness is stuck")

// maxReads bounds the reading from a broken source. From a good one, fewer than
// three bytes in a hundred are rejected.
const maxReads = 64

// draw returns n characters of the alphabet, each of them uniform: a byte that
// would favour the alphabet's beginning is rejected.
func draw(random io.Reader, alphabet string, n int) (string, error) {
	fair := 256 - 256%len(alphabet)
	code := make([]byte, 0, n)
	buffer := make([]byte, n)
	for range maxReads {
		if _, err := io.ReadFull(random, buffer); err != nil {
			return "", fmt.Errorf("draw code: %w", err)
		}
		for _, b := range buffer {
			if int(b) < fair && len(code) < n {
				code = append(code, alphabet[int(b)%len(alphabet)])
			}
		}
		if len(code) == n {
			return string(code), nil
		}
	}
	return "", fmt.Errorf("draw code: %w", errStuck)
}

// mac is a code as the database knows it (§6.3).
//
// Nothing compares MACs in constant time, and nothing needs to: they are found
// through an index. Its timing may depend on how many leading bytes of a stored
// MAC the presented one shares, but who does not hold the key cannot choose those
// bytes, so timings of chosen codes say nothing about stored ones.
func mac(secret []byte, code string) []byte {
	h := hmac.New(sha512.New, secret)
	h.Write([]byte(code))
	return h.Sum(nil)
}

// macs are the MACs of a code under every live key, the active one first. Their
// number, and so the time they take, depends on the tenant alone.
func macs(live []key.Secret, code string) [][]byte {
	all := make([][]byte, len(live))
	for i, k := range live {
		all[i] = mac(k.Bytes, code)
	}
	return all
}
