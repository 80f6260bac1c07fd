package signup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// How long what has come to nothing is kept.
const (
	// KeepUnfinished is for drafts, for what was never proven and for questions that
	// nobody answered, since the last change.
	KeepUnfinished = 30 * day
	// KeepRefused is for refused applications, since the refusal.
	KeepRefused = 90 * day
	// KeepLinks is for links, since they expired.
	KeepLinks = day
)

const (
	dropLinksSQL = `delete from signup_link where expires_at < $1`

	dropUnfinishedSQL = `
delete from application
 where state in ('draft', 'proving')
   and changed_at < $1`

	dropRefusedSQL = `
delete from application
 where state = 'refused'
   and decided_at < $1`

	unansweredSQL = `
  select application_id
    from application
   where state = 'asked'
     and changed_at < $1
order by changed_at
   limit 100`
)

// Tidy forgets what is past its time, and refuses applications whose question nobody has
// answered. It may run at any time, in any number of processes.
func (s *Service) Tidy(ctx context.Context) error {
	now := s.now()
	var unanswered []uuid.UUID
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		for _, step := range []struct {
			sql    string
			before time.Time
		}{{dropLinksSQL, now.Add(-KeepLinks)}, {dropUnfinishedSQL, now.Add(-KeepUnfinished)}, {dropRefusedSQL, now.Add(-KeepRefused)}} {
			if _, err := tx.Exec(ctx, step.sql, step.before); err != nil {
				return err
			}
		}
		return tx.Select(ctx, &unanswered, unansweredSQL, now.Add(-KeepUnfinished))
	})
	if err != nil {
		return fmt.Errorf("tidy sign-ups: %w", err)
	}
	for _, id := range unanswered {
		_, err := s.Refuse(ctx, system, id, "The question was not answered within 30 days.")
		if err != nil && !errors.Is(err, ErrState) && !errors.Is(err, ErrNone) {
			return err
		}
	}
	return nil
}

// Run tidies every hour until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "sign-ups were not tidied", "error", err)
		}
		select {
		case <-ctx.Done():
			s.Wait()
			return nil
		case <-tick.C:
		}
	}
}
