package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/outbox"
	"carillon/tenant/message/provider"
	"carillon/tenant/message/signature"
)

// post is how a role sends messages: signed, through each tenant's providers.
type post struct {
	router *provider.Router
	signer *signature.Signer
}

func (p *post) sender() message.Sender { return signature.Sender{Signer: p.signer, Next: p.router} }

func (s *Service) post(db *tenant.DB) (*post, error) {
	keys := key.NewRing(db, s.config.Root)
	r, err := provider.NewRouter(provider.Config{
		DB: db, Keys: keys, Networks: provider.NewNetworks(s.config.Loopback),
		Platform: s.config.SMS, Fallback: s.config.Sender, Mail: s.config.Mail, BaseURL: s.config.BaseURL,
		Log: s.config.Log, Now: s.config.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("message providers: %w", err)
	}
	return &post{router: r, signer: signature.New(keys, rand.Reader, s.unsigned.Inc, s.config.Log, s.config.Now)}, nil
}

// newUnsigned counts messages for which there was no signature.
func newUnsigned() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "carillon_messages_unsigned_total",
		Help: "Text messages that could not be signed although their tenant signs: sent as they were, or not sent, as the tenant has set.",
	})
}

// messagePause is the dispatcher's between two looks at a tenant's outbox.
const messagePause = time.Second

// dispatch sends the messages that may go later.
func (s *Service) dispatch(db *tenant.DB, p *post) func(context.Context) error {
	d := outbox.NewDispatcher(outbox.Config{
		DB: db, Keys: key.NewRing(db, s.config.Root), Directory: s.directory(db),
		Sender: p.sender(), Recorder: s.recorder(db, "messages"), Log: s.config.Log, Now: s.config.Now,
	})
	return func(ctx context.Context) error { return d.Run(ctx, messagePause) }
}
