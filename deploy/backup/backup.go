// Package backup copies a deployment, or one tenant of it, so that it can be had back.
//
// A backup is a folder: a manifest, the platform's rows, and one file of rows for each
// tenant, all of one instant of the database. It has the rows without the wrapped data
// keys that open what is sealed in them. Those are in a [KeyStore], so that erasing a
// tenant reaches every backup of it. Beside the folders, shared by all of them, are copies
// of the published files, which never change.
//
// [Restore] puts a backup into an empty database, whole or not at all, and ends whatever
// could have been used up between the backup and the crash: codes, tokens, sign-ins, API
// keys of back ends. [Drill] does so in a database that is thrown away, and looks whether
// what came out would serve.
//
// It uses no tenant's handle: one snapshot spans all tenants, which no process role may
// have. The role carillon_backup reads one tenant after the other, as every role does.
package backup

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export"
)

// Config is what a backup is made with.
type Config struct {
	// Database is a connection string for the role carillon_backup.
	Database string
	// Folder is where backups are, each in a folder of its own that is named after its
	// recovery point.
	Folder string
	// Keys is where the tenants' wrapped data keys are kept.
	Keys KeyStore
	// Exports is the store of published files; nil leaves them out.
	Exports export.Store
	// Tenant is the slug of the only tenant that is wanted; empty for the whole deployment.
	Tenant string
	// Recipients can read the backup; none leaves it unencrypted.
	Recipients []age.Recipient
	// Signer, on P-256, signs the manifest, so that whoever restores knows who has made it;
	// nil leaves it unsigned.
	Signer crypto.Signer
	Log    *slog.Logger
	Now    func() time.Time
}

// ErrUnknownTenant means that there is no tenant of that name.
var ErrUnknownTenant = errors.New("no tenant has that slug")

// ErrFilesMissing means that the backup is whole but for published files that the store
// did not have.
var ErrFilesMissing = errors.New("published files are missing in the store, or have other content: the manifest names them")

const folderLayout = "20060102t150405z"

// Make makes a backup and returns the folder that it is in. An unfinished one stays as a
// folder ending in .part, which nobody restores. [ErrFilesMissing] comes with a backup
// that is otherwise good.
func Make(ctx context.Context, c Config) (dir string, m *Manifest, err error) {
	db, err := sql.Open("postgres", c.Database)
	if err != nil {
		return "", nil, fmt.Errorf("connect: %w", err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return "", nil, fmt.Errorf("begin snapshot: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	w := writing{Config: c, tx: tx}
	if err := w.start(ctx); err != nil {
		return "", nil, err
	}
	if err := w.everything(ctx); err != nil {
		return "", nil, err
	}
	dir, err = w.finish()
	if err == nil && len(w.manifest.Files.Missing) > 0 {
		err = ErrFilesMissing
	}
	return dir, w.manifest, err
}

// writing is a backup being made.
type writing struct {
	Config
	tx       *sql.Tx
	dir      string // where it is written, until it is finished
	tables   []table
	manifest *Manifest
	copies   export.Store // of published files, beside all backups
}

const (
	snapshotSQL = `
select now(), (select max(version_id) from goose_db_version where is_applied)`

	// What a value's text depends on is the same for every session.
	fixedTextSQL = `
set local timezone = 'UTC';
set local datestyle = 'ISO';
set local intervalstyle = 'postgres';
set local extra_float_digits = 1;
set local bytea_output = 'hex'`
)

func (w *writing) start(ctx context.Context) error {
	m := &Manifest{Format: Format, Tenant: w.Tenant, Encrypted: len(w.Recipients) > 0, LeftOut: leftOut}
	if _, err := w.tx.ExecContext(ctx, fixedTextSQL); err != nil {
		return fmt.Errorf("prepare session: %w", err)
	}
	if err := w.tx.QueryRowContext(ctx, snapshotSQL).Scan(&m.RecoveryPoint, &m.Schema); err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	m.RecoveryPoint = m.RecoveryPoint.UTC()
	var err error
	if w.tables, err = catalogue(ctx, w.tx); err != nil {
		return err
	}
	w.manifest = m
	name := m.RecoveryPoint.Format(folderLayout)
	if w.Tenant != "" {
		name += "-" + w.Tenant
	}
	w.dir = filepath.Join(w.Folder, name+".part")
	if err := os.MkdirAll(w.Folder, folderMode); err != nil {
		return err
	}
	if err := os.Mkdir(w.dir, folderMode); err != nil {
		return fmt.Errorf("folder of the backup: %w", err)
	}
	w.copies, err = copiesIn(w.Folder)
	return err
}

// owner is a tenant as the directory has it.
type owner struct {
	id   tenant.ID
	slug string
}

const ownersSQL = `
  select tenant, slug
    from tenant_directory
   where $1 in ('', slug)
order by tenant`

func owners(ctx context.Context, q queryer, slug string) (all []owner, err error) {
	rows, err := q.QueryContext(ctx, ownersSQL, slug)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var o owner
		if err := rows.Scan(&o.id, &o.slug); err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

func (w *writing) everything(ctx context.Context) error {
	all, err := owners(ctx, w.tx, w.Tenant)
	if err != nil {
		return err
	}
	if w.Tenant != "" && len(all) == 0 {
		return fmt.Errorf("%s: %w", w.Tenant, ErrUnknownTenant)
	}
	if w.manifest.Platform, err = w.platform(ctx, all); err != nil {
		return fmt.Errorf("rows of the platform: %w", err)
	}
	for _, o := range all {
		part, err := w.tenant(ctx, o)
		if err == nil {
			err = w.copyFiles(ctx, o)
		}
		if err != nil {
			return fmt.Errorf("tenant %s: %w", o.slug, err)
		}
		w.manifest.Tenants = append(w.manifest.Tenants, part)
	}
	return nil
}

// platform writes the rows of no tenant; for a single tenant, those that say who it is.
func (w *writing) platform(ctx context.Context, all []owner) (Part, error) {
	return w.part("platform", func(p *partWriter) error {
		for _, t := range w.tables {
			switch {
			case t.tenantTable() || w.Tenant != "" && t.tenant == "":
				continue
			case w.Tenant != "":
				if err := w.write(ctx, p, t, &all[0].id); err != nil {
					return err
				}
			default:
				if err := w.write(ctx, p, t, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (w *writing) tenant(ctx context.Context, o owner) (Part, error) {
	if err := bind(ctx, w.tx, o.id); err != nil {
		return Part{}, err
	}
	part, err := w.part("tenants/"+o.id.String(), func(p *partWriter) error {
		for _, t := range w.tables {
			if !t.tenantTable() || w.Tenant != "" && notOfOneTenant[t.Name] {
				continue
			}
			if err := w.write(ctx, p, t, &o.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Part{}, err
	}
	part.Tenant, part.Slug = uuid.UUID(o.id), o.slug
	part.HasKey, err = w.keepKey(ctx, o.id)
	return part, err
}

// bind has row-level security show a tenant's rows in what follows of the transaction.
func bind(ctx context.Context, tx *sql.Tx, id tenant.ID) error {
	_, err := tx.ExecContext(ctx, `select set_config('carillon.tenant_id', $1, true)`, id.String())
	if err != nil {
		return fmt.Errorf("bind to tenant: %w", err)
	}
	return nil
}

const keyRowSQL = `select row_to_json(k)::text from data_key k where tenant_id = $1`

// keepKey puts the tenant's data key into the key store. A tenant that was erased, here or
// meanwhile, has none.
func (w *writing) keepKey(ctx context.Context, id tenant.ID) (bool, error) {
	var row string
	err := w.tx.QueryRowContext(ctx, keyRowSQL, id).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		err = w.Keys.Put(ctx, Key{Tenant: uuid.UUID(id), Row: json.RawMessage(row), StoredAt: w.Now().UTC()})
	}
	if errors.Is(err, ErrErased) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("data key: %w", err)
	}
	return true, nil
}

func (w *writing) part(name string, write func(*partWriter) error) (Part, error) {
	p, err := newPart(w.dir, name, w.Recipients)
	if err != nil {
		return Part{}, err
	}
	if err := write(p); err != nil {
		p.abandon()
		return Part{}, err
	}
	return p.close()
}

func (w *writing) write(ctx context.Context, p *partWriter, t table, id *tenant.ID) error {
	if err := p.table(t.Name); err != nil {
		return err
	}
	return t.each(ctx, w.tx, id, p.row)
}

// finish makes the backup one: from here on it can be restored.
func (w *writing) finish() (string, error) {
	w.manifest.FinishedAt = w.Now().UTC()
	if err := w.manifest.write(w.dir); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if w.Signer != nil {
		if err := sign(w.dir, w.Signer, w.manifest.FinishedAt); err != nil {
			return "", fmt.Errorf("sign manifest: %w", err)
		}
	}
	dir := w.dir[:len(w.dir)-len(".part")]
	err := errors.Join(syncFolder(filepath.Join(w.dir, "tenants")), syncFolder(w.dir))
	if err == nil {
		err = os.Rename(w.dir, dir)
	}
	if err == nil {
		err = syncFolder(w.Folder)
	}
	if err != nil {
		return "", fmt.Errorf("finish backup: %w", err)
	}
	return dir, nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
