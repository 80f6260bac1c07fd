// Package exposuretest makes uploads as a phone would, for tests.
package exposuretest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
)

// Phone makes uploads that its tenant must accept.
type Phone struct {
	tenant *tenant.Tenant
	signer key.Signer
	now    func() time.Time
}

// New returns a phone of a tenant. ring opens the tenant's certificate key, which
// only the role carillon_device may.
func New(ctx context.Context, ring *key.Ring, t *tenant.Tenant, now func() time.Time) (*Phone, error) {
	signer, err := ring.Signer(ctx, t.ID, signing.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate key: %w", err)
	}
	return &Phone{tenant: t, signer: signer, now: now}, nil
}

const (
	intervalSeconds = 600
	dayIntervals    = 144
)

// Interval is the 10-minute interval that contains t.
func Interval(t time.Time) int32 { return int32(t.Unix() / intervalSeconds) }

// Keys are n random keys of n whole days, the newest of yesterday.
func (p *Phone) Keys(n int) []exposure.UploadKey {
	today := Interval(p.now().UTC().Truncate(24 * time.Hour))
	keys := make([]exposure.UploadKey, n)
	for i := range keys {
		keys[i] = Key(today-int32(i+1)*dayIntervals, dayIntervals)
	}
	return keys
}

// Key is a random key of a time.
func Key(start, period int32) exposure.UploadKey {
	data := make([]byte, 16)
	rand.Read(data)
	return exposure.UploadKey{Key: base64.StdEncoding.EncodeToString(data), RollingStart: start, RollingPeriod: period}
}

// Upload vouches for keys by a fresh certificate, whose onset is two days ago.
// change alters the claims before they are signed.
func (p *Phone) Upload(report certificate.ReportType, keys []exposure.UploadKey, change ...func(*certificate.Claims)) exposure.Upload {
	secret := make([]byte, 32)
	rand.Read(secret)
	teks := make([]certificate.TEK, len(keys))
	for i, k := range keys {
		teks[i] = certificate.TEK(k)
	}
	mac := "none"
	if sum, err := certificate.MAC(secret, teks); err == nil {
		mac = base64.StdEncoding.EncodeToString(sum)
	}
	now := p.now()
	claims := certificate.Claims{
		Issuer: p.tenant.Settings.Issuer, Audience: p.tenant.Settings.Audience,
		IssuedAt: now, Expires: now.Add(15 * time.Minute),
		ReportType: report, TEKMAC: mac,
		SymptomOnsetInterval: uint32(Interval(now.Add(-48 * time.Hour))),
	}
	for _, c := range change {
		c(&claims)
	}
	text, err := certificate.Sign(p.signer.Key, p.signer.KeyID, claims)
	if err != nil {
		panic(fmt.Sprintf("certificate for a test: %v", err))
	}
	return exposure.Upload{
		Keys: keys, HealthAuthorityID: p.tenant.HealthAuthorityID,
		VerificationPayload: text, HMACKey: base64.StdEncoding.EncodeToString(secret),
	}
}
