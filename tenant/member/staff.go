package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/mail"
)

var (
	// ErrNoSuchMember means that the authority has no member of that ID.
	ErrNoSuchMember = errors.New("no such member")
	// ErrNoSuchGroup means that it has no group of that ID.
	ErrNoSuchGroup = errors.New("no such group")
)

// MaxStaff is how many people an authority may have as members, and how many more it may
// have invited.
const MaxStaff = 2000

// StaffConfig is what [Staff] works with.
type StaffConfig struct {
	// DB is a handle under the role carillon_portal.
	DB       *tenant.DB
	Policies *authz.Policies
	Mail     mail.Sender
	// Platform is the issuer of the platform's own provider.
	Platform string
	// BaseURL is where browsers reach the portal, without a trailing slash.
	BaseURL string
	Now     func() time.Time
}

// Staff is what people do about the members of health authorities, each act after the
// authority's policy was asked: [authz.ErrForbidden] if it does not allow it, or if she
// would give, or take from somebody, what she does not hold herself. Each act is in the
// audit log. It is safe for concurrent use.
type Staff struct {
	c    StaffConfig
	post *approval.Post
}

// NewStaff returns what works with c.
func NewStaff(c StaffConfig) *Staff {
	return &Staff{c: c, post: approval.NewPost(c.DB, c.Mail, c.BaseURL)}
}

// Person is a member as staff see her.
type Person struct {
	ID    uuid.UUID
	Name  string
	Email string
	State State
	// Roles are those that she was given, GroupRoles those of her groups.
	Roles, GroupRoles []authz.Role
	// Provisioned members were made by the identity provider.
	Provisioned bool
	// Issuer is who vouches for her; Own, which lists tell, means that it is not the platform's
	// own provider. Moved members had an account there before, to which they can be brought back.
	Issuer     string
	Own, Moved bool
	// SignedIn tells that she has signed in at least once, LastSeen when she last asked
	// for a page, to ten minutes or so; nil for never.
	SignedIn bool
	LastSeen *time.Time
}

// Group is a group of the identity provider.
type Group struct {
	ID   uuid.UUID `db:"group_id"`
	Name string
	// Role is what its members are; empty for nothing.
	Role    authz.Role
	Members int
}

// Board is what the staff page shows.
type Board struct {
	People      []Person     // by name
	Invitations []Invitation // that wait or have expired, by name
	Groups      []Group      // by name
}

type personRow struct {
	ID          uuid.UUID `db:"member_id"`
	Name        string
	Email       string
	State       State
	Roles       pq.StringArray
	GroupRoles  pq.StringArray `db:"group_roles"`
	Provisioned bool
	Issuer      string
	Moved       bool
	SignedIn    bool       `db:"signed_in"`
	LastSeen    *time.Time `db:"last_seen_at"`
}

func (r personRow) person() Person {
	return Person{
		ID: r.ID, Name: r.Name, Email: r.Email, State: r.State, Roles: roles(r.Roles), GroupRoles: roles(r.GroupRoles),
		Provisioned: r.Provisioned, Issuer: r.Issuer, Moved: r.Moved, SignedIn: r.SignedIn, LastSeen: r.LastSeen,
	}
}

const (
	personColumns = `
select m.member_id, m.name, m.email, m.state, m.roles, m.provisioned, m.issuer, m.subject is not null as signed_in, m.last_seen_at,
       exists (select
                 from member_platform_login l
                where l.tenant_id = m.tenant_id
                  and l.member_id = m.member_id) as moved,
       array(select distinct g.role
               from staff_group_member i
               join staff_group g using (tenant_id, group_id)
              where i.tenant_id = m.tenant_id
                and i.member_id = m.member_id
                and g.role is not null
           order by g.role) as group_roles
  from member m`

	// Whoever follows somebody who has gone meanwhile follows nobody: the first ones.
	peopleSQL = personColumns + `
    where coalesce((lower(m.name), m.email, m.member_id) > (select lower(a.name), a.email, a.member_id
                                                              from member a
                                                             where a.member_id = $2), true)
 order by lower(m.name), m.email, m.member_id
    limit $1`

	personSQL = personColumns + `
    where m.member_id = $1
      for update of m`

	groupsSQL = `
  select g.group_id, g.name, coalesce(g.role, '') as role, count(i.member_id) as members
    from staff_group g
    left join staff_group_member i using (tenant_id, group_id)
group by g.tenant_id, g.group_id
order by lower(g.name)
   limit $1`
)

// Board lists who works for t, who is invited, and the groups. The subject needs
// [authz.MemberRead].
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (Board, error) {
	var b Board
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberRead); err != nil {
		return b, err
	}
	err := s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		if b.People, err = s.people(ctx, tx, uuid.Nil, 2*MaxStaff); err != nil {
			return err
		}
		return s.others(ctx, tx, &b)
	})
	if err != nil {
		return Board{}, fmt.Errorf("list staff: %w", err)
	}
	return b, nil
}

// PageSize is how many people a page of the staff has.
const PageSize = 100

// Page is a part of the board, with [PageSize] people at most: those after somebody, or the
// first for [uuid.Nil]. Invitations and groups are on the first page. next is whom the
// following page comes after, [uuid.Nil] if this is the last. The subject needs
// [authz.MemberRead].
func (s *Staff) Page(ctx context.Context, t *tenant.Tenant, by authz.Subject, after uuid.UUID) (b Board, next uuid.UUID, err error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.MemberRead); err != nil {
		return b, next, err
	}
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		if b.People, err = s.people(ctx, tx, after, PageSize+1); err != nil || after != uuid.Nil {
			return err
		}
		return s.others(ctx, tx, &b)
	})
	if err != nil {
		return Board{}, next, fmt.Errorf("list staff: %w", err)
	}
	if len(b.People) > PageSize {
		b.People = b.People[:PageSize]
		next = b.People[PageSize-1].ID
	}
	return b, next, nil
}

// people are those after somebody, by name.
func (s *Staff) people(ctx context.Context, tx *tenant.Tx, after uuid.UUID, limit int) ([]Person, error) {
	var rows []personRow
	if err := tx.Select(ctx, &rows, peopleSQL, limit, after.String()); err != nil {
		return nil, err
	}
	list := make([]Person, len(rows))
	for i, r := range rows {
		list[i] = r.person()
		list[i].Own = list[i].Issuer != s.c.Platform
	}
	return list, nil
}

// others adds the groups, and who is invited.
func (s *Staff) others(ctx context.Context, tx *tenant.Tx, b *Board) (err error) {
	if err := tx.Select(ctx, &b.Groups, groupsSQL, MaxGroups); err != nil {
		return err
	}
	b.Invitations, err = s.waiting(ctx, tx)
	return err
}

// owner reports whether she is one, working or not.
func (p Person) owner() bool { return slices.Contains(p.Roles, authz.Owner) }

// MayChange reports whether by may change, suspend or remove p: only who could have given
// p all her roles. Roles that nobody can be given any more do not count.
func MayChange(policy *authz.Policy, by authz.Subject, p Person) bool {
	return mayTouch(policy, by, union(p.Roles, p.GroupRoles))
}

// MayChangeInvitation reports whether by may send an invitation again, or revoke it.
func MayChangeInvitation(policy *authz.Policy, by authz.Subject, i Invitation) bool {
	return mayTouch(policy, by, i.Roles)
}

// MayMap reports whether by may choose the role of a group.
func MayMap(policy *authz.Policy, by authz.Subject, g Group) bool {
	return mayTouch(policy, by, []authz.Role{g.Role})
}

// mayTouch reports whether by may take roles away.
func mayTouch(policy *authz.Policy, by authz.Subject, list []authz.Role) bool {
	if !policy.Allow(by, authz.MemberWrite) {
		return false
	}
	known := slices.DeleteFunc(slices.Clone(list), func(r authz.Role) bool { return !slices.Contains(policy.Roles(), r) })
	return policy.MayChange(by, nil, known) && policy.MayChange(by, known, nil)
}

// Grantable lists the roles that by may give to members.
func Grantable(policy *authz.Policy, by authz.Subject) []authz.Role {
	if !policy.Allow(by, authz.MemberWrite) {
		return nil
	}
	return slices.DeleteFunc(policy.Roles(), func(r authz.Role) bool { return !policy.MayGrant(by, r) })
}

// Assignable lists the roles that by may give to members alone: all that she may give but
// the owner's, which takes two people ([Staff.ChangeOwner], [Staff.InviteOwner]).
func Assignable(policy *authz.Policy, by authz.Subject) []authz.Role {
	return slices.DeleteFunc(Grantable(policy, by), func(r authz.Role) bool { return r == authz.Owner })
}

// checkRoles says whether by may give all of a list, and take away what it lacks of from:
// [ErrRoles] for an empty one.
func (s *Staff) checkRoles(ctx context.Context, t *tenant.Tenant, by authz.Subject, from, list []authz.Role) error {
	if err := s.c.Policies.CheckRoles(ctx, t.ID.String(), by, from, list); err != nil {
		return err
	}
	if len(list) == 0 || len(list) > maxRoles {
		return ErrRoles
	}
	return nil
}

// act changes one member, whom fn is told as she is, locked.
func (s *Staff) act(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, fn func(*tenant.Tx, Person) error) error {
	policy, err := s.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	if !policy.Allow(by, authz.MemberWrite) {
		return authz.ErrForbidden
	}
	return owned(s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var rows []personRow
		if err := tx.Select(ctx, &rows, personSQL, id); err != nil {
			return fmt.Errorf("find member: %w", err)
		}
		if len(rows) == 0 {
			return ErrNoSuchMember
		}
		p := rows[0].person()
		if !MayChange(policy, by, p) {
			return authz.ErrForbidden
		}
		return fn(tx, p)
	}))
}

const (
	changeRolesSQL = `update member set roles = $2, changed_at = $3 where member_id = $1`
	changeStateSQL = `update member set state = $2, changed_at = $3 where member_id = $1`
	removeSQL      = `delete from member where member_id = $1`
)

// ChangeRoles gives a member these roles instead of those that she has. [ErrOwnerChange] if
// she would become an owner by it, or cease to be one.
func (s *Staff) ChangeRoles(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, to []authz.Role) error {
	return s.act(ctx, t, by, id, func(tx *tenant.Tx, p Person) error {
		err := s.checkRoles(ctx, t, by, p.Roles, to)
		if errors.Is(err, ErrRoles) && p.Provisioned && len(to) == 0 {
			err = nil // her groups give her roles, or nothing does
		}
		if err == nil && p.owner() != slices.Contains(to, authz.Owner) {
			err = ErrOwnerChange
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, changeRolesSQL, id, roleTexts(to), s.c.Now()); err != nil {
			return fmt.Errorf("change roles: %w", err)
		}
		return audit.Record(ctx, tx, s.c.Now(), by, "member:roles", id.String(), map[string]string{
			"name": p.Name, "before": joined(p.Roles), "roles": joined(to),
		})
	})
}

// Suspend puts a member out until she is let in again, at once, and revokes the
// invitations that she sent. An owner who is suspended stays one: one person can put another
// out who is a danger, and cannot get rid of her for good.
func (s *Staff) Suspend(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, id, func(tx *tenant.Tx, p Person) error {
		if _, err := tx.Exec(ctx, changeStateSQL, id, string(Suspended), s.c.Now()); err != nil {
			return fmt.Errorf("suspend member: %w", err)
		}
		return s.putOut(ctx, tx, by, p, "member:suspend")
	})
}

// Resume lets a member in again.
func (s *Staff) Resume(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, id, func(tx *tenant.Tx, p Person) error {
		if _, err := tx.Exec(ctx, changeStateSQL, id, string(Active), s.c.Now()); err != nil {
			return fmt.Errorf("resume member: %w", err)
		}
		return audit.Record(ctx, tx, s.c.Now(), by, "member:resume", id.String(), map[string]string{"name": p.Name})
	})
}

// Remove ends a membership at once, and revokes the invitations that she sent.
// [ErrOwnerChange] for an owner: two people first take the role from her.
func (s *Staff) Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, id, func(tx *tenant.Tx, p Person) error {
		if p.owner() {
			return ErrOwnerChange
		}
		if _, err := tx.Exec(ctx, removeSQL, id); err != nil {
			return fmt.Errorf("remove member: %w", err)
		}
		return s.putOut(ctx, tx, by, p, "member:remove")
	})
}

// putOut ends what somebody began who may work here no longer.
func (s *Staff) putOut(ctx context.Context, tx *tenant.Tx, by authz.Subject, p Person, action string) error {
	revoked, err := tx.Exec(ctx, revokeOfSQL, p.ID.String())
	if err != nil {
		return fmt.Errorf("revoke invitations: %w", err)
	}
	return audit.Record(ctx, tx, s.c.Now(), by, action, p.ID.String(), map[string]string{
		"name": p.Name, "roles": joined(p.Roles), "invitations-revoked": fmt.Sprint(revoked),
	})
}

const (
	findGroupSQL = `select name, coalesce(role, '') as role from staff_group where group_id = $1 for update`
	mapGroupSQL  = `update staff_group set role = nullif($2, ''), changed_at = $3 where group_id = $1`
)

// MapGroup chooses the role of a group; empty for none. It takes somebody who may give
// both the role that the group has and the one that it gets, and it is never the owner's.
func (s *Staff) MapGroup(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, r authz.Role) error {
	policy, err := s.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	if !policy.Allow(by, authz.MemberWrite) || r == authz.Owner || (r != "" && !policy.MayGrant(by, r)) {
		return authz.ErrForbidden
	}
	return s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var found []struct {
			Name string
			Role authz.Role
		}
		if err := tx.Select(ctx, &found, findGroupSQL, id); err != nil {
			return fmt.Errorf("find group: %w", err)
		}
		if len(found) == 0 {
			return ErrNoSuchGroup
		}
		if !mayTouch(policy, by, []authz.Role{found[0].Role}) {
			return authz.ErrForbidden
		}
		if _, err := tx.Exec(ctx, mapGroupSQL, id, string(r), s.c.Now()); err != nil {
			return fmt.Errorf("map group: %w", err)
		}
		return audit.Record(ctx, tx, s.c.Now(), by, "group:role", id.String(), map[string]string{
			"name": found[0].Name, "before": string(found[0].Role), "role": string(r),
		})
	})
}
