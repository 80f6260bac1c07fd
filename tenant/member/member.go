// Package member keeps the staff of health authorities and the sessions of people
// who have signed in.
//
// A member is named by identity provider and e-mail address until she first signs
// in; then the provider's subject is bound to the row and must match ever after,
// so that an address given to somebody else opens nothing. Membership is read with
// each request: whoever is removed is out at once.
//
// What a tenant's own provider says counts with that tenant alone, whatever issuer it
// shares with others.
package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
   where d.state <> 'erased'
     and (m.subject is null or m.subject = $1)
     and ($2 = '' or m.tenant_id::text = $2)
order by d.name
   limit 1000`

// Memberships lists the tenants that know a person who has signed in, by name. For one
// who did so at a tenant's own provider there is only that tenant. Suspended ones are
// listed, too: there she learns why.
func Memberships(ctx context.Context, db *tenant.DB, who oidc.Identity) ([]Membership, error) {
	var list []Membership
	err := db.ForLogin(ctx, who.Issuer, strings.ToLower(who.Email), func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, membershipsSQL, who.Subject, who.Realm)
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
// [ErrNotMember] if she is none of its members. Her roles are those that she was given
// and those that follow from what the tenant's own provider said of her; nobody is an
// owner for that.
func Authenticate(ctx context.Context, db *tenant.DB, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	if who.Realm != "" && who.Realm != t.ID.String() {
		return authz.Subject{}, ErrNotMember
	}
	var found bool
	var id uuid.UUID
	var name string
	var roles pq.StringArray
	var unbound bool
	find := tenant.Statement{SQL: findSQL, Args: []any{who.Issuer, strings.ToLower(who.Email), who.Subject}}
	err := db.Do(ctx, t.ID, find, func(r tenant.Row) error {
		found = true
		return r.Scan(&id, &name, &roles, &unbound)
	})
	if err == nil && !found {
		return authz.Subject{}, ErrNotMember
	}
	if err == nil && unbound {
		err = bind(ctx, db, t, id, who.Subject)
	}
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find member: %w", err)
	}
	return authz.Subject{Kind: authz.Person, ID: id.String(), Name: name, Roles: merge(roles, who.Roles)}, nil
}

// bind makes a row the person's own: [ErrNotMember] if it was made somebody else's a
// moment ago.
func bind(ctx context.Context, db *tenant.DB, t *tenant.Tenant, id uuid.UUID, subject string) error {
	return db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, bindSQL, id, subject)
		if err == nil && rows == 0 {
			return ErrNotMember
		}
		return err
	})
}

// merge gives each role once.
func merge(given, claimed []string) []authz.Role {
	var roles []authz.Role
	for _, r := range given {
		roles = append(roles, authz.Role(r))
	}
	for _, r := range claimed {
		if role := authz.Role(r); role != authz.Owner && !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles
}
