package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// tend looks after what is published: the index is as it should be, and files that
// are past the retention leave it, and a day or more later the store (§5.6).
func (s *Service) tend(ctx context.Context, t *tenant.Tenant, c standing) error {
	prefix := Prefix(t) + c.Path
	if c.Outdated {
		if err := s.unlist(ctx, t, c.ID, prefix); err != nil {
			return err
		}
	}
	if err := s.checkIndex(ctx, t, c.config, prefix); err != nil {
		return err
	}
	if c.Expired {
		return s.expire(ctx, t, c.ID, prefix)
	}
	return nil
}

const unlistSQL = `
update export_file
   set state = 'unlisted'
 where config_id = $1
   and starts_at <= $2
   and state = 'published'`

func (s *Service) unlist(ctx context.Context, t *tenant.Tenant, configID uuid.UUID, prefix string) error {
	if _, err := s.update(ctx, t, unlistSQL, configID, s.now().Add(-Retention)); err != nil {
		return fmt.Errorf("unlist files: %w", err)
	}
	if err := s.step("unlisted"); err != nil {
		return err
	}
	return s.syncIndex(ctx, t, configID, prefix)
}

const (
	// maxExpired is how many batches of a configuration are removed in a turn.
	maxExpired = 1000

	expiredSQL = `
  select b.starts_at, coalesce(f.name, '') as name
    from (select starts_at
            from export_batch
           where config_id = $1
             and starts_at < $2
             and ends_at < $2
             and state = 'published'
        order by starts_at
           limit $3) b
left join export_file f on f.config_id = $1 and f.starts_at = b.starts_at
order by b.starts_at`

	// Rows go when their objects are gone. No window as old as these is ever closed
	// again, so nothing needs to remember them.
	forgetFilesSQL = `
delete from export_file
 where config_id = $1
   and name = any($2)`

	forgetBatchesSQL = `
delete from export_batch b
 where b.config_id = $1
   and b.starts_at <= $2
   and b.ends_at < $3
   and b.state = 'published'
   and not exists (select
                     from export_file f
                    where f.config_id = $1
                      and f.starts_at = b.starts_at)`
)

// expire deletes the oldest files from the store and then forgets their batches.
// Deleting what is deleted already is success, so that it can be repeated.
func (s *Service) expire(ctx context.Context, t *tenant.Tenant, configID uuid.UUID, prefix string) error {
	limit := s.now().Add(-Retention - deletionGrace)
	var old []struct {
		Start time.Time `db:"starts_at"`
		Name  string
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &old, expiredSQL, configID, limit, maxExpired)
	})
	if err != nil {
		return fmt.Errorf("find expired files: %w", err)
	}
	if len(old) == 0 {
		return nil // another process was faster
	}
	listed, err := s.readIndex(ctx, prefix)
	if err != nil {
		return err
	}
	named := strings.Fields(string(listed)) // as phones see it now
	var deleted pq.StringArray
	for _, f := range old {
		if f.Name == "" {
			continue
		}
		if slices.Contains(named, f.Name) {
			return fmt.Errorf("delete %s: the index names it", f.Name)
		}
		if err := s.store.Delete(ctx, prefix+f.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("delete %s: %w", f.Name, err)
		}
		deleted = append(deleted, f.Name)
		if err := s.step("deleted"); err != nil {
			return err
		}
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, forgetFilesSQL, configID, deleted); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, forgetBatchesSQL, configID, old[len(old)-1].Start, limit)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget expired files: %w", err)
	}
	return s.step("forgotten")
}
