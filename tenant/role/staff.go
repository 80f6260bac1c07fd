package role

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Staff is what staff do about roles, each act after the authority's rules were asked as
// they stand in that very transaction: [authz.ErrForbidden] if they do not allow it.
// Looking needs [authz.MemberRead], everything else [authz.RoleWrite]. It is safe for
// concurrent use.
type Staff struct {
	db  *tenant.DB
	now func() time.Time
}

// NewStaff works through db, a handle under the role carillon_portal.
func NewStaff(db *tenant.DB, now func() time.Time) *Staff { return &Staff{db: db, now: now} }

// Board is an authority's roles, and the policy that they make.
type Board struct {
	Roles  []Role
	Policy *authz.Policy
}

// Board lists the roles as [List] does.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (b Board, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		at, err := look(ctx, tx, by, authz.MemberRead)
		b = Board{Roles: listed(at.own), Policy: at.policy}
		return err
	})
	return b, err
}

// look finds out how things stand, and whether by may do a.
func look(ctx context.Context, tx *tenant.Tx, by authz.Subject, a authz.Action) (at situation, err error) {
	at.by = by
	if at.own, err = stored(ctx, tx); err != nil {
		return at, err
	}
	if at.policy, err = authz.NewPolicy(rulesOf(at.own)); err != nil {
		return at, err
	}
	if !at.policy.Allow(by, a) {
		return at, authz.ErrForbidden
	}
	if at.staff, err = members(ctx, tx); err != nil {
		return at, err
	}
	at.uses, err = uses(ctx, tx)
	return at, err
}

// maxMembers bounds what is read to say for whom a change matters.
const maxMembers = 20_000

// Who is in a group of the identity provider has the group's role, too.
const membersSQL = `
  select m.member_id, m.name,
         m.roles || array(select distinct g.role
                            from staff_group_member i
                            join staff_group g using (tenant_id, group_id)
                           where i.tenant_id = m.tenant_id
                             and i.member_id = m.member_id
                             and g.role is not null
                             and g.role <> all (m.roles)
                        order by g.role) as roles
    from member m
order by m.name, m.member_id
   limit $1`

func members(ctx context.Context, tx *tenant.Tx) ([]Member, error) {
	var rows []struct {
		ID    uuid.UUID `db:"member_id"`
		Name  string
		Roles pq.StringArray
	}
	if err := tx.Select(ctx, &rows, membersSQL, maxMembers); err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	list := make([]Member, len(rows))
	for i, r := range rows {
		list[i] = Member{ID: r.ID, Name: r.Name}
		for _, name := range r.Roles {
			list[i].Roles = append(list[i].Roles, authz.Role(name))
		}
	}
	return list, nil
}

const usesSQL = `
select 'invitation' as kind, i.name, r.role
  from staff_invitation i
 cross join unnest(i.roles) as r (role)
 where i.state = 'waiting'
 union all
select 'group', g.name, g.role
  from staff_group g
 where g.role is not null
 union all
select 'provider', p.name, r.item ->> 'role'
  from identity_provider p
 cross join jsonb_array_elements(p.roles) as r (item)
 order by 1, 2
 limit $1`

func uses(ctx context.Context, tx *tenant.Tx) ([]Use, error) {
	var list []Use
	if err := tx.Select(ctx, &list, usesSQL, maxMembers); err != nil {
		return nil, fmt.Errorf("list who will have a role: %w", err)
	}
	return list, nil
}

// Plan tells what [Staff.Save] of r would do, without doing it. It is no error that r
// has another version than the role has now, which is the plan's Before.
func (s *Staff) Plan(ctx context.Context, t *tenant.Tenant, by authz.Subject, r Role) (p Plan, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		at, err := look(ctx, tx, by, authz.RoleWrite)
		if err != nil {
			return err
		}
		p, err = at.saving(r)
		return err
	})
	return p, err
}

func (s situation) saving(r Role) (Plan, error) {
	r, err := r.tidied()
	if err != nil {
		return Plan{}, err
	}
	p, err := s.plan(r)
	isNew, exists := r.Version == uuid.Nil && !r.BuiltIn, p.Before.Version != uuid.Nil
	switch {
	case err != nil:
		return Plan{}, err
	case isNew && exists:
		return Plan{}, ErrTaken
	case !isNew && !exists && !r.BuiltIn:
		return Plan{}, ErrUnknown
	case !exists && len(s.own) >= maxRoles:
		return Plan{}, ErrTooMany
	}
	return p, nil
}

// writing is the lock under which an authority's roles change.
const writing tenant.Lock = "roles"

// Save creates a role of the authority's own, or replaces what it says of one. r.Version
// is what it replaces: [ErrChanged] if that is not what is there. A built-in role of
// which nothing more is said is as it was built in. The other errors say what is wrong
// with r; [ErrLacking] if it gives what by lacks.
func (s *Staff) Save(ctx context.Context, t *tenant.Tenant, by authz.Subject, r Role) error {
	return s.write(ctx, t, by, r.Version, func(at situation) (Plan, error) { return at.saving(r) })
}

// PlanDeletion tells what [Staff.Delete] would do, without doing it.
func (s *Staff) PlanDeletion(ctx context.Context, t *tenant.Tenant, by authz.Subject, name authz.Role) (p Plan, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		at, err := look(ctx, tx, by, authz.RoleWrite)
		if err != nil {
			return err
		}
		p, err = at.deleting(name)
		return err
	})
	return p, err
}

func (s situation) deleting(name authz.Role) (Plan, error) {
	at := find(s.own, name)
	if at < 0 || s.own[at].BuiltIn {
		return Plan{}, ErrUnknown
	}
	return s.plan(Role{Name: name})
}

// Delete deletes a role of the authority's own that is nobody's: [ErrHeld] if it is or may
// come to be somebody's, [ErrChanged] if it has another version, [ErrUnknown] if there is none,
// [ErrLacking] if it denies what by lacks.
func (s *Staff) Delete(ctx context.Context, t *tenant.Tenant, by authz.Subject, name authz.Role, version uuid.UUID) error {
	return s.write(ctx, t, by, version, func(at situation) (Plan, error) { return at.deleting(name) })
}

// write makes one change, judged by what is there while nobody else can change it.
func (s *Staff) write(ctx context.Context, t *tenant.Tenant, by authz.Subject, version uuid.UUID, plan func(situation) (Plan, error)) error {
	return s.db.InExclusive(ctx, t.ID, writing, func(tx *tenant.Tx) error {
		at, err := look(ctx, tx, by, authz.RoleWrite)
		if err != nil {
			return err
		}
		p, err := plan(at)
		if err == nil {
			err = p.admit(version)
		}
		if err != nil || !p.Changes() {
			return err
		}
		if err := p.store(ctx, tx); err != nil {
			return err
		}
		return audit.Record(ctx, tx, s.now(), by, "role:"+p.act(), string(p.After.Name), p.detail())
	})
}

const (
	removeSQL = `
delete from staff_role
 where name = $1`

	putSQL = `
insert into staff_role (tenant_id, name, description, allowed, denied, version)
values (current_tenant(), $1, $2, $3, $4, $5)
    on conflict on constraint staff_role_pkey do update
   set description = excluded.description,
       allowed     = excluded.allowed,
       denied      = excluded.denied,
       version     = excluded.version`
)

func (p Plan) store(ctx context.Context, tx *tenant.Tx) error {
	r := p.After
	var err error
	if len(r.rules()) == 0 {
		_, err = tx.Exec(ctx, removeSQL, string(r.Name))
	} else {
		_, err = tx.Exec(ctx, putSQL, string(r.Name), r.Description, names(r.Allowed), names(r.Denied), uuid.New())
	}
	if err != nil {
		return fmt.Errorf("store role: %w", err)
	}
	return nil
}

func names(list []authz.Action) pq.StringArray {
	out := make(pq.StringArray, len(list))
	for i, a := range list {
		out[i] = string(a)
	}
	return out
}

// act is what the audit log calls the change.
func (p Plan) act() string {
	switch {
	case !p.After.BuiltIn && p.Before.Version == uuid.Nil:
		return "create"
	case p.Deletes():
		return "delete"
	}
	return "change"
}

// detail is what the audit log says of the change: each action with what was said of it
// and what is.
func (p Plan) detail() map[string]string {
	detail := map[string]string{}
	for _, d := range p.Differences {
		detail[string(d.Action)] = said(d.Before) + " -> " + said(d.After)
	}
	if p.Before.Description != p.After.Description {
		detail["description"] = strings.TrimSpace(p.After.Description)
	}
	return detail
}

func said(e authz.Effect) string {
	if e == "" {
		return "nothing"
	}
	return string(e)
}
