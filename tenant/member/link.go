package member

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
)

var (
	// ErrLinkOther means that an account cannot become a member's: it has another address,
	// or is at a provider that may say nothing about members of this authority.
	ErrLinkOther = errors.New("account is not hers")
	// ErrLinkTwice means that two members of the authority have the address or the account.
	ErrLinkTwice = errors.New("several members have this address or account")
	// ErrLinkSame means that she signs in with the account already.
	ErrLinkSame = errors.New("account is the one that she signs in with")
	// ErrOutsideOwner means that no owner would be left who can sign in without the
	// authority's own provider.
	ErrOutsideOwner = errors.New("an owner who does not depend on the authority's own provider stays")
	// ErrNoPlatformLogin means that a member has no account to be brought back to.
	ErrNoPlatformLogin = errors.New("member has no account at the platform's provider")
)

// linked is the row of a member who wants to sign in otherwise.
type linked struct {
	ID    uuid.UUID `db:"member_id"`
	Name  string
	State State
	Roles pq.StringArray
}

const (
	// lockOwnersSQL makes those wait who take an owner away, as the triggers do.
	lockOwnersSQL = `select pg_advisory_xact_lock(hashtextextended('an owner of ' || current_tenant(), 0))`

	findLinkedSQL = `
select member_id, name, state, roles
  from member
 where issuer = $1
   and email = $2
   and subject = $3
   for update`

	// activeIssuerSQL holds the provider as it is until the member's row names it.
	activeIssuerSQL = `
select issuer
  from identity_provider
 where provider_id = $1
   and state = 'active'
   for share`

	claimantsSQL = `
select count(*)
  from member
 where member_id <> $1
   and (email = $2 or issuer = $3 and subject = $4)`

	relinkSQL = `update member set issuer = $2, subject = $3, changed_at = $4 where member_id = $1`

	keepLoginSQL = `
insert into member_platform_login (tenant_id, member_id, issuer, subject, moved_at)
values (current_tenant(), $1, $2, $3, $4)`

	takeLoginSQL = `
   delete from member_platform_login
    where member_id = $1
returning issuer, subject`
)

// Link makes a member of t, who has signed in as from, one who signs in as to from now on:
// both accounts were proved, and have the same address. One is at the platform's own
// provider and the other at one of the authority's, or both are at the authority's. She stays the
// same member, with all that is hers; a session of the account before opens nothing here
// any more.
//
// Errors are [ErrNotMember], [ErrSuspended], [ErrLinkOther], [ErrLinkTwice], [ErrLinkSame] and
// [ErrOutsideOwner].
func (s *Staff) Link(ctx context.Context, t *tenant.Tenant, from, to oidc.Identity, request string) error {
	if from.Realm != "" && from.Realm != t.ID.String() {
		return ErrNotMember
	}
	email := strings.ToLower(from.Email)
	if to.Realm != "" && to.Realm != t.ID.String() || strings.ToLower(to.Email) != email || to.Subject == "" {
		return ErrLinkOther
	}
	if to.Issuer == from.Issuer && to.Subject == from.Subject {
		return ErrLinkSame
	}
	return owned(s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockOwnersSQL); err != nil {
			return fmt.Errorf("lock owners: %w", err)
		}
		m, err := findLinked(ctx, tx, from)
		if err != nil {
			return err
		}
		if err := s.checkTarget(ctx, tx, to); err != nil {
			return err
		}
		var others int
		if err := tx.Get(ctx, &others, claimantsSQL, m.ID, email, to.Issuer, to.Subject); err != nil {
			return fmt.Errorf("count members of an address: %w", err)
		}
		if others > 0 {
			return ErrLinkTwice
		}
		return s.link(ctx, tx, m, from, to, request)
	}))
}

// findLinked locks the row that an account is bound to.
func findLinked(ctx context.Context, tx *tenant.Tx, who oidc.Identity) (linked, error) {
	var m linked
	err := tx.Get(ctx, &m, findLinkedSQL, who.Issuer, strings.ToLower(who.Email), who.Subject)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return m, ErrNotMember
	case err != nil:
		return m, fmt.Errorf("find member: %w", err)
	case m.State != Active:
		return m, ErrSuspended
	}
	return m, nil
}

// checkTarget refuses an account at anything but the platform's provider and those of the
// authority that are active.
func (s *Staff) checkTarget(ctx context.Context, tx *tenant.Tx, to oidc.Identity) error {
	if to.Realm == "" {
		if to.Issuer != s.c.Platform {
			return ErrLinkOther
		}
		return nil
	}
	provider, err := uuid.Parse(to.Provider)
	if err != nil {
		return ErrLinkOther
	}
	var issuer string
	err = tx.Get(ctx, &issuer, activeIssuerSQL, provider)
	if errors.Is(err, sql.ErrNoRows) || err == nil && issuer != to.Issuer {
		return ErrLinkOther
	}
	if err != nil {
		return fmt.Errorf("find identity provider: %w", err)
	}
	return nil
}

// link keeps the account at the platform's provider, or, when she goes back to it, drops it.
func (s *Staff) link(ctx context.Context, tx *tenant.Tx, m linked, from, to oidc.Identity, request string) error {
	now := s.c.Now().UTC()
	var err error
	switch {
	case to.Realm == "":
		_, err = tx.Exec(ctx, takeLoginSQL, m.ID)
	case from.Realm == "":
		_, err = tx.Exec(ctx, keepLoginSQL, m.ID, from.Issuer, from.Subject, now)
	}
	if err != nil {
		return fmt.Errorf("keep account: %w", err)
	}
	by := authz.Subject{Kind: authz.Person, ID: m.ID.String(), Name: m.Name, Request: request}
	return s.relink(ctx, tx, by, m.ID, m.Name, "member:link", from.Issuer, to.Issuer, to.Subject, now)
}

func (s *Staff) relink(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, name, action, from, to, subject string, now time.Time) error {
	_, err := tx.Exec(ctx, relinkSQL, id, to, subject, now)
	if tenant.Violates(err, "member_login_key") {
		return ErrLinkTwice
	}
	if err != nil {
		return fmt.Errorf("link account: %w", err)
	}
	return audit.Record(ctx, tx, now, by, action, id.String(), map[string]string{"name": name, "from": from, "to": to})
}

// BringBack makes a member sign in with the account at the platform's own provider that
// she had before: for the day on which the authority's provider fails her. Errors are as for
// other acts about members, [ErrNoPlatformLogin] and [ErrLinkTwice].
func (s *Staff) BringBack(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, id, func(tx *tenant.Tx, p Person) error {
		var login struct{ Issuer, Subject string }
		err := tx.Get(ctx, &login, takeLoginSQL, id)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNoPlatformLogin
		}
		if err != nil {
			return fmt.Errorf("find account: %w", err)
		}
		return s.relink(ctx, tx, by, id, p.Name, "member:bring-back", p.Issuer, login.Issuer, login.Subject, s.c.Now().UTC())
	})
}
