// Package checkpoint signs how far each tenant's audit log has come.
//
// The database alone cannot vouch for itself: whoever owns it can rewrite the log and
// chain it anew. A checkpoint is signed with a key that is sealed under the platform's
// root key, which the database does not have, and is written to the process's log as
// well, which leaves this system: whoever keeps either sees what was changed before it.
package checkpoint

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/signing/auditchain"
	"carillon/tenant"
	"carillon/tenant/key"
)

const (
	// Interval is how often new entries are signed: whoever owns the database can
	// forge what was written since, and nothing older.
	Interval = 5 * time.Minute
	// Longest is how old the newest checkpoint may become in a log without new
	// entries, so that a log which was put back to an old state shows.
	Longest = 24 * time.Hour
)

// Signer signs checkpoints through db, a handle under the role carillon_jobs.
type Signer struct {
	db   *tenant.DB
	keys *key.Ring
	log  *slog.Logger
	now  func() time.Time
}

// NewSigner returns a signer.
func NewSigner(db *tenant.DB, keys *key.Ring, log *slog.Logger, now func() time.Time) *Signer {
	return &Signer{db: db, keys: keys, log: log, now: now}
}

const (
	headSQL = `
select h.entries, h.digest, c.entries as signed, c.at as signed_at
  from audit_head h
  left join lateral (
         select entries, at
           from audit_checkpoint
       order by entries desc, at desc
          limit 1) c on true`

	storeSQL = `
insert into audit_checkpoint (tenant_id, entries, at, statement)
values (current_tenant(), $1, $2, $3)
    on conflict do nothing`
)

type head struct {
	Entries  int64      `db:"entries"`
	Digest   []byte     `db:"digest"`
	Signed   *int64     `db:"signed"`
	SignedAt *time.Time `db:"signed_at"`
}

func (h head) due(now time.Time) bool {
	return h.Signed == nil || *h.Signed < h.Entries || !now.Before(h.SignedAt.Add(Longest))
}

// Sign makes a checkpoint of a tenant's log if one is due, and reports whether it did.
// A log that is shorter than its newest checkpoint is an error: somebody has cut it.
func (s *Signer) Sign(ctx context.Context, t *tenant.Tenant) (bool, error) {
	now := s.now().UTC().Truncate(time.Second)
	var h head
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &h, headSQL) })
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read head of audit log: %w", err)
	case h.Signed != nil && *h.Signed > h.Entries:
		return false, fmt.Errorf("audit log of %s has %d entries, its newest checkpoint counts %d: it was cut", t.Slug, h.Entries, *h.Signed)
	case !h.due(now):
		return false, nil
	}
	signer, err := s.keys.Signer(ctx, t.ID, signing.Audit)
	if err != nil {
		return false, fmt.Errorf("key of audit log: %w", err)
	}
	c := auditchain.Checkpoint{Tenant: uuid.UUID(t.ID), At: now, Entries: h.Entries, Digest: auditchain.Digest(h.Digest)}
	statement, err := c.Sign(signer.Key, signer.KeyID)
	if err != nil {
		return false, fmt.Errorf("sign checkpoint: %w", err)
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, storeSQL, h.Entries, now, statement)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store checkpoint: %w", err)
	}
	s.log.InfoContext(ctx, "audit checkpoint", slog.String("tenant", string(t.Slug)), slog.String("statement", statement))
	return true, nil
}
