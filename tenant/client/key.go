package client

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// State is where in its life a key is.
type State string

// The states. A key that was replaced is good until it expires.
const (
	Good     State = "good"
	Replaced State = "replaced"
	Expired  State = "expired"
	Revoked  State = "revoked"
)

// Key is what can be told of a key: all but its text.
type Key struct {
	ID   uuid.UUID `db:"api_key_id"`
	Kind Kind
	Name string
	// Generation counts the keys of a name, from 1.
	Generation int
	// Preview is the first six characters of what is secret.
	Preview   string
	CreatedAt time.Time `db:"created_at"`
	// ExpiresAt is when the key ends or ended by itself, RevokedAt when somebody did end it.
	ExpiresAt *time.Time `db:"expires_at"`
	RevokedAt *time.Time `db:"disabled_at"`
	// Followed: a later generation exists.
	Followed bool
	// Networks are as in [Terms].
	Networks pq.StringArray
}

// State is the key's at an instant.
func (k Key) State(now time.Time) State {
	switch {
	case k.RevokedAt != nil:
		return Revoked
	case k.ExpiresAt != nil && !now.Before(*k.ExpiresAt):
		return Expired
	case k.Followed:
		return Replaced
	}
	return Good
}

// Accepted reports whether requests with the key are, at an instant.
func (k Key) Accepted(now time.Time) bool {
	s := k.State(now)
	return s == Good || s == Replaced
}

const (
	keyColumns = `
  select k.api_key_id, k.kind, k.name, k.generation, k.preview, k.created_at, k.expires_at, k.disabled_at, k.networks::text[] as networks,
         exists (select
                   from api_key n
                  where n.tenant_id = k.tenant_id
                    and n.name = k.name
                    and n.generation > k.generation) as followed
    from api_key k`

	listSQL = keyColumns + `
order by k.disabled_at is not null or coalesce(k.expires_at <= $1, false), k.name, k.generation desc
   limit $2`

	oneSQL = keyColumns + `
   where k.api_key_id = $1`
)

// listed is how many keys a list has: all that are good, and as many of the others.
const listed = 2 * MaxKeys

// List returns the keys of tx's tenant: first those that are good, each group by name
// and the newest generation first.
func List(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Key, error) {
	var keys []Key
	if err := tx.Select(ctx, &keys, listSQL, now.UTC(), listed); err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return keys, nil
}

// Find returns one key: [ErrUnknownKey] if tx's tenant has none of this ID.
func Find(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (Key, error) {
	return find(ctx, tx, oneSQL, id)
}

func find(ctx context.Context, tx *tenant.Tx, query string, id uuid.UUID) (Key, error) {
	var found []Key
	if err := tx.Select(ctx, &found, query, id); err != nil {
		return Key{}, fmt.Errorf("find API key: %w", err)
	}
	if len(found) == 0 {
		return Key{}, ErrUnknownKey
	}
	return found[0], nil
}
