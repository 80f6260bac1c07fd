package key

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"carillon/signing"
	"carillon/tenant"
)

// Generate makes a key of the tenant for a purpose, to be stored under these two names and
// no other: at the provider of new keys if the purpose signs for the world, in the database
// otherwise. It stores nothing. As it may ask a provider outside, it is called outside of
// transactions; a key that is not stored in the end is given to [Ring.Discard].
func (r *Ring) Generate(ctx context.Context, id tenant.ID, p signing.Purpose, keyID, label string) (signing.Stored, error) {
	dk, err := r.DataKey(ctx, id)
	if err != nil {
		return signing.Stored{}, err
	}
	return generate(ctx, r.root.Providers, dk, binding(id, p, keyID, label))
}

// Discard has the provider of a key destroy it, and does nothing about a key that is sealed
// in the database. A row that is destroyed loses what it holds in any case: whoever destroys a
// version calls Discard first, outside of transactions, so that no key is left behind.
func (r *Ring) Discard(ctx context.Context, id tenant.ID, p signing.Purpose, keyID, label string, k signing.Stored) error {
	dk, err := r.DataKey(ctx, id)
	if err != nil {
		return err
	}
	return r.root.Providers.Destroy(ctx, dk, binding(id, p, keyID, label), k)
}

const outsideSQL = `
select key_id, label, provider, sealed, public_der
  from signing_key
 where purpose = $1
   and version = $2
   and provider <> 'sealed'
   and sealed is not null`

// DiscardVersion is [Ring.Discard] of a version that is stored, under the role
// carillon_jobs. It does nothing for one that is sealed in the database.
func (r *Ring) DiscardVersion(ctx context.Context, id tenant.ID, p signing.Purpose, no int) error {
	var v version
	err := r.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &v, outsideSQL, string(p), no) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find key outside: %w", err)
	}
	return r.Discard(ctx, id, p, v.KeyID, v.Label, signing.Stored{Provider: v.Provider, Sealed: v.Sealed, PublicDER: v.Public})
}

func generate(ctx context.Context, from *signing.Providers, dk *signing.DataKey, b signing.Binding) (signing.Stored, error) {
	var k signing.Stored
	var err error
	switch b.Purpose {
	case signing.Certificate, signing.Export, signing.SMS, signing.Audit:
		return from.NewP256(ctx, dk, b)
	case signing.CodeMAC, signing.PhoneMAC:
		k.Sealed, err = signing.NewSecret(dk, b, macSize)
	case signing.Token, signing.Revision:
		k.Sealed, err = signing.NewSecret(dk, b, sealSize)
	default:
		panic("unknown purpose " + b.Purpose)
	}
	k.Provider = signing.InDatabase
	return k, err
}
