// Package role keeps what a health authority says of roles itself: roles that it made of
// the same actions as the built-in ones, and how it widened or narrowed those.
//
// Nobody gives what she lacks: whoever changes a role must herself be allowed each action
// that the change gives to anybody, by allowing it or by no longer denying it. So people
// who may change roles can never come to more than all of them had together. What a role
// gives is decided by package authz; here is where it is stored, and how a change
// reaches every process: see [NewPolicies].
package role

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
)

// Role is a role that staff may have, with what the authority itself says of it.
type Role struct {
	Name authz.Role
	// Description is the authority's own, up to 200 characters.
	Description string
	// BuiltIn roles allow what is built in, and besides that what the authority says.
	BuiltIn bool
	// Allowed and Denied are the authority's own rules, in the order of [authz.Actions].
	// A denied action is denied to whoever has the role, whatever other roles she has.
	Allowed, Denied []authz.Action
	// Version names the stored state; it is [uuid.Nil] of a role of which the authority
	// has said nothing yet.
	Version uuid.UUID
}

// rules are those of the authority's own that r stands for.
func (r Role) rules() []authz.Rule {
	var rules []authz.Rule
	for _, a := range r.Allowed {
		rules = append(rules, authz.Rule{Role: r.Name, Action: a, Effect: authz.Allowed})
	}
	for _, a := range r.Denied {
		rules = append(rules, authz.Rule{Role: r.Name, Action: a, Effect: authz.Denied})
	}
	return rules
}

func rulesOf(roles []Role) []authz.Rule {
	var rules []authz.Rule
	for _, r := range roles {
		rules = append(rules, r.rules()...)
	}
	return rules
}

// maxRoles is how many roles an authority may have something to say of.
const maxRoles = 50

const listSQL = `
  select name, description, allowed, denied, version
    from staff_role
order by name
   limit $1`

// stored lists the roles of which tx's tenant has said something, by name.
func stored(ctx context.Context, tx *tenant.Tx) ([]Role, error) {
	var rows []struct {
		Name, Description string
		Allowed, Denied   pq.StringArray
		Version           uuid.UUID
	}
	if err := tx.Select(ctx, &rows, listSQL, maxRoles+1); err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	if len(rows) > maxRoles {
		return nil, errors.New("list roles: more than there may be")
	}
	list := make([]Role, len(rows))
	for i, r := range rows {
		name := authz.Role(r.Name)
		list[i] = Role{
			Name: name, Description: r.Description, BuiltIn: slices.Contains(authz.TenantRoles(), name),
			Allowed: actions(r.Allowed), Denied: actions(r.Denied), Version: r.Version,
		}
	}
	return list, nil
}

func actions(names []string) []authz.Action {
	list := make([]authz.Action, len(names))
	for i, n := range names {
		list[i] = authz.Action(n)
	}
	return list
}

// List lists the roles that staff of tx's tenant may have: the built-in ones, then its
// own by name.
func List(ctx context.Context, tx *tenant.Tx) ([]Role, error) {
	own, err := stored(ctx, tx)
	if err != nil {
		return nil, err
	}
	return listed(own), nil
}

func listed(own []Role) []Role {
	var list []Role
	for _, name := range authz.TenantRoles() {
		r := Role{Name: name, BuiltIn: true}
		if at := find(own, name); at >= 0 {
			r = own[at]
		}
		list = append(list, r)
	}
	for _, r := range own {
		if !r.BuiltIn {
			list = append(list, r)
		}
	}
	return list
}

// find returns where a role is in a list, or -1.
func find(list []Role, name authz.Role) int {
	return slices.IndexFunc(list, func(r Role) bool { return r.Name == name })
}
