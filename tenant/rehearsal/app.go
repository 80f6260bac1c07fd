package rehearsal

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
)

// appName is whose sealed key the app's is, in place of a person. No person has it as
// her ID.
const appName = "the app"

const (
	sealedAppSQL = `select sealed from simulated_app`

	goodAppSQL = `
select a.sealed
  from simulated_app a
  join api_key k using (api_key_id)
 where k.disabled_at is null
   and (k.expires_at is null or k.expires_at > $1)`

	keepAppSQL = `
insert into simulated_app (tenant_id, api_key_id, sealed)
values (current_tenant(), $1, $2)
    on conflict on constraint simulated_app_pkey
    do update set api_key_id = excluded.api_key_id, sealed = excluded.sealed`
)

// apps is the lock of whoever makes a key for the app.
const apps tenant.Lock = "simulated app"

var system = authz.Subject{Kind: authz.System, ID: "rehearsal", Name: "Rehearsal"}

// appKey is the API key of the app on the tenant's simulated phones. It is an API key as
// others, for phones; staff see it in the list and can revoke it. Then another is made.
func (d *Desk) appKey(ctx context.Context, t *tenant.Tenant) (key string, err error) {
	if _, err := d.keys.DataKey(ctx, t.ID); err != nil { // nothing remote happens in the transaction
		return "", err
	}
	err = d.db.InExclusive(ctx, t.ID, apps, func(tx *tenant.Tx) error {
		var sealed []byte
		err := tx.Get(ctx, &sealed, goodAppSQL, d.now().UTC())
		if errors.Is(err, sql.ErrNoRows) {
			key, err = d.makeAppKey(ctx, tx, t)
			return err
		}
		if err != nil {
			return err
		}
		return d.open(ctx, t, appName, sealed, &key)
	})
	if err != nil {
		return "", fmt.Errorf("API key of simulated phones: %w", err)
	}
	return key, nil
}

// markLength is how many letters tell the keys' names apart.
const markLength = 4

func (d *Desk) makeAppKey(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant) (string, error) {
	terms := client.Terms{Name: "Simulated phones " + rand.Text()[:markLength]}
	plain, made, err := client.Make(ctx, tx, system, client.Device, terms, d.now())
	if err != nil {
		return "", err
	}
	sealed, err := d.seal(ctx, t, appName, plain)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, keepAppSQL, made.ID, sealed)
	return plain, err
}
