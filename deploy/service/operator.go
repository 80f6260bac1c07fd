package service

import (
	"context"
	"time"

	adminui "carillon/admin-ui"
	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/platform"
	"carillon/tenant/support"
)

// wireOperator adds what those need who run the platform. Their sessions are the portal's
// if it is in the same process; otherwise nobody else's.
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
	c.Operators = operators{db, s.directory(db), s.config.Now}
	s.wireSignup(db, c)
	c.Sessions = member.NewSessions(db, s.config.Now)
	return nil
}

// operators is the platform as those see it who run it, through the role that is theirs.
type operators struct {
	db        *tenant.DB
	directory *tenant.Directory
	now       func() time.Time
}

func (o operators) Authenticate(ctx context.Context, who oidc.Identity) (authz.Subject, error) {
	return platform.Authenticate(ctx, o.db, who)
}

func (o operators) Register(ctx context.Context, f platform.Filter, limit int) ([]platform.Line, error) {
	return platform.Register(ctx, o.db, f, limit)
}

func (o operators) Find(ctx context.Context, slug string) (*platform.Sheet, error) {
	return platform.Find(ctx, o.db, o.directory, slug, o.now())
}

func (o operators) Suspend(ctx context.Context, by authz.Subject, slug, why string) error {
	return o.change(ctx, by, slug, why, platform.Suspend)
}

func (o operators) Resume(ctx context.Context, by authz.Subject, slug, why string) error {
	return o.change(ctx, by, slug, why, platform.Resume)
}

type changing func(context.Context, *tenant.DB, authz.Subject, *tenant.Tenant, string, time.Time) error

func (o operators) change(ctx context.Context, by authz.Subject, slug, why string, change changing) error {
	t, err := o.directory.BySlug(ctx, slug)
	if err != nil {
		return err
	}
	return change(ctx, o.db, by, t, why, o.now())
}

func (o operators) Acts(ctx context.Context, target string, before int64, limit int) ([]platform.Act, error) {
	return platform.Acts(ctx, o.db, target, before, limit)
}

func (o operators) Places(ctx context.Context, who oidc.Identity) ([]support.Place, error) {
	return support.Places(ctx, o.db, who, o.now())
}
