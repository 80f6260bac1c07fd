package verification

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// Cause is why a phone was refused a code that exists.
type Cause string

// The causes.
const (
	CauseExpired Cause = "expired" // too late
	CauseUsed    Cause = "used"    // a phone had claimed it before
	CauseType    Cause = "type"    // the phone does not know such results
	CauseNonce   Cause = "nonce"   // a self-report's code, on another phone than asked for it
)

// causes has the cause of each verdict that refuses a code which exists.
func causes() map[string]Cause {
	return map[string]Cause{
		verdictExpired: CauseExpired, verdictSpent: CauseUsed, verdictUnsupported: CauseType, verdictNonce: CauseNonce,
	}
}

// Refusal is the last refusal of a code.
type Refusal struct {
	Cause Cause
	At    time.Time
}

// Refusals remembers why phones were refused codes, for the staff whom people ask. It
// writes some time after the answer, so that a refusal takes the same way and the same time
// whether or not there is such a code: whoever guesses learns nothing. What was not written
// when a process dies is lost.
type Refusals struct {
	mu      sync.Mutex
	pending map[tenant.ID]map[uuid.UUID]Refusal
	size    int
}

// NewRefusals returns an empty memory.
func NewRefusals() *Refusals { return &Refusals{pending: map[tenant.ID]map[uuid.UUID]Refusal{}} }

// maxRefusals bounds the memory: some 2 MB. What comes when it is full is not remembered.
const maxRefusals = 20_000

// note keeps a code's last refusal. A nil Refusals keeps nothing.
func (m *Refusals) note(id tenant.ID, code uuid.UUID, r Refusal) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.pending[id]
	if _, known := of[code]; !known {
		if m.size >= maxRefusals {
			return
		}
		m.size++
	}
	if of == nil {
		of = map[uuid.UUID]Refusal{}
		m.pending[id] = of
	}
	of[code] = r
}

func (m *Refusals) take() map[tenant.ID]map[uuid.UUID]Refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.pending
	m.pending, m.size = map[tenant.ID]map[uuid.UUID]Refusal{}, 0
	return taken
}

// Rows are locked in the order of their keys, so that two processes do not wait for each
// other. A refusal that was noted later stands.
const noteRefusalsSQL = `
with told as (
  select u.code_id, u.cause, u.at
    from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as u (code_id, cause, at)
), locked as (
    select code_id
      from verification_code
     where code_id in (select code_id from told)
  order by code_id
       for no key update
)
update verification_code c
   set refused_at = t.at, refused_as = t.cause
  from told t
  join locked using (code_id)
 where c.code_id = t.code_id
   and (c.refused_at is null or c.refused_at <= t.at)`

// Flush writes what was noted, one statement for each tenant. What the database does not
// take is forgotten. db is a handle under carillon_device.
func (m *Refusals) Flush(ctx context.Context, db *tenant.DB) error {
	var errs []error
	for id, of := range m.take() {
		var codes, kinds, times pq.StringArray
		for code, r := range of {
			codes, kinds, times = append(codes, code.String()), append(kinds, string(r.Cause)), append(times, r.At.Format(time.RFC3339))
		}
		err := db.In(ctx, id, func(tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, noteRefusalsSQL, codes, kinds, times)
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("note refusals: %w", err))
		}
	}
	return errors.Join(errs...)
}

// refusalPause is the pause between flushes: somebody may be on the telephone.
const refusalPause = time.Second

// Run flushes every second until ctx ends, and tells report of what went wrong.
func (m *Refusals) Run(ctx context.Context, db *tenant.DB, report func(error)) {
	ticker := time.NewTicker(refusalPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := m.Flush(ctx, db); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}
}
