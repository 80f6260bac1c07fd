// Package key keeps the versions of each tenant's keys.
//
// A version goes from next (published, not used yet) to active to verify-only to
// destroyed; at most one is active for each purpose. Private parts are stored
// sealed under the tenant's data key, which is stored wrapped by the platform's
// root key; a [Ring] opens them and keeps them in memory for a few seconds. Which
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
var ErrNoKey = errors.New("no usable key")

// Age is how long a change to a tenant's keys may take to be seen by every process.
const Age = 5 * time.Second

const ringSize = 10_000

// Ring opens tenants' keys. It is safe for concurrent use.
type Ring struct {
	db   *tenant.DB
	root signing.Root
	sets *cache.Cache[slot, *set]
}

type slot struct {
	tenant  tenant.ID
	purpose signing.Purpose
}

// NewRing returns a ring that reads through db and unwraps with root.
func NewRing(db *tenant.DB, root signing.Root) *Ring {
	r := &Ring{db: db, root: root}
	r.sets = cache.New(ringSize, Age, r.load)
	return r
}

// Signer is an active key that signs. It prints as a fixed word.
type Signer struct {
	// KeyID is the key's name on the wire; Label an export key's version string.
	KeyID, Label string
	Key          crypto.Signer
}

// Format hides the key from every verb of package fmt.
func (Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[signing key]") }

// Secret is a symmetric key. It prints as a fixed word.
type Secret struct {
	KeyID string
	State State
	Bytes []byte
}

// Format hides the key from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret key]") }

// Public is the public half of a key that signs.
type Public struct {
	KeyID, Label string
	State        State
	DER          []byte
	Key          *ecdsa.PublicKey
}

// set is all that a tenant has for one purpose, opened.
type set struct {
	signer  *Signer // nil if none is active, or the purpose has no signatures
	secrets []Secret
	public  []Public
}

// Signer returns the tenant's active key for a purpose that signs: [ErrNoKey] if
// there is none.
func (r *Ring) Signer(ctx context.Context, id tenant.ID, p signing.Purpose) (Signer, error) {
	s, err := r.sets.Get(ctx, slot{id, p})
	if err != nil {
		return Signer{}, err
	}
	if s.signer == nil {
		return Signer{}, fmt.Errorf("%s: %w", p, ErrNoKey)
	}
	return *s.signer, nil
}

// Public returns the public keys that are next, active or verify-only, the newest
// first. The list may be empty.
func (r *Ring) Public(ctx context.Context, id tenant.ID, p signing.Purpose) ([]Public, error) {
	s, err := r.sets.Get(ctx, slot{id, p})
	if err != nil {
		return nil, err
	}
	return s.public, nil
}

// Secrets returns the active symmetric key first, then those that are verify-only:
// [ErrNoKey] if none is active.
func (r *Ring) Secrets(ctx context.Context, id tenant.ID, p signing.Purpose) ([]Secret, error) {
	s, err := r.sets.Get(ctx, slot{id, p})
	if err != nil {
		return nil, err
	}
	if len(s.secrets) == 0 || s.secrets[0].State != Active {
		return nil, fmt.Errorf("%s: %w", p, ErrNoKey)
	}
	return s.secrets, nil
}

type version struct {
	KeyID  string `db:"key_id"`
	Label  string `db:"label"`
	State  State  `db:"state"`
	Sealed []byte `db:"sealed"`
	Public []byte `db:"public_der"`
}

const (
	wrappedSQL = `select wrapped from data_key`

	versionsSQL = `
  select key_id, label, state, sealed, public_der
    from signing_key
   where purpose = $1
     and state <> 'destroyed'
order by state = 'active' desc, version desc`
)

func (r *Ring) load(ctx context.Context, sl slot) (*set, error) {
	var wrapped []byte
	var versions []version
	err := r.db.In(ctx, sl.tenant, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &wrapped, wrappedSQL); err != nil {
			return err
		}
		return tx.Select(ctx, &versions, versionsSQL, string(sl.purpose))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", sl.purpose, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	dk, err := signing.OpenDataKey(ctx, r.root, sl.tenant.String(), wrapped)
	if err != nil {
		return nil, err
	}
	s := &set{}
	for _, v := range versions {
		if err := s.add(dk, sl, v); err != nil {
			return nil, fmt.Errorf("%s key %s: %w", sl.purpose, v.KeyID, err)
		}
	}
	return s, nil
}

func (s *set) add(dk *signing.DataKey, sl slot, v version) error {
	b := binding(sl.tenant, sl.purpose, v.KeyID, v.Label)
	if v.Public == nil {
		secret, err := signing.OpenSecret(dk, b, v.Sealed)
		s.secrets = append(s.secrets, Secret{KeyID: v.KeyID, State: v.State, Bytes: secret})
		return err
	}
	public, err := signing.ParsePublicDER(v.Public)
	if err != nil {
		return err
	}
	s.public = append(s.public, Public{KeyID: v.KeyID, Label: v.Label, State: v.State, DER: v.Public, Key: public})
	if v.State != Active {
		return nil
	}
	private, err := signing.OpenP256(dk, b, v.Sealed)
	s.signer = &Signer{KeyID: v.KeyID, Label: v.Label, Key: private}
	return err
}

// binding ties a sealed key to its tenant, its purpose and both of its names.
func binding(id tenant.ID, p signing.Purpose, keyID, label string) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: p, KeyID: keyID + "/" + label}
}
