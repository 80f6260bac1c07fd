package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

var (
	// ErrBusy means that a message of the code is being sent at this moment.
	ErrBusy = errors.New("message is being sent")
	// ErrNotKept means that the outbox has no message of the code.
	ErrNotKept = errors.New("message is not kept")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrBusy, ErrNotKept} }

const againSQL = `
with woken as (
  update message_queue
     set state = 'waiting', attempts = 0, not_before = $2::timestamptz
   where code_id = $1::uuid
     and state <> 'sending'
     and expires_at > $2
  returning code_id
), told as (
  update message_delivery
     set state = 'queued', class = '', changed_at = $2
   where code_id in (select code_id from woken)
)
select exists (select from woken) as woken,
       exists (select from message_queue where code_id = $1::uuid and state = 'sending') as busy`

// Again has the kept message of a code sent once more: [ErrNotKept] if there is none,
// [ErrBusy] if it is being sent at this moment.
func Again(ctx context.Context, tx *tenant.Tx, code uuid.UUID, now time.Time) error {
	var found struct{ Woken, Busy bool }
	if err := tx.Get(ctx, &found, againSQL, code.String(), now.UTC()); err != nil {
		return fmt.Errorf("send again: %w", err)
	}
	switch {
	case found.Woken:
		return nil
	case found.Busy:
		return ErrBusy
	default:
		return ErrNotKept
	}
}
