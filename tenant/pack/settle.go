package pack

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"carillon/tenant"
)

const settleSQL = `
update pack_push
   set state    = $3,
       outcome  = $4,
       differ   = $5,
       due_at   = $6,
       ended_at = $7,
       attempts = $8
 where push_id = $1
   and state = $2
   and attempts = $9`

// settle writes down what came of an attempt, unless another process has the change by now. What has ended is in the audit log, too.
func (m *Maker) settle(ctx context.Context, t *tenant.Tenant, d due, s settled) error {
	now := m.Now().UTC()
	var ended *time.Time
	if s.state == Taken || s.state == Refused {
		ended = &now
	}
	differ := pq.StringArray(s.differ)
	if differ == nil {
		differ = pq.StringArray{}
	}
	const longest = 400
	outcome := string([]rune(s.outcome)[:min(len([]rune(s.outcome)), longest)])
	return m.DB.In(context.WithoutCancel(ctx), t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, settleSQL, d.ID, string(d.State), string(s.state), outcome, differ, now.Add(s.wait), ended, s.attempts, d.fence)
		if err != nil {
			return fmt.Errorf("note what Apple said: %w", err)
		}
		if rows == 0 || ended == nil {
			return nil
		}
		return m.record(ctx, tx, "pack:push-ended", "pack "+d.Pack.String(), map[string]string{"state": string(s.state), "outcome": outcome})
	})
}
