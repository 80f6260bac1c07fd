package approval

import (
	"maps"
	"slices"

	"carillon/authz"
)

// Kind is what an act is.
type Kind string

// The kinds, of which the database knows no others.
const (
	// KeyActivate puts an export key to use. Its target is the key's version.
	KeyActivate Kind = "key:activate"
	// OwnerChange makes somebody an owner, or takes the role away.
	OwnerChange Kind = "owner:change"
	// TenantErase begins the departure that ends in the tenant's erasure.
	TenantErase Kind = "tenant:erase"
)

// Rule is what those need who bring an act about.
type Rule struct {
	// Request is for asking and withdrawing, Approve for approving and refusing.
	Request, Approve authz.Action
}

var rules = map[Kind]Rule{
	KeyActivate: {Request: authz.KeyRequestRotation, Approve: authz.KeyApproveRotation},
	OwnerChange: {Request: authz.OwnerRequest, Approve: authz.OwnerApprove},
	TenantErase: {Request: authz.TenantLeave, Approve: authz.TenantApproveErasure},
}

// Kinds lists all kinds, in the order of their names.
func Kinds() []Kind { return slices.Sorted(maps.Keys(rules)) }

// Rule returns what a kind asks for; of an unknown kind, actions that nobody has.
func (k Kind) Rule() Rule { return rules[k] }
