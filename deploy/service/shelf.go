package service

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// exportShelf is what all tenants have published, as the portal's role sees it.
type exportShelf struct {
	db  *tenant.DB
	now func() time.Time
}

func (s exportShelf) Plans(ctx context.Context, t *tenant.Tenant) (plans []shelf.Plan, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		plans, err = shelf.Plans(ctx, tx, s.now())
		return err
	})
	return plans, err
}

func (s exportShelf) Batches(ctx context.Context, t *tenant.Tenant, plan uuid.UUID, before time.Time, limit int) (list []shelf.Batch, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		list, err = shelf.Batches(ctx, tx, plan, before, limit)
		return err
	})
	return list, err
}
