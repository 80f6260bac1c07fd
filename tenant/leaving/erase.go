package leaving

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/job"
)

const (
	// Settle is how long after the destruction of the data key a scan counts: processes may
	// have the tenant in memory until then, and have requests of its phones under way.
	Settle = time.Hour
	// bunch is how many rows a statement deletes.
	bunch = 2000
)

// departure is an erasure that is not over.
type departure struct {
	Tenant      tenant.ID
	Slug        tenant.Slug
	Begun       time.Time  `db:"begun_at"`
	Decided     time.Time  `db:"decided_at"`
	Destroyed   *time.Time `db:"destroyed_at"`
	BackupKey   string     `db:"backup_key"`
	CertifiedAt *time.Time `db:"certified_at"`
}

const unfinishedSQL = `
  select tenant, slug, begun_at, decided_at, destroyed_at, backup_key, certified_at
    from erasure
   where sent_at is null
order by decided_at`

// Erase goes on with every erasure that is not over. What fails for one tenant does not
// keep the others.
func (s *Service) Erase(ctx context.Context) error {
	var list []departure
	if err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, unfinishedSQL) }); err != nil {
		return fmt.Errorf("read erasures: %w", err)
	}
	if len(list) == 0 {
		return nil
	}
	all, err := readTables(ctx, s.DB)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range list {
		if err := s.erase(ctx, all, e); err != nil {
			errs = append(errs, fmt.Errorf("erase %s: %w", e.Slug, err))
		}
	}
	return errors.Join(errs...)
}

// erase does everything in order, and all of it again until a scan that counts has found
// nothing. The key is the first to go.
func (s *Service) erase(ctx context.Context, all tables, e departure) error {
	if e.CertifiedAt == nil {
		if err := s.destroy(ctx, all, &e); err != nil {
			return err
		}
		if err := s.clear(ctx, all, e); err != nil {
			return err
		}
		scanned, err := s.scan(ctx, all, e)
		if err != nil {
			return err
		}
		now := s.Now().UTC().Truncate(time.Second)
		if now.Before(e.Destroyed.Add(Settle)) {
			return nil // and is scanned again
		}
		if err := s.certify(ctx, e, scanned, now); err != nil {
			return err
		}
	}
	return s.send(ctx, e)
}

const (
	outsideKeysSQL = `
  select purpose, key_id, label, provider, sealed, public_der
    from signing_key
   where provider <> $1
     and state <> 'destroyed'
order by purpose, version`

	destroyedSQL = `
update erasure
   set destroyed_at = $1
 where tenant = current_tenant()
   and destroyed_at is null`

	backupKeySQL = `
update erasure
   set backup_key = $2
 where tenant = $1`
)

type outsideKey struct {
	Purpose  signing.Purpose
	KeyID    string `db:"key_id"`
	Label    string
	Provider string
	Sealed   []byte
	Public   []byte `db:"public_der"`
}

// destroy destroys the tenant's keys: private keys that are kept outside, as the references
// to them would be lost, then the data key with all that it seals keys by, and then what is
// kept of it for backups.
func (s *Service) destroy(ctx context.Context, all tables, e *departure) error {
	if e.Destroyed == nil {
		if err := s.discardOutside(ctx, *e); err != nil {
			return fmt.Errorf("private keys elsewhere: %w", err)
		}
		now := s.Now().UTC().Truncate(time.Second)
		// THE POINT OF NO RETURN. Once this is committed, nothing that was sealed under the
		// tenant's data key can be opened: not from these rows, nor from any copy of them.
		err := s.DB.InRole(ctx, e.Tenant, tenant.Eraser, func(tx *tenant.Tx) error {
			for _, table := range all.sealing {
				if _, err := empty(ctx, tx, table, noLimit); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, destroyedSQL, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("destroy data key: %w", err)
		}
		e.Destroyed = &now
		if err := s.step("destroyed"); err != nil {
			return err
		}
	}
	if e.BackupKey != "" {
		return nil
	}
	e.BackupKey = "none"
	if s.Backups != nil {
		if err := s.Backups.Destroy(ctx, e.Tenant, s.Now()); err != nil {
			return fmt.Errorf("data key of backups: %w", err)
		}
		e.BackupKey = "destroyed"
	}
	if err := s.step("backup key"); err != nil {
		return err
	}
	return s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, backupKeySQL, e.Tenant, e.BackupKey)
		return err
	})
}

func (s *Service) discardOutside(ctx context.Context, e departure) error {
	var list []outsideKey
	err := s.DB.InRole(ctx, e.Tenant, tenant.Eraser, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, outsideKeysSQL, signing.InDatabase)
	})
	for _, k := range list {
		if err == nil {
			err = s.keys.Discard(ctx, e.Tenant, k.Purpose, k.KeyID, k.Label, signing.Stored{Provider: k.Provider, Sealed: k.Sealed, PublicDER: k.Public})
		}
	}
	return err
}

const (
	// What is deleted is counted in the same transaction.
	emptySQL = `
with gone as (
   delete from %[1]s
    where ctid = any (array(select ctid from %[1]s where tenant_id = current_tenant() limit $1))
returning 1),
counted as (
  select count(*) as n from gone)
   update erasure
      set deleted = jsonb_set(deleted, array[$2], to_jsonb(coalesce((deleted ->> $2)::bigint, 0) + n))
     from counted
    where tenant = current_tenant()
returning n`

	noLimit = 1 << 30
)

// empty deletes rows of the bound tenant from a table, and returns how many.
func empty(ctx context.Context, tx *tenant.Tx, table string, limit int) (n int, err error) {
	err = tx.Get(ctx, &n, fmt.Sprintf(emptySQL, quote(table)), limit, table)
	return n, err
}

// ofPlatform are the rows without a tenant that say something of one which has left.
var ofPlatform = []struct{ table, deleteSQL string }{
	{"directory_host", `delete from directory_host where tenant = current_tenant()`},
	{"job_run", `delete from job_run where tenant = current_tenant()`},
	// That of an authority in production goes when that one does.
	{"application", `delete from application where production = current_tenant() or sandbox = current_tenant() and production is null`},
}

const countSQL = `
update erasure
   set deleted = jsonb_set(deleted, array[$1], to_jsonb(coalesce((deleted ->> $1)::bigint, 0) + $2::bigint))
 where tenant = current_tenant()`

// clear deletes the tenant's rows and files, a few at a time.
func (s *Service) clear(ctx context.Context, all tables, e departure) error {
	for _, table := range all.tenants {
		for n := bunch; n == bunch; {
			err := s.DB.InRole(ctx, e.Tenant, tenant.Eraser, func(tx *tenant.Tx) (err error) {
				n, err = empty(ctx, tx, table, bunch)
				return err
			})
			if err == nil && n > 0 {
				err = s.step("emptied " + table)
			}
			if err != nil {
				return fmt.Errorf("empty %s: %w", table, err)
			}
		}
	}
	for _, p := range ofPlatform {
		err := s.DB.InRole(ctx, e.Tenant, tenant.Eraser, func(tx *tenant.Tx) error {
			n, err := tx.Exec(ctx, p.deleteSQL)
			if err != nil || n == 0 {
				return err
			}
			_, err = tx.Exec(ctx, countSQL, p.table, n)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete from %s: %w", p.table, err)
		}
	}
	return s.clearFiles(ctx, e)
}

const objectsSQL = `
update erasure
   set objects = objects + $2
 where tenant = $1`

// Prefixes are the parts of object names by which a tenant's files are known.
func Prefixes(slug tenant.Slug) []string {
	return []string{string(slug) + "/", "archives/" + string(slug) + "/"}
}

func (s *Service) clearFiles(ctx context.Context, e departure) error {
	for _, prefix := range Prefixes(e.Slug) {
		names, err := s.Files.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list files: %w", err)
		}
		for _, name := range names {
			if err := s.Files.Delete(ctx, name); err != nil && !errors.Is(err, export.ErrNotFound) {
				return fmt.Errorf("delete file: %w", err)
			}
			if err := s.step("deleted " + name); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			continue
		}
		err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, objectsSQL, e.Tenant, len(names))
			return err
		})
		if err != nil {
			return fmt.Errorf("count files: %w", err)
		}
	}
	return nil
}

// errRemains means that a scan found something of an erased tenant. The error's text says
// where.
const errRemains = job.Failure("something of an erased health authority is left")
