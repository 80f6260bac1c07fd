// Package provider delivers text messages through the services that tenants have
// contracts with: any that speaks Twilio's REST interface, a tenant's own system
// behind a signed webhook (verification protocol §5.3), or a mail gateway.
//
// A [Router] is the [message.Sender] of a process. It sends through a tenant's first
// provider and, if that surely did not take the message and not because of the
// recipient, through the second. A tenant without providers uses the platform's.
//
// Provider settings are rows of the tenant; the secret among them is sealed under its
// data key. Addresses that a tenant named are reached through [outbound.Network] alone.
// Errors, logs and the database never have a number, a text or a secret.
package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"carillon/tenant/message"
	"carillon/tenant/outbound"
)

// Kind is how a provider is spoken to.
type Kind string

// The kinds.
const (
	Twilio  Kind = "twilio"
	Webhook Kind = "webhook"
	SMTP    Kind = "smtp"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Twilio, Webhook, SMTP} }

// Settings are what it takes to use a provider. They print and log as a fixed word.
type Settings struct {
	Kind Kind
	// Options depend on the kind: [TwilioOptions], [WebhookOptions] or [SMTPOptions]
	// as JSON. They hold no secret.
	Options json.RawMessage
	// Secret is the account's password, or the webhook's key.
	Secret string
	// PerMinute is how many messages a process gives to the provider in a minute; zero
	// for as many as there are.
	PerMinute int
}

const hidden = "[message provider]"

// Format hides the secret from every verb of package fmt.
func (Settings) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the secret from package slog.
func (Settings) LogValue() slog.Value { return slog.StringValue(hidden) }

// ErrSettings means that settings make no usable provider. The error's text says why,
// and is for the person who wrote them.
var ErrSettings = errors.New("message provider's settings cannot be used")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrSettings, ErrReceipt} }

// carrier is a provider that is ready for use.
type carrier interface {
	// send gives the message to the provider. callback is where receipts go; empty for
	// nowhere. An error is a [*message.Failure].
	send(ctx context.Context, m message.Message, callback string) error
}

// Networks are how the kinds reach their servers.
type Networks struct{ web, mail *outbound.Network }

// NewNetworks returns networks of public hosts; loopback adds this machine, for
// development.
func NewNetworks(loopback bool) Networks {
	return Networks{web: outbound.New(loopback, 443, 8443), mail: outbound.New(loopback, 25, 465, 587, 2525)}
}

const maxSecret = 1000

// open makes a provider of its settings: [ErrSettings] if they make none.
func (n Networks) open(s Settings) (carrier, error) {
	if s.PerMinute < 0 || s.PerMinute > 60_000 {
		return nil, fmt.Errorf("%w: the pace is 0 to 60000 messages a minute", ErrSettings)
	}
	if len(s.Secret) > maxSecret {
		return nil, fmt.Errorf("%w: the secret is longer than %d bytes", ErrSettings, maxSecret)
	}
	switch s.Kind {
	case Twilio:
		return n.newTwilio(s)
	case Webhook:
		return n.newWebhook(s)
	case SMTP:
		return n.newSMTP(s)
	default:
		return nil, fmt.Errorf("%w: the kind is one of %v", ErrSettings, Kinds())
	}
}

// Check reports what is wrong with settings, as [ErrSettings].
func (n Networks) Check(s Settings) error {
	_, err := n.open(s)
	return err
}

// decode reads a kind's options strictly.
func decode(options json.RawMessage, dst any) error {
	d := json.NewDecoder(strings.NewReader(string(options)))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return fmt.Errorf("%w: options: %w", ErrSettings, err)
	}
	return nil
}

func failure(c message.Class, certain bool) *message.Failure {
	return &message.Failure{Class: c, Certain: certain}
}

// statusFailure classifies an HTTP status that says no more than itself. Only where the
// server has plainly not done the work is it certain.
func statusFailure(status int) *message.Failure {
	switch {
	case status == 429:
		return failure(message.QueueFull, true)
	case status == 503:
		return failure(message.Unavailable, true)
	case slices.Contains([]int{408, 425, 499}, status):
		return failure(message.Uncertain, false)
	case status >= 300 && status < 500:
		return failure(message.Rejected, true)
	default:
		return failure(message.Uncertain, false)
	}
}
