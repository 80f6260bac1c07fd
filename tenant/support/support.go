// Package support lets those who support the platform into a health authority's portal:
// only whom the authority has invited, to look and not to change, for a day at most.
//
// An invitation names an e-mail address. It opens nothing unless the platform's own
// identity provider has that person sign in and the platform has her as one of its people;
// whether it has is not told to whoever invites. What she may do is what a reading role
// allows, and never more than whoever invited her may at that moment: an invitation ends
// with its time, when it is revoked, and with the membership it was made by.
//
// Inviting, revoking and the first use are entered in the authority's audit log and in the
// platform's.
package support

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

var (
	// ErrEmail means that a text is no e-mail address.
	ErrEmail = errors.New("not an e-mail address")
	// ErrRole means that a role is none of [Roles], or more than the inviter holds.
	ErrRole = errors.New("support cannot be given this role")
	// ErrTime means that an invitation would be for less than an hour or more than a day.
	ErrTime = errors.New("an invitation is for 1 to 24 hours")
	// ErrBorrowed means that what the inviter holds is not hers by the authority's own list of
	// staff, but by what her identity provider or a group says: support could not come in.
	ErrBorrowed = errors.New("only who has the roles herself can invite support")
	// ErrNoGrant means that there is no such invitation, or that it is over.
	ErrNoGrant = errors.New("no such invitation")
	// ErrNotInvited means that somebody is not invited.
	ErrNotInvited = errors.New("not invited by this health authority")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrEmail, ErrRole, ErrTime, ErrBorrowed, ErrNoGrant, ErrNotInvited}
}

// MaxHours is how long an invitation can be.
const MaxHours = 24

// Roles are those that support can be given: they read.
func Roles() []authz.Role { return []authz.Role{authz.Auditor, authz.Analyst} }

// Grant is an invitation.
type Grant struct {
	ID    uuid.UUID `db:"grant_id"`
	Email string
	Role  authz.Role
	// By is the name of who made it.
	By        string
	GrantedAt time.Time `db:"granted_at"`
	ExpiresAt time.Time `db:"expires_at"`
	// RevokedAt and UsedAt are nil if it was not; UsedAt is when it was first used.
	RevokedAt *time.Time `db:"revoked_at"`
	UsedAt    *time.Time `db:"used_at"`
}

// Open reports whether it lets somebody in at a time.
func (g Grant) Open(at time.Time) bool { return g.RevokedAt == nil && at.Before(g.ExpiresAt) }

// Desk is where staff invite support. It is safe for concurrent use.
type Desk struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewDesk returns the desk as reached through db, under the portal's role.
func NewDesk(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Desk {
	return &Desk{db: db, policies: policies, now: now}
}

const listSQL = `
  select g.grant_id, g.email, g.role, m.name as by, g.granted_at, g.expires_at, g.revoked_at, g.used_at
    from support_grant g
    join member m on m.tenant_id = g.tenant_id and m.member_id = g.granted_by
order by g.granted_at desc, g.grant_id
   limit 100`

// List returns the newest hundred invitations of t, the newest first. It asks for
// [authz.MemberRead].
func (d *Desk) List(ctx context.Context, t *tenant.Tenant, by authz.Subject) (list []Grant, err error) {
	if err := d.policies.Check(ctx, t.ID.String(), by, authz.MemberRead); err != nil {
		return nil, err
	}
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, listSQL) })
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return list, nil
}

const makerSQL = `select member_id as granted_by, roles from member where member_id = $1`

// holds reports as [ErrBorrowed] if an invitation of by would not let anybody in, since
// [Desk.Enter] asks what its maker holds herself.
func (d *Desk) holds(ctx context.Context, t *tenant.Tenant, by authz.Subject, role authz.Role) error {
	var maker entry
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &maker, makerSQL, by.ID) })
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("invite support: %w", err)
	}
	err = d.policies.CheckGrant(ctx, t.ID.String(), maker.maker(), role)
	if errors.Is(err, authz.ErrForbidden) {
		return ErrBorrowed
	}
	return err
}

const inviteSQL = `
insert into support_grant (tenant_id, grant_id, email, role, granted_by, granted_at, expires_at)
values (current_tenant(), $1, $2, $3, $4, $5, $6)`

// Invite lets a person in for some hours. It asks for [authz.MemberWrite] and for all that
// the role allows. [ErrEmail], [ErrRole] and [ErrTime] say what makes no sense,
// [ErrBorrowed] that by may do this by somebody else's word only.
func (d *Desk) Invite(ctx context.Context, t *tenant.Tenant, by authz.Subject, email string, role authz.Role, hours int) error {
	email = strings.ToLower(strings.TrimSpace(email))
	if !slices.Contains(Roles(), role) {
		return ErrRole
	}
	if hours < 1 || hours > MaxHours {
		return ErrTime
	}
	if err := d.policies.CheckGrant(ctx, t.ID.String(), by, role); err != nil {
		return err
	}
	if err := d.holds(ctx, t, by, role); err != nil {
		return err
	}
	at := d.now().UTC().Truncate(time.Second)
	id, until := uuid.New(), at.Add(time.Duration(hours)*time.Hour)
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, inviteSQL, id, email, string(role), by.ID, at, until); err != nil {
			return err
		}
		return record(ctx, tx, t, by, "support:invite", email, map[string]string{"role": string(role), "until": until.Format(time.RFC3339)}, at)
	})
	switch {
	case tenant.Violates(err, "support_grant_email_form"):
		return ErrEmail
	case err != nil:
		return fmt.Errorf("invite support: %w", err)
	}
	return nil
}

// record enters an act in both logs.
func record(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, action, email string, detail map[string]string, at time.Time) error {
	both := map[string]string{"support": email}
	for name, text := range detail {
		both[name] = text
	}
	if err := platform.Record(ctx, tx, by, platform.Entry{At: at, Action: action, Target: string(t.Slug), Detail: both}); err != nil {
		return err
	}
	return audit.Record(ctx, tx, at, by, action, email, detail)
}

const revokeSQL = `
   update support_grant
      set revoked_at = $2
    where grant_id = $1
      and revoked_at is null
      and expires_at > $2
returning email`

// Revoke ends an invitation, at once: [ErrNoGrant] if it is none that is open. It asks for
// [authz.MemberWrite].
func (d *Desk) Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	if err := d.policies.Check(ctx, t.ID.String(), by, authz.MemberWrite); err != nil {
		return err
	}
	at := d.now().UTC().Truncate(time.Second)
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var email string
		if err := tx.Get(ctx, &email, revokeSQL, id, at); err != nil {
			return err
		}
		return record(ctx, tx, t, by, "support:revoke", email, nil, at)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoGrant
	}
	if err != nil {
		return fmt.Errorf("revoke invitation: %w", err)
	}
	return nil
}

const (
	asPersonSQL = `
select set_config('carillon.login_issuer', $1, true), set_config('carillon.login_email', $2, true)`

	enterSQL = `
  select g.grant_id, g.role, g.used_at is null as first, o.operator_id, o.name, g.granted_by, m.roles
    from support_grant g
    join platform_operator o on o.email = g.email
    join member m on m.tenant_id = g.tenant_id and m.member_id = g.granted_by
   where g.tenant_id = current_tenant()
     and o.issuer = $1
     and o.email = $2
     and o.subject = $3
     and o.disabled_at is null
     and m.state = 'active'
     and g.revoked_at is null
     and g.expires_at > $4
order by g.granted_at desc, g.grant_id
   limit 20`

	useSQL = `
update support_grant
   set used_at = $2
 where grant_id = $1
   and used_at is null`
)

type entry struct {
	ID       uuid.UUID `db:"grant_id"`
	Role     authz.Role
	First    bool
	Operator uuid.UUID `db:"operator_id"`
	Name     string
	By       uuid.UUID `db:"granted_by"`
	Roles    pq.StringArray
}

// Enter makes a person who has signed in a subject of t, if she is one of the platform's
// people and invited: [ErrNotInvited] if not. Of several invitations the newest counts
// whose maker may still make it.
func (d *Desk) Enter(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	if who.Realm != "" {
		return authz.Subject{}, ErrNotInvited // the word of a tenant's own provider
	}
	at := d.now().UTC().Truncate(time.Second)
	email := strings.ToLower(who.Email)
	var open []entry
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, asPersonSQL, who.Issuer, email); err != nil {
			return err
		}
		return tx.Select(ctx, &open, enterSQL, who.Issuer, email, who.Subject, at)
	})
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find invitation: %w", err)
	}
	for _, e := range open {
		err := d.policies.CheckGrant(ctx, t.ID.String(), e.maker(), e.Role)
		if errors.Is(err, authz.ErrForbidden) {
			continue
		}
		subject := authz.Subject{Kind: authz.Person, ID: e.Operator.String(), Name: e.Name, Roles: []authz.Role{e.Role}}
		if err == nil && e.First {
			err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return use(ctx, tx, t, subject, e, email, at) })
		}
		if err != nil {
			return authz.Subject{}, fmt.Errorf("enter as support: %w", err)
		}
		return subject, nil
	}
	return authz.Subject{}, ErrNotInvited
}

// maker is who made the invitation, as she is now.
func (e entry) maker() authz.Subject {
	roles := make([]authz.Role, len(e.Roles))
	for i, r := range e.Roles {
		roles[i] = authz.Role(r)
	}
	return authz.Subject{Kind: authz.Person, ID: e.By.String(), Roles: roles}
}

// use notes the first use of an invitation.
func use(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, e entry, email string, at time.Time) error {
	n, err := tx.Exec(ctx, useSQL, e.ID, at)
	if err != nil || n == 0 { // another request was a moment earlier
		return err
	}
	return record(ctx, tx, t, by, "support:enter", email, map[string]string{"role": string(e.Role)}, at)
}

const placesSQL = `
  select d.slug, d.name, d.region, max(g.expires_at) as until
    from support_grant g
    join tenant_directory d on d.tenant = g.tenant_id
   where d.state <> 'erased'
     and g.revoked_at is null
     and g.expires_at > $1
group by d.slug, d.name, d.region
order by d.name
   limit 100`

// Place is a tenant that has invited somebody.
type Place struct {
	Slug         tenant.Slug
	Name, Region string
	Until        time.Time
}

// Places lists the tenants that have invited one of the platform's people. db is a handle
// under the role carillon_operator.
func Places(ctx context.Context, db *tenant.DB, who oidc.Identity, now time.Time) (list []Place, err error) {
	err = db.ForLogin(ctx, who.Issuer, strings.ToLower(who.Email), func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, placesSQL, now.UTC())
	})
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return list, nil
}

const cleanupSQL = `
delete from support_grant
 where expires_at < $1`

// Retention is how long an invitation is kept after its end.
const Retention = 91 * 24 * time.Hour

// Cleanup deletes a tenant's invitations past their [Retention]. db is a handle under the
// role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, cleanupSQL, now.UTC().Add(-Retention))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete old invitations: %w", err)
	}
	return nil
}
