package service

import (
	"context"
	"fmt"

	"carillon/admin-ui/report"
	"carillon/api"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/reportpage"
)

// wireReport takes in self-reports, by API and on the hosted page, which stands before
// whatever answers the paths that the API does not know.
func (s *Service) wireReport(ctx context.Context, surface *api.Config) error {
	if !s.plays(Report) {
		return nil
	}
	db, err := s.database(ctx, Report)
	if err != nil {
		return err
	}
	decideBy(db, surface)
	s.countThrough(db)
	directory, apps := s.directory(db), client.NewAuthenticator(db, s.counter, s.config.Now)
	if surface.Directory == nil {
		surface.Directory = directory
	}
	if surface.DeviceKeys == nil {
		surface.DeviceKeys = apps
	}
	post, err := s.post(db)
	if err != nil {
		return err
	}
	surface.Reporter = s.verification(db, surface.Policies, post)
	hosts := make([]string, 0, len(s.config.RedirectDomains))
	for _, d := range s.config.RedirectDomains {
		hosts = append(hosts, hostOf(d))
	}
	page, err := report.New(report.Config{
		Hosts: hosts, Codes: surface.Reporter, Apps: apps, Directory: directory, Policies: surface.Policies,
		Pages:   reportpage.New(db, key.NewRing(db, s.config.Root)),
		Proxies: s.config.Proxies, NoLimits: s.config.NoLimits, NotFound: surface.NotFound,
		Log: s.config.Log, Now: s.config.Now,
	})
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	surface.NotFound = page.Handler()
	s.routes = append(s.routes, page.Routes()...)
	return nil
}
