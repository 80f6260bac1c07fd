package audit

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"carillon/signing/auditchain"
	"carillon/tenant"
)

// One statement sees one moment: no checkpoint of it counts an entry that is not there.
const exportSQL = `
  select entry_no, at, actor_kind, actor_id, actor_name, action, target, detail::text as detail,
         request, because, digest, '' as statement
    from audit_entry
   union all
  select entries, at, '', '', '', '', '', '', '', '', '', statement
    from audit_checkpoint
order by entry_no, statement`

type exported struct {
	No        int64     `db:"entry_no"`
	At        time.Time `db:"at"`
	ActorKind string    `db:"actor_kind"`
	ActorID   string    `db:"actor_id"`
	ActorName string    `db:"actor_name"`
	Action    string    `db:"action"`
	Target    string    `db:"target"`
	Detail    string    `db:"detail"`
	Request   string    `db:"request"`
	Because   string    `db:"because"`
	Digest    []byte    `db:"digest"`
	Statement string    `db:"statement"`
}

// Export writes the whole log of tx's tenant as a file of package auditchain, one row
// at a time. keys are the public keys of its checkpoints.
func Export(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, keys auditchain.Keys, at time.Time, to io.Writer) error {
	w, err := auditchain.NewWriter(to, auditchain.Header{Tenant: uuid.UUID(t.ID), Slug: string(t.Slug), At: at, Keys: keys})
	if err != nil {
		return fmt.Errorf("export audit log: %w", err)
	}
	err = tx.Each(ctx, func(rows *sqlx.Rows) error {
		var e exported
		if err := rows.StructScan(&e); err != nil {
			return err
		}
		return e.write(w)
	}, exportSQL)
	if err != nil {
		return fmt.Errorf("export audit log: %w", err)
	}
	return nil
}

func (e exported) write(w *auditchain.Writer) error {
	if e.Statement != "" {
		return w.Checkpoint(e.Statement)
	}
	return w.Entry(auditchain.Entry{
		No: e.No, At: e.At, ActorKind: e.ActorKind, ActorID: e.ActorID, ActorName: e.ActorName,
		Action: e.Action, Target: e.Target, Detail: e.Detail, Request: e.Request, Because: e.Because,
	}, e.Digest)
}
