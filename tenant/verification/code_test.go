package verification

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// Vector of the verification protocol §6.3.
func TestMACVector(t *testing.T) {
	t.Parallel()
	secret := make([]byte, 128)
	for i := range secret {
		secret[i] = byte(i)
	}
	got := base64.RawURLEncoding.EncodeToString(mac(secret, "12345678"))
	const want = "wqxZv0fueHiTg482g4lP7pS4kbFOkdHQfm2l7_Y-p1M0XRfzjvsXf6VMu08LMEgieNYIqIBNTGnDwEHNoFE-QA"
	if got != want {
		t.Errorf("mac = %s, want %s", got, want)
	}
}

// Whatever the randomness, codes have the length and alphabet of §6.1.
func TestDrawShape(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits, length := rapid.IntRange(6, 12).Draw(t, "digits"), rapid.IntRange(12, 16).Draw(t, "length")
		noise := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "noise")
		s := New(Config{Rand: io.MultiReader(bytes.NewReader(noise), rand.Reader)})
		codes, err := s.drawPair(digits, length)
		if err != nil {
			t.Fatal(err)
		}
		if len(codes.short) != digits || strings.Trim(codes.short, shortAlphabet) != "" {
			t.Errorf("short code %q, want %d digits", codes.short, digits)
		}
		if len(codes.long) != length || strings.Trim(codes.long, longAlphabet) != "" {
			t.Errorf("long code %q, want %d letters and digits", codes.long, length)
		}
	})
}

// Every byte that is not rejected stands for its character equally often.
func TestDrawIsUniform(t *testing.T) {
	t.Parallel()
	for _, alphabet := range []string{shortAlphabet, longAlphabet} {
		counts := map[byte]int{}
		rejected := 0
		for b := range 256 {
			source := io.MultiReader(bytes.NewReader([]byte{byte(b)}), iotest.ErrReader(errEnd))
			code, err := draw(source, alphabet, 1)
			switch {
			case err == nil:
				counts[code[0]]++
			case errors.Is(err, errEnd):
				rejected++
			default:
				t.Fatal(err)
			}
		}
		if got, want := rejected, 256%len(alphabet); got != want {
			t.Errorf("%s: %d bytes rejected, want %d", alphabet, got, want)
		}
		for _, c := range []byte(alphabet) {
			if got, want := counts[c], 256/len(alphabet); got != want {
				t.Errorf("%s: %d bytes stand for %c, want %d", alphabet, got, c, want)
			}
		}
	}
}

var errEnd = errors.New("end")

func TestDrawFromBrokenSource(t *testing.T) {
	t.Parallel()
	stuck := readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 0xff
		}
		return len(p), nil
	})
	if code, err := draw(stuck, shortAlphabet, 8); !errors.Is(err, errStuck) {
		t.Errorf("draw = %q, %v, want errStuck", code, err)
	}
	if code, err := draw(bytes.NewReader([]byte{1, 2, 3}), shortAlphabet, 8); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("draw = %q, %v, want io.ErrUnexpectedEOF", code, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
