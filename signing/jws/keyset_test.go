package jws_test

import (
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"carillon/signing/jws"
)

// member is a key of a set, with members added or, if nil, taken away.
func member(t testing.TB, kid string, change map[string]any) string {
	t.Helper()
	j, err := jws.NewJWK(kid, &newKey(t, elliptic.P256()).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{"kid": j.KeyID, "kty": j.Type, "crv": j.Curve, "x": j.X, "y": j.Y}
	for name, value := range change {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func array(members ...string) string { return "[" + strings.Join(members, ",") + "]" }

// Both forms are read, and what is for something else is skipped.
func TestParseKeySet(t *testing.T) {
	t.Parallel()
	a, b := member(t, "a", nil), member(t, "b", map[string]any{"use": "sig", "alg": "ES256", "x5t": "unknown"})
	rsaKey := fmt.Sprintf(`{"kty":"RSA","kid":"r","e":"AQAB","n":"%s"}`, base64.RawURLEncoding.EncodeToString((&rsa.PublicKey{N: big.NewInt(1 << 62)}).N.Bytes()))
	others := []string{
		rsaKey, `{}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`,
		member(t, "c", map[string]any{"crv": "P-384"}), member(t, "d", map[string]any{"crv": "p-256"}),
		member(t, "e", map[string]any{"use": "enc"}), member(t, "f", map[string]any{"alg": "ES384"}), member(t, "g", map[string]any{"use": 1}),
	}
	for name, text := range map[string]string{
		"array": array(a, b), "set": `{"keys":` + array(a, b) + `,"more":1}`, "spaces": "\n " + array(a, b) + "\n",
		"with others": array(append([]string{a, b}, others...)...),
	} {
		keys, err := jws.ParseKeySet([]byte(text))
		if err != nil || len(keys) != 2 || keys[0].KeyID != "a" || keys[1].KeyID != "b" {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
}

func TestParseKeySetRefuses(t *testing.T) {
	t.Parallel()
	a := member(t, "a", nil)
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	short := base64.RawURLEncoding.EncodeToString(make([]byte, 31))
	many := make([]string, jws.MaxSetKeys+1)
	for i := range many {
		many[i] = member(t, fmt.Sprint(i), nil)
	}
	if _, err := jws.ParseKeySet([]byte(array(many[1:]...))); err != nil {
		t.Errorf("as many keys as there may be: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":                "",
		"empty array":            "[]",
		"empty set":              `{"keys":[]}`,
		"null":                   "null",
		"null keys":              `{"keys":null}`,
		"no keys":                `{"key":[]}`,
		"keys twice":             `{"keys":[],"keys":` + array(a) + `}`,
		"a page":                 "<!doctype html><title>not found</title>",
		"two arrays":             array(a) + array(a),
		"cut off":                array(a)[:60],
		"text among the keys":    array(a, `"b"`),
		"only another curve":     array(member(t, "a", map[string]any{"crv": "P-521"})),
		"no key ID":              array(member(t, "a", map[string]any{"kid": nil})),
		"empty key ID":           array(member(t, "", nil)),
		"key ID with a space":    array(member(t, "a b", nil)),
		"key ID with a line":     array(member(t, "a\nb", nil)),
		"key ID of 201":          array(member(t, strings.Repeat("k", 201), nil)),
		"a number as key ID":     array(member(t, "a", map[string]any{"kid": 1})),
		"same key ID":            array(a, member(t, "a", nil)),
		"same key":               array(a, strings.Replace(a, `"kid":"a"`, `"kid":"b"`, 1)),
		"member twice":           array(strings.Replace(a, "{", `{"kid":"b",`, 1)),
		"private part":           array(member(t, "a", map[string]any{"d": zero})),
		"empty private part":     array(member(t, "a", map[string]any{"d": ""})),
		"secret beside a key":    array(a, `{"kty":"oct","kid":"s","k":"AAAA"}`),
		"private RSA key beside": array(a, `{"kty":"RSA","n":"AA","e":"AQAB","p":"AA"}`),
		"off the curve":          array(member(t, "a", map[string]any{"x": zero})),
		"infinity":               array(member(t, "a", map[string]any{"x": zero, "y": zero})),
		"short coordinate":       array(member(t, "a", map[string]any{"y": short})),
		"padded coordinate":      array(member(t, "a", map[string]any{"y": zero + "="})),
		"line in a coordinate":   array(strings.Replace(a, `"x":"`, `"x":"\n`, 1)),
		"no coordinate":          array(member(t, "a", map[string]any{"x": nil})),
		"too many keys":          array(many...),
		"too large":              array(a) + strings.Repeat(" ", jws.MaxKeySet),
	} {
		if keys, err := jws.ParseKeySet([]byte(text)); !errors.Is(err, jws.ErrKeySet) || keys != nil {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	a, b := member(f, "a", nil), member(f, "b", map[string]any{"use": "sig"})
	for _, seed := range []string{
		array(a, b), `{"keys":` + array(a) + `}`, array(member(f, "a", map[string]any{"d": "AA"})), array(a, a),
		array(member(f, "c", map[string]any{"crv": "P-384"})), "[]", "[[[", `{"keys":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := jws.ParseKeySet(text)
		if err != nil {
			if !errors.Is(err, jws.ErrKeySet) || keys != nil {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			return
		}
		// What was read can be published, and is read again as the same.
		var set struct {
			Keys []jws.JWK `json:"keys"`
		}
		for _, k := range keys {
			j, err := jws.NewJWK(k.KeyID, k.Key)
			if err != nil {
				t.Fatal(err)
			}
			set.Keys = append(set.Keys, j)
		}
		again, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		back, err := jws.ParseKeySet(again)
		if err != nil || len(back) != len(keys) {
			t.Fatalf("%d of %d keys came back, %v", len(back), len(keys), err)
		}
		for i := range back {
			if back[i].KeyID != keys[i].KeyID || !back[i].Key.Equal(keys[i].Key) {
				t.Fatalf("key %d came back as another", i)
			}
		}
	})
}
