// Package authz decides who may do what, within one tenant.
//
// A [Subject] holds roles; a [Policy] says which actions each role allows. The
// built-in roles are the same for everybody, and each tenant may add rules of its
// own, which reach no further than itself: every tenant has a Casbin enforcer of
// its own, and tenants never occur in rules. What no rule allows is denied.
//
// It knows no HTTP, no SQL and no tenants' data. [Route] is how the surfaces
// declare the guard of each of their URLs.
package authz
