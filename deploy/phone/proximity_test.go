package phone_test

import (
	"encoding/hex"
	"testing"

	"carillon/deploy/phone"
)

// The numbers are from the test vectors that Apple and Google published with their
// specification.
func TestProximityID(t *testing.T) {
	t.Parallel()
	var key [16]byte
	if _, err := hex.Decode(key[:], []byte("75c734c6dd1a782de7a965da5eb93125")); err != nil {
		t.Fatal(err)
	}
	got, err := phone.ProximityID(key, 2642976)
	if want := "8be6cd371c5c891604bfbe49df845096"; err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("%x (%v), want %s", got, err, want)
	}
	if next, err := phone.ProximityID(key, 2642977); err != nil || next == got {
		t.Errorf("the identifier of the next interval is the same (%v)", err)
	}
}
