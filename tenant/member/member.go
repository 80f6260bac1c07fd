// Package member keeps the staff of health authorities and the sessions of people
// who have signed in.
//
// A member is named by identity provider and e-mail address until she first signs
// in; then the provider's subject is bound to the row and must match ever after,
// so that an address given to somebody else opens nothing. Membership is read with
// each request: whoever is removed is out at once.
package member

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
)

// ErrNotMember means that a person does not belong to a tenant.
var ErrNotMember = errors.New("not a member of this health authority")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNotMember} }

// Member is one person on a tenant's staff.
type Member struct {
	// Issuer is the identity provider that vouches for her, Email the address it
	// knows, in any case.
	Issuer, Email string
	// Name is for people; 1 to 100 characters.
	Name string
	// Roles are what she may be: at least one.
	Roles []authz.Role
}

const addSQL = `
insert into member (tenant_id, member_id, issuer, email, name, roles)
values (current_tenant(), $1, $2, $3, $4, $5)
    on conflict on constraint member_login_key do nothing`

// Add makes a member; one who is there already stays as she is. The caller has
// checked who asks, and writes the audit entry.
func Add(ctx context.Context, tx *tenant.Tx, m Member) error {
	roles := make(pq.StringArray, len(m.Roles))
	for i, r := range m.Roles {
		roles[i] = string(r)
	}
	_, err := tx.Exec(ctx, addSQL, uuid.New(), m.Issuer, strings.ToLower(m.Email), m.Name, roles)
	if err != nil {
		return fmt.Errorf("add member: %w", err)
	}
	return nil
}

// Membership is one of a person's tenants.
type Membership struct {
	Tenant tenant.ID
	Slug   tenant.Slug
	// Name and Region are the authority's.
	Name, Region string
}

const membershipsSQL = `
  select d.tenant, d.slug, d.name, d.region
    from member m
    join tenant_directory d on d.tenant = m.tenant_id
   where d.state = 'active'
     and (m.subject is null or m.subject = $1)
order by d.name
   limit 1000`

// Memberships lists the tenants that know a person who has signed in, by name.
func Memberships(ctx context.Context, db *tenant.DB, who oidc.Identity) ([]Membership, error) {
	var list []Membership
	err := db.ForLogin(ctx, who.Issuer, strings.ToLower(who.Email), func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, membershipsSQL, who.Subject)
	})
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	return list, nil
}

const (
	findSQL = `
select member_id, name, roles, subject is null as unbound
  from member
 where issuer = $1
   and email = $2
   and (subject is null or subject = $3)`

	bindSQL = `
update member
   set subject = $2
 where member_id = $1
   and (subject is null or subject = $2)`
)

// Authenticate returns a person who has signed in as a subject of the tenant:
// [ErrNotMember] if she is none of its members.
func Authenticate(ctx context.Context, db *tenant.DB, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	var found []struct {
		ID      uuid.UUID `db:"member_id"`
		Name    string
		Roles   pq.StringArray
		Unbound bool
	}
	err := db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Select(ctx, &found, findSQL, who.Issuer, strings.ToLower(who.Email), who.Subject); err != nil {
			return err
		}
		if len(found) == 0 || !found[0].Unbound {
			return nil
		}
		rows, err := tx.Exec(ctx, bindSQL, found[0].ID, who.Subject)
		if err == nil && rows == 0 {
			return ErrNotMember // somebody else was bound a moment ago
		}
		return err
	})
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find member: %w", err)
	}
	if len(found) == 0 {
		return authz.Subject{}, ErrNotMember
	}
	roles := make([]authz.Role, len(found[0].Roles))
	for i, r := range found[0].Roles {
		roles[i] = authz.Role(r)
	}
	return authz.Subject{Kind: authz.Person, ID: found[0].ID.String(), Name: found[0].Name, Roles: roles}, nil
}
