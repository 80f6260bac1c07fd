package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"runtime"
	"testing"
)

// A secret that nobody has any more is overwritten; one that is still in use is not.
func TestSecretsAreErased(t *testing.T) {
	t.Parallel()
	erased := make(chan []byte, 1)
	used, err := erasable([]byte("used, used, used"), func([]byte) { t.Error("a secret in use is erased") })
	if err != nil {
		t.Fatal(err)
	}
	part := used[5:9]
	dropped, err := erasable([]byte("dropped, dropped"), func(memory []byte) { erased <- memory })
	if err != nil || string(dropped) != "dropped, dropped" {
		t.Fatalf("%q, %v", dropped, err)
	}
	var memory []byte
	for memory == nil {
		runtime.GC()
		select {
		case memory = <-erased:
		default:
		}
	}
	if !bytes.Equal(memory, make([]byte, maxSecret)) {
		t.Errorf("memory is %q", memory)
	}
	if string(part) != " use" {
		t.Errorf("what is in use became %q", part)
	}
	runtime.KeepAlive(part)
	if _, err := erasable(make([]byte, maxSecret+1), nil); err == nil {
		t.Error("what does not fit is cut")
	}
}

func TestPrivateKeysAreErased(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	words := private.D.Bits() //nolint:staticcheck // its memory is what this is about
	(&PrivateKey{key: private}).erase()
	for _, w := range words {
		if w != 0 {
			t.Fatal("a word of the private key is left")
		}
	}
}
