package member

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/sweep"
)

// Sessions stores the sessions of signed-in browsers. It implements the context
// store of the session library, which hands over digests of the cookies' values,
// never the values.
type Sessions struct {
	db  *tenant.DB
	now func() time.Time
}

// NewSessions returns the store as reached through db, under the role of the portal or of
// the operators' pages. Each sees the sessions that it keeps itself.
func NewSessions(db *tenant.DB, now func() time.Time) *Sessions { return &Sessions{db: db, now: now} }

// SessionIdle is how long a session lasts that nobody uses. Using it is noted once in
// SessionNoted, so an idle session may end so much earlier.
const (
	SessionIdle  = 20 * time.Minute
	SessionNoted = time.Minute
)

type unattended struct{}

// Unattended returns a context in which a session is read without being used: for what a
// page asks by itself, whether anybody is there or not.
func Unattended(ctx context.Context) context.Context {
	return context.WithValue(ctx, unattended{}, true)
}

// IsUnattended reports whether ctx comes from [Unattended].
func IsUnattended(ctx context.Context) bool { return ctx.Value(unattended{}) != nil }

const (
	findSessionSQL = `
with found as (select token_digest, data, expires_at
                 from login_session
                where token_digest = $1
                  and expires_at > $2
                  and ended_at is null),
     used as (update login_session s
                 set expires_at = least(s.ends_at, $3)
                from found f
               where s.token_digest = f.token_digest
                 and f.expires_at < least(s.ends_at, $4))
select data
  from found`

	// An ended session stays ended, whatever a request that was under way wants to keep.
	commitSessionSQL = `
   insert into login_session (token_digest, data, expires_at, ends_at, provider_id, person, session)
   values ($1, $2, least($3::timestamptz, $4::timestamptz), $3, nullif($5, '')::uuid, $6, $7)
       on conflict on constraint login_session_pkey
       do update
      set data = excluded.data, expires_at = excluded.expires_at, ends_at = excluded.ends_at,
          provider_id = excluded.provider_id, person = excluded.person, session = excluded.session
    where login_session.ended_at is null
returning true`

	deleteSessionSQL = `delete from login_session where token_digest = $1 returning true`
)

// FindCtx returns a session's data, if there is one that has neither expired nor ended.
func (s *Sessions) FindCtx(ctx context.Context, digest string) (data []byte, found bool, err error) {
	now := s.now().UTC()
	idle := now.Add(SessionIdle)
	stale := idle.Add(-SessionNoted)
	if IsUnattended(ctx) {
		stale = now // which no session that is found is older than
	}
	err = s.do(ctx, func(r tenant.Row) error {
		found = true
		return r.Scan(&data)
	}, findSessionSQL, digest, now, idle, stale)
	if err != nil {
		return nil, false, fmt.Errorf("find session: %w", err)
	}
	return data, found, nil
}

// CommitCtx stores a session, new or changed, until expires at the latest. Whose it is
// stands in the data, if [Pack] put it there. One that was ended is left alone.
func (s *Sessions) CommitCtx(ctx context.Context, digest string, data []byte, expires time.Time) error {
	o := ownerOf(data)
	err := s.do(ctx, nil, commitSessionSQL, digest, data, expires.UTC(), s.now().Add(SessionIdle).UTC(), o.Provider, o.person(), o.session())
	if err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	return nil
}

// DeleteCtx removes a session; one that is not there is no error.
func (s *Sessions) DeleteCtx(ctx context.Context, digest string) error {
	if err := s.do(ctx, nil, deleteSessionSQL, digest); err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// do runs a statement in one round trip. Sessions belong to no tenant.
func (s *Sessions) do(ctx context.Context, each func(tenant.Row) error, query string, args ...any) error {
	return s.db.Do(ctx, tenant.ID{}, tenant.Statement{SQL: query, Args: args}, each)
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

const forgetSpentSQL = `
delete from spent_logout
 where expires_at <= (select max(old.expires_at)
                        from (select expires_at
                                from spent_logout
                               where expires_at <= $1
                            order by expires_at
                               limit $2) old)`

// DeleteExpired removes the sessions that have expired, and the digests of logout tokens
// that nobody can send again. db is a handle under the jobs role.
func DeleteExpired(ctx context.Context, db *tenant.DB, now time.Time) error {
	for _, query := range []string{expireSQL, forgetSpentSQL} {
		if err := sweep.Run(ctx, db, job.Platform, query, now.UTC()); err != nil {
			return fmt.Errorf("delete expired sessions: %w", err)
		}
	}
	return nil
}
