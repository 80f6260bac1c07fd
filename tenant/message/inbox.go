package message

import (
	"context"
	"slices"
	"sync"
	"time"

	"carillon/tenant"
)

// Inbox is a [Sender] for development: it keeps messages in memory, where a page
// shows them, instead of delivering them.
type Inbox struct {
	now func() time.Time

	mu       sync.Mutex
	received []kept // oldest first
}

type kept struct {
	owner   tenant.ID
	message Received
}

// Received is a message in an [Inbox]. Unlike [Message] it is meant to be shown.
type Received struct {
	At   time.Time
	To   string
	Body string
}

// InboxSize is how many messages an [Inbox] keeps, of all tenants together.
const InboxSize = 500

// NewInbox returns an empty inbox that dates messages with now.
func NewInbox(now func() time.Time) *Inbox { return &Inbox{now: now} }

// Send keeps the message, dropping the oldest one if there are too many.
func (b *Inbox) Send(ctx context.Context, t *tenant.Tenant, m Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.received) == InboxSize {
		b.received = slices.Delete(b.received, 0, 1)
	}
	b.received = append(b.received, kept{owner: t.ID, message: Received{At: b.now(), To: m.To, Body: m.Body}})
	return nil
}

// List returns a tenant's messages, newest first.
func (b *Inbox) List(id tenant.ID) []Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Received
	for _, k := range slices.Backward(b.received) {
		if k.owner == id {
			list = append(list, k.message)
		}
	}
	return list
}
