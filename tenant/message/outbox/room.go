package outbox

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
)

// Opens is when a tenant's messages may go out next: now, or the end of its quiet
// hours.
func Opens(s tenant.Settings, now time.Time) time.Time {
	const day = 24 * 60 // minutes; no quiet hours are longer
	at := now
	for range day {
		if !quiet(s, at) {
			break
		}
		at = at.Truncate(time.Minute).Add(time.Minute)
	}
	return at
}

const waitingSQL = `
select count(*)
  from (select
          from message_queue
         where state = 'waiting'
         limit $1) waiting`

// Waiting counts the messages of tx's tenant that wait to be sent, up to most. Whoever
// makes many messages leaves off while there are enough, because codes grow old in the
// outbox.
func Waiting(ctx context.Context, tx *tenant.Tx, most int) (int, error) {
	var waiting int
	if err := tx.Get(ctx, &waiting, waitingSQL, most); err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	return waiting, nil
}
