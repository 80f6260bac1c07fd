// Package shelf lets staff ask for archives of their own authority, and take them.
//
// A [Maker] makes what was asked for, as a job, and keeps it in the store: in parts, each
// sealed under the authority's data key, so that neither the store nor a copy of it shows
// anything, and an erased authority's archives are lost with its key. Only whoever asked
// can take an archive, for [Keep].
package shelf

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/audit"
	"carillon/tenant/export"
	"carillon/tenant/job"
	"carillon/tenant/key"
)

// Keep is how long an archive can be taken.
const Keep = 72 * time.Hour

// JobName is the name of the job that makes archives.
const JobName = "archives"

var (
	// ErrKeysStay means that an authority which is not leaving asked to have its keys in an
	// archive: what two people have not agreed on does not let private keys out.
	ErrKeysStay = errors.New("keys are in an archive only when the authority is leaving")
	// ErrBusy means that somebody else waits for an archive, or for another kind of it.
	ErrBusy = errors.New("another archive is being made")
	// ErrNoArchive means that there is no such archive that the person may take.
	ErrNoArchive = errors.New("no such archive")
	// ErrExpired means that an archive cannot be taken any more.
	ErrExpired = errors.New("the archive has expired")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{archive.ErrRecipient, ErrKeysStay, ErrBusy, ErrNoArchive, ErrExpired}
}

// State says what became of an archive.
type State string

// The states.
const (
	Asked  State = "asked"
	Made   State = "made"
	Failed State = "failed"
)

// Archive is one that staff asked for.
type Archive struct {
	ID    uuid.UUID `db:"archive_id"`
	State State
	// Recipient is the age public key to which keys are sealed; empty for an archive
	// without keys.
	Recipient string
	// AskedBy is the ID of a member, Requester the name.
	AskedBy   string    `db:"asked_by"`
	Requester string    `db:"requester"`
	AskedAt   time.Time `db:"asked_at"`
	// Size is in bytes, and how much has been made so far while State is Asked.
	Size    int64
	SHA256  []byte     `db:"sha256"`
	Expires *time.Time `db:"expires_at"`
	// Attempt is the latest.
	Attempt int `db:"attempts"`
	Parts   int
	Removed *time.Time `db:"removed_at"`
}

const columns = `archive_id, state, recipient, asked_by, requester, asked_at, coalesce(size, 0) as size, sha256, expires_at, attempts, parts, removed_at`

// Ready reports whether somebody can take it now.
func (a Archive) Ready(by authz.Subject, now time.Time) bool {
	return a.State == Made && a.Removed == nil && a.Expires.After(now) && a.AskedBy == by.ID
}

// Desk is where staff ask for archives and take them. It is safe for concurrent use.
type Desk struct {
	db       *tenant.DB
	policies *authz.Policies
	keys     *key.Ring
	files    export.Store
	now      func() time.Time
}

// NewDesk returns the desk as reached through db, under the portal's role. files is the
// store in which makers keep archives.
func NewDesk(db *tenant.DB, policies *authz.Policies, keys *key.Ring, files export.Store, now func() time.Time) *Desk {
	return &Desk{db: db, policies: policies, keys: keys, files: files, now: now}
}

const listSQL = `
  select ` + columns + `
    from tenant_archive
   where shelved
order by asked_at desc, archive_id
   limit 20`

// List returns the newest archives, the newest first.
func (d *Desk) List(ctx context.Context, by authz.Subject, t *tenant.Tenant) (list []Archive, err error) {
	if err := d.policies.Check(ctx, t.ID.String(), by, authz.TenantArchive); err != nil {
		return nil, err
	}
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, listSQL) })
	if err != nil {
		return nil, fmt.Errorf("list archives: %w", err)
	}
	return list, nil
}

const (
	askSQL = `
insert into tenant_archive (tenant_id, archive_id, shelved, recipient, asked_by, requester, asked_at)
values (current_tenant(), $1, true, $2, $3, $4, $5)
    on conflict (tenant_id, shelved) where state = 'asked' do nothing`

	openSQL = `
select ` + columns + `
  from tenant_archive
 where shelved
   and state = 'asked'`
)

// Ask has an archive made, without keys if recipient is empty. Asked again by the same
// person for the same, it is the one that is being made. The errors are
// [ErrKeysStay], [archive.ErrRecipient] and [ErrBusy].
func (d *Desk) Ask(ctx context.Context, by authz.Subject, t *tenant.Tenant, recipient string) error {
	if err := d.policies.Check(ctx, t.ID.String(), by, authz.TenantArchive); err != nil {
		return err
	}
	if recipient != "" && t.State != tenant.Leaving {
		return ErrKeysStay
	}
	if err := archive.CheckRecipient(recipient); err != nil {
		return err
	}
	now := d.now().UTC().Truncate(time.Second)
	return d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		id := uuid.New()
		n, err := tx.Exec(ctx, askSQL, id, recipient, by.ID, by.Name, now)
		if err != nil {
			return fmt.Errorf("ask for archive: %w", err)
		}
		if n == 0 {
			return same(ctx, tx, by, recipient)
		}
		if err := audit.Record(ctx, tx, now, by, string(authz.TenantArchive), id.String(), archive.Detail(recipient)); err != nil {
			return err
		}
		return job.Hasten(ctx, tx, JobName, now, now)
	})
}

// same is nil if the archive that is being made is what somebody asks for.
func same(ctx context.Context, tx *tenant.Tx, by authz.Subject, recipient string) error {
	var a Archive
	err := tx.Get(ctx, &a, openSQL)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (a.AskedBy != by.ID || a.Recipient != recipient) {
		return ErrBusy // or it was just made
	}
	if err != nil {
		return fmt.Errorf("read archive: %w", err)
	}
	return nil
}

const findSQL = `
select ` + columns + `
  from tenant_archive
 where shelved
   and archive_id = $1`

// Take lets whoever asked for an archive have it, and enters that in the audit log. write
// writes Size bytes, or fails. [ErrNoArchive] if it is not made or is somebody else's,
// [ErrExpired].
func (d *Desk) Take(ctx context.Context, by authz.Subject, t *tenant.Tenant, id uuid.UUID) (a Archive, write func(context.Context, io.Writer) error, err error) {
	if err := d.policies.Check(ctx, t.ID.String(), by, authz.TenantArchive); err != nil {
		return a, nil, err
	}
	now := d.now().UTC().Truncate(time.Second)
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		err := tx.Get(ctx, &a, findSQL, id)
		switch {
		case errors.Is(err, sql.ErrNoRows), err == nil && (a.AskedBy != by.ID || a.State != Made):
			return ErrNoArchive
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case !a.Ready(by, now):
			return ErrExpired
		}
		return audit.Record(ctx, tx, now, by, "tenant:take-archive", id.String(), archive.Detail(a.Recipient))
	})
	if err != nil {
		return a, nil, err
	}
	dk, err := d.keys.DataKey(ctx, t.ID)
	if err != nil {
		return a, nil, err
	}
	p := parts{store: d.files, dk: dk, tenant: t.ID, prefix: prefix(t.Slug, id), attempt: a.Attempt}
	return a, func(ctx context.Context, to io.Writer) error { return p.copy(ctx, a.Parts, to) }, nil
}
