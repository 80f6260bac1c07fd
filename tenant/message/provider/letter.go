package provider

import (
	"context"
	"errors"

	"carillon/tenant/mail"
	"carillon/tenant/message"
)

// mailName is what deliveries to mail addresses are recorded with.
const mailName = "mail"

// letters carries messages to mail addresses, through the platform's mail server.
type letters struct {
	sender mail.Sender
	// subject is the authority's name: a subject is read by whoever sees the phone.
	subject string
}

func (l letters) send(ctx context.Context, m message.Message, _ string) error {
	err := l.sender.Send(ctx, mail.Letter{To: m.To, Subject: l.subject, Text: m.Body + "\n"})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mail.ErrRecipient):
		return failure(message.Address, true)
	default: // it may have been sent
		return failure(message.Uncertain, false)
	}
}
