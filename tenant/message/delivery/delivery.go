// Package delivery records what became of messages: one row for each code, about its
// last message, and how often a provider reported which error on a day.
//
// A row has the code's ID, the provider's name, a digest of the reference that the
// provider was given, a state and, after a failure, its class. It never has the number
// or the text. States only go forward, so that receipts may come late, twice, or in any
// order.
package delivery

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/sweep"
)

// State is how far a message came.
type State string

// The states.
const (
	Queued    State = "queued"
	Sent      State = "sent"      // the provider took it
	Delivered State = "delivered" // the phone has it, as the provider says
	Failed    State = "failed"
)

// Reference names one attempt towards a provider, which repeats it in receipts. It
// cannot be guessed.
type Reference string

// NewReference returns a random reference.
func NewReference() Reference { return Reference(rand.Text()) }

func (r Reference) digest() []byte {
	sum := sha256.Sum256([]byte(r))
	return sum[:]
}

const beginSQL = `
insert into message_delivery
       (tenant_id, code_id, provider, reference_digest, state, queued_at, changed_at)
values (current_tenant(), $1, $2, $3, 'queued', $4, $4)
    on conflict (tenant_id, code_id) do update
   set provider = excluded.provider, reference_digest = excluded.reference_digest,
       state = 'queued', class = '', changed_at = excluded.changed_at`

// Begin notes that a code's message is about to be given to a provider. It fails if
// the code does not exist any more: then there is nothing to send.
func Begin(ctx context.Context, db *tenant.DB, id tenant.ID, code uuid.UUID, provider string, r Reference, now time.Time) error {
	return exec(ctx, db, id, "note message", beginSQL, code.String(), provider, r.digest(), cut(now))
}

const finishSQL = `
update message_delivery
   set state = $2, class = $3, changed_at = $4
 where reference_digest = $1
   and state = 'queued'`

// Finish notes what the provider answered; a receipt that was faster stands.
func Finish(ctx context.Context, db *tenant.DB, id tenant.ID, r Reference, s State, c message.Class, now time.Time) error {
	return exec(ctx, db, id, "note outcome", finishSQL, r.digest(), string(s), string(c), cut(now))
}

// A receipt that says "sent" or better settles a doubt: the message need not be kept.
const receiptSQL = `
with moved as (
  update message_delivery
     set state = $2, class = $3, changed_at = $4
   where reference_digest = $1
     and (state = 'queued'
          or state = 'sent' and $2 in ('delivered', 'failed')
          or state = 'failed' and class = 'uncertain' and $2 = 'sent'
          or state = 'failed' and $2 = 'delivered')
  returning code_id
)
delete from message_queue
 where state = 'failed'
   and $2 in ('sent', 'delivered')
   and code_id in (select code_id from moved)`

// Receive notes a provider's receipt. A reference that is not known, and a receipt
// that says nothing new, change nothing. db is a handle under carillon_issuer.
func Receive(ctx context.Context, db *tenant.DB, id tenant.ID, r Reference, s State, c message.Class, now time.Time) error {
	return exec(ctx, db, id, "note receipt", receiptSQL, r.digest(), string(s), string(c), cut(now))
}

const countSQL = `
insert into message_error as e (tenant_id, day, error_code, count)
values (current_tenant(), $1::date, $2, 1)
    on conflict (tenant_id, day, error_code) do update
   set count = e.count + 1`

// Count adds one to a day's number of an error, which has 1 to 6 digits.
func Count(ctx context.Context, db *tenant.DB, id tenant.ID, code string, now time.Time) error {
	return exec(ctx, db, id, "count error", countSQL, now.UTC().Format(time.DateOnly), code)
}

// Report is what is known of a code's last message.
type Report struct {
	Provider  string
	State     State
	Class     message.Class
	QueuedAt  time.Time `db:"queued_at"`
	ChangedAt time.Time `db:"changed_at"`
}

const reportSQL = `
select provider, state, class, queued_at, changed_at
  from message_delivery
 where code_id = $1`

// ErrNone means that no message of the code is known.
var ErrNone = errors.New("no message of this code")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNone} }

// Of returns what is known of a code's last message: [ErrNone] if there was none.
func Of(ctx context.Context, tx *tenant.Tx, code uuid.UUID) (Report, error) {
	var r Report
	err := tx.Get(ctx, &r, reportSQL, code.String())
	if errors.Is(err, sql.ErrNoRows) {
		return Report{}, ErrNone
	}
	if err != nil {
		return Report{}, fmt.Errorf("read delivery: %w", err)
	}
	return r, nil
}

// KeepErrors is how long the daily numbers are kept (§6.4).
const KeepErrors = 91 * 24 * time.Hour

const (
	forgetErrorsSQL = `
delete from message_error
 where (day, error_code) in (select day, error_code
                               from message_error
                              where day < $1::date
                              limit $2)`

	forgetMessagesSQL = `
delete from message_queue
 where expires_at <= (select max(old.expires_at)
                        from (select expires_at
                                from message_queue
                               where expires_at <= $1
                            order by expires_at
                               limit $2) old)`
)

// Cleanup forgets old numbers, and messages whose codes ended, should no dispatcher
// have done so. db is a handle under carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	err := errors.Join(
		sweep.Run(ctx, db, id, forgetErrorsSQL, now.UTC().Add(-KeepErrors).Format(time.DateOnly)),
		sweep.Run(ctx, db, id, forgetMessagesSQL, now.UTC()))
	if err != nil {
		return fmt.Errorf("forget messages: %w", err)
	}
	return nil
}

func exec(ctx context.Context, db *tenant.DB, id tenant.ID, what, query string, args ...any) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// cut keeps times as coarse as the protocol's.
func cut(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
