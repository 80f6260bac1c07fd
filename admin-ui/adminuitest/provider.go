package adminuitest

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/idp"
)

// SignIn is a stand-in for an authority's own providers and domains, whoever asks, and for
// what people sign in with. Each provider answers as Login does, in its own name.
type SignIn struct {
	Providers []idp.Provider
	Proved    []idp.Domain
	// Realm is the authority that has them.
	Realm tenant.ID
	Login *Login
	// Fail is what changes return, if it is set.
	Fail error
	// Saved are the settings that were saved last.
	Saved idp.Settings
}

// List returns Providers.
func (s *SignIn) List(context.Context, *tenant.Tenant, authz.Subject) ([]idp.Provider, error) {
	return s.Providers, nil
}

// Find returns one of them.
func (s *SignIn) Find(_ context.Context, t *tenant.Tenant, _ authz.Subject, id uuid.UUID) (idp.Provider, error) {
	for _, p := range s.Providers {
		if p.ID == id && t.ID == s.Realm {
			return p, nil
		}
	}
	return idp.Provider{}, idp.ErrMissing
}

// Add makes a draft.
func (s *SignIn) Add(_ context.Context, _ *tenant.Tenant, _ authz.Subject, settings idp.Settings) (uuid.UUID, error) {
	s.Saved = settings
	if s.Fail != nil {
		return uuid.Nil, s.Fail
	}
	p := idp.Provider{ID: uuid.New(), Settings: settings, State: idp.Draft, Version: 1}
	s.Providers = append(s.Providers, p)
	return p.ID, nil
}

// Change makes a draft of a provider.
func (s *SignIn) Change(_ context.Context, _ *tenant.Tenant, _ authz.Subject, id uuid.UUID, version int, settings idp.Settings) error {
	s.Saved = settings
	if s.Fail != nil {
		return s.Fail
	}
	return s.change(id, func(p *idp.Provider) { p.Settings, p.State, p.Version = settings, idp.Draft, version+1 })
}

// Passed notes a trial.
func (s *SignIn) Passed(_ context.Context, _ *tenant.Tenant, _ authz.Subject, id uuid.UUID, _ int) error {
	return s.change(id, func(p *idp.Provider) { p.State = idp.Tested })
}

// Activate makes a provider active.
func (s *SignIn) Activate(_ context.Context, _ *tenant.Tenant, _ authz.Subject, id uuid.UUID) error {
	return s.change(id, func(p *idp.Provider) { p.State = idp.Active })
}

// SwitchOff switches one off.
func (s *SignIn) SwitchOff(_ context.Context, _ *tenant.Tenant, _ authz.Subject, id uuid.UUID) error {
	return s.change(id, func(p *idp.Provider) { p.State = idp.Off })
}

func (s *SignIn) change(id uuid.UUID, to func(*idp.Provider)) error {
	for i := range s.Providers {
		if s.Providers[i].ID == id {
			to(&s.Providers[i])
			return s.Fail
		}
	}
	return idp.ErrMissing
}

// Domains returns Proved.
func (s *SignIn) Domains(context.Context, *tenant.Tenant, authz.Subject) ([]idp.Domain, error) {
	return s.Proved, nil
}

// AddDomain adds to Proved one that is not.
func (s *SignIn) AddDomain(_ context.Context, _ *tenant.Tenant, _ authz.Subject, domain string) error {
	s.Proved = append(s.Proved, idp.Domain{Domain: domain, Token: "TOKEN"})
	return s.Fail
}

// ProveDomain proves nothing but what Fail says.
func (s *SignIn) ProveDomain(context.Context, *tenant.Tenant, authz.Subject, string) error {
	return s.Fail
}

// DropDomain removes one.
func (s *SignIn) DropDomain(_ context.Context, _ *tenant.Tenant, _ authz.Subject, domain string) error {
	s.Proved = slices.DeleteFunc(s.Proved, func(d idp.Domain) bool { return d.Domain == domain })
	return s.Fail
}
