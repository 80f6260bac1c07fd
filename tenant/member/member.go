// Package member keeps the staff of health authorities and the sessions of people
// who have signed in.
//
// A member is named by identity provider and e-mail address until she first signs
// in; then the provider's subject is bound to the row and must match ever after,
// so that an address given to somebody else opens nothing. Membership is read with
// each request: whoever is suspended or removed is out at once.
//
// What a tenant's own provider says counts with that tenant alone, whatever issuer it
// shares with others.
//
// A member can go over from the platform's provider to one of her authority's, and back: she
// proves both accounts in one go, and stays the same row.
//
// [Staff] is what people do about members: invite, import, change, suspend, remove.
// [Provisioner] is what the authority's identity provider does by SCIM: users, and groups
// whose roles staff have chosen. Nobody gives a role that allows more than she may do, and
// an authority that has an owner keeps one, which the database holds. Who is an owner is
// for two people to decide (package approval), but for the first second one.
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

var (
	// ErrNotMember means that a person does not belong to a tenant.
	ErrNotMember = errors.New("not a member of this health authority")
	// ErrSuspended means that she does, and may not work there now.
	ErrSuspended = errors.New("membership is suspended")
	// ErrLastOwner means that nobody would own the authority any more.
	ErrLastOwner = errors.New("a health authority keeps one active owner")
	// ErrOwnerChange means that somebody alone would make an owner, or take the role away.
	ErrOwnerChange = errors.New("who is an owner is for two people to decide")
	// ErrOwnerInactive means that somebody would become an owner who does not work there now.
	ErrOwnerInactive = errors.New("only an active member can become an owner")
	// ErrOwnerAlready means that somebody is an owner already, or is none.
	ErrOwnerAlready = errors.New("there is nothing to change about who is an owner")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrNotMember, ErrSuspended, ErrLastOwner, ErrNoSuchMember, ErrNoSuchGroup, ErrName, ErrEmail, ErrRoles, ErrFull,
		ErrAlreadyMember, ErrAlreadyInvited, ErrNoInvitation, ErrInvitationUnknown, ErrInvitationExpired,
		ErrInvitationRevoked, ErrInvitationUsed, ErrInvitationOther, ErrRosterForm, ErrRosterSize, ErrRoster,
		ErrUserNameFixed, ErrOwnerChange, ErrOwnerAlready, ErrOwnerInactive,
		ErrLinkOther, ErrLinkTwice, ErrLinkSame, ErrOutsideOwner, ErrNoPlatformLogin,
	}
}

// State says whether a member may work.
type State string

// The states.
const (
	Active State = "active"
	// Suspended members were put out by staff, who alone can let them in again.
	Suspended State = "suspended"
	// Deactivated members were put out by the identity provider.
	Deactivated State = "deactivated"
)

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

// owned tells that a transaction failed because the last owner would be gone, or the last
// one who needs no provider of the authority's own.
func owned(err error) error {
	switch {
	case tenant.Violates(err, "member_owner_kept"):
		return ErrLastOwner
	case tenant.Violates(err, "member_outside_owner_kept"):
		return ErrOutsideOwner
	}
	return err
}

const addSQL = `
insert into member (tenant_id, member_id, issuer, email, name, roles)
values (current_tenant(), $1, $2, $3, $4, $5)
    on conflict on constraint member_login_key do nothing`

// Add makes a member; one who is there already stays as she is. The caller has
// checked who asks, and writes the audit entry.
func Add(ctx context.Context, tx *tenant.Tx, m Member) error {
	_, err := tx.Exec(ctx, addSQL, uuid.New(), m.Issuer, strings.ToLower(m.Email), m.Name, roleTexts(m.Roles))
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
     and m.state = 'active'
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

// What a member may do is the roles that she was given, and those of her groups.
const (
	findSQL = `
select m.member_id, m.name, m.state, m.roles,
       array(select g.role
               from staff_group_member i
               join staff_group g using (tenant_id, group_id)
              where i.tenant_id = m.tenant_id
                and i.member_id = m.member_id
                and g.role is not null
           order by g.role) as group_roles,
       m.subject is null or m.last_seen_at is null or m.last_seen_at < now() - interval '10 minutes' as due
  from member m
 where m.issuer = $1
   and m.email = $2
   and (m.subject is null or m.subject = $3)`

	seenSQL = `
update member
   set subject = $2, last_seen_at = date_bin('5 minutes', now(), 'epoch')
 where member_id = $1
   and state = 'active'
   and (subject is null or subject = $2)`
)

// Authenticate returns a person who has signed in as a subject of the tenant:
// [ErrNotMember] if she is none of its members, [ErrSuspended] if she may not work now.
// Her roles are those that she was given, those of her groups, and those that follow from
// what the tenant's own provider said of her; nobody is an owner for either. That she was
// here is noted once in five to ten minutes.
func Authenticate(ctx context.Context, db *tenant.DB, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	if who.Realm != "" && who.Realm != t.ID.String() {
		return authz.Subject{}, ErrNotMember
	}
	var found, due bool
	var id uuid.UUID
	var name, state string
	var given, grouped pq.StringArray
	find := tenant.Statement{SQL: findSQL, Args: []any{who.Issuer, strings.ToLower(who.Email), who.Subject}}
	err := db.Do(ctx, t.ID, find, func(r tenant.Row) error {
		found = true
		return r.Scan(&id, &name, &state, &given, &grouped, &due)
	})
	switch {
	case err != nil:
	case !found:
		return authz.Subject{}, ErrNotMember
	case State(state) != Active:
		return authz.Subject{}, ErrSuspended
	case due:
		err = seen(ctx, db, t, id, who.Subject)
	}
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find member: %w", err)
	}
	more := withoutOwner(append(roles(grouped), roles(who.Roles)...))
	return authz.Subject{Kind: authz.Person, ID: id.String(), Name: name, Roles: union(roles(given), more)}, nil
}

const standingSQL = `
select m.state, m.roles,
       array(select g.role
               from staff_group_member i
               join staff_group g using (tenant_id, group_id)
              where i.tenant_id = m.tenant_id
                and i.member_id = m.member_id
                and g.role is not null
           order by g.role) as group_roles
  from member m
 where m.member_id::text = $1`

// Standing returns the roles that the member with an ID has now, for what is done in her
// name while she is not there: [ErrNotMember] if there is none, [ErrSuspended] if she may
// not work now. What her identity provider said of her when she signed in is not among
// them.
func Standing(ctx context.Context, tx *tenant.Tx, id string) ([]authz.Role, error) {
	var found []struct {
		State      State
		Roles      pq.StringArray
		GroupRoles pq.StringArray `db:"group_roles"`
	}
	if err := tx.Select(ctx, &found, standingSQL, id); err != nil {
		return nil, fmt.Errorf("find member: %w", err)
	}
	switch {
	case len(found) == 0:
		return nil, ErrNotMember
	case found[0].State != Active:
		return nil, ErrSuspended
	}
	return union(roles(found[0].Roles), withoutOwner(roles(found[0].GroupRoles))), nil
}

// withoutOwner are roles as groups and providers give them: nobody is an owner by one.
func withoutOwner(list []authz.Role) []authz.Role {
	return slices.DeleteFunc(list, func(r authz.Role) bool { return r == authz.Owner })
}

// seen notes that somebody was here, and at her first time makes the row her own:
// [ErrNotMember] if it was made somebody else's a moment ago, or she was put out.
func seen(ctx context.Context, db *tenant.DB, t *tenant.Tenant, id uuid.UUID, subject string) error {
	return db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, seenSQL, id, subject)
		if err == nil && rows == 0 {
			return ErrNotMember
		}
		return err
	})
}

func roles(texts []string) []authz.Role {
	list := make([]authz.Role, len(texts))
	for i, text := range texts {
		list[i] = authz.Role(text)
	}
	return list
}

func roleTexts(list []authz.Role) pq.StringArray {
	texts := make(pq.StringArray, len(list))
	for i, r := range list {
		texts[i] = string(r)
	}
	return texts
}

// union is first, and what of more is not in it.
func union(first, more []authz.Role) []authz.Role {
	list := slices.Clone(first)
	for _, r := range more {
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}
