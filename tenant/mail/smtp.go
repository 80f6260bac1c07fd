package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"

	gomail "github.com/wneessen/go-mail"
)

// SMTP sends through a mail server.
type SMTP struct {
	server Server
	from   string
}

// NewSMTP returns a sender of letters from an address, which may have a name:
// "Carillon <no-reply@platform.example>".
func NewSMTP(s Server, from string) (*SMTP, error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("mail server: %w", err)
	}
	if _, err := mail.ParseAddress(from); err != nil {
		return nil, errors.New("mail server: from is not a mail address")
	}
	return &SMTP{server: s, from: from}, nil
}

// Send hands a letter over.
func (s *SMTP) Send(ctx context.Context, l Letter) error {
	letter := gomail.NewMsg()
	if err := letter.From(s.from); err != nil {
		return ErrUnavailable
	}
	if err := letter.To(l.To); err != nil || !IsAddress(l.To) {
		return ErrRecipient
	}
	letter.Subject(l.Subject)
	letter.SetDate()
	letter.SetMessageID()
	letter.SetBodyString(gomail.TypeTextPlain, l.Text)
	client, err := s.server.Client(nil)
	if err != nil {
		return ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	err = client.DialAndSendWithContext(ctx, letter)
	if err == nil || letter.IsDelivered() {
		return nil // whatever went wrong after that
	}
	return failure(err)
}

// failure leaves out the server's words: they may quote the address.
func failure(err error) error {
	var step *gomail.SendError
	if errors.As(err, &step) && step.Reason == gomail.ErrSMTPRcptTo && step.ErrorCode() > 0 && !step.IsTemp() {
		return ErrRecipient
	}
	return ErrUnavailable
}
