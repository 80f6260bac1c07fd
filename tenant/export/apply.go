package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"carillon/tenant"
)

// staged is a batch whose files are decided but not published.
type staged struct {
	ConfigID uuid.UUID `db:"config_id"`
	Start    time.Time `db:"starts_at"`
	State    string    `db:"state"`
	Path     string    `db:"path"`
}

// The oldest unfinished batch of each configuration: only that one may be published.
const firstSQL = `
  select distinct on (b.config_id) b.config_id, b.starts_at, b.state, c.path
    from export_batch b
    join export_config c using (tenant_id, config_id)
   where b.state <> 'published'
order by b.config_id, b.starts_at`

// Apply publishes what is staged, in the order of windows for each configuration. It
// may be repeated and interrupted at will, by any number of processes at once:
//
//   - Files are put first. Their bytes were fixed by staging, so two processes put
//     the same ones, and putting them again is success.
//   - A row says that its file is in the store only after that. The index is made of
//     such rows and of nothing else, so it never names a file that is not there.
//   - The index comes next, see syncIndex. Only then is the batch published, and the
//     next one may be.
func (s *Service) Apply(ctx context.Context, t *tenant.Tenant) error {
	var errs []error
	var failed []uuid.UUID
	for {
		var first []staged
		err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &first, firstSQL) })
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("read staged batches: %w", err))...)
		}
		first = slices.DeleteFunc(first, func(b staged) bool {
			return b.State != "staged" || slices.Contains(failed, b.ConfigID)
		})
		if len(first) == 0 {
			return errors.Join(errs...)
		}
		for _, b := range first {
			if err := s.apply(ctx, t, b); err != nil {
				errs = append(errs, fmt.Errorf("publish batch of %s: %w", b.Start.UTC().Format(time.RFC3339), err))
				failed = append(failed, b.ConfigID)
			}
		}
	}
}

const (
	storedSQL = `
update export_file
   set state = 'published'
 where config_id = $1
   and starts_at = $2
   and state = 'staged'`

	letGoSQL = `
delete from export_part
 where config_id = $1
   and starts_at = $2`

	publishedSQL = `
update export_batch
   set state        = 'published',
       published_at = $3
 where config_id = $1
   and starts_at = $2
   and state = 'staged'`
)

func (s *Service) apply(ctx context.Context, t *tenant.Tenant, b staged) error {
	prefix := Prefix(t) + b.Path
	if err := s.putFiles(ctx, t, b, prefix); err != nil {
		return err
	}
	// The store has the bytes; the database lets go of them.
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, storedSQL, b.ConfigID, b.Start); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, letGoSQL, b.ConfigID, b.Start)
		return err
	})
	if err != nil {
		return fmt.Errorf("let go of stored files: %w", err)
	}
	if err := s.step("stored"); err != nil {
		return err
	}
	if err := s.syncIndex(ctx, t, b.ConfigID, prefix); err != nil {
		return err
	}
	rows, err := s.update(ctx, t, publishedSQL, b.ConfigID, b.Start, s.now())
	if err != nil {
		return fmt.Errorf("note publication: %w", err)
	}
	if rows > 0 {
		s.log.InfoContext(ctx, "export batch published", slog.String("tenant", string(t.Slug)),
			slog.String("prefix", prefix), slog.Time("window", b.Start.UTC()))
	}
	return s.step("published")
}

// update runs one statement in a transaction of its own.
func (s *Service) update(ctx context.Context, t *tenant.Tenant, query string, args ...any) (rows int64, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		rows, err = tx.Exec(ctx, query, args...)
		return err
	})
	return rows, err
}

const (
	stagedFilesSQL = `
  select file_no, name, size, sha256
    from export_file
   where config_id = $1
     and starts_at = $2
     and state = 'staged'
order by file_no`

	partsSQL = `
  select body
    from export_part
   where config_id = $1
     and starts_at = $2
     and file_no = $3
order by part_no`
)

// stagedFile is a file that may not be in the store yet.
type stagedFile struct {
	Number int `db:"file_no"`
	Name   string
	Size   int
	SHA256 []byte `db:"sha256"`
}

// putFiles puts the files of a batch into the store, one in memory at a time.
func (s *Service) putFiles(ctx context.Context, t *tenant.Tenant, b staged, prefix string) error {
	var files []stagedFile
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &files, stagedFilesSQL, b.ConfigID, b.Start)
	})
	if err != nil {
		return fmt.Errorf("read staged files: %w", err)
	}
	for _, f := range files {
		body, err := s.body(ctx, t, b, f)
		if err != nil {
			return fmt.Errorf("read staged file: %w", err)
		}
		if body == nil {
			continue // another process has put it
		}
		if err := s.store.PutIfAbsent(ctx, prefix+f.Name, body); err != nil {
			return fmt.Errorf("put %s: %w", f.Name, err)
		}
		if err := s.step("put " + f.Name); err != nil {
			return err
		}
	}
	return nil
}

var errStagedBytes = errors.New("staged bytes are not those of the file")

// body is a staged file's bytes; nil if the database has let go of them.
func (s *Service) body(ctx context.Context, t *tenant.Tenant, b staged, f stagedFile) ([]byte, error) {
	var body []byte
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Each(ctx, func(rows *sqlx.Rows) error {
			var part sql.RawBytes
			if err := rows.Scan(&part); err != nil {
				return err
			}
			if body == nil {
				body = make([]byte, 0, f.Size)
			}
			body = append(body, part...)
			return nil
		}, partsSQL, b.ConfigID, b.Start, f.Number)
	})
	if err != nil || body == nil {
		return nil, err
	}
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], f.SHA256) {
		return nil, errStagedBytes
	}
	return body, nil
}
