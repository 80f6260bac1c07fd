// Package bearer reads the tokens with which a health authority's server asks the key
// server for statistics (key server protocol §9, verification protocol §8.5): JSON
// Web Tokens signed with the authority's certificate key.
//
// The same key signs diagnosis certificates, which phones hold. A certificate is
// therefore refused here whatever its audience says.
package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"carillon/signing/jws"
)

// Audience is the aud of a token for statistics.
const Audience = "keyserver"

// Life is how long senders let a token live.
const Life = 5 * time.Minute

// Skew is how far iat and nbf may lie ahead of the reader's clock.
const Skew = 5 * time.Second

// Why a token is refused, beside the errors of package jws.
var (
	ErrMalformed   = errors.New("token's claims are malformed")
	ErrAudience    = errors.New("audience mismatch")
	ErrExpired     = errors.New("token is expired")
	ErrNotYetValid = errors.New("not valid yet (NBF or IAT) in the future")
)

type claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	Expires   int64  `json:"exp"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf,omitempty"`
}

// Sign returns a token of this issuer for statistics.
func Sign(signer crypto.Signer, kid, issuer string, now time.Time) (string, error) {
	return jws.Sign(signer, kid, claims{Issuer: issuer, Audience: Audience, IssuedAt: now.Unix(), Expires: now.Add(Life).Unix()})
}

// Unverified is a well-formed token that has not been checked.
type Unverified struct {
	token  *jws.Unverified
	claims claims
}

// Issuer says whose token it claims to be.
func (u *Unverified) Issuer() string { return u.claims.Issuer }

// KeyID says which of the issuer's keys it claims to be signed with.
func (u *Unverified) KeyID() string { return u.token.KeyID() }

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// Parse reads a token: [ErrMalformed], or an error of package jws. Claims that it does
// not know are ignored, but for those that only a diagnosis certificate has.
func Parse(text string) (*Unverified, error) {
	t, err := jws.Parse(text)
	if err != nil {
		return nil, err
	}
	members, err := jws.Members(t.Payload())
	if err != nil {
		return nil, ErrMalformed
	}
	u := &Unverified{token: t}
	for name, target := range map[string]any{
		"iss": &u.claims.Issuer, "aud": &u.claims.Audience,
		"exp": &u.claims.Expires, "iat": &u.claims.IssuedAt, "nbf": &u.claims.NotBefore,
	} {
		if raw, given := members[name]; given && json.Unmarshal(raw, target) != nil {
			return nil, ErrMalformed
		}
	}
	for _, name := range []string{"tekmac", "reportType"} {
		if _, given := members[name]; given {
			return nil, fmt.Errorf("%w: it is a diagnosis certificate", ErrMalformed)
		}
	}
	for _, seconds := range []int64{u.claims.Expires, u.claims.IssuedAt, u.claims.NotBefore} {
		if seconds < 0 || seconds > lastSecond {
			return nil, ErrMalformed
		}
	}
	return u, nil
}

// Verify checks audience ([ErrAudience]), expiry ([ErrExpired], also if there is none),
// iat and nbf ([ErrNotYetValid]) and signature ([jws.ErrSignature]). The caller has
// chosen the key by [Unverified.Issuer] and [Unverified.KeyID].
func (u *Unverified) Verify(public *ecdsa.PublicKey, now time.Time) error {
	c := u.claims
	latest := now.Add(Skew).Unix()
	switch {
	case c.Audience != Audience:
		return ErrAudience
	case c.Expires <= now.Unix():
		return ErrExpired
	case c.IssuedAt > latest || c.NotBefore > latest:
		return ErrNotYetValid
	}
	return u.token.Verify(public)
}
