// Package mail sends letters by e-mail to the people of health authorities and to those
// who want to become one: invitations, confirmations, proofs.
//
// Letters are plain text and go through the platform's own mail server. They are sent
// after the transaction that they tell of, never inside it: a letter that could not be
// sent is shown with a way to send it again. Neither errors nor logs name a recipient.
package mail

import (
	"context"
	"errors"
	"net/mail"
	"strings"
)

// Letter is a mail of plain text.
type Letter struct {
	// To is one address.
	To string
	// Subject is one line.
	Subject string
	// Text has lines that end with a line feed.
	Text string
}

// Sender hands letters to a mail server. Errors are [ErrRecipient], [ErrUnavailable] or
// the context's.
type Sender interface {
	Send(ctx context.Context, l Letter) error
}

// Errors of senders.
var (
	// ErrRecipient means that the address is none, or that the server does not take
	// letters for it: to send again is of no use.
	ErrRecipient = errors.New("the mail server does not deliver to this address")
	// ErrUnavailable means that the letter was not sent, or that nobody knows: it may be
	// sent again.
	ErrUnavailable = errors.New("the letter could not be handed to the mail server")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrRecipient, ErrUnavailable} }

// None is the sender of a platform without a mail server.
type None struct{}

// Send answers [ErrUnavailable].
func (None) Send(context.Context, Letter) error { return ErrUnavailable }

const maxAddress = 254

// IsAddress reports whether a text is one mail address with nothing around it: no name,
// no comment, no list.
func IsAddress(text string) bool {
	a, err := mail.ParseAddress(text)
	return err == nil && len(text) <= maxAddress && a.Address == text && a.Name == "" && !strings.ContainsAny(text, " \t\r\n\"<>")
}
