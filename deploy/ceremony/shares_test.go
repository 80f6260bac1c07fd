package ceremony

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Any shares that are enough are the key; fewer, changed ones and those of another key are
// not.
func TestShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), rootSize, rootSize).Draw(r, "key")
		count := rapid.IntRange(2, maxShares).Draw(r, "count")
		need := rapid.IntRange(2, count).Draw(r, "need")
		texts, err := split(key, need, count)
		if err != nil {
			r.Fatal(err)
		}
		some := rapid.Permutation(texts).Draw(r, "some")
		if got, err := combine(some[:need]); err != nil || !bytes.Equal(got, key) {
			r.Fatalf("%d of %d: %x, %v", need, count, got, err)
		}
		refused := func(what string, list ...[]byte) {
			if _, err := combine(list); !errors.Is(err, ErrShares) {
				r.Fatalf("%s: %v", what, err)
			}
		}
		refused("too few", some[:need-1]...)
		refused("one twice", append(append([][]byte{}, some[:need-1]...), some[0])...)
		changed := bytes.Clone(some[0])
		changed[rapid.IntRange(0, len(changed)-1).Draw(r, "where")] ^= 1
		refused("a changed one", append([][]byte{changed}, some[1:]...)...)
		again, err := split(key, need, count)
		if err != nil {
			r.Fatal(err)
		}
		refused("of two splittings", append([][]byte{again[0]}, some[1:]...)...)
	})
}

// Two shares of many keys have nothing in common that is the key's.
func TestASingleShareIsRandom(t *testing.T) {
	t.Parallel()
	key := make([]byte, rootSize)
	rand.Read(key)
	one, err := split(key, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	two, err := split(key, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one[0], two[0]) || bytes.Contains(one[0], key) {
		t.Error("a share of a key is the same twice, or has it")
	}
}
