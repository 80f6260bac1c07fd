// Package message writes text messages that carry codes and hands them to
// whoever delivers them.
//
// It never stores a telephone number or a message, and its types hide both when
// they are printed or logged. How a message reaches a phone is a [Sender]'s
// business: [None] where there is no provider, [Inbox] in development.
// Everything here follows the verification protocol §7.1 and §7.2.
package message

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
)

// Message is one text message. It prints and logs as a fixed word.
type Message struct {
	// To is the recipient's number in E.164 form, as [ParsePhone] returns it, or one mail
	// address.
	To string
	// Body must reach the phone byte for byte.
	Body string
	// Purpose is what a signature over the message says it is for (§7.3).
	Purpose Purpose
	// Code says which code the message carries.
	Code Code
}

// ByMail reports whether the message goes to a mail address.
func (m Message) ByMail() bool { return strings.Contains(m.To, "@") }

// Code is what is known of the code in a message: providers that write their own
// texts are told (§5.3), and receipts are kept under its ID.
type Code struct {
	ID uuid.UUID
	// Short is the short code in the clear.
	Short string
	// ExpiresAt and LongExpiresAt end the short and the long code.
	ExpiresAt, LongExpiresAt time.Time
}

// Format hides the code from every verb of package fmt.
func (Code) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the code from package slog.
func (Code) LogValue() slog.Value { return slog.StringValue(hidden) }

// Purpose is what a message is for, in the words that its signature covers.
type Purpose string

// The purposes (§7.3).
const (
	Report     Purpose = "EN Report"
	UserReport Purpose = "User Report"
)

const hidden = "[message]"

// Format hides the message from every verb of package fmt.
func (Message) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the message from package slog.
func (Message) LogValue() slog.Value { return slog.StringValue(hidden) }

// Sender delivers messages for tenants. Send returns once the provider has
// taken the message: nil, or an error that is [ErrQueueFull], [ErrNoProvider] or
// otherwise counts as [ErrFailed]. It ends when ctx does, is safe for concurrent
// use, and puts neither number nor body into its errors and logs.
type Sender interface {
	Send(ctx context.Context, t *tenant.Tenant, m Message) error
}

// Why a message was not sent or could not be written.
var (
	// ErrFailed means that the provider did not take the message, or that
	// nobody knows whether it did.
	ErrFailed = errors.New("message was not sent")
	// ErrQueueFull means that the provider takes no more messages for now.
	ErrQueueFull = errors.New("message provider's queue is full")
	// ErrNoProvider means that there is nobody to deliver messages.
	ErrNoProvider = errors.New("no message provider")
	// ErrTemplate means that a template cannot be turned into a message.
	ErrTemplate = errors.New("message template cannot be used")
	// ErrPhone means that a text is not a telephone number.
	ErrPhone = errors.New("not a telephone number")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrFailed, ErrQueueFull, ErrNoProvider, ErrTemplate, ErrPhone}
}

// None is the [Sender] of a service that has no provider.
type None struct{}

// Send refuses with [ErrNoProvider].
func (None) Send(context.Context, *tenant.Tenant, Message) error { return ErrNoProvider }
