package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// ErrUserNameFixed means that the identity provider would change the address of somebody
// to whom staff gave roles, and so hand those roles to whoever has the new one.
var ErrUserNameFixed = errors.New("the user name of somebody with roles of her own stays")

// MaxGroups is how many groups an authority may have.
const MaxGroups = 200

// Provisioner is what an authority's identity provider does about its staff by SCIM (RFC
// 7643, 7644), under an API key whose role may do so.
//
// It sees the members who sign in through the authority's own providers or, where it has
// none, the platform's, and no others: an owner who comes by the platform's, where there
// are own ones, stays as she is. It gives no
// roles; those of its groups are the staff's choice, and never the owner's.
type Provisioner struct {
	db       *tenant.DB
	policies *authz.Policies
	platform string
	now      func() time.Time
}

// NewProvisioner works through db, a handle under the role carillon_portal; platform is the
// issuer of the platform's own identity provider.
func NewProvisioner(db *tenant.DB, policies *authz.Policies, platform string, now func() time.Time) *Provisioner {
	return &Provisioner{db: db, policies: policies, platform: platform, now: now}
}

// User is a member as her identity provider knows her.
type User struct {
	ID uuid.UUID `db:"member_id"`
	// UserName is her e-mail address, in any case.
	UserName string `db:"email"`
	Name     string
	// ExternalID is the provider's own name for her; empty for none.
	ExternalID string `db:"external_id"`
	Active     bool
	Created    time.Time `db:"created_at"`
	Changed    time.Time `db:"changed_at"`
}

// UserGroup is a group as the identity provider knows it.
type UserGroup struct {
	ID         uuid.UUID `db:"group_id"`
	Name       string
	ExternalID string    `db:"external_id"`
	Created    time.Time `db:"created_at"`
	Changed    time.Time `db:"changed_at"`
	Members    []uuid.UUID
}

// Which chooses what a list has: what is empty chooses all.
type Which struct {
	ID               uuid.UUID
	Name, ExternalID string // Name is a user's e-mail address or a group's name
}

// in runs fn in a transaction of t, if the subject may change or (to read) see members.
func (p *Provisioner) in(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(tx *tenant.Tx, issuers pq.StringArray) error) error {
	if err := p.policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return owned(p.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var own pq.StringArray
		if err := tx.Select(ctx, &own, ownIssuersSQL); err != nil {
			return fmt.Errorf("list providers: %w", err)
		}
		if len(own) == 0 {
			own = pq.StringArray{p.platform}
		}
		return fn(tx, own)
	}))
}

const (
	ownIssuersSQL = `select issuer from identity_provider where state = 'active' order by name`

	userColumns = `
select member_id, email, name, coalesce(external_id, '') as external_id, state = 'active' as active, created_at, changed_at
  from member`

	listUsersSQL = userColumns + `
   where issuer = any ($1)
     and ($2::uuid is null or member_id = $2)
     and ($3 = '' or email = $3)
     and ($4 = '' or external_id = $4)
order by created_at, member_id
  offset $5
   limit $6`

	countUsersSQL = `
select count(*)
  from member
 where issuer = any ($1)
   and ($2::uuid is null or member_id = $2)
   and ($3 = '' or email = $3)
   and ($4 = '' or external_id = $4)`

	findUserSQL = userColumns + ` where issuer = any ($1) and member_id = $2 for update`

	provisionSQL = `
insert into member (tenant_id, member_id, issuer, email, name, roles, state, provisioned, external_id, created_at, changed_at)
values (current_tenant(), $1, $2, $3, $4, '{}', $5, true, nullif($6, ''), $7, $7)
    on conflict on constraint member_login_key do nothing`

	changeUserSQL = `
update member
   set email = $2, name = $3, external_id = nullif($4, ''), changed_at = $5,
       state = case
                 when $6 and state = 'deactivated' then 'active'
                 when not $6 and state = 'active' then 'deactivated'
                 else state
               end
 where member_id = $1
returning state = 'active'`

	isOwnerSQL = `select 'owner' = any (roles) from member where member_id = $1`

	fixedSQL = `select not provisioned or cardinality(roles) > 0 from member where member_id = $1`
)

func nullable(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id
}

// Users lists users, oldest first, from the one numbered start, which is 0 or more, and
// says how many there are.
func (p *Provisioner) Users(ctx context.Context, t *tenant.Tenant, by authz.Subject, w Which, start, count int) (list []User, total int, err error) {
	err = p.in(ctx, t, by, authz.MemberRead, func(tx *tenant.Tx, issuers pq.StringArray) error {
		name := strings.ToLower(w.Name)
		if err := tx.Get(ctx, &total, countUsersSQL, issuers, nullable(w.ID), name, w.ExternalID); err != nil {
			return fmt.Errorf("count users: %w", err)
		}
		if err := tx.Select(ctx, &list, listUsersSQL, issuers, nullable(w.ID), name, w.ExternalID, start, count); err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		return nil
	})
	return list, total, err
}

func (u User) clean() (User, error) {
	i, err := Invitee{Name: u.Name, Email: u.UserName}.clean()
	u.Name, u.UserName = i.Name, i.Email
	return u, err
}

// CreateUser makes a member without roles. Errors are [ErrName], [ErrEmail], [ErrFull]
// and [ErrAlreadyMember].
func (p *Provisioner) CreateUser(ctx context.Context, t *tenant.Tenant, by authz.Subject, u User) (User, error) {
	u, err := u.clean()
	if err != nil {
		return User{}, err
	}
	u.ID, u.Created, u.Changed = uuid.New(), p.stamp(), p.stamp()
	state := Active
	if !u.Active {
		state = Deactivated
	}
	err = p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, issuers pq.StringArray) error {
		var staff int
		if err := tx.Get(ctx, &staff, staffSQL); err != nil {
			return fmt.Errorf("count staff: %w", err)
		}
		if staff >= MaxStaff {
			return ErrFull
		}
		rows, err := tx.Exec(ctx, provisionSQL, u.ID, issuers[0], u.UserName, u.Name, string(state), u.ExternalID, u.Created)
		if err != nil {
			return fmt.Errorf("create user: %w", err)
		}
		if rows == 0 {
			return ErrAlreadyMember
		}
		return audit.Record(ctx, tx, p.now(), by, "member:provision", u.ID.String(), map[string]string{"name": u.Name, "active": fmt.Sprint(u.Active)})
	})
	return u, err
}

// stamp is the time as the database keeps it.
func (p *Provisioner) stamp() time.Time { return p.now().UTC().Truncate(time.Microsecond) }

// ChangeUser lets fn, which does nothing slow, change a user: name, address, external ID
// and whether she is active. Errors are fn's, those of [Provisioner.CreateUser],
// [ErrNoSuchMember], [ErrUserNameFixed] and [ErrLastOwner].
func (p *Provisioner) ChangeUser(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, fn func(*User) error) (u User, err error) {
	err = p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, issuers pq.StringArray) error {
		before, err := findUser(ctx, tx, issuers, id)
		if err != nil {
			return err
		}
		u = before
		if err := fn(&u); err != nil {
			return err
		}
		if u, err = u.clean(); err != nil {
			return err
		}
		u.ID, u.Created = before.ID, before.Created
		if u == before {
			return nil
		}
		u.Changed = p.stamp()
		return p.change(ctx, tx, by, before, &u)
	})
	return u, err
}

func findUser(ctx context.Context, tx *tenant.Tx, issuers pq.StringArray, id uuid.UUID) (User, error) {
	var found []User
	if err := tx.Select(ctx, &found, findUserSQL, issuers, id); err != nil {
		return User{}, fmt.Errorf("find user: %w", err)
	}
	if len(found) == 0 {
		return User{}, ErrNoSuchMember
	}
	return found[0], nil
}

func (p *Provisioner) change(ctx context.Context, tx *tenant.Tx, by authz.Subject, before User, u *User) error {
	if u.UserName != before.UserName {
		var fixed bool
		if err := tx.Get(ctx, &fixed, fixedSQL, u.ID); err != nil {
			return fmt.Errorf("find user: %w", err)
		}
		if fixed {
			return ErrUserNameFixed
		}
	}
	err := tx.Get(ctx, &u.Active, changeUserSQL, u.ID, u.UserName, u.Name, u.ExternalID, u.Changed, u.Active)
	if tenant.Violates(err, "member_login_key") {
		return ErrAlreadyMember
	}
	if err != nil {
		return fmt.Errorf("change user: %w", err)
	}
	action := "member:change"
	switch {
	case before.Active && !u.Active:
		action = "member:deactivate"
		if _, err := tx.Exec(ctx, revokeOfSQL, u.ID.String()); err != nil {
			return fmt.Errorf("revoke invitations: %w", err)
		}
	case !before.Active && u.Active:
		action = "member:activate"
	}
	return audit.Record(ctx, tx, p.now(), by, action, u.ID.String(), map[string]string{
		"name": u.Name, "user-name-changed": fmt.Sprint(u.UserName != before.UserName),
	})
}

// DeleteUser ends a membership. check is told the user as she is, and may refuse.
// [ErrOwnerChange] for an owner: she can be deactivated, which puts her out at once.
func (p *Provisioner) DeleteUser(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, check func(User) error) error {
	return p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, issuers pq.StringArray) error {
		u, err := findUser(ctx, tx, issuers, id)
		if err != nil {
			return err
		}
		if err := check(u); err != nil {
			return err
		}
		var owner bool
		if err := tx.Get(ctx, &owner, isOwnerSQL, id); err != nil {
			return fmt.Errorf("find user: %w", err)
		}
		if owner {
			return ErrOwnerChange
		}
		if _, err := tx.Exec(ctx, removeSQL, id); err != nil {
			return fmt.Errorf("remove member: %w", err)
		}
		if _, err := tx.Exec(ctx, revokeOfSQL, id.String()); err != nil {
			return fmt.Errorf("revoke invitations: %w", err)
		}
		return audit.Record(ctx, tx, p.now(), by, "member:remove", id.String(), map[string]string{"name": u.Name})
	})
}

const (
	groupColumns = `
select group_id, name, coalesce(external_id, '') as external_id, created_at, changed_at
  from staff_group`

	listGroupsSQL = groupColumns + `
   where ($1::uuid is null or group_id = $1)
     and ($2 = '' or name = $2)
     and ($3 = '' or external_id = $3)
order by created_at, group_id
  offset $4
   limit $5`

	countGroupsSQL = `
select count(*)
  from staff_group
 where ($1::uuid is null or group_id = $1)
   and ($2 = '' or name = $2)
   and ($3 = '' or external_id = $3)`

	findUserGroupSQL = groupColumns + ` where group_id = $1 for update`

	membersSQL = `select group_id, member_id from staff_group_member where group_id = any ($1::uuid[]) order by member_id`

	createGroupSQL = `
insert into staff_group (tenant_id, group_id, name, external_id, created_at, changed_at)
values (current_tenant(), $1, $2, nullif($3, ''), $4, $4)
    on conflict on constraint staff_group_name_key do nothing`

	changeGroupSQL = `update staff_group set name = $2, external_id = nullif($3, ''), changed_at = $4 where group_id = $1`
	deleteGroupSQL = `delete from staff_group where group_id = $1`

	leaveGroupSQL = `delete from staff_group_member where group_id = $1 and member_id = any ($2::uuid[])`

	enterGroupSQL = `
insert into staff_group_member (tenant_id, group_id, member_id)
select current_tenant(), $1, m.member_id
  from member m
 where m.issuer = any ($2)
   and m.member_id = any ($3::uuid[])`
)

// Groups lists groups as [Provisioner.Users] does users, with their members.
func (p *Provisioner) Groups(ctx context.Context, t *tenant.Tenant, by authz.Subject, w Which, start, count int) (list []UserGroup, total int, err error) {
	err = p.in(ctx, t, by, authz.MemberRead, func(tx *tenant.Tx, _ pq.StringArray) error {
		if err := tx.Get(ctx, &total, countGroupsSQL, nullable(w.ID), w.Name, w.ExternalID); err != nil {
			return fmt.Errorf("count groups: %w", err)
		}
		if err := tx.Select(ctx, &list, listGroupsSQL, nullable(w.ID), w.Name, w.ExternalID, start, count); err != nil {
			return fmt.Errorf("list groups: %w", err)
		}
		return readMembers(ctx, tx, list)
	})
	return list, total, err
}

func readMembers(ctx context.Context, tx *tenant.Tx, groups []UserGroup) error {
	var rows []struct {
		Group  uuid.UUID `db:"group_id"`
		Member uuid.UUID `db:"member_id"`
	}
	ids := make([]uuid.UUID, len(groups))
	for i, g := range groups {
		ids[i] = g.ID
	}
	if err := tx.Select(ctx, &rows, membersSQL, uuids(ids)); err != nil {
		return fmt.Errorf("list members: %w", err)
	}
	for _, r := range rows {
		i := slices.Index(ids, r.Group)
		groups[i].Members = append(groups[i].Members, r.Member)
	}
	return nil
}

// CreateGroup makes a group without a role. Errors are [ErrName], [ErrFull],
// [ErrAlreadyMember] for a name that another group has, and [ErrNoSuchMember].
func (p *Provisioner) CreateGroup(ctx context.Context, t *tenant.Tenant, by authz.Subject, g UserGroup) (UserGroup, error) {
	g.ID, g.Created, g.Changed, g.Name = uuid.New(), p.stamp(), p.stamp(), strings.TrimSpace(g.Name)
	if !goodName(g.Name) {
		return UserGroup{}, ErrName
	}
	g.Members = distinct(g.Members)
	err := p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, issuers pq.StringArray) error {
		var groups int
		if err := tx.Get(ctx, &groups, countGroupsSQL, nil, "", ""); err != nil {
			return fmt.Errorf("count groups: %w", err)
		}
		if groups >= MaxGroups {
			return ErrFull
		}
		rows, err := tx.Exec(ctx, createGroupSQL, g.ID, g.Name, g.ExternalID, g.Created)
		if err != nil {
			return fmt.Errorf("create group: %w", err)
		}
		if rows == 0 {
			return ErrAlreadyMember
		}
		if err := enter(ctx, tx, issuers, g.ID, g.Members); err != nil {
			return err
		}
		return p.recordGroup(ctx, tx, by, "group:create", UserGroup{}, g)
	})
	return g, err
}

// ChangeGroup lets fn, which does nothing slow, change a group: name, external ID and
// members. Errors are fn's, those of [Provisioner.CreateGroup] and [ErrNoSuchGroup].
func (p *Provisioner) ChangeGroup(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, fn func(*UserGroup) error) (g UserGroup, err error) {
	err = p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, issuers pq.StringArray) error {
		before, err := findGroup(ctx, tx, id)
		if err != nil {
			return err
		}
		g = before
		g.Members = slices.Clone(before.Members)
		if err := fn(&g); err != nil {
			return err
		}
		g.ID, g.Created, g.Changed, g.Name, g.Members = before.ID, before.Created, p.stamp(), strings.TrimSpace(g.Name), distinct(g.Members)
		if !goodName(g.Name) {
			return ErrName
		}
		_, err = tx.Exec(ctx, changeGroupSQL, g.ID, g.Name, g.ExternalID, g.Changed)
		if tenant.Violates(err, "staff_group_name_key") {
			return ErrAlreadyMember
		}
		if err != nil {
			return fmt.Errorf("change group: %w", err)
		}
		if _, err := tx.Exec(ctx, leaveGroupSQL, g.ID, uuids(without(before.Members, g.Members))); err != nil {
			return fmt.Errorf("leave group: %w", err)
		}
		if err := enter(ctx, tx, issuers, g.ID, without(g.Members, before.Members)); err != nil {
			return err
		}
		return p.recordGroup(ctx, tx, by, "group:change", before, g)
	})
	return g, err
}

func findGroup(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (UserGroup, error) {
	var found []UserGroup
	if err := tx.Select(ctx, &found, findUserGroupSQL, id); err != nil {
		return UserGroup{}, fmt.Errorf("find group: %w", err)
	}
	if len(found) == 0 {
		return UserGroup{}, ErrNoSuchGroup
	}
	err := readMembers(ctx, tx, found)
	return found[0], err
}

// DeleteGroup deletes a group; its members lose its role. check may refuse.
func (p *Provisioner) DeleteGroup(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, check func(UserGroup) error) error {
	return p.in(ctx, t, by, authz.MemberWrite, func(tx *tenant.Tx, _ pq.StringArray) error {
		g, err := findGroup(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := check(g); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, deleteGroupSQL, id); err != nil {
			return fmt.Errorf("delete group: %w", err)
		}
		return p.recordGroup(ctx, tx, by, "group:delete", g, UserGroup{ID: id, Name: g.Name})
	})
}

func enter(ctx context.Context, tx *tenant.Tx, issuers pq.StringArray, group uuid.UUID, members []uuid.UUID) error {
	if len(members) == 0 {
		return nil
	}
	rows, err := tx.Exec(ctx, enterGroupSQL, group, issuers, uuids(members))
	if err != nil {
		return fmt.Errorf("enter group: %w", err)
	}
	if int(rows) != len(members) {
		return ErrNoSuchMember
	}
	return nil
}

// auditedMembers is how many members an entry names; beyond it, it counts.
const auditedMembers = 50

func (p *Provisioner) recordGroup(ctx context.Context, tx *tenant.Tx, by authz.Subject, action string, before, after UserGroup) error {
	return audit.Record(ctx, tx, p.now(), by, action, after.ID.String(), map[string]string{
		"name": after.Name, "entered": named(without(after.Members, before.Members)), "left": named(without(before.Members, after.Members)),
	})
}

func named(members []uuid.UUID) string {
	if len(members) > auditedMembers {
		return fmt.Sprintf("%d members", len(members))
	}
	return strings.Join(uuids(members), " ")
}

func uuids(list []uuid.UUID) pq.StringArray {
	texts := make(pq.StringArray, len(list))
	for i, id := range list {
		texts[i] = id.String()
	}
	return texts
}

func distinct(list []uuid.UUID) []uuid.UUID {
	slices.SortFunc(list, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(list)
}

func without(list, others []uuid.UUID) []uuid.UUID {
	return slices.DeleteFunc(slices.Clone(list), func(id uuid.UUID) bool { return slices.Contains(others, id) })
}
