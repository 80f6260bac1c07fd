package verification

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/token"
	"carillon/tenant"
)

// CertificateRequest is a phone's request for a certificate (verification
// protocol §2.1). It prints and logs as a fixed word.
type CertificateRequest struct {
	// Token is exactly what Verify returned.
	Token string
	// EKeyHMAC is the HMAC over the phone's keys in tolerant base64. It goes into
	// the certificate as it is.
	EKeyHMAC string
	// Rehearsal: the token is a rehearsal's, no other is found, and the certificate says so.
	Rehearsal bool
}

// Certificate swaps a token for a signed certificate, once (verification protocol
// §2). In the protocol's order: [ErrTokenInvalid] for what is no token of this
// tenant, [ErrTokenExpired], [ErrHMACInvalid] for what is not 32 bytes, and
// [ErrTokenInvalid] for a spent token. A phone that lost the answer may ask again
// with the same HMAC text while its first certificate is valid, and gets a fresh
// one.
//
// Spending the token comes last, after the certificate is signed: whatever fails
// before leaves the token usable.
func (s *Service) Certificate(ctx context.Context, t *tenant.Tenant, r CertificateRequest) (string, error) {
	now := s.clock()
	contents, err := s.openToken(ctx, t, r.Token)
	if err != nil {
		return "", err
	}
	if !now.Before(contents.Expires) {
		return "", tokenExpired()
	}
	if err := refuseHMAC(r.EKeyHMAC); err != nil {
		return "", err
	}
	says := claims(t.Settings, contents, r.EKeyHMAC, now)
	says.Rehearsal = r.Rehearsal
	signed, err := s.certify(ctx, t, says)
	if err != nil {
		return "", err
	}
	use := spending{
		token: sha256.Sum256(contents.ID[:]), tekmac: sha256.Sum256([]byte(r.EKeyHMAC)),
		at: now, repeatable: now.Add(-t.Settings.CertificateLife),
		since:     max(0, now.Sub(contents.Expires.Add(-t.Settings.TokenLife))),
		rehearsal: r.Rehearsal,
	}
	if err := use.run(ctx, s.db, t.ID); err != nil {
		return "", err
	}
	return signed, nil
}

func tokenExpired() error { return refuse(ErrTokenExpired, "verification token expired") }

// openToken reads a token under the live key that it names. A key ID of another
// tenant may be the same text, but its key is not.
func (s *Service) openToken(ctx context.Context, t *tenant.Tenant, text string) (token.Contents, error) {
	invalid := refuse(ErrTokenInvalid, "invalid verification token")
	kid, err := token.KeyID(text)
	if err != nil {
		return token.Contents{}, invalid
	}
	live, err := s.keys.Secrets(ctx, t.ID, signing.Token)
	if err != nil {
		return token.Contents{}, fmt.Errorf("keys of tokens: %w", err)
	}
	for _, k := range live {
		if k.KeyID != kid {
			continue
		}
		contents, err := token.Open(k.Bytes, t.ID.String(), text)
		if errors.Is(err, token.ErrMalformed) {
			return token.Contents{}, invalid
		}
		return contents, err
	}
	return token.Contents{}, invalid
}

func refuseHMAC(text string) error {
	raw, err := certificate.ParseBase64(text)
	if err != nil {
		return refuse(ErrHMACInvalid, "exposure key HMAC is not a valid base64: %v", err)
	}
	if len(raw) != sha256.Size {
		return refuse(ErrHMACInvalid, "exposure key HMAC is not the correct length, want: %d got: %d", sha256.Size, len(raw))
	}
	return nil
}

// claims are what the certificate says: what the token said, and the HMAC as the
// phone sent it (§2.4).
func claims(set tenant.Settings, c token.Contents, tekmac string, now time.Time) certificate.Claims {
	issued := now.Add(-certificate.Backdate)
	return certificate.Claims{
		Issuer: set.Issuer, Audience: set.Audience,
		IssuedAt: issued, NotBefore: issued, Expires: now.Add(set.CertificateLife),
		ReportType: c.ReportType, SymptomOnsetInterval: interval(c.SymptomDate), TEKMAC: tekmac,
	}
}

func (s *Service) certify(ctx context.Context, t *tenant.Tenant, c certificate.Claims) (string, error) {
	signer, err := s.keys.Signer(ctx, t.ID, signing.Certificate)
	if err != nil {
		return "", fmt.Errorf("key of certificates: %w", err)
	}
	signed, err := certificate.Sign(signer.Key, signer.KeyID, c)
	if err != nil {
		return "", fmt.Errorf("sign certificate: %w", err)
	}
	if public, is := signer.Key.Public().(*ecdsa.PublicKey); is {
		s.certificates.Note(public, signed)
	}
	return signed, nil
}

const secondsPerInterval = 600

// interval is the 10-minute interval in which a day begins, or 0 for no day.
func interval(day time.Time) uint32 {
	if day.IsZero() {
		return 0
	}
	return uint32(day.Unix() / secondsPerInterval)
}

// The verdicts of spendSQL. Only the first one has changed anything.
const (
	tokenFirst   = "first"
	tokenRepeat  = "repeat"
	tokenExpires = "expired"
	tokenSpent   = "spent"
	tokenUnknown = "" // no answer
)

// A repeat finds its own HMAC beside the token, and its first certificate still
// valid: that one was made later than $4.
const spendSQL = `
with found as (
  select token_digest,
         case when expires_at <= $3                         then 'expired'
              when used_at is null                          then 'first'
              when tekmac_digest = $2 and used_at > $4      then 'repeat'
              else 'spent'
         end as verdict
    from verification_token
   where token_digest = $1
     for update
), spent as (
  update verification_token t
     set used_at = $3, tekmac_digest = $2, seconds_to_use = $5
    from found f
   where t.token_digest = f.token_digest
     and f.verdict = 'first'
)
select verdict from found`

// spending is one use of a token.
type spending struct {
	token, tekmac [sha256.Size]byte // digests of the token's ID and of the HMAC's text
	at            time.Time
	repeatable    time.Time     // uses after this instant may be repeated
	since         time.Duration // how long ago the code was claimed, for statistics
	rehearsal     bool
}

// run spends the token, unless this is a repeat of its only use.
func (u spending) run(ctx context.Context, db *tenant.DB, id tenant.ID) error {
	var verdict string
	err := db.Do(ctx, id, tenant.Statement{SQL: in(u.rehearsal, spendSQL, rehearsedSpendSQL), Args: []any{
		u.token[:], u.tekmac[:], u.at, u.repeatable, int(u.since.Seconds()),
	}}, func(r tenant.Row) error { return r.Scan(&verdict) })
	if err != nil {
		return fmt.Errorf("spend token: %w", err)
	}
	switch verdict {
	case tokenFirst, tokenRepeat:
		return nil
	case tokenExpires:
		return tokenExpired()
	case tokenSpent:
		return refuseSpent(ErrTokenInvalid, "verification token invalid")
	case tokenUnknown:
		return refuse(ErrTokenInvalid, "verification token invalid")
	default:
		return fmt.Errorf("spend token: unknown verdict %q", verdict)
	}
}
