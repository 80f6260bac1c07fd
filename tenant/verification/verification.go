// Package verification turns a diagnosis into a signed certificate: staff or a
// back end of a health authority obtain a code, the phone swaps the code for a
// token, and the token, with an HMAC over the phone's keys, for a certificate.
//
// It promises that one code yields one token and one token one certificate,
// however many ask at once and wherever a process dies; that a refused attempt
// burns nothing; and that an unknown, a spent and another tenant's code cannot be
// told apart. Codes, tokens and telephone numbers are never stored: the database
// has keyed digests of codes and plain digests of tokens' random IDs, nothing
// joins a token to its code, and types that hold one of them in the clear hide it
// when printed. Retention is [Cleanup]'s.
//
// The rules and English texts are those of the verification protocol §1, §2,
// §4.2 to §4.6 and §6, with its recommendations where the reference is wrong.
package verification

import (
	"context"
	"io"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_device for Verify and Certificate,
	// carillon_report for Report, carillon_issuer or carillon_portal for the rest.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them.
	Keys *key.Ring
	// Policies decide who may issue, report, see and expire codes. Verify and
	// Certificate do not ask them.
	Policies *authz.Policies
	// Sender signs and delivers text messages; nil is [message.None].
	Sender message.Sender
	// Provided says whether there is anybody to deliver a tenant's messages; nil is yes.
	Provided func(context.Context, *tenant.Tenant) (bool, error)
	// Sign signs messages that are only generated (§7.3); nil leaves them as they are.
	Sign func(context.Context, *tenant.Tenant, message.Message) (message.Message, error)
	// RedirectDomain is the domain under which every region's links live; empty
	// makes links of the ens: scheme (§7.1).
	RedirectDomain string
	// Quota sets one code of a tenant's daily budget aside (§11.4), before the code's
	// transaction begins. spend is called inside it, where the protocol says, and
	// reports whether there was a code; release is called after it, always, and gives
	// back what was not spent. nil means no budget.
	Quota func(context.Context, *tenant.Tenant) (spend func() bool, release func(), err error)
	// Digits tells how long a tenant's next short code must be (package guess); nil
	// means as long as its settings say.
	Digits func(context.Context, *tenant.Tenant) (int, error)
	// Certificates are told of those that are signed here; it may be nil.
	Certificates *certificate.Memory
	// Outbox takes messages that may go later. Requests that ask for it need one.
	Outbox message.Outbox
	// Wait lets time pass until d is over or the context ends, whose error it then
	// returns; nil really waits.
	Wait func(ctx context.Context, d time.Duration) error
	// Refusals remember why phones were refused codes; nil for nowhere.
	Refusals *Refusals
	// Now is the clock.
	Now func() time.Time
	// Rand is a cryptographic source of randomness, safe for concurrent use.
	Rand io.Reader
}

// Service issues and verifies codes and signs certificates. It is safe for
// concurrent use.
type Service struct {
	db             *tenant.DB
	keys           *key.Ring
	policies       *authz.Policies
	sender         message.Sender
	sign           func(context.Context, *tenant.Tenant, message.Message) (message.Message, error)
	provided       func(context.Context, *tenant.Tenant) (bool, error)
	templates      *template.Library
	redirectDomain string
	quota          func(context.Context, *tenant.Tenant) (func() bool, func(), error)
	digits         func(context.Context, *tenant.Tenant) (int, error)
	outbox         message.Outbox
	certificates   *certificate.Memory
	refusals       *Refusals
	pace           *pace
	now            func() time.Time
	rand           io.Reader
}

// New returns a service.
func New(c Config) *Service {
	if c.Sender == nil {
		c.Sender = message.None{}
	}
	if c.Quota == nil {
		c.Quota = unlimited
	}
	if c.Wait == nil {
		c.Wait = sleep
	}
	if c.Digits == nil {
		c.Digits = func(_ context.Context, t *tenant.Tenant) (int, error) { return t.Settings.CodeDigits, nil }
	}
	if c.Provided == nil {
		c.Provided = func(context.Context, *tenant.Tenant) (bool, error) { return true, nil }
	}
	if c.Sign == nil {
		c.Sign = func(_ context.Context, _ *tenant.Tenant, m message.Message) (message.Message, error) { return m, nil }
	}
	return &Service{
		db: c.DB, keys: c.Keys, policies: c.Policies, sender: c.Sender, sign: c.Sign, provided: c.Provided,
		templates:      template.NewLibrary(c.DB),
		redirectDomain: c.RedirectDomain, quota: c.Quota, digits: c.Digits, outbox: c.Outbox, certificates: c.Certificates,
		refusals: c.Refusals, pace: newPace(c.Wait), now: c.Now, rand: c.Rand,
	}
}

func unlimited(context.Context, *tenant.Tenant) (spend func() bool, release func(), err error) {
	return func() bool { return true }, func() {}, nil
}

// clock is the current time, UTC, in whole seconds: the protocol's own unit, so
// that a stored time tells no more than an answer does. Expiries are whole
// seconds too, which makes comparing with the cut time exact.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Second) }
