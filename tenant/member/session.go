package member

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/job"
)

// Sessions stores the sessions of signed-in browsers. It implements the context
// store of the session library, which hands over digests of the cookies' values,
// never the values.
type Sessions struct {
	db  *tenant.DB
	now func() time.Time
}

// NewSessions returns the store as reached through db, under the portal's role.
func NewSessions(db *tenant.DB, now func() time.Time) *Sessions { return &Sessions{db: db, now: now} }

const (
	findSessionSQL = `select data from login_session where token_digest = $1 and expires_at > $2`

	commitSessionSQL = `
insert into login_session (token_digest, data, expires_at)
values ($1, $2, $3)
    on conflict on constraint login_session_pkey
    do update set data = excluded.data, expires_at = excluded.expires_at`

	deleteSessionSQL = `delete from login_session where token_digest = $1`
)

// FindCtx returns a session's data, if there is one that has not expired.
func (s *Sessions) FindCtx(ctx context.Context, digest string) (data []byte, found bool, err error) {
	err = s.db.Platform(ctx, func(tx *tenant.Tx) error {
		return tx.Get(ctx, &data, findSessionSQL, digest, s.now())
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("find session: %w", err)
	}
	return data, true, nil
}

// CommitCtx stores a session, new or changed.
func (s *Sessions) CommitCtx(ctx context.Context, digest string, data []byte, expires time.Time) error {
	return s.exec(ctx, commitSessionSQL, digest, data, expires.UTC())
}

// DeleteCtx removes a session; one that is not there is no error.
func (s *Sessions) DeleteCtx(ctx context.Context, digest string) error {
	return s.exec(ctx, deleteSessionSQL, digest)
}

func (s *Sessions) exec(ctx context.Context, query string, args ...any) error {
	err := s.db.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("write session: %w", err)
	}
	return nil
}

// Find is FindCtx for callers without a context, which the library's interface
// demands and nothing calls.
func (s *Sessions) Find(string) ([]byte, bool, error) { return nil, false, errNeedsContext }

// Commit is CommitCtx for callers without a context; see Find.
func (s *Sessions) Commit(string, []byte, time.Time) error { return errNeedsContext }

// Delete is DeleteCtx for callers without a context; see Find.
func (s *Sessions) Delete(string) error { return errNeedsContext }

var errNeedsContext = errors.New("sessions are stored with a context")

const expireSQL = `
delete from login_session
 where expires_at <= (select max(old.expires_at)
                        from (select expires_at
                                from login_session
                               where expires_at <= $1
                            order by expires_at
                               limit $2) old)`

// DeleteExpired removes the sessions that have ended. db is a handle under the
// jobs role.
func DeleteExpired(ctx context.Context, db *tenant.DB, now time.Time) error {
	if err := job.Sweep(ctx, db, job.Platform, expireSQL, now.UTC()); err != nil {
		return fmt.Errorf("delete expired sessions: %w", err)
	}
	return nil
}
