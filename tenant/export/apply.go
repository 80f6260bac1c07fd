package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

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
   set state = 'published',
       body  = null
 where config_id = $1
   and starts_at = $2
   and state = 'staged'`

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
	// The store has the bytes; the rows let go of them.
	if _, err := s.update(ctx, t, storedSQL, b.ConfigID, b.Start); err != nil {
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
  select file_no, name
    from export_file
   where config_id = $1
     and starts_at = $2
     and state = 'staged'
order by file_no`

	bodySQL = `
select body
  from export_file
 where config_id = $1
   and starts_at = $2
   and file_no = $3
   and state = 'staged'`
)

// putFiles puts the files of a batch into the store, one in memory at a time.
func (s *Service) putFiles(ctx context.Context, t *tenant.Tenant, b staged, prefix string) error {
	var files []struct {
		Number int `db:"file_no"`
		Name   string
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &files, stagedFilesSQL, b.ConfigID, b.Start)
	})
	if err != nil {
		return fmt.Errorf("read staged files: %w", err)
	}
	for _, f := range files {
		var body []byte
		err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
			return tx.Get(ctx, &body, bodySQL, b.ConfigID, b.Start, f.Number)
		})
		if errors.Is(err, sql.ErrNoRows) {
			continue // another process has put it
		}
		if err != nil {
			return fmt.Errorf("read staged file: %w", err)
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
