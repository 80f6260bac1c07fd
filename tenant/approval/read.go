package approval

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

const columns = `
approval_id, kind, target, detail, reason, state, requested_by, requester, requested_at, expires_at,
decided_by, decider, decided_at, decided_reason, ended_at, ended_by`

type row struct {
	ID            uuid.UUID `db:"approval_id"`
	Kind          Kind
	Target        string
	Detail        []byte
	Reason        string
	State         State
	RequestedBy   uuid.UUID `db:"requested_by"`
	Requester     string
	RequestedAt   time.Time     `db:"requested_at"`
	ExpiresAt     time.Time     `db:"expires_at"`
	DecidedBy     uuid.NullUUID `db:"decided_by"`
	Decider       string
	DecidedAt     *time.Time `db:"decided_at"`
	DecidedReason string     `db:"decided_reason"`
	EndedAt       *time.Time `db:"ended_at"`
	EndedBy       string     `db:"ended_by"`
}

func (r row) request() (Request, error) {
	var detail map[string]string
	if err := json.Unmarshal(r.Detail, &detail); err != nil {
		return Request{}, fmt.Errorf("detail of request %s: %w", r.ID, err)
	}
	return Request{
		Want: Want{Kind: r.Kind, Target: r.Target, Detail: detail}, ID: r.ID, Reason: r.Reason, State: r.State,
		RequestedBy: r.RequestedBy, Requester: r.Requester, RequestedAt: r.RequestedAt, ExpiresAt: r.ExpiresAt,
		DecidedBy: r.DecidedBy.UUID, Decider: r.Decider, DecidedAt: r.DecidedAt, DecidedReason: r.DecidedReason,
		EndedAt: r.EndedAt, EndedBy: r.EndedBy,
	}, nil
}

func list(ctx context.Context, tx *tenant.Tx, query string, args ...any) ([]Request, error) {
	var rows []row
	if err := tx.Select(ctx, &rows, query, args...); err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	requests := make([]Request, len(rows))
	for i, r := range rows {
		var err error
		if requests[i], err = r.request(); err != nil {
			return nil, err
		}
	}
	return requests, nil
}

const findSQL = `select ` + columns + ` from approval where approval_id = $1 for update`

// find locks a request: [ErrNoRequest] if there is none.
func find(ctx context.Context, tx *tenant.Tx, id ID) (Request, error) {
	found, err := list(ctx, tx, findSQL, id)
	if err != nil {
		return Request{}, err
	}
	if len(found) == 0 {
		return Request{}, ErrNoRequest
	}
	return found[0], nil
}

// MaxListed is how many requests a list has at most.
const MaxListed = 200

const (
	openSQL = `
  select ` + columns + `
    from approval
   where state in ('pending', 'approved')
     and expires_at > $1
order by requested_at, approval_id
   limit $2`

	openOfSQL = `
select ` + columns + `
  from approval
 where kind = $1
   and target = $2
   and state in ('pending', 'approved')
   and expires_at > $3`

	overSQL = `
  select ` + columns + `
    from approval
   where state not in ('pending', 'approved')
      or expires_at <= $1
order by requested_at desc, approval_id
   limit $2`
)

// Open lists what waits for a decision or for its act, the oldest first.
func Open(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Request, error) {
	return list(ctx, tx, openSQL, now.UTC(), MaxListed)
}

// OpenOf returns the open request for an act on a target, if there is one: what it says may
// differ from what the caller would have.
func OpenOf(ctx context.Context, tx *tenant.Tx, kind Kind, target string, now time.Time) (r Request, found bool, err error) {
	requests, err := list(ctx, tx, openOfSQL, string(kind), target, now.UTC())
	if err != nil || len(requests) == 0 {
		return Request{}, false, err
	}
	return requests[0], true, nil
}

// Over lists what came of older requests, the newest first.
func Over(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Request, error) {
	return list(ctx, tx, overSQL, now.UTC(), MaxListed)
}

const (
	expireSQL = `
   update approval
      set state = 'expired', ended_at = $1
    where state in ('pending', 'approved')
      and expires_at <= $1
returning ` + columns

	forgetSQL = `
delete from approval
 where requested_at < $1
   and state not in ('pending', 'approved')`
)

// expire notes what has expired.
func expire(ctx context.Context, tx *tenant.Tx, now time.Time) error {
	over, err := list(ctx, tx, expireSQL, now)
	if err != nil {
		return err
	}
	by := authz.Subject{Kind: authz.System, ID: "approvals"}
	for _, r := range over {
		if err := record(ctx, tx, now, by, "expire", r, nil); err != nil {
			return err
		}
	}
	return nil
}

// Retention is how long a request that is over is kept after it was made. What was done
// stays in the audit log.
const Retention = 366 * 24 * time.Hour

// Cleanup notes which requests of a tenant have expired, and deletes those past their
// [Retention]. db is a handle under the role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	now = now.UTC().Truncate(time.Second)
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, forgetSQL, now.Add(-Retention)); err != nil {
			return err
		}
		return expire(ctx, tx, now)
	})
	if err != nil {
		return fmt.Errorf("clean up approvals: %w", err)
	}
	return nil
}
