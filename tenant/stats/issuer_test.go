package stats

import (
	"errors"
	"testing"

	"github.com/google/uuid"
)

// A member or key is found by its UUID and by its number, and nothing else is taken
// for one.
func TestNumbered(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0123456789ab4cde8f0123456789abcd")
	if Number(id) != 0x0123456789ab {
		t.Errorf("number %x", Number(id))
	}
	first, last, err := numbered("1250999896491")
	if err != nil || first.String() != "01234567-89ab-0000-0000-000000000000" || last.String() != "01234567-89ab-ffff-ffff-ffffffffffff" {
		t.Errorf("%v to %v, %v", first, last, err)
	}
	if first, last, err = numbered(id.String()); err != nil || first != id || last != id {
		t.Errorf("%v to %v, %v", first, last, err)
	}
	for _, text := range []string{"", "-1", "+1", "1e3", "0x1", "281474976710656", "user", "1 "} {
		if _, _, err := numbered(text); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if Number(uuid.Max) >= 1<<53 {
		t.Error("a number that JSON does not hold exactly")
	}
}

func FuzzNumbered(f *testing.F) {
	for _, text := range []string{"7", "281474976710655", uuid.NewString(), "urn:uuid:" + uuid.NewString(), "{}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, err := numbered(text)
		if err == nil && (Number(first) != Number(last) || Number(first) < 0 || Number(first) >= 1<<48) {
			t.Errorf("%q is %v to %v", text, first, last)
		}
	})
}
