package role

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

const keysSQL = `
  select api_key_id, name, kind
    from api_key
   where disabled_at is null
order by name
   limit $1`

// keys lists the API keys of tx's tenant as subjects, by name.
func keys(ctx context.Context, tx *tenant.Tx) ([]authz.Subject, error) {
	var rows []struct {
		ID         uuid.UUID `db:"api_key_id"`
		Name, Kind string
	}
	if err := tx.Select(ctx, &rows, keysSQL, maxMembers); err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	list := make([]authz.Subject, len(rows))
	for i, r := range rows {
		// The role of a key is called after its kind.
		list[i] = authz.Subject{Kind: authz.APIKey, ID: r.ID.String(), Name: r.Name, Roles: []authz.Role{authz.Role("key-" + r.Kind)}}
	}
	return list, nil
}

// Cast is whoever may act for an authority, and the policy that decides.
type Cast struct {
	// Subjects are the staff, then the API keys, each by name. Roles that follow from
	// what an identity provider says at sign-in are not among theirs.
	Subjects []authz.Subject
	Policy   *authz.Policy
}

// Cast lists who may act for t, for whoever may see its staff.
func (s *Staff) Cast(ctx context.Context, t *tenant.Tenant, by authz.Subject) (c Cast, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		at, err := look(ctx, tx, by, authz.MemberRead)
		if err != nil {
			return err
		}
		c.Policy = at.policy
		for _, m := range at.staff {
			c.Subjects = append(c.Subjects, m.subject())
		}
		programs, err := keys(ctx, tx)
		c.Subjects = append(c.Subjects, programs...)
		return err
	})
	return c, err
}
