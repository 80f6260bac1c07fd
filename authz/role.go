package authz

import (
	"regexp"
	"slices"
)

// Role names a set of permissions. What the built-in ones allow is in
// builtin.csv; a tenant may define more with rules of its own.
type Role string

// Roles of a tenant's staff.
const (
	// Owner may do everything that people may; no rule of the tenant narrows it.
	Owner Role = "owner"
	// Administrator runs the daily business: staff, API keys, settings.
	Administrator Role = "administrator"
	// Caseworker issues codes.
	Caseworker Role = "caseworker"
	// KeyCustodian rotates signing keys.
	KeyCustodian Role = "key-custodian"
	// Analyst reads statistics.
	Analyst Role = "analyst"
	// Auditor reads everything but codes, and changes nothing.
	Auditor Role = "auditor"
)

// Roles of the people and programs that run the platform. A tenant cannot give
// or change them.
const (
	// Operator keeps a tenant running.
	Operator Role = "operator"
	// Support looks at a tenant to answer its questions.
	Support Role = "support"
)

// Roles of API keys, one for each kind of key. A tenant cannot give or change
// them.
const (
	// KeyDevice is built into apps: it may verify codes, obtain
	// certificates and report a diagnosis of its user's own.
	KeyDevice Role = "key-device"
	// KeyAdmin belongs to a back end that issues codes.
	KeyAdmin Role = "key-admin"
	// KeyStats belongs to a back end that reads statistics.
	KeyStats Role = "key-stats"
	// KeySCIM belongs to an identity provider that keeps the list of staff (RFC 7644).
	KeySCIM Role = "key-scim"
)

// TenantRoles lists the built-in roles of a tenant's staff.
func TenantRoles() []Role {
	return []Role{Owner, Administrator, Caseworker, KeyCustodian, Analyst, Auditor}
}

// PlatformRoles lists the roles of those who run the platform.
func PlatformRoles() []Role { return []Role{Operator, Support} }

// KeyRoles lists the roles of API keys.
func KeyRoles() []Role { return []Role{KeyDevice, KeyAdmin, KeyStats, KeySCIM} }

var ownRoleForm = regexp.MustCompile(`^[a-z](-?[a-z0-9]){1,39}$`)

// own reports whether r can be the name of a role that a tenant defines itself:
// 2 to 40 lower-case letters and digits, with single hyphens between them, and
// not built in.
func (r Role) own() bool {
	return ownRoleForm.MatchString(string(r)) &&
		!slices.Contains(TenantRoles(), r) && !r.reserved()
}

// reserved reports whether r is out of a tenant's reach.
func (r Role) reserved() bool {
	return slices.Contains(PlatformRoles(), r) || slices.Contains(KeyRoles(), r)
}

// fits reports whether a subject of kind k can hold r at all. A role that
// strayed to the wrong kind of subject allows nothing.
func (r Role) fits(k Kind) bool {
	switch k {
	case Person:
		return !slices.Contains(KeyRoles(), r)
	case APIKey:
		return slices.Contains(KeyRoles(), r)
	case System:
		return slices.Contains(PlatformRoles(), r)
	}
	return false
}
