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

	"github.com/google/uuid"

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

// Filter chooses entries. What is empty chooses all.
type Filter struct {
	// Who is part of an actor's name, or the whole of its ID.
	Who string
	// Action is the beginning of an action, Target part of what it was done to.
	Action, Target string
	// From is the first instant, Until the first after the last.
	From, Until time.Time
	// Before is the number of an entry: only older ones.
	Before int64
}

// By a whole ID there is an index; by part of a name every entry is looked at, the newest first.
var findSQL = map[bool]string{
	true:  foundSQL(`actor_id = $1`),
	false: foundSQL(`($1 = '' or actor_id = $1 or strpos(lower(actor_name), lower($1)) > 0)`),
}

func foundSQL(who string) string {
	return `
  select entry_no, at, actor_kind, actor_id, actor_name, action, target, detail, request, because
    from audit_entry
   where ` + who + `
     and starts_with(action, $2)
     and ($3 = '' or strpos(lower(target), lower($3)) > 0)
     and ($4::timestamptz is null or at >= $4)
     and ($5::timestamptz is null or at < $5)
     and ($6::bigint = 0 or entry_no < $6)
order by entry_no desc
   limit $7`
}

// Find returns the newest entries of tx's tenant that a filter chooses, the newest
// first.
func Find(ctx context.Context, tx *tenant.Tx, f Filter, limit int) ([]Entry, error) {
	var entries []Entry
	_, err := uuid.Parse(f.Who)
	err = tx.Select(ctx, &entries, findSQL[err == nil], f.Who, f.Action, f.Target, instant(f.From), instant(f.Until), f.Before, limit)
	if err != nil {
		return nil, fmt.Errorf("find audit entries: %w", err)
	}
	return entries, nil
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// List is [Find] without a filter.
func List(ctx context.Context, tx *tenant.Tx, limit int) ([]Entry, error) {
	return Find(ctx, tx, Filter{}, limit)
}
