package key

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"carillon/signing"
	"carillon/tenant"
)

// Sizes of symmetric keys in bytes: 128 for the digests of codes and of telephone
// numbers (verification protocol §6.3), 32 for AES-256.
const (
	macSize  = 128
	sealSize = 32
)

const (
	insertDataKeySQL = `insert into data_key (tenant_id, wrapped) values (current_tenant(), $1)`

	insertKeySQL = `
insert into signing_key
       (tenant_id, purpose, version, key_id, label, state, provider, sealed, public_der, activated_at)
values (current_tenant(), $1, 1, $2, $3, 'active', $4, $5, $6, now())`
)

// Provision makes a new tenant's data key and its first key of every purpose, each
// active at once. exportKeyID is the key ID that its export files will name; the
// version that goes with it is v1.
func Provision(ctx context.Context, tx *tenant.Tx, id tenant.ID, slug tenant.Slug, root signing.Custody, exportKeyID string) error {
	dk, wrapped, err := signing.NewDataKey(ctx, root, id.String())
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, insertDataKeySQL, wrapped); err != nil {
		return fmt.Errorf("store data key: %w", err)
	}
	for _, p := range signing.Purposes() {
		keyID, label := firstName(p, slug, exportKeyID)
		if err := provision(ctx, tx, root.Providers, dk, id, p, keyID, label); err != nil {
			return fmt.Errorf("%s key: %w", p, err)
		}
	}
	return nil
}

const provisionedSQL = `select distinct purpose from signing_key`

// Complete makes the keys of purposes that an older tenant has none of, each active
// at once, and returns the purposes. A tenant that has one of every purpose, in
// whatever state, is left as it is. Two at a time do no harm: one of them fails.
func Complete(ctx context.Context, tx *tenant.Tx, id tenant.ID, slug tenant.Slug, root signing.Custody) ([]signing.Purpose, error) {
	var known []signing.Purpose
	if err := tx.Select(ctx, &known, provisionedSQL); err != nil {
		return nil, fmt.Errorf("read purposes: %w", err)
	}
	var made []signing.Purpose
	for _, p := range signing.Purposes() {
		if !slices.Contains(known, p) {
			made = append(made, p)
		}
	}
	if len(made) == 0 {
		return nil, nil
	}
	var wrapped []byte
	if err := tx.Get(ctx, &wrapped, wrappedSQL); err != nil {
		return nil, fmt.Errorf("read data key: %w", err)
	}
	dk, err := signing.OpenDataKey(ctx, root, id.String(), wrapped)
	if err != nil {
		return nil, err
	}
	for _, p := range made {
		keyID, label := firstName(p, slug, "")
		if err := provision(ctx, tx, root.Providers, dk, id, p, keyID, label); err != nil {
			return nil, fmt.Errorf("%s key: %w", p, err)
		}
	}
	return made, nil
}

// firstName names version 1 of a purpose's key. Names on the wire say whose they
// are, so that a mixed-up configuration is seen at a glance.
func firstName(p signing.Purpose, slug tenant.Slug, exportKeyID string) (keyID, label string) {
	switch p {
	case signing.Export:
		return exportKeyID, "v1"
	case signing.Certificate:
		return string(slug) + "-c1", ""
	case signing.SMS:
		return string(slug) + "-s1", ""
	case signing.Audit:
		return string(slug) + "-a1", ""
	case signing.Token, signing.Revision, signing.CodeMAC, signing.PhoneMAC:
		return "1", ""
	default:
		panic("unknown purpose " + p)
	}
}

func provision(ctx context.Context, tx *tenant.Tx, from *signing.Providers, dk *signing.DataKey, id tenant.ID, p signing.Purpose, keyID, label string) error {
	k, err := generate(ctx, from, dk, binding(id, p, keyID, label))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertKeySQL, string(p), keyID, label, k.Provider, k.Sealed, k.PublicDER)
	return err
}

// NextName names the version after v: as v is named, with the next number. Of export keys
// the ID stays and the label counts, so that no pair of them is ever used for two keys.
func NextName(v Version) (keyID, label string) {
	number := strconv.Itoa(v.No + 1)
	if v.Purpose == signing.Export {
		return v.KeyID, "v" + number
	}
	if base, counted := strings.CutSuffix(v.KeyID, strconv.Itoa(v.No)); counted {
		return base + number, ""
	}
	return v.KeyID + "-" + number, ""
}
