package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// IndexName is the name of a configuration's index, below its prefix.
const IndexName = "index.txt"

// Prefix is the part of object names that a tenant's files share.
func Prefix(t *tenant.Tenant) string { return string(t.Slug) + "/" }

const listedSQL = `
  select name
    from export_file
   where config_id = $1
     and state = 'published'
order by name collate "C"`

// index is the text that the index should have: bare names, oldest first, without a
// final line end (§5.5). It follows from the rows alone, not from anybody's clock.
func (s *Service) index(ctx context.Context, t *tenant.Tenant, configID uuid.UUID) ([]byte, error) {
	var names []string
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &names, listedSQL, configID)
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return []byte(strings.Join(names, "\n")), nil
}

// syncIndex writes the index from the rows, and then looks whether the rows still say
// the same.
//
// A store cannot refuse a writer that comes late, so no lock could keep an older
// index from being written over a newer one. But whoever wrote the older one finds
// out right away and writes again; and if it dies in between, its batch is still
// staged and is finished by another process, or else checkIndex puts the index right.
// An older index for that moment costs phones nothing: every file that it names is
// there, and the missing ones come with the next look.
func (s *Service) syncIndex(ctx context.Context, t *tenant.Tenant, configID uuid.UUID, prefix string) error {
	want, err := s.index(ctx, t, configID)
	for err == nil {
		if err := s.step("listed"); err != nil {
			return err
		}
		if err := s.store.Replace(ctx, prefix+IndexName, want); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
		if err := s.step("index"); err != nil {
			return err
		}
		written := want
		if want, err = s.index(ctx, t, configID); bytes.Equal(written, want) {
			break
		}
	}
	return err
}

// checkIndex compares an index with its rows every now and then, and makes it agree.
// So a configuration has an index from its first day, and one that is not as it
// should be does not stay so, whatever happened to it.
func (s *Service) checkIndex(ctx context.Context, t *tenant.Tenant, c config, prefix string) error {
	now := s.now()
	if last, ok := s.checked.Load(prefix); ok && now.Sub(last.(time.Time)) < indexCheck {
		return nil
	}
	have, err := s.readIndex(ctx, prefix)
	missing := errors.Is(err, ErrNotFound)
	if err != nil && !missing {
		return err
	}
	want, err := s.index(ctx, t, c.ID)
	if err != nil {
		return err
	}
	if missing || !bytes.Equal(have, want) {
		if err := s.syncIndex(ctx, t, c.ID, prefix); err != nil {
			return err
		}
	}
	s.checked.Store(prefix, now)
	return nil
}

func (s *Service) readIndex(ctx context.Context, prefix string) ([]byte, error) {
	o, err := s.store.Open(ctx, prefix+IndexName)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	text, err := io.ReadAll(o)
	if err = errors.Join(err, o.Close()); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return text, nil
}
