package textmessage

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var vector = Contents{Purpose: "EN Report", Phone: "+12065550100", Date: time.Date(2021, 6, 15, 23, 59, 59, 0, time.UTC)}

const vectorText = "Your code link: https://us-zz.en.express/v?c=abcd1234efgh5678"

// The digests of the verification protocol §7.3.
func TestDigestVectors(t *testing.T) {
	t.Parallel()
	for purpose, want := range map[string]string{
		"EN Report":   "dd6fef339945f5e9409451181a1d94e83913edcd68370dc84ab54386b84e13f1",
		"User Report": "20cd826b20017a27031bfdd2b47874a4197bc86c9023cd6a4565a9fddb729391",
	} {
		c := vector
		c.Purpose = purpose
		if got := hex.EncodeToString(c.digest(vectorText + " \nAuthentication:")); got != want {
			t.Errorf("%s: %s, want %s", purpose, got, want)
		}
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	message, err := Sign(rand.Reader, key, "r2v1sms", vector, vectorText)
	if err != nil {
		t.Fatal(err)
	}
	text, signature, _ := strings.Cut(message, "0615:r2v1sms:")
	if text != vectorText+" \nAuthentication:" {
		t.Errorf("message begins %q", text)
	}
	der, err := base64.RawStdEncoding.DecodeString(signature)
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, vector.digest(text), der) {
		t.Errorf("signature %q: %v", signature, err)
	}

	signed, err := Parse(message)
	if err != nil || signed.KeyID != "r2v1sms" || signed.Month != time.June || signed.Day != 15 {
		t.Fatalf("%+v, %v", signed, err)
	}
	later := vector
	later.Date = time.Date(2021, 6, 16, 0, 0, 0, 0, time.UTC)
	for _, c := range []Contents{vector, later} {
		if !signed.Verify(&key.PublicKey, c) {
			t.Error("does not verify")
		}
	}
	for what, change := range map[string]func(*Contents, *Signed, **ecdsa.PublicKey){
		"another purpose": func(c *Contents, _ *Signed, _ **ecdsa.PublicKey) { c.Purpose = "User Report" },
		"another phone":   func(c *Contents, _ *Signed, _ **ecdsa.PublicKey) { c.Phone = "+12065550101" },
		"another year":    func(c *Contents, _ *Signed, _ **ecdsa.PublicKey) { c.Date = c.Date.AddDate(1, 0, 0) },
		"another day":     func(_ *Contents, s *Signed, _ **ecdsa.PublicKey) { s.Day++ },
		"another text":    func(_ *Contents, s *Signed, _ **ecdsa.PublicKey) { s.Text = "x" + s.Text },
		"another key":     func(_ *Contents, _ *Signed, k **ecdsa.PublicKey) { *k = &newKey(t).PublicKey },
	} {
		c, s, k := vector, signed, &key.PublicKey
		change(&c, &s, &k)
		if s.Verify(k, c) {
			t.Errorf("%s verifies", what)
		}
	}
}

type broken struct{ crypto.Signer }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no key")
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "a:b"} {
		if _, err := Sign(rand.Reader, newKey(t), id, vector, "text"); !errors.Is(err, ErrKeyID) {
			t.Errorf("key ID %q: %v", id, err)
		}
	}
	if text, err := Sign(rand.Reader, broken{}, "k", vector, "text"); err == nil || text != "" {
		t.Errorf("a broken signer: %q, %v", text, err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "text", "Authentication:", "Authentication:0615", "Authentication:0615:k", "Authentication:0615::AAAA",
		"Authentication:1315:k:AAAA", "Authentication:615:k:AAAA", "Authentication:0615:k:", "Authentication:0615:k:AAAA=",
		"Authentication:0615:k:A", "Authentication:0615:a:b:AAAA", "Authentication:0615:k:AA AA",
	} {
		if s, err := Parse(bad); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%q: %+v, %v", bad, s, err)
		}
	}
	s, err := Parse("Authentication:no \nAuthentication:0615:k:AAAA")
	if err != nil || s.Text != "Authentication:no \nAuthentication:" {
		t.Errorf("the last marker counts: %+v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("text \nAuthentication:0615:r2v1sms:AAAA")
	f.Add("Authentication:::")
	f.Fuzz(func(t *testing.T, message string) {
		s, err := Parse(message)
		if err != nil {
			return
		}
		again := s.Text + time.Date(2000, s.Month, s.Day, 0, 0, 0, 0, time.UTC).Format(dateForm) + ":" + s.KeyID + ":" + base64.RawStdEncoding.EncodeToString(s.signature)
		if again != message {
			t.Errorf("%q was read as %q", message, again)
		}
	})
}
