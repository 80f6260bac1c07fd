package client

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

// Staff is what the staff of health authorities do about API keys, each act after the
// authority's policy was asked: [authz.ErrForbidden] if it does not allow it. Whoever
// gets to see a key holds it, so only who may do all that it allows may make or rotate
// it. It is safe for concurrent use.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff works through db, a handle under the role carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

// List is [List].
func (s *Staff) List(ctx context.Context, t *tenant.Tenant, by authz.Subject) (keys []Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyRead, func(tx *tenant.Tx) error {
		keys, err = List(ctx, tx, s.now())
		return err
	})
	return keys, err
}

// Find is [Find].
func (s *Staff) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (k Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyRead, func(tx *tenant.Tx) error {
		k, err = Find(ctx, tx, id)
		return err
	})
	return k, err
}

// Make is [Make].
func (s *Staff) Make(ctx context.Context, t *tenant.Tenant, by authz.Subject, kind Kind, terms Terms) (plain string, k Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyWrite, func(tx *tenant.Tx) error {
		if err := s.mayHold(ctx, t, by, kind); err != nil {
			return err
		}
		plain, k, err = Make(ctx, tx, by, kind, terms, s.now())
		return err
	})
	return shown(plain, err), k, err
}

// Rotate is [Rotate].
func (s *Staff) Rotate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, overlap time.Duration, expires time.Time) (plain string, k Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyWrite, func(tx *tenant.Tx) error {
		old, err := Find(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := s.mayHold(ctx, t, by, old.Kind); err != nil {
			return err
		}
		plain, k, err = Rotate(ctx, tx, by, id, overlap, expires, s.now())
		return err
	})
	return shown(plain, err), k, err
}

// shown keeps back a key that was not stored.
func shown(plain string, err error) string {
	if err != nil {
		return ""
	}
	return plain
}

// Change is [Change].
func (s *Staff) Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, terms Terms) (k Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyWrite, func(tx *tenant.Tx) error {
		k, err = Change(ctx, tx, by, id, terms, s.now())
		return err
	})
	return k, err
}

// Revoke is [Revoke].
func (s *Staff) Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (k Key, err error) {
	err = s.in(ctx, t, by, authz.APIKeyWrite, func(tx *tenant.Tx) error {
		k, err = Revoke(ctx, tx, by, id, s.now())
		return err
	})
	return k, err
}

// in runs fn in a transaction of t if by may do a.
func (s *Staff) in(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(*tenant.Tx) error) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, fn)
}

func (s *Staff) mayHold(ctx context.Context, t *tenant.Tenant, by authz.Subject, kind Kind) error {
	if kind.role() == "" {
		return ErrKind
	}
	policy, err := s.policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	if !policy.MayHoldKey(by, kind.role()) {
		return authz.ErrForbidden
	}
	return nil
}
