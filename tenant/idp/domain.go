package idp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

var (
	// ErrDomain means that a text is no domain, or that there are too many.
	ErrDomain = errors.New("a domain is a name such as health.example, and there are 20 at most")
	// ErrUnproved means that the record is not in the domain's DNS.
	ErrUnproved = errors.New("the domain's DNS does not have the record")
)

// Domain is one whose people are led to an authority's sign-in page by their address.
type Domain struct {
	Domain string
	// Record is the text that the DNS must have at Name.
	Token   string
	AddedAt time.Time  `db:"added_at"`
	Proved  *time.Time `db:"proved_at"`
}

// RecordName is where the proof stands, RecordText what it says.
func (d Domain) RecordName() string { return "_carillon-sign-in." + d.Domain }

// RecordText is the text record that proves the domain.
func (d Domain) RecordText() string { return "carillon-sign-in=" + d.Token }

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$`)

func isDomain(d string) bool { return len(d) <= 253 && domainForm.MatchString(d) }

const (
	maxProved = 20

	domainsSQL = `
  select domain, token, added_at, proved_at
    from sign_in_domain
order by domain`

	addDomainSQL = `
insert into sign_in_domain (tenant_id, domain, token, added_at)
select current_tenant(), $1, $2, $3
 where (select count(*) from sign_in_domain) < $4
    on conflict on constraint sign_in_domain_pkey do nothing`

	proveSQL = `
update sign_in_domain
   set proved_at = $2
 where domain = $1`

	dropDomainSQL = `delete from sign_in_domain where domain = $1`

	byDomainSQL = `
  select d.slug, d.name
    from sign_in_domain s
    join tenant_directory d on d.tenant = s.tenant_id
   where d.state = 'active'
     and s.domain = $1
order by d.name
   limit 20`
)

// Domains lists the authority's domains.
func (s *Staff) Domains(ctx context.Context, t *tenant.Tenant, by authz.Subject) (list []Domain, err error) {
	err = s.in(ctx, t, by, authz.SettingsRead, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, domainsSQL) })
	return list, err
}

// AddDomain names a domain that is to be proved: [ErrDomain] if it is none. One that is
// there already stays as it is.
func (s *Staff) AddDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error {
	domain = strings.ToLower(strings.TrimSpace(domain))
	if !isDomain(domain) {
		return ErrDomain
	}
	return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, addDomainSQL, domain, rand.Text(), s.Now().UTC(), maxProved)
		if err != nil {
			return err
		}
		if n == 0 {
			return known(ctx, tx, domain)
		}
		return audit.Record(ctx, tx, s.Now(), by, "sign-in:domain-add", domain, nil)
	})
}

// known is nil for a domain that is there.
func known(ctx context.Context, tx *tenant.Tx, domain string) error {
	var list []Domain
	if err := tx.Select(ctx, &list, domainsSQL); err != nil {
		return err
	}
	for _, d := range list {
		if d.Domain == domain {
			return nil
		}
	}
	return ErrDomain
}

// DropDomain removes a domain; one that is not there is no error.
func (s *Staff) DropDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error {
	return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, dropDomainSQL, domain)
		if err != nil || n == 0 {
			return err
		}
		return audit.Record(ctx, tx, s.Now(), by, "sign-in:domain-drop", domain, nil)
	})
}

// lookUpTime bounds a question to the DNS.
const lookUpTime = 5 * time.Second

// ProveDomain looks for the record of one of the authority's domains: [ErrUnproved] if
// it is not there, [ErrDomain] if the authority has not named the domain.
func (s *Staff) ProveDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error {
	list, err := s.Domains(ctx, t, by)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Domain == domain {
			return s.prove(ctx, t, by, d)
		}
	}
	return ErrDomain
}

func (s *Staff) prove(ctx context.Context, t *tenant.Tenant, by authz.Subject, d Domain) error {
	asking, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	records, err := s.Records(asking, d.RecordName())
	if err != nil {
		return fmt.Errorf("%w: it does not answer", ErrUnproved)
	}
	for _, text := range records {
		if strings.TrimSpace(text) == d.RecordText() {
			return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
				if _, err := tx.Exec(ctx, proveSQL, d.Domain, s.Now().UTC()); err != nil {
					return err
				}
				return audit.Record(ctx, tx, s.Now(), by, "sign-in:domain-prove", d.Domain, nil)
			})
		}
	}
	return ErrUnproved
}

// Authority is one to whose sign-in page somebody is led.
type Authority struct {
	Slug tenant.Slug
	Name string
}

// ByDomain lists the active authorities that have proved a domain. It is told to anybody
// who names the domain, as the DNS does; whether an address exists nobody is told.
func (d *Directory) ByDomain(ctx context.Context, domain string) ([]Authority, error) {
	domain = strings.ToLower(domain)
	if !isDomain(domain) {
		return nil, nil
	}
	var list []Authority
	err := d.DB.ForDomain(ctx, domain, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, byDomainSQL, domain) })
	if err != nil {
		return nil, fmt.Errorf("find authorities of a domain: %w", err)
	}
	return list, nil
}
