package service

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/outbox"
	"carillon/tenant/message/provider"
)

// router sends messages through each tenant's providers, as a role reaches them.
func (s *Service) router(db *tenant.DB) (*provider.Router, error) {
	r, err := provider.NewRouter(provider.Config{
		DB: db, Keys: key.NewRing(db, s.config.Root), Networks: provider.NewNetworks(s.config.Loopback),
		Platform: s.config.SMS, Fallback: s.config.Sender, BaseURL: s.config.BaseURL,
		Log: s.config.Log, Now: s.config.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("message providers: %w", err)
	}
	return r, nil
}

// messagePause is the dispatcher's between two looks at a tenant's outbox.
const messagePause = time.Second

// dispatch sends the messages that may go later.
func (s *Service) dispatch(db *tenant.DB, sender message.Sender) func(context.Context) error {
	d := outbox.NewDispatcher(outbox.Config{
		DB: db, Keys: key.NewRing(db, s.config.Root), Directory: s.directory(db),
		Sender: sender, Log: s.config.Log, Now: s.config.Now,
	})
	return func(ctx context.Context) error { return d.Run(ctx, messagePause) }
}
