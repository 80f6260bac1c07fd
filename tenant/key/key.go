// Package key keeps the versions of each tenant's keys.
//
// A version goes from next (published, not used yet) to active to verify-only to
// destroyed; at most one is active for each purpose. Export keys are the exception:
// while phones learn a new one, the old one signs as well. Private parts are stored
// sealed under the tenant's data key, which is stored wrapped by the platform's
// root key; a [Ring] opens them and keeps them in memory until they change. Which
// purposes a process can read at all is decided by its database role.
package key

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/cache"
)

// State is where a version stands in its life.
type State string

// The states.
const (
	Next       State = "next"
	Active     State = "active"
	VerifyOnly State = "verify-only"
	Destroyed  State = "destroyed"
)

// ErrNoKey means that a tenant has no usable key for a purpose, as far as this
// process's database role can see.
var ErrNoKey error = failure("no usable key")

// failure is its own class to background jobs.
type failure string

func (f failure) Error() string { return string(f) }

// Class says what schedules tell of the error.
func (f failure) Class() string { return string(f) }

// Age is how long a change to a tenant's keys may take to be seen by every process.
const Age = 5 * time.Second

// Idle is how long an opened key stays in memory without being used; a used one is opened
// anew after an hour. Data keys stay for a minute. A dropped key is overwritten when Go's
// collector finds it, which runs every two minutes at least.
const Idle = 10 * time.Minute

const ringSize = 10_000

// Ring opens tenants' keys. It is safe for concurrent use. Public halves need
// neither the root key nor a private half: a process that asks for nothing else
// opens nothing.
type Ring struct {
	db     *tenant.DB
	root   signing.Custody
	opened *cache.Cache[slot, opened]
	public *cache.Cache[slot, []Public]
	data   *cache.Aged[tenant.ID, *signing.DataKey]
}

type slot struct {
	tenant  tenant.ID
	purpose signing.Purpose
}

// NewRing returns a ring that reads through db and opens with root.
func NewRing(db *tenant.DB, root signing.Custody) *Ring {
	r := &Ring{db: db, root: root, data: cache.NewAged[tenant.ID, *signing.DataKey](ringSize, dataAge)}
	r.opened = tenant.NewCache(db, ringSize, Age, func(s slot, _ opened) tenant.ID { return s.tenant }, r.loadOpened)
	r.opened.DropIdle(Idle)
	r.data.DropIdle(dataAge)
	r.public = tenant.NewCache(db, ringSize, Age, func(s slot, _ []Public) tenant.ID { return s.tenant }, r.loadPublic)
	return r
}

// Signer is an active key that signs. It prints and logs as a fixed word.
type Signer struct {
	// KeyID is the key's name on the wire; Label an export key's version string.
	KeyID, Label string
	Key          crypto.Signer
}

// Format hides the key from every verb of package fmt.
func (Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenSigner) }

// LogValue hides the key from package slog.
func (Signer) LogValue() slog.Value { return slog.StringValue(hiddenSigner) }

// Secret is a symmetric key. It prints and logs as a fixed word.
type Secret struct {
	KeyID string
	State State
	Bytes []byte
}

// Format hides the key from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenSecret) }

// LogValue hides the key from package slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hiddenSecret) }

const (
	hiddenSigner = "[signing key]"
	hiddenSecret = "[secret key]"
)

// Public is the public half of a key that signs.
type Public struct {
	No    int    `db:"version"`
	KeyID string `db:"key_id"`
	Label string
	State State
	// DER is the key as DER-encoded SPKI; Key is the same, parsed.
	DER []byte           `db:"public_der"`
	Key *ecdsa.PublicKey `db:"-"`
}

// Signer returns the tenant's active key for a purpose that signs, the newest if there
// are several: [ErrNoKey] if there is none.
func (r *Ring) Signer(ctx context.Context, id tenant.ID, p signing.Purpose) (Signer, error) {
	list, err := r.Signers(ctx, id, p)
	if err != nil {
		return Signer{}, err
	}
	return list[0], nil
}

// Signers returns all of the tenant's active keys for a purpose that signs, the newest
// first: [ErrNoKey] if there is none. Only export keys can be several. Those that are kept
// outside sign while ctx lasts.
func (r *Ring) Signers(ctx context.Context, id tenant.ID, p signing.Purpose) ([]Signer, error) {
	o, err := r.opened.Get(ctx, slot{id, p})
	if err != nil {
		return nil, err
	}
	if len(o.signers) == 0 {
		return nil, noKey(p)
	}
	list := slices.Clone(o.signers)
	for i := range list {
		list[i].Key = signing.Within(ctx, list[i].Key)
	}
	return list, nil
}

// Secrets returns the active symmetric key first, then the others that are not
// destroyed, the newest first: [ErrNoKey] if none is active. Those that are next
// are among them because another process may have seen them become active a
// moment ago, and what it seals must open here.
func (r *Ring) Secrets(ctx context.Context, id tenant.ID, p signing.Purpose) ([]Secret, error) {
	o, err := r.opened.Get(ctx, slot{id, p})
	if err != nil {
		return nil, err
	}
	if len(o.secrets) == 0 || o.secrets[0].State != Active {
		return nil, noKey(p)
	}
	return slices.Clone(o.secrets), nil
}

// Public returns the public keys that are next, active or verify-only, the newest
// first, and of those whose rule is [Life.Lasting] also the destroyed. The list may be empty.
func (r *Ring) Public(ctx context.Context, id tenant.ID, p signing.Purpose) ([]Public, error) {
	list, err := r.public.Get(ctx, slot{id, p})
	return slices.Clone(list), err
}

func noKey(p signing.Purpose) error { return fmt.Errorf("%s: %w", p, ErrNoKey) }

const publicSQL = `
  select version, key_id, label, state, public_der
    from signing_key
   where purpose = $1
     and (state <> 'destroyed' or purpose in ('audit', 'export'))
     and public_der is not null
order by version desc`

func (r *Ring) loadPublic(ctx context.Context, sl slot) ([]Public, error) {
	var list []Public
	err := r.db.In(ctx, sl.tenant, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, publicSQL, string(sl.purpose))
	})
	if err != nil {
		return nil, fmt.Errorf("read public keys: %w", err)
	}
	for i := range list {
		if list[i].Key, err = signing.ParsePublicDER(list[i].DER); err != nil {
			return nil, fmt.Errorf("%s key %s: %w", sl.purpose, list[i].KeyID, err)
		}
	}
	return list, nil
}

// opened is what a tenant has for one purpose and this process may use.
type opened struct {
	signers []Signer // none if none is active, or the purpose has no signatures
	secrets []Secret
}

type version struct {
	KeyID    string `db:"key_id"`
	Label    string `db:"label"`
	State    State  `db:"state"`
	Provider string `db:"provider"`
	Sealed   []byte `db:"sealed"`
	Public   []byte `db:"public_der"` // nil for a symmetric key
}

const (
	wrappedSQL = `select wrapped from data_key`

	// Of the keys that sign, only active ones are ever used.
	versionsSQL = `
  select key_id, label, state, provider, sealed, public_der
    from signing_key
   where purpose = $1
     and state <> 'destroyed'
     and (state = 'active' or public_der is null)
order by state = 'active' desc, version desc`
)

func (r *Ring) loadOpened(ctx context.Context, sl slot) (opened, error) {
	var wrapped []byte
	var versions []version
	err := r.db.In(ctx, sl.tenant, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &wrapped, wrappedSQL); err != nil {
			return err
		}
		return tx.Select(ctx, &versions, versionsSQL, string(sl.purpose))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return opened{}, noKey(sl.purpose)
	}
	if err != nil {
		return opened{}, fmt.Errorf("read keys: %w", err)
	}
	dk, err := r.unwrap(ctx, sl.tenant, wrapped)
	if err != nil {
		return opened{}, err
	}
	var o opened
	for _, v := range versions {
		if err := o.open(ctx, r.root.Providers, dk, sl, v); err != nil {
			return opened{}, fmt.Errorf("%s key %s: %w", sl.purpose, v.KeyID, err)
		}
	}
	return o, nil
}

const trialSQL = `
  select key_id, label, state, provider, sealed, public_der
    from signing_key
   where purpose = $1
     and (state = 'active' or version = $2)
     and state <> 'destroyed'
order by version desc`

// Trial opens a version that is next together with those that are active, the newest first,
// to try whether they sign together: [ErrNoKey] if there is none. Nothing of it is kept.
func (r *Ring) Trial(ctx context.Context, id tenant.ID, p signing.Purpose, no int) ([]Signer, error) {
	var versions []version
	err := r.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &versions, trialSQL, string(p), no) })
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	dk, err := r.DataKey(ctx, id)
	if err != nil {
		return nil, err
	}
	var o opened
	for _, v := range versions {
		if err := o.open(ctx, r.root.Providers, dk, slot{id, p}, v); err != nil {
			return nil, fmt.Errorf("%s key %s: %w", p, v.KeyID, err)
		}
	}
	if len(o.signers) == 0 {
		return nil, noKey(p)
	}
	return o.signers, nil
}

func (o *opened) open(ctx context.Context, from *signing.Providers, dk *signing.DataKey, sl slot, v version) error {
	b := binding(sl.tenant, sl.purpose, v.KeyID, v.Label)
	if v.Public != nil {
		private, err := from.Open(ctx, dk, b, signing.Stored{Provider: v.Provider, Sealed: v.Sealed, PublicDER: v.Public})
		o.signers = append(o.signers, Signer{KeyID: v.KeyID, Label: v.Label, Key: private})
		return err
	}
	secret, err := signing.OpenSecret(dk, b, v.Sealed)
	o.secrets = append(o.secrets, Secret{KeyID: v.KeyID, State: v.State, Bytes: secret})
	return err
}

// binding ties a sealed key to its tenant, its purpose and both of its names.
func binding(id tenant.ID, p signing.Purpose, keyID, label string) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: p, KeyID: keyID + "/" + label}
}
