package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	adminui "carillon/admin-ui"
	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	simulated "carillon/deploy/rehearsal"
	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/approval"
	"carillon/tenant/archive/shelf"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	exportshelf "carillon/tenant/export/shelf"
	"carillon/tenant/idp"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/leaving"
	"carillon/tenant/member"
	"carillon/tenant/message/template"
	"carillon/tenant/outbound"
	"carillon/tenant/quota"
	"carillon/tenant/rehearsal"
	"carillon/tenant/reportpage"
	"carillon/tenant/role"
	"carillon/tenant/selftest"
	"carillon/tenant/setting"
	"carillon/tenant/sharing"
	"carillon/tenant/stats"
	"carillon/tenant/support"
	"carillon/tenant/verification"
)

// wirePages puts the pages for people behind the API: what the API does not know is
// theirs. One server has the pages of all roles, so that a browser signs in once.
func (s *Service) wirePages(ctx context.Context, surface *api.Config) error {
	if !s.plays(Portal) && !s.plays(Operator) {
		return nil
	}
	login, err := oidc.New(s.config.Login)
	if err != nil {
		return fmt.Errorf("identity provider: %w", err)
	}
	c := adminui.Config{
		BaseURL: s.config.BaseURL, Login: login,
		Proxies: s.config.Proxies, NoLimits: s.config.NoLimits, NotFound: s.config.Extra,
		Log: s.config.Log, Now: s.config.Now,
	}
	for _, join := range []func(context.Context, *api.Config, *adminui.Config) error{s.wireOperator, s.wirePortal} {
		if err := join(ctx, surface, &c); err != nil {
			return err
		}
	}
	pages, err := adminui.New(c)
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	surface.NotFound = pages.Handler()
	s.routes = append(s.routes, pages.Routes()...)
	return nil
}

// wirePortal adds what the staff of health authorities need.
func (s *Service) wirePortal(ctx context.Context, surface *api.Config, c *adminui.Config) error {
	if !s.plays(Portal) {
		return nil
	}
	db, err := s.database(ctx, Portal)
	if err != nil {
		return err
	}
	decideBy(db, surface)
	post, err := s.post(db)
	if err != nil {
		return err
	}
	desk := support.NewDesk(db, surface.Policies, s.config.Now)
	c.Support = desk
	c.Options = setting.NewStaff(db, surface.Policies, s.config.Now)
	tells := approval.NewPost(db, s.config.Mail, s.config.BaseURL)
	c.Wording = template.NewStaff(template.StaffConfig{
		DB: db, Policies: surface.Policies, Sender: post.sender(), RedirectDomain: s.messageDomain(), Now: s.config.Now,
	})
	c.Patients = reportpage.NewStaff(db, surface.Policies, s.config.Now)
	c.Alerts = alert.NewStaff(db, surface.Policies, key.NewRing(db, s.config.Root), s.alertNetwork(), s.config.Now)
	c.Budget = quota.NewStaff(db, surface.Policies, s.config.Now)
	c.SelfTests = selftest.NewStaff(db, surface.Policies, s.config.Now)
	if c.Leaving, err = leaving.NewDesk(db, surface.Policies, tells, s.config.CoolDown, s.config.Now); err != nil {
		return err
	}
	if s.config.Files != nil {
		c.Archives = shelf.NewDesk(db, surface.Policies, key.NewRing(db, s.config.Root), s.config.Files, s.config.Now)
	}
	codes := s.verification(db, surface.Policies, post)
	c.Staff, c.Codes, c.Audit = staff{db, desk}, codes, auditLog{db}
	c.Rehearsals = s.rehearsals(db, codes)
	s.wireSheets(db, surface.Policies, codes, c)
	c.Sharing = sharing.NewStaff(db, surface.Policies, s.config.Now)
	c.Packs = s.packStaff(db, surface.Policies)
	c.Roles = role.NewStaff(db, s.config.Now)
	c.Keys = custody.NewStaff(db, surface.Policies, tells, s.config.Now)
	surface.Provisioner = member.NewProvisioner(db, surface.Policies, s.config.Login.Issuer, s.config.Now)
	s.countThrough(db)
	surface.StaffKeys = client.NewAuthenticator(db, s.counter, s.config.Now)
	members := member.NewStaff(member.StaffConfig{
		DB: db, Policies: surface.Policies, Mail: s.config.Mail, Platform: s.config.Login.Issuer, BaseURL: s.config.BaseURL, Now: s.config.Now,
	})
	c.Members, c.Approvals = members, s.approvals(db, surface.Policies, members)
	own := idp.Config{
		DB: db, Keys: key.NewRing(db, s.config.Root), Policies: surface.Policies,
		Network: outbound.New(s.config.Loopback, 443), Platform: s.config.Login.Issuer, BaseURL: s.config.BaseURL,
		Records: s.dns().LookupTXT, Now: s.config.Now,
	}
	c.SignIn, c.Providers = &idp.Staff{Config: own}, providers{idp.NewDirectory(own)}
	c.Exports = exportshelf.NewStaff(db, surface.Policies, s.config.Now)
	figures := stats.New(db, s.config.Now)
	c.APIKeys, c.KeyUse, c.Figures = client.NewStaff(db, surface.Policies, s.config.Now), figures, figures
	c.Directory, c.Policies = s.directory(db), surface.Policies
	c.Sessions = member.NewSessions(db, s.config.Now)
	return nil
}

// rehearsals are those of sandboxes, with phones that come over the network as all do.
func (s *Service) rehearsals(db *tenant.DB, codes *verification.Service) *rehearsal.Desk {
	phones := simulated.New(simulated.Config{DB: db, URL: s.phonesURL(), Now: s.config.Now})
	return rehearsal.NewDesk(db, key.NewRing(db, s.config.Root), codes, phones, s.config.Now)
}

// staff is the members of all tenants, and whom they have invited, as the portal's role
// reaches them.
type staff struct {
	db      *tenant.DB
	support *support.Desk
}

func (s staff) Memberships(ctx context.Context, who oidc.Identity) ([]member.Membership, error) {
	return member.Memberships(ctx, s.db, who)
}

func (s staff) Authenticate(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	by, err := member.Authenticate(ctx, s.db, t, who)
	if errors.Is(err, member.ErrNotMember) {
		by, err = s.support.Enter(ctx, t, who)
	}
	if errors.Is(err, support.ErrNotInvited) {
		err = member.ErrNotMember
	}
	return by, err
}

// auditLog is the audit logs of all tenants. The portal's role has no keys of theirs, so
// the files that it gives out name none.
type auditLog struct{ db *tenant.DB }

func (l auditLog) Find(ctx context.Context, t *tenant.Tenant, f audit.Filter, limit int) (entries []audit.Entry, err error) {
	err = l.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		entries, err = audit.Find(ctx, tx, f, limit)
		return err
	})
	return entries, err
}

func (l auditLog) Export(ctx context.Context, t *tenant.Tenant, now time.Time, to io.Writer) error {
	return l.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return audit.Export(ctx, tx, t, nil, now, to) })
}

// providers are those of health authorities, as people sign in with them.
type providers struct{ *idp.Directory }

func (p providers) Provider(ctx context.Context, realm, id string) (adminui.Login, error) {
	return p.Directory.Provider(ctx, realm, id)
}

func (p providers) Trial(ctx context.Context, realm, id string) (adminui.Login, int, error) {
	e, err := p.Any(ctx, realm, id)
	if err != nil {
		return nil, 0, err
	}
	return e, e.Version, nil
}
