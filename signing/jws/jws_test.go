package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"carillon/signing/jws"
)

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const goodHeader = `{"alg":"ES256","kid":"c1","typ":"JWT"}`

// signed makes a token with any header and payload, validly signed.
func signed(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	text := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(raw)
}

func TestSignedTokenVerifies(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P256())
	tok, err := jws.Sign(key, "c1", map[string]string{"iss": "north"})
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(tok, ".")
	if header != b64(goodHeader) {
		t.Errorf("header is %s", header)
	}
	u, err := jws.Parse(tok)
	if err != nil {
		t.Fatal(err)
	}
	if u.KeyID() != "c1" || string(u.Payload()) != `{"iss":"north"}` {
		t.Errorf("kid %q, payload %s", u.KeyID(), u.Payload())
	}
	if err := u.Verify(&key.PublicKey); err != nil {
		t.Error(err)
	}
	for name, other := range map[string]*ecdsa.PublicKey{
		"another key": &newKey(t, elliptic.P256()).PublicKey,
		"P-384":       &newKey(t, elliptic.P384()).PublicKey,
		"none":        nil,
	} {
		if err := u.Verify(other); !errors.Is(err, jws.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An independent library reads our tokens, and we read its.
func TestAgreesWithAnotherLibrary(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P256())
	for range 50 { // short R and S turn up
		tok, err := jws.Sign(key, "c1", map[string]string{"iss": "north"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = jwt.Parse(tok, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"ES256"}))
		if err != nil {
			t.Fatalf("it refuses ours: %v", err)
		}
		theirs := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "north"})
		theirs.Header["kid"] = "c1"
		text, err := theirs.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		u, err := jws.Parse(text)
		if err != nil {
			t.Fatalf("we refuse its: %v", err)
		}
		if err := u.Verify(&key.PublicKey); err != nil {
			t.Fatal(err)
		}
	}
}

// Everything here is validly signed, so that only the form is at fault.
func TestRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P256())
	good := signed(t, key, goodHeader, `{}`)
	parts := strings.Split(good, ".")
	with := func(header string) string { return signed(t, key, header, `{}`) }
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	join := func(a, b, c string) string { return a + "." + b + "." + c }
	signature := func(b []byte) string { return join(parts[0], parts[1], base64.RawURLEncoding.EncodeToString(b)) }

	for _, v := range []struct {
		name, token string
		want        error
	}{
		{"nothing", "", jws.ErrMalformed},
		{"two segments", parts[0] + "." + parts[1], jws.ErrMalformed},
		{"four segments", good + ".", jws.ErrMalformed},
		{"blank", " " + good, jws.ErrMalformed},
		{"line break", good + "\n", jws.ErrMalformed},
		{"line break within", join(parts[0], "\r\n"+parts[1], parts[2]), jws.ErrMalformed},
		{"padding", join(parts[0], parts[1]+"==", parts[2]), jws.ErrMalformed},
		{"standard alphabet", join(parts[0], parts[1], strings.Repeat("+", 86)), jws.ErrMalformed},
		{"bits after the end", join(parts[0], "e31", parts[2]), jws.ErrMalformed},
		{"too long", signed(t, key, goodHeader, `{"a":"`+strings.Repeat("a", jws.MaxSize)+`"}`), jws.ErrMalformed},
		{"short signature", signature(sig[:63]), jws.ErrMalformed},
		{"long signature", signature(append(sig[:64:64], 0)), jws.ErrMalformed},
		{"no signature", join(parts[0], parts[1], ""), jws.ErrMalformed},
		{"header no JSON", with(`alg`), jws.ErrMalformed},
		{"header a list", with(`["alg"]`), jws.ErrMalformed},
		{"header null", with(`null`), jws.ErrMalformed},
		{"two headers", with(goodHeader + goodHeader), jws.ErrMalformed},
		{"cut header", with(`{"alg":"ES256","kid":"c1"`), jws.ErrMalformed},
		{"header not UTF-8", with("{\"alg\":\"ES256\",\"kid\":\"c\xff\"}"), jws.ErrMalformed},
		{"alg twice", with(`{"alg":"none","alg":"ES256","kid":"c1"}`), jws.ErrMalformed},
		{"kid twice, once escaped", with(`{"alg":"ES256","kid":"c1","\u006bid":"c2"}`), jws.ErrMalformed},
		{"crit", with(`{"alg":"ES256","kid":"c1","crit":["exp"]}`), jws.ErrMalformed},
		{"embedded key", with(`{"alg":"ES256","kid":"c1","jwk":{}}`), jws.ErrMalformed},
		{"key by URL", with(`{"alg":"ES256","kid":"c1","jku":"https://example.org"}`), jws.ErrMalformed},
		{"other type", with(`{"alg":"ES256","kid":"c1","typ":"JOSE"}`), jws.ErrMalformed},
		{"type null", with(`{"alg":"ES256","kid":"c1","typ":null}`), jws.ErrMalformed},
		{"member in capitals", with(`{"ALG":"ES256","kid":"c1"}`), jws.ErrMalformed},
		{"no alg", with(`{"kid":"c1"}`), jws.ErrAlgorithm},
		{"alg none", with(`{"alg":"none","kid":"c1"}`), jws.ErrAlgorithm},
		{"alg HS256", with(`{"alg":"HS256","kid":"c1"}`), jws.ErrAlgorithm},
		{"alg ES384", with(`{"alg":"ES384","kid":"c1"}`), jws.ErrAlgorithm},
		{"alg in lower case", with(`{"alg":"es256","kid":"c1"}`), jws.ErrAlgorithm},
		{"alg a list", with(`{"alg":["ES256"],"kid":"c1"}`), jws.ErrAlgorithm},
		{"no kid", with(`{"alg":"ES256"}`), jws.ErrNoKeyID},
		{"empty kid", with(`{"alg":"ES256","kid":""}`), jws.ErrNoKeyID},
		{"kid a number", with(`{"alg":"ES256","kid":1}`), jws.ErrNoKeyID},
		{"kid null", with(`{"alg":"ES256","kid":null}`), jws.ErrNoKeyID},
	} {
		if _, err := jws.Parse(v.token); !errors.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", v.name, err, v.want)
		}
	}
}

func TestSignatureCoversAll(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P256())
	parts := strings.Split(signed(t, key, goodHeader, `{"a":1}`), ".")
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	max64 := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 64)))
	flipped := append([]byte{}, sig...)
	flipped[10] ^= 1
	for name, tok := range map[string]string{
		"other header":  b64(`{"alg":"ES256","kid":"c2","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"other payload": parts[0] + "." + b64(`{"a":2}`) + "." + parts[2],
		"zeros":         parts[0] + "." + parts[1] + "." + zero,
		"ones":          parts[0] + "." + parts[1] + "." + max64,
		"a bit":         parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(flipped),
	} {
		u, err := jws.Parse(tok)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := u.Verify(&key.PublicKey); !errors.Is(err, jws.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// oddSigner returns whatever signature it is told to.
type oddSigner struct {
	crypto.Signer
	der []byte
	err error
}

func (s oddSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return s.der, s.err }

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P256())
	if _, err := jws.Sign(key, "", struct{}{}); !errors.Is(err, jws.ErrNoKeyID) {
		t.Errorf("no kid: %v", err)
	}
	if _, err := jws.Sign(newKey(t, elliptic.P384()), "c1", struct{}{}); !errors.Is(err, jws.ErrAlgorithm) {
		t.Errorf("P-384: %v", err)
	}
	if _, err := jws.Sign(key, "c1", strings.Repeat("a", jws.MaxSize)); !errors.Is(err, jws.ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if _, err := jws.Sign(key, "c1", func() {}); err == nil {
		t.Error("claims that are no JSON were signed")
	}
	broken := errors.New("device is gone")
	if _, err := jws.Sign(oddSigner{Signer: key, err: broken}, "c1", struct{}{}); !errors.Is(err, broken) {
		t.Errorf("broken signer: %v", err)
	}
	if _, err := jws.Sign(oddSigner{Signer: key, der: []byte("what")}, "c1", struct{}{}); err == nil {
		t.Error("nonsense was taken for a signature")
	}
}

// Verification protocol §9: the members in this order; coordinates keep their zeros.
func TestJWK(t *testing.T) {
	t.Parallel()
	// The key of RFC 7515 appendix A.3.
	const x, y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decode(t, x), decode(t, y)))
	if err != nil {
		t.Fatal(err)
	}
	k, err := jws.NewJWK("r1v2", public)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(k)
	want := fmt.Sprintf(`{"kid":"r1v2","kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, x, y)
	if err != nil || string(got) != want {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
	if _, err := jws.NewJWK("r1v2", &newKey(t, elliptic.P384()).PublicKey); err == nil {
		t.Error("a P-384 key was described as P-256")
	}
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The token of RFC 7515 appendix A.3 is well formed but names no key.
func TestRFCExampleLacksKeyID(t *testing.T) {
	t.Parallel()
	const example = "eyJhbGciOiJFUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	if _, err := jws.Parse(example); !errors.Is(err, jws.ErrNoKeyID) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	key := newKey(f, elliptic.P256())
	for _, seed := range []string{
		signed(f, key, goodHeader, `{}`), signed(f, key, `{"alg":"none","kid":"c1"}`, `{}`),
		signed(f, key, `{"alg":"ES256","kid":"c1","crit":[]}`, ``), "..", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tok string) {
		u, err := jws.Parse(tok)
		if err != nil {
			if !errors.Is(err, jws.ErrMalformed) && !errors.Is(err, jws.ErrAlgorithm) && !errors.Is(err, jws.ErrNoKeyID) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		if u.KeyID() == "" || len(tok) > jws.MaxSize {
			t.Fatal("parsed what is refused")
		}
		// Canonical: the parts encode to the token again.
		parts := strings.Split(tok, ".")
		if base64.RawURLEncoding.EncodeToString(u.Payload()) != parts[1] {
			t.Fatal("payload has two spellings")
		}
		_ = u.Verify(&key.PublicKey)
	})
}
