// Package outbox keeps messages that may go later, and sends them.
//
// A message is put into the outbox in the transaction of its code, sealed under the
// tenant's data key; number and text are nowhere in the clear. A [Dispatcher] sends
// it, outside quiet hours, and deletes it when it was sent, when its code was used or
// when its code ended. A message that failed stays, sealed, until its code ends, so
// that somebody may have it sent again. The code itself can be read out all the time.
//
// No message is sent twice by itself. Its row says "sending", by a commit, before the
// provider is asked. If the provider surely did not take it, the row says "waiting"
// again. If nobody knows — no answer, an answer that means nothing, or a process that
// died — the row says "failed", and only a person may have it sent again.
package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
)

// Outbox is a [message.Outbox] in the database.
type Outbox struct {
	keys *key.Ring
	now  func() time.Time
}

// New returns an outbox that seals with the tenants' data keys.
func New(keys *key.Ring, now func() time.Time) *Outbox { return &Outbox{keys: keys, now: now} }

// A message that is put in again replaces the one before, unless that is being sent
// at this moment.
const enqueueSQL = `
with queued as (
  insert into message_queue as q
         (tenant_id, code_id, purpose, sealed, not_before, expires_at)
  values (current_tenant(), $1::uuid, $2, $3, $4::timestamptz, $5)
      on conflict (tenant_id, code_id) do update
     set purpose = excluded.purpose, sealed = excluded.sealed, state = 'waiting', attempts = 0,
         not_before = excluded.not_before, expires_at = excluded.expires_at
   where q.state <> 'sending'
  returning code_id
)
insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at)
select current_tenant(), code_id, 'queued', $6::timestamptz, $6
  from queued
    on conflict (tenant_id, code_id) do update
   set state = 'queued', class = '', provider = '', reference_digest = null,
       queued_at = excluded.queued_at, changed_at = excluded.changed_at`

// Enqueue stores a message that is sent if tx commits. The tenant's data key should
// be in memory: see [key.Ring.DataKeyIn]. [ErrBusy] if an earlier message of the code
// is being sent at this moment.
func (o *Outbox) Enqueue(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, q message.Queued) error {
	dk, err := o.keys.DataKeyIn(ctx, tx, t.ID)
	if err != nil {
		return err
	}
	sealed, err := seal(dk, t.ID, q)
	if err != nil {
		return err
	}
	now := o.now().UTC().Truncate(time.Second)
	notBefore := q.NotBefore
	if notBefore.Before(now) {
		notBefore = now
	}
	rows, err := tx.Exec(ctx, enqueueSQL,
		q.CodeID.String(), string(q.Message.Purpose), sealed, notBefore.UTC(), q.ExpiresAt.UTC(), now)
	if err != nil {
		return fmt.Errorf("store message: %w", err)
	}
	if rows == 0 {
		return ErrBusy
	}
	return nil
}

// contents is what is sealed.
type contents struct {
	To            string
	Body          string
	Short         string
	ExpiresAt     time.Time
	LongExpiresAt time.Time
}

func binding(id tenant.ID, code uuid.UUID) signing.Binding {
	return signing.Binding{Tenant: id.String(), Purpose: signing.Message, KeyID: code.String()}
}

func seal(dk *signing.DataKey, id tenant.ID, q message.Queued) ([]byte, error) {
	m := q.Message
	plain, err := json.Marshal(contents{m.To, m.Body, m.Code.Short, m.Code.ExpiresAt, m.Code.LongExpiresAt})
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	defer clear(plain)
	return dk.Seal(binding(id, q.CodeID), plain)
}

func open(dk *signing.DataKey, id tenant.ID, code uuid.UUID, purpose string, sealed []byte) (message.Message, error) {
	plain, err := dk.Open(binding(id, code), sealed)
	if err != nil {
		return message.Message{}, err
	}
	defer clear(plain)
	var c contents
	if err := json.Unmarshal(plain, &c); err != nil {
		return message.Message{}, fmt.Errorf("decode message: %w", signing.ErrSealed)
	}
	return message.Message{
		To: c.To, Body: c.Body, Purpose: message.Purpose(purpose),
		Code: message.Code{ID: code, Short: c.Short, ExpiresAt: c.ExpiresAt, LongExpiresAt: c.LongExpiresAt},
	}, nil
}
