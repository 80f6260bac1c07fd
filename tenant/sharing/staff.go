package sharing

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

// Staff is what the staff of health authorities do about sharing, each act after the
// authority's policy was asked: [authz.ErrForbidden] if it does not allow it. It is safe
// for concurrent use.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff works through db, a handle under the role carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

// in runs fn in a transaction of t if by may do a.
func (s *Staff) in(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(*tenant.Tx) error) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, fn)
}

// Board lists what t has offered and what was offered to it: see [Outgoing].
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (outgoing, incoming []Share, err error) {
	err = s.in(ctx, t, by, authz.SharingView, func(tx *tenant.Tx) error {
		if outgoing, err = Outgoing(ctx, tx); err != nil {
			return err
		}
		incoming, err = Incoming(ctx, tx)
		return err
	})
	return outgoing, incoming, err
}

// Find is [Find].
func (s *Staff) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) (found Share, err error) {
	err = s.in(ctx, t, by, authz.SharingView, func(tx *tenant.Tx) error {
		found, err = Find(ctx, tx, offer)
		return err
	})
	return found, err
}

// Seen tells who sees the keys of t: see [ReadSeen].
func (s *Staff) Seen(ctx context.Context, t *tenant.Tenant, by authz.Subject, limit int) (seen Seen, err error) {
	err = s.in(ctx, t, by, authz.SharingView, func(tx *tenant.Tx) error {
		seen, err = ReadSeen(ctx, tx, limit)
		return err
	})
	return seen, err
}

// Offer is [Offer].
func (s *Staff) Offer(ctx context.Context, t *tenant.Tenant, by authz.Subject, to string, terms Terms) error {
	return s.in(ctx, t, by, authz.SharingOffer, func(tx *tenant.Tx) error {
		_, err := Offer(ctx, tx, t, by, to, terms, s.now())
		return err
	})
}

// Answer is [Accept] or [Decline].
func (s *Staff) Answer(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID, accept bool) error {
	return s.in(ctx, t, by, authz.SharingAccept, func(tx *tenant.Tx) error {
		if accept {
			return Accept(ctx, tx, t, by, offer, s.now())
		}
		return Decline(ctx, tx, t, by, offer, s.now())
	})
}

// Withdraw is [Withdraw].
func (s *Staff) Withdraw(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) error {
	return s.in(ctx, t, by, authz.SharingOffer, func(tx *tenant.Tx) error {
		return Withdraw(ctx, tx, t, by, offer, s.now())
	})
}

// End is [End].
func (s *Staff) End(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) error {
	return s.in(ctx, t, by, authz.SharingAccept, func(tx *tenant.Tx) error {
		return End(ctx, tx, t, by, offer, s.now())
	})
}
