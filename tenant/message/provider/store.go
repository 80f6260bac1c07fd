package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
)

// Places is how many providers a tenant may have: the first, and the one that is asked
// if the first fails.
const Places = 2

// Entry is a tenant's provider as it is shown: without its secret.
type Entry struct {
	Place     int `db:"position"`
	Kind      Kind
	Options   json.RawMessage `db:"config"`
	PerMinute int             `db:"per_minute"`
	ChangedAt time.Time       `db:"changed_at"`
}

func binding(id tenant.ID, place int, kind Kind) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: signing.Provider, KeyID: strconv.Itoa(place) + "/" + string(kind)}
}

const setSQL = `
insert into message_provider
       (tenant_id, position, kind, config, sealed, per_minute, changed_at)
values (current_tenant(), $1, $2, $3::jsonb, $4, $5, $6)
    on conflict (tenant_id, position) do update
   set kind = excluded.kind, config = excluded.config, sealed = excluded.sealed,
       per_minute = excluded.per_minute, changed_at = excluded.changed_at`

// Set gives a tenant a provider in a place, 1 or 2, instead of the one that is there:
// [ErrSettings] if the settings make none. db is a handle under carillon_operator. The
// act is audited.
func Set(ctx context.Context, db *tenant.DB, keys *key.Ring, n Networks, id tenant.ID, by authz.Subject, place int, s Settings, now time.Time) error {
	if place < 1 || place > Places {
		return fmt.Errorf("%w: the place is 1 or %d", ErrSettings, Places)
	}
	if err := n.Check(s); err != nil {
		return err
	}
	dk, err := keys.DataKey(ctx, id)
	if err != nil {
		return err
	}
	sealed, err := dk.Seal(binding(id, place, s.Kind), []byte(s.Secret))
	if err != nil {
		return err
	}
	return change(ctx, db, id, by, "message-provider:set", place, now, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, setSQL, place, string(s.Kind), string(s.Options), sealed, s.PerMinute, now.UTC())
		return err
	})
}

// ErrPlaceEmpty means that a tenant has no provider in a place.
var ErrPlaceEmpty = errors.New("no message provider in this place")

const removeSQL = `delete from message_provider where position = $1`

// Remove takes a provider from a tenant: [ErrPlaceEmpty] if there is none. The act is
// audited.
func Remove(ctx context.Context, db *tenant.DB, id tenant.ID, by authz.Subject, place int, now time.Time) error {
	return change(ctx, db, id, by, "message-provider:remove", place, now, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, removeSQL, place)
		if err == nil && rows == 0 {
			return ErrPlaceEmpty
		}
		return err
	})
}

func change(ctx context.Context, db *tenant.DB, id tenant.ID, by authz.Subject, action string, place int, now time.Time, do func(*tenant.Tx) error) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, by, action, strconv.Itoa(place), nil)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

const listSQL = `
  select position, kind, config, per_minute, changed_at
    from message_provider
order by position`

// List returns a tenant's providers in their order.
func List(ctx context.Context, db *tenant.DB, id tenant.ID) ([]Entry, error) {
	var entries []Entry
	err := db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &entries, listSQL) })
	if err != nil {
		return nil, fmt.Errorf("list message providers: %w", err)
	}
	return entries, nil
}

const loadSQL = `
  select position, kind, config, per_minute, changed_at, sealed
    from message_provider
order by position`

// load reads a tenant's providers with their secrets.
func load(ctx context.Context, db *tenant.DB, keys *key.Ring, id tenant.ID) (map[int]Settings, error) {
	var rows []struct {
		Entry
		Sealed []byte
	}
	err := db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &rows, loadSQL) })
	if err != nil {
		return nil, fmt.Errorf("read message providers: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	dk, err := keys.DataKey(ctx, id)
	if err != nil {
		return nil, err
	}
	settings := map[int]Settings{}
	for _, r := range rows {
		secret, err := dk.Open(binding(id, r.Place, r.Kind), r.Sealed)
		if err != nil {
			return nil, fmt.Errorf("message provider %d: %w", r.Place, err)
		}
		settings[r.Place] = Settings{Kind: r.Kind, Options: r.Options, Secret: string(secret), PerMinute: r.PerMinute}
		clear(secret)
	}
	return settings, nil
}
