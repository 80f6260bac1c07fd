package verification

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// Whatever is sent as a nonce is either refused as unparsable or the bytes that its
// base64 stands for, in each of the spellings.
func FuzzParseNonce(f *testing.F) {
	for _, seed := range []string{"", "AA==", "-_8=", "+/8", "A", "=", "AAAA\n", "\u00e4", strings.Repeat("AAAA", 86)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		nonce, err := parseNonce(text)
		if err != nil {
			if !errors.Is(err, ErrUnparsable) || nonce != nil {
				t.Fatalf("%v with %d bytes", err, len(nonce))
			}
			return
		}
		again, err := parseNonce(base64.StdEncoding.EncodeToString(nonce))
		if err != nil || string(again) != string(nonce) {
			t.Errorf("%d bytes become %d (%v)", len(nonce), len(again), err)
		}
		if len(nonceDigest(nonce)) != 32 {
			t.Error("digest")
		}
	})
}
