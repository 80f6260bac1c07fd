package provider

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"carillon/tenant/mail"
	"carillon/tenant/message"
)

// SMTPOptions are those of a mail server: a gateway that turns mail into text messages.
type SMTPOptions struct {
	Host string `json:"host"`
	// Port is 25, 465 (TLS from the start), 587 or 2525; zero is 587. The connection is
	// always encrypted, but to this machine.
	Port int `json:"port,omitempty"`
	// User is the login, whose password is the secret; empty for none.
	User string `json:"user,omitempty"`
	// From is the sender's address.
	From string `json:"from"`
	// To makes an address of a number: [number] becomes its E.164 form, [digits] the
	// same without the plus.
	To string `json:"to"`
	// Subject of every message; many gateways want none.
	Subject string `json:"subject,omitempty"`
}

type smtp struct {
	options SMTPOptions
	client  func() (*gomail.Client, error)
}

func (n Networks) newSMTP(s Settings) (*smtp, error) {
	var o SMTPOptions
	if err := decode(s.Options, &o); err != nil {
		return nil, err
	}
	server := mail.Server{Host: o.Host, Port: o.Port, User: o.User, Password: s.Secret}
	_, badFrom := netmail.ParseAddress(o.From)
	_, badTo := netmail.ParseAddress(address(o.To, "+12065550100"))
	wrong := server.Check()
	switch {
	case wrong != nil:
		return nil, fmt.Errorf("%w: %w", ErrSettings, wrong)
	case badFrom != nil:
		return nil, fmt.Errorf("%w: from is not a mail address", ErrSettings)
	case badTo != nil || !strings.Contains(o.To, "[number]") && !strings.Contains(o.To, "[digits]"):
		return nil, fmt.Errorf("%w: to is not a mail address with [number] or [digits]", ErrSettings)
	case strings.ContainsAny(o.Subject, "\r\n"):
		return nil, fmt.Errorf("%w: subject has more than one line", ErrSettings)
	}
	return &smtp{options: o, client: func() (*gomail.Client, error) { return server.Client(n.mail) }}, nil
}

// address fills a number into the pattern of addresses.
func address(pattern, to string) string {
	return strings.NewReplacer("[number]", to, "[digits]", strings.TrimPrefix(to, "+")).Replace(pattern)
}

func (s *smtp) send(ctx context.Context, m message.Message, _ string) error {
	letter := gomail.NewMsg()
	if err := letter.From(s.options.From); err != nil {
		return failure(message.Rejected, true)
	}
	if err := letter.To(address(s.options.To, m.To)); err != nil {
		return failure(message.Invalid, true)
	}
	letter.Subject(s.options.Subject)
	letter.SetBodyString(gomail.TypeTextPlain, m.Body)
	client, err := s.client()
	if err != nil {
		return failure(message.Rejected, true)
	}
	ctx, cancel := context.WithTimeout(ctx, mail.Timeout)
	defer cancel()
	err = client.DialAndSendWithContext(ctx, letter)
	if letter.IsDelivered() || err == nil {
		return nil // whatever went wrong after that
	}
	return smtpFailure(err)
}

// smtpFailure classifies an error by the step at which it happened: until the text was
// handed over, it is certain that nothing was sent.
func smtpFailure(err error) *message.Failure {
	var step *gomail.SendError
	if !errors.As(err, &step) {
		return failure(message.Unavailable, true) // no connection, no encryption or no login
	}
	refused := step.ErrorCode() > 0
	switch step.Reason {
	case gomail.ErrWriteContent:
		return failure(message.Uncertain, false)
	case gomail.ErrSMTPDataClose:
		if !refused {
			return failure(message.Uncertain, false)
		}
	default:
	}
	switch {
	case step.IsTemp() || !refused:
		return failure(message.Unavailable, true)
	case step.Reason == gomail.ErrSMTPRcptTo:
		return failure(message.Invalid, true)
	default:
		return failure(message.Rejected, true)
	}
}
