// Package audit records what people and programs did to a tenant.
//
// An entry is written in the transaction of the act: no entry, no act. No database
// role may change or remove one. Entries name codes by their IDs and never hold a
// code, a token, a key or a telephone number.
//
// Entries are chained (package auditchain), and [Checkpoint] signs how far the chain
// has come, so that what a superuser of the database changes shows as well.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// Entry is one act.
type Entry struct {
	No        int64     `db:"entry_no"`
	At        time.Time `db:"at"`
	ActorKind string    `db:"actor_kind"`
	ActorID   string    `db:"actor_id"`
	ActorName string    `db:"actor_name"`
	// Action is what was done, mostly an [authz.Action]; Target to what.
	Action string `db:"action"`
	Target string `db:"target"`
	// Detail is a JSON object of texts.
	Detail json.RawMessage `db:"detail"`
	// Request is the ID of the request in which it was done, and Because the rule that
	// allowed it. Either may be empty.
	Request string `db:"request"`
	Because string `db:"because"`
}

const recordSQL = `
insert into audit_entry
       (tenant_id, at, actor_kind, actor_id, actor_name, action, target, detail, request, because)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9)`

// Record writes an entry for tx's tenant. detail may be nil. Whoever records something
// about the same tenant waits until tx ends, so this is best done last.
func Record(ctx context.Context, tx *tenant.Tx, at time.Time, by authz.Subject, action, target string, detail map[string]string) error {
	if detail == nil {
		detail = map[string]string{}
	}
	text, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	_, err = tx.Exec(ctx, recordSQL, at.UTC().Truncate(time.Second), string(by.Kind), by.ID, by.Name, action, target, string(text), by.Request, by.Because)
	if err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	return nil
}

const listSQL = `
  select entry_no, at, actor_kind, actor_id, actor_name, action, target, detail, request, because
    from audit_entry
order by entry_no desc
   limit $1`

// List returns the newest entries of tx's tenant, the newest first.
func List(ctx context.Context, tx *tenant.Tx, limit int) ([]Entry, error) {
	var entries []Entry
	if err := tx.Select(ctx, &entries, listSQL, limit); err != nil {
		return nil, fmt.Errorf("list audit entries: %w", err)
	}
	return entries, nil
}
