package key

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/tenant"
)

// dataAge is longer than [Age], so that whoever has just asked a [Ring] for a key of
// a tenant finds its data key in memory. A data key never changes; how long an erased
// one stays in memory is bounded by this.
const dataAge = time.Minute

// DataKey returns the tenant's data key, for what is sealed by it directly:
// [ErrNoKey] if there is none.
func (r *Ring) DataKey(ctx context.Context, id tenant.ID) (*signing.DataKey, error) {
	if dk, ok := r.data.Get(id); ok {
		return dk, nil
	}
	var dk *signing.DataKey
	var wrapped []byte
	err := r.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &wrapped, wrappedSQL) })
	if err == nil {
		dk, err = r.unwrap(ctx, id, wrapped)
	}
	return dk, dataKeyError(err)
}

// DataKeyIn is [Ring.DataKey] within a transaction of the tenant. So that nothing
// remote happens there, the caller asks the ring for another of the tenant's keys
// before: that brings the data key into memory.
func (r *Ring) DataKeyIn(ctx context.Context, tx *tenant.Tx, id tenant.ID) (*signing.DataKey, error) {
	if dk, ok := r.data.Get(id); ok {
		return dk, nil
	}
	var dk *signing.DataKey
	var wrapped []byte
	err := tx.Get(ctx, &wrapped, wrappedSQL)
	if err == nil {
		dk, err = r.unwrap(ctx, id, wrapped)
	}
	return dk, dataKeyError(err)
}

func dataKeyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("data key: %w", ErrNoKey)
	default:
		return fmt.Errorf("data key: %w", err)
	}
}

// unwrap opens a data key and keeps it in memory.
func (r *Ring) unwrap(ctx context.Context, id tenant.ID, wrapped []byte) (*signing.DataKey, error) {
	dk, err := signing.OpenDataKey(ctx, r.root, id.String(), wrapped)
	if err != nil {
		return nil, err
	}
	r.data.Add(id, dk)
	return dk, nil
}
