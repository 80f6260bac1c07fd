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
	// Rehearsal: the keys are nobody's, and no phone shall hear of them. Other key servers
	// know no such claim.
	Rehearsal bool
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
	Rehearsal            bool       `json:"rehearsal,omitempty"`
}

// Sign returns the certificate with these claims. It refuses with [ErrMalformed] or
// [ErrReportType] what no key server would take: issuer, audience, expiry, report
// type and HMAC are required; a zero IssuedAt or NotBefore is left out.
func Sign(signer crypto.Signer, kid string, c Claims) (string, error) {
	if c.Issuer == "" || c.Audience == "" || c.TEKMAC == "" || c.Expires.IsZero() {
		return "", fmt.Errorf("%w: a required claim is empty", ErrMalformed)
	}
	if _, err := ParseReportType(string(c.ReportType)); err != nil {
		return "", err
	}
	return jws.Sign(signer, kid, wire{
		Issuer: c.Issuer, Audience: c.Audience,
		IssuedAt: seconds(c.IssuedAt), NotBefore: seconds(c.NotBefore), Expires: seconds(c.Expires),
		ReportType: c.ReportType, SymptomOnsetInterval: c.SymptomOnsetInterval, TEKMAC: c.TEKMAC,
		Rehearsal: c.Rehearsal,
	})
}

// Unverified is a well-formed certificate that has not been checked.
type Unverified struct {
	text   string
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
	u := &Unverified{text: token, token: t}
	if err := u.claims.read(t.Payload()); err != nil {
		return nil, ErrMalformed
	}
	return u, nil
}

// read takes the claims it knows, each by its exact name and at most once, and
// ignores the rest.
func (w *wire) read(payload []byte) error {
	members, err := jws.Members(payload)
	if err != nil {
		return err
	}
	for name, target := range map[string]any{
		"aud": &w.Audience, "iss": &w.Issuer, "tekmac": &w.TEKMAC,
		"exp": &w.Expires, "iat": &w.IssuedAt, "nbf": &w.NotBefore,
		"reportType": &w.ReportType, "symptomOnsetInterval": &w.SymptomOnsetInterval, "rehearsal": &w.Rehearsal,
	} {
		raw, given := members[name]
		if !given {
			continue
		}
		if err := json.Unmarshal(raw, target); err != nil {
			return err
		}
	}
	for _, t := range []*int64{w.Expires, w.IssuedAt, w.NotBefore} {
		if t != nil && (*t < 0 || *t > lastSecond) {
			return ErrMalformed
		}
	}
	return nil
}

// lastSecond is the end of the year 9999; package time counts wrongly near the
// ends of int64.
const lastSecond = 253402300799

// Verify checks, in the order of the key server protocol §2.2, audience ([ErrAudience]),
// expiry ([ErrExpired], without tolerance; [ErrMalformed] if there is none), iat and
// nbf ([ErrNotYetValid], at most [Skew] ahead of now), signature
// ([jws.ErrSignature]) and report type ([ErrReportType]), and returns what the
// certificate says. The caller has chosen the key and the audience by [Unverified.Issuer]
// and [Unverified.KeyID], and compares the HMAC with [VerifyMAC]. A signature that known has
// a memory of is not checked again.
func (u *Unverified) Verify(public *ecdsa.PublicKey, known *Memory, now time.Time, audience string) (Claims, error) {
	w := u.claims
	if w.Audience == "" || w.Audience != audience {
		return Claims{}, ErrAudience
	}
	if err := w.checkTimes(now); err != nil {
		return Claims{}, err
	}
	if err := u.verifySignature(public, known); err != nil {
		return Claims{}, err
	}
	if _, err := ParseReportType(string(w.ReportType)); err != nil {
		return Claims{}, err
	}
	return Claims{
		Issuer: w.Issuer, Audience: w.Audience,
		IssuedAt: instant(w.IssuedAt), NotBefore: instant(w.NotBefore), Expires: instant(w.Expires),
		ReportType: w.ReportType, SymptomOnsetInterval: w.SymptomOnsetInterval, TEKMAC: w.TEKMAC, Rehearsal: w.Rehearsal,
	}, nil
}

func (u *Unverified) verifySignature(public *ecdsa.PublicKey, known *Memory) error {
	if known.knows(public, u.text) {
		return nil
	}
	err := u.token.Verify(public)
	if err == nil {
		known.Note(public, u.text)
	}
	return err
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

// seconds is nil, an absent claim, for the zero time.
func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// instant is the zero time for an absent claim, which is never in the future.
func instant(seconds *int64) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return time.Unix(*seconds, 0).UTC()
}
