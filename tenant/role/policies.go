package role

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

const (
	// Age is how long a change to an authority's roles may take to be seen by a process
	// that does not hear of it. Mostly it is heard at once.
	Age = tenant.DirectoryAge
	// policiesKept bounds how many authorities' policies are kept in memory, some 20 kB each.
	policiesKept = 5_000
)

// PolicyIn returns the policy of tx's tenant as its rules stand in tx, whose role may read
// them.
func PolicyIn(ctx context.Context, tx *tenant.Tx) (*authz.Policy, error) {
	own, err := stored(ctx, tx)
	if err != nil {
		return nil, err
	}
	return authz.NewPolicy(rulesOf(own))
}

// NewPolicies returns the policies of all tenants, read through db, a handle under a role
// that may read their rules. They follow every change, whichever process makes it.
func NewPolicies(db *tenant.DB) *authz.Policies {
	load := func(ctx context.Context, id tenant.ID) (p *authz.Policy, err error) {
		err = db.In(ctx, id, func(tx *tenant.Tx) (err error) {
			p, err = PolicyIn(ctx, tx)
			return err
		})
		return p, err
	}
	kept := tenant.NewCache(db, policiesKept, Age, func(id tenant.ID, _ *authz.Policy) tenant.ID { return id }, load)
	return authz.NewPolicies(func(ctx context.Context, text string) (*authz.Policy, error) {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("whose rules: %w", err)
		}
		return kept.Get(ctx, tenant.ID(id))
	})
}
