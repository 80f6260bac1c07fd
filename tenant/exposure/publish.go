package exposure

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/signing/revision"
	"carillon/tenant"
	"carillon/tenant/issuer"
	"carillon/tenant/key"
)

// Publish takes in an upload (key server protocol §1.3). An upload that breaks a
// rule is a [Problem], and then nothing of it is stored.
func (s *Service) Publish(ctx context.Context, t *tenant.Tenant, u Upload) (*Receipt, error) {
	now := s.now().UTC()
	if strings.ToLower(u.HealthAuthorityID) != t.HealthAuthorityID {
		return nil, UnknownHealthAuthority(u.HealthAuthorityID)
	}
	claims, err := s.verify(ctx, t, u, now)
	if err != nil {
		return nil, err
	}
	secrets, err := s.keys.Secrets(ctx, t.ID, signing.Revision)
	if err != nil {
		return nil, fmt.Errorf("keys of revision tokens: %w", err)
	}
	token := openToken(t.ID, secrets, u.RevisionToken)
	in, err := transform(u, claims, t, s.limits, now)
	if err != nil {
		return nil, err
	}
	if claims.Rehearsal {
		return s.rehearse(ctx, t, in)
	}
	done, err := s.store(ctx, t, in, token, receiptOf(u, claims, now))
	if err != nil {
		return nil, err
	}
	receipt := &Receipt{Inserted: len(done.inserted), Revised: len(done.revised), Warnings: texts(in.warnings), Facts: in.facts(done, claims, now)}
	if len(in.failures) > 0 {
		receipt.Failure = multiError(in.failures)
	}
	entries := s.merge(token.entries, in, done, now)
	if len(entries) == 0 {
		return receipt, nil
	}
	receipt.RevisionToken, err = revision.Seal(secrets[0].KeyID, secrets[0].Bytes, t.ID.String(), entries)
	if err != nil {
		// The keys are stored: a token that cannot be made must not undo that (§3.2).
		return receipt, nil //nolint:nilerr // the phone has published; it only cannot revise
	}
	return receipt, nil
}

// UnknownHealthAuthority is the refusal of an upload for nobody that is known here.
func UnknownHealthAuthority(id string) error {
	return refuse(ErrUnknownHealthAuthority, "unauthorized health authority: %s", printable(id))
}

// printable keeps a name that we do not know from carrying anything odd into the answer.
func printable(name string) string {
	if len(name) > 256 {
		name = name[:256]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
}

func invalid(detail string) error {
	return refuse(ErrCertificate, "unable to validate diagnosis verification: %s", detail)
}

// verify checks the certificate and the HMAC (§2.2, §2.3).
func (s *Service) verify(ctx context.Context, t *tenant.Tenant, u Upload, now time.Time) (certificate.Claims, error) {
	unverified, err := certificate.Parse(u.VerificationPayload)
	if err != nil {
		return certificate.Claims{}, invalid(err.Error())
	}
	public, audience, err := s.vouching(ctx, t, unverified)
	if err != nil {
		return certificate.Claims{}, err
	}
	if public == nil {
		return certificate.Claims{}, invalid("no active public keys for health authority")
	}
	claims, err := unverified.Verify(public, s.certificates, now, audience)
	if err != nil {
		return certificate.Claims{}, invalid(err.Error())
	}
	claims.Rehearsal = claims.Rehearsal && unverified.Issuer() == t.Settings.Issuer // to others the claim means nothing
	return claims, checkMAC(u, claims)
}

// vouching finds the key that a certificate names, nil if there is none, and the
// audience that it must have. Its issuer is the tenant itself, or an outside server that
// the tenant accepts; another tenant's certificate is one of an unknown issuer.
func (s *Service) vouching(ctx context.Context, t *tenant.Tenant, u *certificate.Unverified) (*ecdsa.PublicKey, string, error) {
	if u.Issuer() != t.Settings.Issuer {
		outside, err := s.issuers.Find(ctx, t.ID, u.Issuer())
		if errors.Is(err, issuer.ErrUnknown) {
			return nil, "", invalid("issuer not found: " + printable(u.Issuer()))
		}
		if err != nil {
			return nil, "", err
		}
		return outside.Key(u.KeyID()), outside.Audience, nil
	}
	keys, err := s.keys.Public(ctx, t.ID, signing.Certificate)
	if err != nil {
		return nil, "", fmt.Errorf("keys of certificates: %w", err)
	}
	i := slices.IndexFunc(keys, func(k key.Public) bool { return k.KeyID == u.KeyID() })
	if i < 0 {
		return nil, "", nil
	}
	return keys[i].Key, t.Settings.Audience, nil
}

func checkMAC(u Upload, claims certificate.Claims) error {
	const mismatch = "HMAC mismatch, publish request does not match diagnosis verification certificate"
	secret, err1 := certificate.ParseBase64(u.HMACKey)
	want, err2 := certificate.ParseBase64(claims.TEKMAC)
	if errors.Join(err1, err2) != nil || certificate.VerifyMAC(secret, u.teks(), want) != nil {
		return invalid(mismatch)
	}
	return nil
}

func openToken(id tenant.ID, secrets []key.Secret, text string) tokenState {
	if text == "" {
		return tokenState{}
	}
	if _, err := certificate.ParseBase64(text); err != nil {
		return tokenState{}
	}
	kid, err := revision.KeyID(text)
	if err != nil {
		return tokenState{given: true}
	}
	i := slices.IndexFunc(secrets, func(k key.Secret) bool { return k.KeyID == kid })
	if i < 0 {
		return tokenState{given: true}
	}
	entries, err := revision.Open(secrets[i].Bytes, id.String(), text)
	if err != nil {
		return tokenState{given: true}
	}
	return tokenState{given: true, entries: entries}
}

// merge lists what the new token covers: what this upload brought or changed, and
// what the old one did and is not too old (§3.2).
func (s *Service) merge(earlier []revision.Entry, in *intake, done *outcome, now time.Time) []revision.Entry {
	oldest := interval(now.Add(-s.limits.MaxAge))
	var entries []revision.Entry
	listed := map[[keySize]byte]bool{}
	add := func(e revision.Entry) {
		if !listed[e.TEK] && len(entries) < revision.MaxEntries {
			listed[e.TEK] = true
			entries = append(entries, e)
		}
	}
	for _, r := range in.records {
		if done.covers(r.tek) {
			add(revision.Entry{TEK: r.tek, RollingStart: r.rollingStart, RollingPeriod: r.rollingPeriod})
		}
	}
	for _, e := range earlier {
		if int64(e.RollingStart)+int64(e.RollingPeriod) >= oldest {
			add(e)
		}
	}
	return entries
}
