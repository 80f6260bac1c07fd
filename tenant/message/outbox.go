package message

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// Queued is a message that may go later.
type Queued struct {
	// CodeID is the code that the message carries.
	CodeID  uuid.UUID
	Message Message
	// ExpiresAt is when the code ends; the message is not sent after it.
	ExpiresAt time.Time
	// NotBefore is the earliest moment to send; zero means at once.
	NotBefore time.Time
}

// Outbox takes messages that may go later. Enqueue stores the message, sealed, in
// the transaction of its code: both exist or neither.
type Outbox interface {
	Enqueue(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, q Queued) error
}
