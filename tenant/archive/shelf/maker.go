package shelf

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/audit"
	"carillon/tenant/job"
)

// maxAttempts is how often an archive is begun before it has failed.
const maxAttempts = 5

// errLost means that another process makes the archive by now.
const errLost = job.Failure("another process makes this archive")

// Maker makes the archives that staff ask for, and deletes those that have expired. Any
// number of processes may: what one left half made, another one deletes and makes anew.
type Maker struct {
	archive.Maker
	Directory *tenant.Directory
	Now       func() time.Time
}

// system is who makes archives.
var system = authz.Subject{Kind: authz.System, ID: "archives", Name: "Carillon"}

// Turn does what is due for a tenant.
func (m Maker) Turn(ctx context.Context, id tenant.ID) error {
	t, err := m.Directory.ByID(ctx, id)
	if errors.Is(err, tenant.ErrUnknown) {
		return nil // it was erased meanwhile
	}
	if err != nil {
		return err
	}
	return errors.Join(m.remove(ctx, t), m.makeNext(ctx, t))
}

const claimSQL = `
   update tenant_archive
      set attempts = attempts + 1, parts = 0, size = null
    where shelved
      and state = 'asked'
returning ` + columns

// makeNext makes the archive that is asked for, if one is.
func (m Maker) makeNext(ctx context.Context, t *tenant.Tenant) error {
	var claimed []Archive
	err := m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &claimed, claimSQL) })
	if err != nil || len(claimed) == 0 {
		return err
	}
	a := claimed[0]
	dk, err := m.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return err
	}
	p := parts{store: m.Files, dk: dk, tenant: t.ID, prefix: prefix(t.Slug, a.ID), attempt: a.Attempt}
	if a.Attempt > maxAttempts {
		return m.fail(ctx, t, a)
	}
	if err := p.remove(ctx, true); err != nil {
		return err
	}
	w := newWriter(ctx, p, func(n int, size int64) error { return m.progress(ctx, t, a, n, size) })
	if _, err := m.Write(ctx, t, a.Recipient, m.Now(), w); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	if err := w.flush(); err != nil {
		return err
	}
	return m.finish(ctx, t, a, w)
}

// advance changes an archive of which this process has the latest attempt: errLost if it
// has not.
func advance(ctx context.Context, tx *tenant.Tx, a Archive, set string, args ...any) error {
	query := `update tenant_archive set ` + set + ` where archive_id = $1 and attempts = $2 and state = 'asked'`
	n, err := tx.Exec(ctx, query, append([]any{a.ID, a.Attempt}, args...)...)
	if err == nil && n == 0 {
		return errLost
	}
	return err
}

func (m Maker) progress(ctx context.Context, t *tenant.Tenant, a Archive, n int, size int64) error {
	return m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return advance(ctx, tx, a, `parts = $3, size = $4`, n, size) })
}

// replaceSQL ends the time of what the same person has had before.
const replaceSQL = `
update tenant_archive
   set expires_at = $3
 where shelved
   and state = 'made'
   and asked_by = $1
   and archive_id <> $2
   and removed_at is null
   and expires_at > $3`

func (m Maker) finish(ctx context.Context, t *tenant.Tenant, a Archive, w *writer) error {
	now := m.Now().UTC().Truncate(time.Second)
	return m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		err := advance(ctx, tx, a, `state = 'made', ended_at = $3, size = $4, sha256 = $5, parts = $6, expires_at = $7`,
			now, w.size, w.sum.Sum(nil), w.n, now.Add(Keep))
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, replaceSQL, a.AskedBy, a.ID, now); err != nil {
			return err
		}
		return record(ctx, tx, "tenant:make-archive", a, now)
	})
}

func (m Maker) fail(ctx context.Context, t *tenant.Tenant, a Archive) error {
	now := m.Now().UTC().Truncate(time.Second)
	return m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := advance(ctx, tx, a, `state = 'failed', ended_at = $3`, now); err != nil {
			return err
		}
		return record(ctx, tx, "tenant:fail-archive", a, now)
	})
}

func record(ctx context.Context, tx *tenant.Tx, action string, a Archive, now time.Time) error {
	detail := archive.Detail(a.Recipient)
	detail["for"] = a.AskedBy
	return audit.Record(ctx, tx, now, system, action, a.ID.String(), detail)
}

const (
	goneSQL = `
  select archive_id
    from tenant_archive
   where shelved
     and removed_at is null
     and (state = 'failed' or expires_at <= $1)
order by archive_id`

	removedSQL = `
update tenant_archive
   set removed_at = $2
 where archive_id = $1
   and removed_at is null`
)

// remove deletes the parts of what has failed or expired.
func (m Maker) remove(ctx context.Context, t *tenant.Tenant) error {
	now := m.Now().UTC().Truncate(time.Second)
	var gone []uuid.UUID
	if err := m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &gone, goneSQL, now) }); err != nil {
		return fmt.Errorf("find archives that have expired: %w", err)
	}
	for _, id := range gone {
		p := parts{store: m.Files, prefix: prefix(t.Slug, id)}
		if err := p.remove(ctx, false); err != nil {
			return err
		}
		err := m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, removedSQL, id, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("note that an archive is gone: %w", err)
		}
	}
	return nil
}
