package service

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"carillon/admin-ui/report"
	"carillon/api"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/reportpage"
)

// errLinks means that a redirect domain or the information page cannot be one.
var errLinks = errors.New("not a redirect domain: give a name such as en.example, without scheme or path")

var domainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// wireLinks answers links of text messages, where this process is one for everybody.
// Two roles may: whichever comes first lends its database handle.
func (s *Service) wireLinks(db *tenant.DB, surface *api.Config) error {
	if surface.Links != nil {
		return nil
	}
	domains := make([]string, 0, len(s.config.RedirectDomains))
	for _, d := range s.config.RedirectDomains {
		name := hostOf(d)
		if !domainForm.MatchString(name) {
			return fmt.Errorf("%q: %w", d, errLinks)
		}
		domains = append(domains, name)
	}
	information := cmp.Or(s.config.InformationURL, app.InformationURL)
	if u, err := url.Parse(information); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return fmt.Errorf("information page %q: not a URL", information)
	}
	portal, err := url.Parse(s.config.BaseURL)
	if err != nil {
		return fmt.Errorf("base URL: %w", err)
	}
	landing, err := report.NewLanding(reportpage.NewBook(db), s.config.Log)
	if err != nil {
		return fmt.Errorf("page of links: %w", err)
	}
	surface.Links = &api.Links{
		Landing: landing, Domains: domains, Apps: app.NewCatalogue(db), Information: information,
		PortalHost: strings.ToLower(portal.Hostname()),
	}
	return nil
}

// wireLinkFiles serves what the page of links looks like, where no hosted page does.
func (s *Service) wireLinkFiles(surface *api.Config) {
	if surface.Links == nil || s.plays(Report) {
		return
	}
	surface.NotFound = report.Files(surface.NotFound)
	s.routes = append(s.routes, report.FilesRoute())
}

// hostOf is a domain without a port, in small letters.
func hostOf(domain string) string {
	if host, _, err := net.SplitHostPort(domain); err == nil {
		domain = host
	}
	return strings.ToLower(domain)
}

// messageDomain is the domain of links in messages; empty if there is none.
func (s *Service) messageDomain() string {
	if len(s.config.RedirectDomains) == 0 {
		return ""
	}
	return s.config.RedirectDomains[0]
}
