package service

import (
	"context"

	adminui "carillon/admin-ui"
	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/platform"
)

// wireOperator adds what those need who run the platform. Their sessions are those of
// the portal, which may be in another process.
func (s *Service) wireOperator(ctx context.Context, surface *api.Config, c *adminui.Config) error {
	if !s.plays(Operator) {
		return nil
	}
	db, err := s.database(ctx, Operator)
	if err != nil {
		return err
	}
	if surface.Directory == nil {
		surface.Directory = s.directory(db) // for what /health says of maintenance
	}
	c.Operators = operators{db}
	s.wireSignup(db, c)
	c.Sessions = member.NewSessions(db, s.config.Now)
	return nil
}

// operators are those who run the platform, as its own role reaches them.
type operators struct{ db *tenant.DB }

func (o operators) Authenticate(ctx context.Context, who oidc.Identity) (authz.Subject, error) {
	return platform.Authenticate(ctx, o.db, who)
}
