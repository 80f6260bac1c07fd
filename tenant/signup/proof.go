package signup

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/quota"
)

// The TXT record that proves a domain, an underscored name below it (RFC 8552).
func recordName(domain string) string     { return "_carillon." + domain }
func recordValue(challenge string) string { return "carillon-domain-verification=" + challenge }

const dnsTimeout = 5 * time.Second

// CheckRecord asks the DNS for the TXT record of who's application and, if it is there,
// opens the sandbox: [ErrNoRecord] if it is not, [ErrDNS] if the DNS does not say,
// [ErrState] if the application is not one that waits for its proof.
func (s *Service) CheckRecord(ctx context.Context, who Applicant) error {
	a, err := s.proving(ctx, who)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	values, err := s.DNS.LookupTXT(asking, a.Record+".")
	var answer *net.DNSError
	switch {
	case errors.As(err, &answer) && answer.IsNotFound:
		return ErrNoRecord
	case err != nil:
		s.Log.InfoContext(ctx, "no answer about a domain that somebody wants to prove", "application", a.ID, "error", err)
		return ErrDNS
	case !slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == a.Value }):
		return ErrNoRecord
	}
	return s.openSandbox(ctx, a.ID, a.Details.Domain, ByDNS, nil)
}

// proving is who's application, if it waits for its proof.
func (s *Service) proving(ctx context.Context, who Applicant) (*Application, error) {
	a, err := s.Mine(ctx, who)
	if err != nil {
		return nil, err
	}
	if a.State != Proving {
		return nil, ErrState
	}
	return a, nil
}

const noteAddressSQL = `
update application
   set proof_address = $2
 where application_id = $1
   and state = 'proving'`

// SendProof sends a link to an address on the domain of who's application, by which
// whoever reads letters there proves the domain. [ErrAddress] and [ErrOtherDomain] are
// about the address; [ErrLetters] if there have been too many of them within an hour,
// [ErrBusy] if everybody together has had too many; [ErrState] as for [Service.CheckRecord].
func (s *Service) SendProof(ctx context.Context, who Applicant, typed string) error {
	a, err := s.proving(ctx, who)
	if err != nil {
		return err
	}
	to, err := domainAddress(typed, a.Details.Domain)
	if err != nil {
		return err
	}
	token, digest := newToken()
	now := s.now()
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		sent, err := s.count(ctx, tx, to, now)
		if err != nil {
			return err
		}
		if sent >= s.Limits.LettersAnHour {
			return ErrLetters
		}
		rows, err := tx.Exec(ctx, noteAddressSQL, a.ID, to)
		if err == nil && rows == 0 {
			err = ErrState
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, addLinkSQL, digest, string(ofDomain), to, a.ID, nil, now, now.Add(DomainLinkLife))
		return err
	})
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrLetters), errors.Is(err, ErrState):
		return err
	case err != nil:
		return fmt.Errorf("prove domain: %w", err)
	}
	s.sendLater(ctx, proofLetter(to, a, s.BaseURL+"/signup/proof/"+token))
	return nil
}

// domainAddress reads an address on a domain, whose name may be typed as people read it.
func domainAddress(typed, domain string) (string, error) {
	local, host, found := strings.Cut(strings.TrimSpace(typed), "@")
	if !found {
		return "", ErrAddress
	}
	ascii, err := domainProfile.ToASCII(host)
	if err != nil {
		return "", ErrAddress
	}
	to, err := address(local + "@" + ascii)
	if err != nil {
		return "", err
	}
	if ascii != domain {
		return "", ErrOtherDomain
	}
	return to, nil
}

const claimSQL = `select` + columns + `
 where a.application_id = $1`

// Claim returns what a link of [Service.SendProof] would prove, and spends nothing: the
// errors of [Service.ConfirmAddress] but [ErrOtherBrowser], and [ErrState] if the
// application has another domain now, or is proven.
func (s *Service) Claim(ctx context.Context, token string) (*Application, error) {
	var r row
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		l, err := s.look(ctx, tx, token, ofDomain, s.now())
		if err != nil {
			return err
		}
		if err := tx.Get(ctx, &r, claimSQL, *l.Application); err != nil {
			return err
		}
		if r.State != Proving || !strings.HasSuffix(l.Email, "@"+text(r.Domain)) {
			return ErrState
		}
		return nil
	})
	if err != nil {
		return nil, linkFailed(err)
	}
	return r.application()
}

// Prove spends a link of [Service.SendProof], and opens the sandbox. Errors are those of
// [Service.Claim].
func (s *Service) Prove(ctx context.Context, token string) error {
	a, err := s.Claim(ctx, token)
	if err != nil {
		return err
	}
	return s.openSandbox(ctx, a.ID, a.Details.Domain, ByMail, func(tx *tenant.Tx) error { return s.use(ctx, tx, token, s.now()) })
}

const (
	lockSQL = `select` + columns + `
 where a.application_id = $1
   for update of a`

	provenSQL = `
update application
   set state = 'waiting', proven_by = $2, proven_at = $3, sandbox = $4, changed_at = $3
 where application_id = $1`
)

// Files of sandboxes are made often, so that whoever tries one, or rehearses in it, sees one soon.
const (
	sandboxPeriod = time.Minute
	sandboxCodes  = 100
	// sandboxTries is how many names are tried: a region has one of 46,656.
	sandboxTries = 10
)

// openSandbox makes the sandbox of an application whose domain is proven. spend, if any,
// happens with it.
func (s *Service) openSandbox(ctx context.Context, id uuid.UUID, domain string, by Proof, spend func(*tenant.Tx) error) error {
	for try := 1; ; try++ {
		err := s.tryName(ctx, id, domain, by, spend)
		switch {
		case errors.Is(err, onboarding.ErrExists) && try < sandboxTries:
			continue
		case errors.Is(err, ErrState), errors.Is(err, ErrLinkUsed):
			return err
		case err != nil:
			return fmt.Errorf("open sandbox: %w", err)
		}
		return nil
	}
}

func (s *Service) tryName(ctx context.Context, id uuid.UUID, domain string, by Proof, spend func(*tenant.Tx) error) error {
	sandbox, now := tenant.NewID(), s.now()
	return s.DB.In(ctx, sandbox, func(tx *tenant.Tx) error {
		var r row
		if err := tx.Get(ctx, &r, lockSQL, id); err != nil {
			return err
		}
		if r.State != Proving || text(r.Domain) != domain {
			return ErrState
		}
		if spend != nil {
			if err := spend(tx); err != nil {
				return err
			}
		}
		a, err := r.application()
		if err != nil {
			return err
		}
		if err := onboarding.Make(ctx, tx, sandbox, s.Root, sandboxSpec(a.Details), system, now); err != nil {
			return err
		}
		if err := quota.Expect(ctx, tx, sandboxCodes, now); err != nil {
			return err
		}
		if err := s.addOwner(ctx, tx, a); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, provenSQL, id, string(by), now, sandbox)
		return err
	})
}

// addOwner makes the applicant the first owner of tx's tenant.
func (s *Service) addOwner(ctx context.Context, tx *tenant.Tx, a *Application) error {
	return member.Add(ctx, tx, member.Member{
		Issuer: s.Issuer, Email: a.Email, Name: a.Details.ContactName, Roles: []authz.Role{authz.Owner},
	})
}

var system = authz.Subject{Kind: authz.System, ID: "signup", Name: "Carillon"}

// audience is aud of certificates, as key servers ask for it.
const audience = "exposure-notifications-server"

func sandboxSpec(d *Details) onboarding.Spec {
	slug := strings.ToLower(d.Region) + "-" + pick("abcdefghijkmnpqrstuvwxyz23456789", 6) + "-sandbox"
	return onboarding.Spec{
		Kind: tenant.Sandbox, Slug: slug, Name: d.Name, Region: "ZZ-" + pick("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 3),
		HealthAuthorityID: "sandbox." + slug, Issuer: slug, Audience: audience, ExportKeyID: slug,
		ExportPeriod: sandboxPeriod, Truncate: sandboxPeriod, Language: d.Languages[0], SMSCountry: country(d.Region),
		Limited: true,
	}
}

func country(region string) string {
	c, _, _ := strings.Cut(region, "-")
	return c
}

// pick returns n letters at random.
func pick(letters string, n int) string {
	random := make([]byte, n)
	rand.Read(random)
	for i, b := range random {
		random[i] = letters[int(b)%len(letters)]
	}
	return string(random)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
