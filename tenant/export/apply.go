package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// IndexName is the name of a configuration's index, below its prefix.
const IndexName = "index.txt"

// Prefix is the part of object names that a tenant's files share.
func Prefix(t *tenant.Tenant) string { return string(t.Slug) + "/" }

// stagedBatch is a batch that is not published yet.
type stagedBatch struct {
	ConfigID uuid.UUID `db:"config_id"`
	Start    time.Time `db:"starts_at"`
	Path     string    `db:"path"`
}

const (
	stagedSQL = `
  select b.config_id, b.starts_at, c.path
    from export_batch b
    join export_config c using (tenant_id, config_id)
   where b.state = 'staged'
     and not exists (
         select from export_batch earlier
          where earlier.config_id = b.config_id
            and earlier.starts_at < b.starts_at
            and earlier.state <> 'published')
order by b.ends_at
   limit 100`

	bodiesSQL = `
  select name, body
    from export_file
   where config_id = $1
     and starts_at = $2
     and state = 'staged'
order by file_no`

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

// Apply publishes what is staged. It may be repeated and interrupted at will, by
// any number of processes at once: a batch counts as published only after the index
// was seen to name its files.
//
// Batches of one configuration are published in their order: a phone goes on in the
// index after the last entry it knows, and would never see a file that is put in
// before that.
func (s *Service) Apply(ctx context.Context, t *tenant.Tenant) error {
	for {
		var batches []stagedBatch
		err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &batches, stagedSQL) })
		if err != nil {
			return fmt.Errorf("read staged batches: %w", err)
		}
		if len(batches) == 0 {
			return nil
		}
		for _, b := range batches {
			if err := s.apply(ctx, t, b); err != nil {
				return fmt.Errorf("publish batch %d: %w", b.Start.Unix(), err)
			}
		}
	}
}

func (s *Service) apply(ctx context.Context, t *tenant.Tenant, b stagedBatch) error {
	prefix := Prefix(t) + b.Path
	if err := s.putFiles(ctx, t, b, prefix); err != nil {
		return err
	}
	// The store has the bytes; the rows let go of them.
	if err := s.update(ctx, t, "stored", storedSQL, b.ConfigID, b.Start); err != nil {
		return err
	}
	if err := s.syncIndex(ctx, t, b.ConfigID, prefix); err != nil {
		return err
	}
	return s.update(ctx, t, "published", publishedSQL, b.ConfigID, b.Start, s.now())
}

// update runs a statement in a transaction of its own, after the step of that name.
func (s *Service) update(ctx context.Context, t *tenant.Tenant, step, query string, args ...any) error {
	if err := s.step(step); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

func (s *Service) putFiles(ctx context.Context, t *tenant.Tenant, b stagedBatch, prefix string) error {
	var files []struct {
		Name string
		Body []byte
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &files, bodiesSQL, b.ConfigID, b.Start)
	})
	if err != nil {
		return fmt.Errorf("read staged files: %w", err)
	}
	for _, f := range files {
		if err := s.step("put " + prefix + f.Name); err != nil {
			return err
		}
		if err := s.store.PutIfAbsent(ctx, prefix+f.Name, f.Body); err != nil {
			return fmt.Errorf("put %s: %w", f.Name, err)
		}
	}
	return nil
}

const listedSQL = `
  select name
    from export_file
   where config_id = $1
     and state = 'published'
     and starts_at > $2
order by name collate "C"`

// index is the text that the index should have: bare names, oldest first, without a
// final line end (§5.5).
func (s *Service) index(ctx context.Context, t *tenant.Tenant, configID uuid.UUID) ([]byte, error) {
	var names []string
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &names, listedSQL, configID, s.now().Add(-Retention))
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return []byte(strings.Join(names, "\n")), nil
}

// syncIndex writes the index from the rows, and then looks whether the rows still
// say the same. Two processes may overwrite each other's index, but the one that
// wrote the older list finds out and writes again; if it dies before that, its batch
// is still staged, and whoever finishes that batch writes the index.
func (s *Service) syncIndex(ctx context.Context, t *tenant.Tenant, configID uuid.UUID, prefix string) error {
	name := prefix + IndexName
	want, err := s.index(ctx, t, configID)
	for err == nil {
		if err = s.step("index " + name); err != nil {
			break
		}
		if err = s.store.Replace(ctx, name, want); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
		var now []byte
		now, err = s.index(ctx, t, configID)
		if err == nil && bytes.Equal(now, want) {
			s.indexed.Store(name, true)
			return nil
		}
		want = now
	}
	return err
}

const (
	unlistSQL = `
update export_file
   set state = 'unlisted'
 where config_id = $1
   and state = 'published'
   and starts_at <= $2`

	doomedSQL = `
  select f.name
    from export_file f
    join export_batch b using (tenant_id, config_id, starts_at)
   where f.config_id = $1
     and f.state = 'unlisted'
     and b.ends_at < $2
order by f.name
   limit 100`

	deletedSQL = `
update export_file
   set state = 'deleted'
 where config_id = $1
   and name = any($2)
   and state = 'unlisted'`
)

// tend makes sure that a configuration has an index, from its first day on, and
// retires files that are past the retention: out of the index first, deleted a day
// later.
func (s *Service) tend(ctx context.Context, t *tenant.Tenant, c config) error {
	prefix := Prefix(t) + c.Path
	now := s.now()
	var unlisted int64
	var doomed []string
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		if unlisted, err = tx.Exec(ctx, unlistSQL, c.ID, now.Add(-Retention)); err != nil {
			return err
		}
		return tx.Select(ctx, &doomed, doomedSQL, c.ID, now.Add(-Retention-deletionGrace))
	})
	if err != nil {
		return fmt.Errorf("retire files: %w", err)
	}
	if _, known := s.indexed.Load(prefix + IndexName); unlisted > 0 || !known {
		if err := s.syncIndex(ctx, t, c.ID, prefix); err != nil {
			return err
		}
	}
	return s.remove(ctx, t, c, prefix, doomed)
}

// remove deletes files that the index, as phones read it now, does not name.
func (s *Service) remove(ctx context.Context, t *tenant.Tenant, c config, prefix string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	listed, err := s.readIndex(ctx, prefix)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(listed, n) })
	for _, n := range names {
		if err := s.store.Delete(ctx, prefix+n); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("delete %s: %w", n, err)
		}
	}
	return s.update(ctx, t, "deleted", deletedSQL, c.ID, pq.StringArray(names))
}

func (s *Service) readIndex(ctx context.Context, prefix string) ([]string, error) {
	o, err := s.store.Open(ctx, prefix+IndexName)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer o.Close()
	text, err := io.ReadAll(o)
	return strings.Fields(string(text)), err
}
