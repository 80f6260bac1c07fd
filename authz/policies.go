package authz

import (
	"context"
	"errors"
	"fmt"
)

// ErrForbidden means that the tenant's policy does not allow the subject to do
// this.
var ErrForbidden = errors.New("not permitted")

// Policies decides for all tenants, each by its own policy. It is safe for concurrent use.
type Policies struct {
	get func(ctx context.Context, tenant string) (*Policy, error)
}

// NewPolicies returns policies that get finds, each time it is asked: get keeps what is
// worth keeping, and forgets it when the tenant's rules change. nil means that no tenant
// has rules of its own.
func NewPolicies(get func(ctx context.Context, tenant string) (*Policy, error)) *Policies {
	if get == nil {
		get = func(context.Context, string) (*Policy, error) { return NewPolicy(nil) }
	}
	return &Policies{get: get}
}

// Check decides whether s may do a in tenant: [ErrForbidden] if not. Any other
// error means that the tenant's rules could not be read, and s may not either.
func (ps *Policies) Check(ctx context.Context, tenant string, s Subject, a Action) error {
	p, err := ps.Policy(ctx, tenant)
	if err != nil {
		return err
	}
	if !p.Allow(s, a) {
		return ErrForbidden
	}
	return nil
}

// CheckGrant decides whether s may give role r to a member of tenant, errors as
// for Check. It asks for [MemberWrite] and for all that r allows: nobody can
// grant what they do not hold.
func (ps *Policies) CheckGrant(ctx context.Context, tenant string, s Subject, r Role) error {
	return ps.CheckRoles(ctx, tenant, s, nil, []Role{r})
}

// CheckRoles decides whether s may change the roles of a member of tenant, errors as for
// Check. It asks for [MemberWrite], for all that each new role allows, and for all that
// each role denies which is taken away: to end a denial is to grant.
func (ps *Policies) CheckRoles(ctx context.Context, tenant string, s Subject, from, to []Role) error {
	p, err := ps.Policy(ctx, tenant)
	if err != nil {
		return err
	}
	if !p.Allow(s, MemberWrite) || !p.MayChange(s, from, to) {
		return ErrForbidden
	}
	return nil
}

// Policy returns a tenant's policy, to explain a decision or to ask for many.
// Hold it for one request at most.
func (ps *Policies) Policy(ctx context.Context, tenant string) (*Policy, error) {
	p, err := ps.get(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("tenant's rules: %w", err)
	}
	return p, nil
}

// Sentinels lists the errors of this package that callers tell apart.
func Sentinels() []error { return []error{ErrForbidden, ErrRule, ErrRoute} }
