//go:build !release

package dev

import (
	"context"
	"errors"
	"time"

	"carillon/tenant"
	"carillon/tenant/pack"
	packdemo "carillon/tenant/pack/demo"
)

// draftPack fills in what Apple and Google would be told of a department, unless somebody
// has begun with it.
func draftPack(ctx context.Context, db *tenant.DB, t *tenant.Tenant, deviceKey string) error {
	err := db.In(ctx, t.ID, func(tx *tenant.Tx) error { return packdemo.Save(ctx, tx, t, demo, deviceKey, time.Now()) })
	if errors.Is(err, pack.ErrChanged) {
		return nil
	}
	return err
}
