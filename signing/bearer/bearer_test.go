package bearer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"carillon/signing/bearer"
	"carillon/signing/jws"
)

var now = time.Unix(1623760195, 0)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestTokens(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	type object map[string]any
	good := func(change object) object {
		claims := object{"iss": "gov.example", "aud": "keyserver", "iat": now.Unix(), "exp": now.Unix() + 300, "other": []int{1}}
		for name, value := range change {
			claims[name] = value
		}
		return claims
	}
	for name, test := range map[string]struct {
		claims any
		want   error
	}{
		"good":                   {good(nil), nil},
		"clock a little behind":  {good(object{"iat": now.Unix() + 5}), nil},
		"another audience":       {good(object{"aud": "exposure-notifications-server"}), bearer.ErrAudience},
		"several audiences":      {good(object{"aud": []string{"keyserver"}}), bearer.ErrMalformed},
		"expired":                {good(object{"exp": now.Unix()}), bearer.ErrExpired},
		"no expiry":              {object{"iss": "gov.example", "aud": "keyserver"}, bearer.ErrExpired},
		"from the future":        {good(object{"iat": now.Unix() + 6}), bearer.ErrNotYetValid},
		"not yet":                {good(object{"nbf": now.Unix() + 6}), bearer.ErrNotYetValid},
		"before time":            {good(object{"iat": -1}), bearer.ErrMalformed},
		"after time":             {good(object{"exp": int64(1) << 60}), bearer.ErrMalformed},
		"a certificate":          {good(object{"tekmac": "x"}), bearer.ErrMalformed},
		"another certificate":    {good(object{"reportType": nil}), bearer.ErrMalformed},
		"a list":                 {[]int{1}, bearer.ErrMalformed},
		"an issuer of no string": {good(object{"iss": 7}), bearer.ErrMalformed},
	} {
		text, err := jws.Sign(key, "k1", test.claims)
		if err != nil {
			t.Fatal(err)
		}
		u, err := bearer.Parse(text)
		if err == nil {
			err = u.Verify(&key.PublicKey, now)
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	text, err := bearer.Sign(key, "k1", "gov.example", now)
	if err != nil {
		t.Fatal(err)
	}
	u, err := bearer.Parse(text)
	if err != nil || u.Issuer() != "gov.example" || u.KeyID() != "k1" {
		t.Fatalf("%+v, %v", u, err)
	}
	if err := u.Verify(&key.PublicKey, now); err != nil {
		t.Error(err)
	}
	if err := u.Verify(&newKey(t).PublicKey, now); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	text, err := bearer.Sign(newKey(f), "k1", "gov.example", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := bearer.Parse(text); err == nil && u.KeyID() == "" {
			t.Error("a token without a key ID")
		}
	})
}
