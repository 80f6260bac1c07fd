package service

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/guess"
	"carillon/tenant/key"
	"carillon/tenant/limit"
	"carillon/tenant/message/outbox"
	"carillon/tenant/quota"
	"carillon/tenant/role"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

const (
	// atOnce is how many requests of phones are worked on: as many as a role has
	// connections. Of each tenant, waiting more stand in line.
	atOnce  = 16
	waiting = 1000
)

func (s *Service) plays(r Role) bool { return slices.Contains(s.config.Roles, r) }

// wire opens what each role needs and joins the parts.
func (s *Service) wire(ctx context.Context) error {
	surface := api.Config{
		Counter: s.counter, Files: s.config.Files, Proxies: s.config.Proxies, Ready: s.ready,
		BaseURL: s.config.BaseURL, Metrics: s.metrics, NotFound: s.config.Extra, Log: s.config.Log, Now: s.config.Now,
	}
	if !s.config.NoLimits {
		surface.Limiter = limit.NewTraffic(limit.DefaultRates(), s.config.Now)
		surface.Turns = limit.NewTurns(atOnce, waiting)
	}
	for _, join := range []func(context.Context, *api.Config) error{s.wireDevice, s.wireIssuer, s.wirePublish, s.wirePages, s.wireReport} {
		if err := join(ctx, &surface); err != nil {
			return err
		}
	}
	s.wireLinkFiles(&surface)
	if err := s.wireJobs(ctx, &surface); err != nil {
		return err
	}
	if err := s.wireSchedule(); err != nil {
		return err
	}
	server, err := api.New(surface)
	if err != nil {
		return err
	}
	s.handler = server.Handler()
	s.routes = append(s.routes, server.Routes()...)
	return nil
}

// directory finds tenants, and holds them in maintenance if the process shall.
func (s *Service) directory(db *tenant.DB) *tenant.Directory {
	d := tenant.NewDirectory(db)
	if s.config.Maintenance {
		d.HoldMaintenance()
	}
	return d
}

// decideBy has the process decide by the rules that db shows, unless it does so by what
// another handle shows: it needs to keep them once.
func decideBy(db *tenant.DB, surface *api.Config) {
	if surface.Policies == nil {
		surface.Policies = role.NewPolicies(db)
	}
}

func (s *Service) ready(ctx context.Context) error {
	for _, db := range s.handles {
		if err := db.Ping(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) verification(db *tenant.DB, policies *authz.Policies, p *post) *verification.Service {
	keys := key.NewRing(db, s.config.Root)
	c := verification.Config{
		DB: db, Keys: keys, Policies: policies, Certificates: s.certificates,
		Quota:  quota.NewBudget(db, s.config.Log, s.config.QuotaLogOnly, s.config.Now).Hold,
		Digits: guess.NewLengths(db, s.config.Now).Digits,
		Outbox: outbox.New(keys, s.config.Now), RedirectDomain: s.messageDomain(), Now: s.config.Now, Rand: rand.Reader,
	}
	if p == nil { // for phones, which are sent nothing
		c.Refusals = s.refusals(db)
	} else {
		c.Sender, c.Sign, c.Provided = p.sender(), p.signer.Sign, p.router.Provided
	}
	return verification.New(c)
}

func (s *Service) wireDevice(ctx context.Context, surface *api.Config) error {
	if !s.plays(Device) {
		return nil
	}
	db, err := s.database(ctx, Device)
	if err != nil {
		return err
	}
	decideBy(db, surface)
	surface.Directory = s.directory(db)
	surface.DeviceKeys = client.NewAuthenticator(db, s.counter, s.config.Now)
	surface.Device = s.verification(db, surface.Policies, nil)
	s.countThrough(db)
	if !s.config.NoLimits {
		surface.Guesses = guess.NewCounter(db, guess.DefaultBounds(), s.config.Now)
		s.jobs = append(s.jobs, func(ctx context.Context) error { return surface.Guesses.Run(ctx, s.config.Log) })
	}
	return nil
}

func (s *Service) wireIssuer(ctx context.Context, surface *api.Config) error {
	if !s.plays(Issuer) {
		return nil
	}
	db, err := s.database(ctx, Issuer)
	if err != nil {
		return err
	}
	if surface.Directory == nil {
		surface.Directory = s.directory(db)
	}
	decideBy(db, surface)
	s.countThrough(db)
	surface.IssuerKeys = client.NewAuthenticator(db, s.counter, s.config.Now)
	post, err := s.post(db)
	if err != nil {
		return err
	}
	surface.Receipts = post.router
	surface.Issuer = s.verification(db, surface.Policies, post)
	s.jobs = append(s.jobs, s.dispatch(db, post))
	s.wireLabFeed(db, surface)
	surface.Stats = stats.New(db, s.config.Now)
	s.wireBatches(db, surface)
	return s.wireLinks(db, surface)
}

func (s *Service) wirePublish(ctx context.Context, surface *api.Config) error {
	if !s.plays(Publish) {
		return nil
	}
	db, err := s.database(ctx, Publish)
	if err != nil {
		return err
	}
	if surface.Directory == nil {
		surface.Directory = s.directory(db)
	}
	s.countThrough(db)
	keys := key.NewRing(db, s.config.Root)
	surface.PublicKeys = keys
	surface.Shared = stats.New(db, s.config.Now)
	surface.Publisher = exposure.New(exposure.Config{
		DB: db, Keys: keys, Certificates: s.certificates, Limits: exposure.DefaultLimits(), Now: s.config.Now,
	})
	return s.wireLinks(db, surface)
}

func (s *Service) wireJobs(ctx context.Context, surface *api.Config) error {
	if !s.plays(Jobs) {
		return nil
	}
	db, err := s.database(ctx, Jobs)
	if err != nil {
		return err
	}
	directory := s.directory(db)
	if surface.Directory == nil {
		surface.Directory = directory // for what /health says of maintenance
	}
	keys := key.NewRing(db, s.config.Root)
	exports := export.New(export.Config{
		DB: db, Keys: keys, Directory: directory, Store: s.config.Files,
		Log: s.config.Log, Now: s.config.Now,
	})
	if err := s.warnOfSameDay(ctx, directory); err != nil {
		return err
	}
	s.schedule(db, s.exportJob(exports), s.inspectJob(exports), s.statisticsJob(db), s.quotaJob(db), s.sessionJob(db),
		s.retentionJob(db, directory, exports), s.checkpointJob(db, keys, directory), s.keysJob(db, keys, directory), s.alertJob(db, keys, directory))
	s.schedule(db, s.outsideJobs(db, directory)...)
	s.wireSelfTest(db, directory, keys, exports)
	s.schedule(db, s.leavingJobs(db, directory, keys)...)
	s.jobs = append(s.jobs, guess.NewWatch(db, directory, s.recorder(db, "guessing"), s.metrics, s.config.Log, s.config.Now).Run)
	return s.makePacks(db, keys, directory)
}

// warnOfSameDay tells, at every start, which tenants release keys that are still in
// use: whoever has such a key can pretend to be its phone (key server protocol §4).
func (s *Service) warnOfSameDay(ctx context.Context, directory *tenant.Directory) error {
	return directory.Each(ctx, func(id tenant.ID) error {
		t, err := directory.ByID(ctx, id)
		if err == nil && t.Settings.ReleaseSameDay {
			s.config.Log.WarnContext(ctx, "SAME-DAY KEYS ARE RELEASED: for development and rehearsal only", slog.String("tenant", string(t.Slug)))
		}
		return err
	})
}
