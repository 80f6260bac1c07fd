package selftest

import (
	"context"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// Staff is self-tests as the staff of tenants see them: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff returns them through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

// List returns the newest runs: [authz.ErrForbidden] for whoever may not.
func (s *Staff) List(ctx context.Context, t *tenant.Tenant, by authz.Subject, limit int) (runs []Run, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SelfTestRun); err != nil {
		return nil, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		runs, err = Find(ctx, tx, limit)
		return err
	})
	return runs, err
}

// Ask has a self-test begin now: [authz.ErrForbidden] for whoever may not. While one is
// under way, another follows it.
func (s *Staff) Ask(ctx context.Context, t *tenant.Tenant, by authz.Subject) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SelfTestRun); err != nil {
		return err
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return ask(ctx, tx, by, s.now()) })
	if err != nil {
		return fmt.Errorf("ask for a self-test: %w", err)
	}
	return nil
}
