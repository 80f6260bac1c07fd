// Package signature signs a tenant's messages with its key for text messages, at the
// moment of sending (verification protocol §7.3).
//
// If there is no signature to be had, the tenant's setting decides: "open" sends the
// message as it is and tells the operator, "closed" does not send it.
package signature

import (
	"context"
	"io"
	"log/slog"
	"time"

	"carillon/signing"
	"carillon/signing/textmessage"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
)

// Signer signs messages. It is safe for concurrent use.
type Signer struct {
	keys   *key.Ring
	random io.Reader
	missed func()
	log    *slog.Logger
	now    func() time.Time
}

// New returns a signer. missed is called for every message that went or stayed for want
// of a signature; it counts them.
func New(keys *key.Ring, random io.Reader, missed func(), log *slog.Logger, now func() time.Time) *Signer {
	return &Signer{keys: keys, random: random, missed: missed, log: log, now: now}
}

// Sign returns the message with its signature, or as it is if the tenant does not sign.
// An error is a [*message.Failure] of the class unsigned: the tenant sends nothing
// unsigned.
func (s *Signer) Sign(ctx context.Context, t *tenant.Tenant, m message.Message) (message.Message, error) {
	if m.ByMail() || t.Settings.SMSSigning != tenant.SigningOpen && t.Settings.SMSSigning != tenant.SigningClosed {
		return m, nil
	}
	text, err := s.text(ctx, t, m)
	if err == nil {
		m.Body = text
		return m, nil
	}
	s.missed()
	s.log.ErrorContext(ctx, "message not signed", slog.String("tenant", string(t.Slug)),
		slog.Bool("sent", t.Settings.SMSSigning == tenant.SigningOpen), slog.Any("error", err))
	if t.Settings.SMSSigning == tenant.SigningOpen {
		return m, nil
	}
	return message.Message{}, &message.Failure{Class: message.Unsigned, Certain: true}
}

func (s *Signer) text(ctx context.Context, t *tenant.Tenant, m message.Message) (string, error) {
	signer, err := s.keys.Signer(ctx, t.ID, signing.SMS)
	if err != nil {
		return "", err
	}
	return textmessage.Sign(s.random, signer.Key, signer.KeyID,
		textmessage.Contents{Purpose: string(m.Purpose), Phone: m.To, Date: s.now()}, m.Body)
}

// Sender signs what it gives to the next sender.
type Sender struct {
	Signer *Signer
	Next   message.Sender
}

// Send signs the message and sends it.
func (s Sender) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	signed, err := s.Signer.Sign(ctx, t, m)
	if err != nil {
		return err
	}
	return s.Next.Send(ctx, t, signed)
}
