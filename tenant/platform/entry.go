package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// Entry is one act, as the platform's log has it.
type Entry struct {
	At time.Time
	// Action is what was done, as tenant:suspend. Detail says how and why; it holds
	// nothing of patients and no secrets.
	Action string
	// Target is to whom it was done: an authority's slug, an operator's address. Empty if
	// to all.
	Target string
	Detail map[string]string
}

const recordSQL = `
insert into platform_entry (at, actor_kind, actor_id, actor_name, action, target, detail, request)
values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)`

// Record writes an entry in the transaction of the act: no entry, no act. No database
// role may change or remove one.
func Record(ctx context.Context, tx *tenant.Tx, by authz.Subject, e Entry) error {
	if e.Detail == nil {
		e.Detail = map[string]string{}
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return fmt.Errorf("platform entry: %w", err)
	}
	_, err = tx.Exec(ctx, recordSQL, e.At.UTC().Truncate(time.Second), string(by.Kind), by.ID, by.Name, e.Action, e.Target, string(detail), by.Request)
	if err != nil {
		return fmt.Errorf("platform entry: %w", err)
	}
	return nil
}

// Act is an entry as it is read.
type Act struct {
	No     int64     `db:"entry_no"`
	At     time.Time `db:"at"`
	By     string    `db:"actor_name"`
	Action string    `db:"action"`
	Target string    `db:"target"`
	Reason string    `db:"reason"`
}

const actsSQL = `
  select entry_no, at, actor_name, action, target, coalesce(detail ->> 'reason', '') as reason
    from platform_entry
   where ($1 = '' or target = $1)
     and ($2::bigint = 0 or entry_no < $2)
order by entry_no desc
   limit $3`

// Acts lists the newest entries about a target, or about everything if that is empty,
// which are older than the one numbered before, unless that is zero; the newest first.
func Acts(ctx context.Context, db *tenant.DB, target string, before int64, limit int) (list []Act, err error) {
	err = db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, actsSQL, target, before, limit) })
	if err != nil {
		return nil, fmt.Errorf("read platform entries: %w", err)
	}
	return list, nil
}
