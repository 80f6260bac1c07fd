package rehearsal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
)

const findSQL = `
select stage, step, coalesce(busy_until > $2::timestamptz, false), sealed, started_at, expires_at
  from simulated_phones
 where person = $1
   and expires_at > $2::timestamptz`

func (d *Desk) find(ctx context.Context, t *tenant.Tenant, by authz.Subject) (*Rehearsal, error) {
	var found *Rehearsal
	var sealed []byte
	err := d.db.Do(ctx, t.ID, tenant.Statement{SQL: findSQL, Args: []any{by.ID, d.now().UTC()}}, func(row tenant.Row) error {
		var stage string
		var step int64
		found = &Rehearsal{}
		err := row.Scan(&stage, &step, &found.Busy, &sealed, &found.StartedAt, &found.ExpiresAt)
		found.Stage, found.Step = Stage(stage), int(step)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find rehearsal: %w", err)
	}
	if found == nil {
		return nil, nil //nolint:nilnil // documented: there is none
	}
	return found, d.open(ctx, t, by.ID, sealed, &found.Case)
}

const beginSQL = `
insert into simulated_phones (tenant_id, person, stage, step, sealed, started_at, expires_at)
select current_tenant(), $1, 'met', 1, $2, $3, $4
 where $5 = 0 or exists (select from simulated_phones where person = $1)
    on conflict on constraint simulated_phones_pkey
    do update set stage = excluded.stage, step = simulated_phones.step + 1, busy_until = null,
                  sealed = excluded.sealed, started_at = excluded.started_at, expires_at = excluded.expires_at
 where simulated_phones.step = $5
    or $5 = 0 and simulated_phones.expires_at <= $3`

func (d *Desk) begin(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int, c Case) error {
	sealed, err := d.seal(ctx, t, by.ID, c)
	if err != nil {
		return err
	}
	now := d.now().UTC()
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, beginSQL, by.ID, sealed, now, now.Add(Life), at)
		if err != nil {
			return err
		}
		if rows == 0 {
			return ErrOver
		}
		return audit.Record(ctx, tx, now, by, "rehearsal:begin", phonesOf(by), nil)
	})
	if err != nil {
		return fmt.Errorf("begin rehearsal: %w", err)
	}
	return nil
}

// phonesOf names somebody's phones in the audit log.
func phonesOf(by authz.Subject) string { return "phones of " + by.ID }

// claimed is a rehearsal in which a step is being taken.
type claimed struct {
	Case

	apiKey string
	until  time.Time
}

const (
	claimSQL = `
   update simulated_phones
      set busy_until = $4
    where person = $1
      and step = $2
      and stage = any($3)
      and expires_at > $5
      and (busy_until is null or busy_until <= $5)
returning sealed`

	busySQL = `
select exists (select
                 from simulated_phones
                where person = $1
                  and step = $2
                  and busy_until > $3)`
)

// claim lets one of those who want to take the same step take it: [ErrBusy] for the
// others, and [ErrOver] once it was taken.
func (d *Desk) claim(ctx context.Context, t *tenant.Tenant, by authz.Subject, a act) (*claimed, error) {
	now := d.now().UTC()
	held := &claimed{until: now.Add(claimLife).Truncate(time.Microsecond)}
	var sealed, app []byte
	stages := make(pq.StringArray, len(a.from))
	for i, s := range a.from {
		stages[i] = string(s)
	}
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		err := tx.Get(ctx, &sealed, claimSQL, by.ID, a.at, stages, held.until, now)
		if errors.Is(err, sql.ErrNoRows) {
			return d.whyNot(ctx, tx, by, a, now)
		}
		if err != nil {
			return err
		}
		return tx.Get(ctx, &app, sealedAppSQL)
	})
	if err == nil {
		err = d.open(ctx, t, by.ID, sealed, &held.Case)
	}
	if err == nil {
		err = d.open(ctx, t, appName, app, &held.apiKey)
	}
	if err != nil {
		return nil, fmt.Errorf("claim step of rehearsal: %w", err)
	}
	return held, nil
}

func (d *Desk) whyNot(ctx context.Context, tx *tenant.Tx, by authz.Subject, a act, now time.Time) error {
	var busy bool
	if err := tx.Get(ctx, &busy, busySQL, by.ID, a.at, now); err != nil {
		return err
	}
	if busy {
		return ErrBusy
	}
	return ErrOver
}

const (
	finishSQL = `
update simulated_phones
   set stage = $4, step = step + 1, busy_until = null, sealed = $5
 where person = $1
   and step = $2
   and busy_until = $3`

	releaseSQL = `
update simulated_phones
   set busy_until = null
 where person = $1
   and busy_until = $2`
)

// finish notes a step: [ErrOver] if it took so long that somebody else was let in.
func (d *Desk) finish(ctx context.Context, t *tenant.Tenant, by authz.Subject, a act, held *claimed, to Stage) error {
	sealed, err := d.seal(ctx, t, by.ID, held.Case)
	if err != nil {
		return err
	}
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, finishSQL, by.ID, a.at, held.until, string(to), sealed)
		if err != nil {
			return err
		}
		if rows == 0 {
			return ErrOver
		}
		return audit.Record(ctx, tx, d.now(), by, "rehearsal:"+a.name, phonesOf(by), nil)
	})
	if err != nil {
		return fmt.Errorf("finish step of rehearsal: %w", err)
	}
	return nil
}

func (d *Desk) release(ctx context.Context, t *tenant.Tenant, by authz.Subject, held *claimed) error {
	return d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, releaseSQL, by.ID, held.until)
		return err
	})
}

func binding(t *tenant.Tenant, whose string) signing.Binding {
	return signing.Binding{Tenant: t.ID.String(), Purpose: signing.Rehearsal, KeyID: whose}
}

// seal seals what somebody's phones, or their app, have.
func (d *Desk) seal(ctx context.Context, t *tenant.Tenant, whose string, what any) ([]byte, error) {
	dk, err := d.keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	return dk.Seal(binding(t, whose), plain)
}

func (d *Desk) open(ctx context.Context, t *tenant.Tenant, whose string, sealed []byte, into any) error {
	dk, err := d.keys.DataKey(ctx, t.ID)
	if err != nil {
		return err
	}
	plain, err := dk.Open(binding(t, whose), sealed)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	return nil
}

const cleanupSQL = `delete from simulated_phones where expires_at <= $1`

// Cleanup deletes the tenant's rehearsals past their time. db is a handle under
// carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, cleanupSQL, now.UTC())
		return err
	})
	if err != nil {
		return fmt.Errorf("clean up rehearsals: %w", err)
	}
	return nil
}
