// Package certificate is the format of the diagnosis certificate, which proves to
// a key server that a health authority vouches for a set of exposure keys, and of
// the HMAC that ties it to those keys.
//
// A certificate is a JSON Web Token under ES256 (verification protocol §2.4, key
// server protocol §2). This package reads strictly: audience a string, expiry
// required and without tolerance, issue and start at most [Skew] in the future.
// Unknown claims are ignored, as the protocol asks.
package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"carillon/signing/jws"
)

// ReportType is the kind of diagnosis, as certificates spell it.
type ReportType string

// The report types.
const (
	Confirmed  ReportType = "confirmed"
	Likely     ReportType = "likely"
	Negative   ReportType = "negative"
	UserReport ReportType = "user-report"
)

// ParseReportType reads a report type: [ErrReportType] if it is none of the four.
func ParseReportType(s string) (ReportType, error) {
	r := ReportType(s)
	if !slices.Contains([]ReportType{Confirmed, Likely, Negative, UserReport}, r) {
		return "", ErrReportType
	}
	return r, nil
}

// Backdate is how far iat and nbf lie before the time of signing, for key servers
// whose clocks are behind (verification protocol §2.4).
const Backdate = 5 * time.Second

// Skew is how far iat and nbf may lie in the future when a certificate is verified
// (key server protocol §2.1).
const Skew = 5 * time.Second

// Why a certificate is refused, beside the errors of package jws.
var (
	ErrMalformed   = errors.New("certificate is malformed")
	ErrAudience    = errors.New("certificate is for another audience")
	ErrExpired     = errors.New("certificate is expired")
	ErrNotYetValid = errors.New("certificate is not valid yet")
	ErrReportType  = errors.New("certificate has no known report type")
)

// Claims are what a certificate says. Times are in whole seconds.
type Claims struct {
	Issuer    string
	Audience  string
	IssuedAt  time.Time
	NotBefore time.Time
	Expires   time.Time
	// ReportType is the kind of diagnosis.
	ReportType ReportType
	// SymptomOnsetInterval is the day of onset as a 10-minute interval number; 0
	// means that it is not known.
	SymptomOnsetInterval uint32
	// TEKMAC is the HMAC over the exposure keys, as the phone sent it.
	TEKMAC string
}

// wire has the claims' names and types. Pointers tell absent from zero.
type wire struct {
	Audience             string     `json:"aud"`
	Expires              *int64     `json:"exp,omitempty"`
	IssuedAt             *int64     `json:"iat,omitempty"`
	Issuer               string     `json:"iss"`
	NotBefore            *int64     `json:"nbf,omitempty"`
	ReportType           ReportType `json:"reportType"`
	SymptomOnsetInterval uint32     `json:"symptomOnsetInterval,omitempty"`
	TEKMAC               string     `json:"tekmac"`
}

// Sign returns the certificate with these claims.
func Sign(signer crypto.Signer, kid string, c Claims) (string, error) {
	issued, start, end := c.IssuedAt.Unix(), c.NotBefore.Unix(), c.Expires.Unix()
	return jws.Sign(signer, kid, wire{
		Issuer: c.Issuer, Audience: c.Audience,
		IssuedAt: &issued, NotBefore: &start, Expires: &end,
		ReportType: c.ReportType, SymptomOnsetInterval: c.SymptomOnsetInterval, TEKMAC: c.TEKMAC,
	})
}

// Unverified is a well-formed certificate that has not been checked.
type Unverified struct {
	token  *jws.Unverified
	claims wire
}

// Issuer says whose certificate it claims to be.
func (u *Unverified) Issuer() string { return u.claims.Issuer }

// KeyID says which of the issuer's keys it claims to be signed with.
func (u *Unverified) KeyID() string { return u.token.KeyID() }

// Parse reads a certificate: [ErrMalformed], or an error of package jws.
func Parse(token string) (*Unverified, error) {
	t, err := jws.Parse(token)
	if err != nil {
		return nil, err
	}
	u := &Unverified{token: t}
	if err := json.Unmarshal(t.Payload(), &u.claims); err != nil {
		return nil, ErrMalformed
	}
	return u, nil
}

// Verify checks audience, times, signature and report type, in the order of the
// key server protocol §2.2, and returns what the certificate says.
func (u *Unverified) Verify(public *ecdsa.PublicKey, now time.Time, audience string) (Claims, error) {
	w := u.claims
	if w.Audience != audience {
		return Claims{}, ErrAudience
	}
	if err := w.checkTimes(now); err != nil {
		return Claims{}, err
	}
	if err := u.token.Verify(public); err != nil {
		return Claims{}, err
	}
	if _, err := ParseReportType(string(w.ReportType)); err != nil {
		return Claims{}, err
	}
	return Claims{
		Issuer: w.Issuer, Audience: w.Audience,
		IssuedAt: instant(w.IssuedAt), NotBefore: instant(w.NotBefore), Expires: instant(w.Expires),
		ReportType: w.ReportType, SymptomOnsetInterval: w.SymptomOnsetInterval, TEKMAC: w.TEKMAC,
	}, nil
}

func (w wire) checkTimes(now time.Time) error {
	if w.Expires == nil {
		return fmt.Errorf("%w: it has no expiry", ErrMalformed)
	}
	if now.After(instant(w.Expires)) {
		return ErrExpired
	}
	latest := now.Add(Skew)
	if instant(w.IssuedAt).After(latest) || instant(w.NotBefore).After(latest) {
		return ErrNotYetValid
	}
	return nil
}

// instant is the zero time for an absent claim, which is never in the future.
func instant(seconds *int64) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return time.Unix(*seconds, 0).UTC()
}
