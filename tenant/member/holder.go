package member

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
)

// Holder is a member as one writes to her.
type Holder struct {
	Name, Email string
}

const (
	holdersSQL = `
  select m.member_id, m.name, m.email, m.roles,
         array(select g.role
                 from staff_group_member i
                 join staff_group g using (tenant_id, group_id)
                where i.tenant_id = m.tenant_id
                  and i.member_id = m.member_id
                  and g.role is not null) as group_roles
    from member m
   where m.state = 'active'
order by m.member_id
   limit $1`

	// maxAsked bounds of how many members it is asked what they may do.
	maxAsked = 10_000
)

// WhoMay lists the members who may do something, at most as many as the limit says. Roles
// that a provider of the tenant's own gives somebody as she signs in are not known here.
func WhoMay(ctx context.Context, tx *tenant.Tx, policy *authz.Policy, a authz.Action, limit int) ([]Holder, error) {
	var all []struct {
		ID          uuid.UUID `db:"member_id"`
		Name, Email string
		Roles       pq.StringArray
		GroupRoles  pq.StringArray `db:"group_roles"`
	}
	if err := tx.Select(ctx, &all, holdersSQL, maxAsked); err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	var list []Holder
	for _, m := range all {
		s := authz.Subject{Kind: authz.Person, ID: m.ID.String(), Roles: union(roles(m.Roles), roles(m.GroupRoles))}
		if len(list) < limit && policy.Allow(s, a) {
			list = append(list, Holder{m.Name, m.Email})
		}
	}
	return list, nil
}
