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
	// Action is what was done, as tenant:suspend. Detail says to what and why; it holds
	// nothing of patients and no secrets.
	Action string
	Detail map[string]string
}

const recordSQL = `
insert into platform_entry (at, actor_kind, actor_id, actor_name, action, detail)
values ($1, $2, $3, $4, $5, $6::jsonb)`

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
	_, err = tx.Exec(ctx, recordSQL, e.At.UTC().Truncate(time.Second), string(by.Kind), by.ID, by.Name, e.Action, string(detail))
	if err != nil {
		return fmt.Errorf("platform entry: %w", err)
	}
	return nil
}
