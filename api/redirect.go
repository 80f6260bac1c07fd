package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/tenant"
	"carillon/tenant/app"
)

// Links is what answers the links in text messages, which are those of hosts and not
// of paths (verification protocol §7.5 and §7.6).
type Links struct {
	// Domains are those below which every region has a host name, lower case and
	// without a port. Nothing else lives there.
	Domains []string
	// Apps are the tenants' apps.
	Apps *app.Catalogue
	// Landing is the page for people whose link no app has opened; nil if there is none.
	Landing Landing
	// Information is where a computer is led that cannot open a link.
	Information string
	// PortalHost is the host name of people's pages, which leads nowhere even if it
	// is also a tenant's; empty if there is none.
	PortalHost string
}

// Landing is a page that says what to do with a link. It is asked for links of an authority,
// and for those that lead nowhere, without one.
type Landing interface {
	ServeLink(w http.ResponseWriter, r *http.Request, t *tenant.Tenant, s app.Site)
}

// anyPath is the pattern of a link: every path of a host that links have.
const anyPath = "/*path"

// isPage tells the paths that people's pages keep under the hosts of links: the form
// for reporting oneself (§5.2), and what it looks like.
func isPage(path string) bool {
	for _, page := range []string{"/report", "/assets"} {
		if path == page || strings.HasPrefix(path, page+"/") {
			return true
		}
	}
	return false
}

// region is the part of a host name below one of the domains, empty for the domain
// itself; below is false for other hosts.
func (l *Links) region(host string) (label string, below bool) {
	for _, domain := range l.Domains {
		if host == domain {
			return "", true
		}
		if label, found := strings.CutSuffix(host, "."+domain); found {
			return label, true
		}
	}
	return "", false
}

// place is what a host name stands for.
type place struct {
	// region is empty if the host names none.
	region string
	// tenant is the one that the host names, suspended or not; nil if there is none.
	tenant *tenant.Tenant
	// links says that the host's paths are links.
	links bool
}

// placeOf finds out what a host stands for: a region below a redirect domain, or a
// tenant's own host name.
func (s *Server) placeOf(ctx context.Context, host string) (place, error) {
	if s.config.Links != nil {
		if label, below := s.config.Links.region(host); below {
			return s.regionPlace(ctx, label)
		}
	}
	t, err := s.config.Directory.ByHost(ctx, host)
	if errors.Is(err, tenant.ErrUnknown) {
		return place{}, nil
	}
	if err != nil {
		return place{}, err
	}
	return place{region: t.Region, tenant: t, links: s.config.Links != nil && host != s.config.Links.PortalHost}, nil
}

func (s *Server) regionPlace(ctx context.Context, label string) (place, error) {
	region, err := tenant.ParseRegion(label)
	if err != nil {
		return place{links: true}, nil //nolint:nilerr // another label names no region
	}
	t, err := s.config.Directory.ByRegion(ctx, region)
	if err != nil && !errors.Is(err, tenant.ErrUnknown) {
		return place{}, err
	}
	return place{region: region, tenant: t, links: true}, nil
}

// findPlace looks up what the request's host stands for. A suspended tenant's links go on
// leading to its app, which systems would forget otherwise.
func (s *Server) findPlace(c *gin.Context) {
	p, err := s.placeOf(c.Request.Context(), hostName(c.Request.Host))
	if err != nil {
		s.fail(c, err)
		return
	}
	v := of(c)
	v.region = p.region
	v.tenant = p.tenant
}

// redirect answers a link. It holds a code, so nobody on the way may keep the answer.
//
// A telephone is led on, by the table of the protocol. Whoever comes back soon, has no
// telephone, or would be led nowhere, gets a page.
func (s *Server) redirect(c *gin.Context) {
	site, err := s.site(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	link := app.Link{Path: c.Request.URL.EscapedPath(), Query: c.Request.URL.RawQuery, UserAgent: c.Request.UserAgent()}
	location, found := app.Redirect(site, link)
	c.Header("Cache-Control", "no-store")
	c.Header("Vary", "User-Agent")
	landing := s.config.Links.Landing
	switch {
	case landing != nil && link.Code() != "" && (!found || cameBack(c.Request)):
		landing.ServeLink(c.Writer, c.Request, of(c).tenant, site)
		return
	case !found:
		pageNotFound(c)
		return
	case landing != nil && link.Code() != "":
		http.SetCookie(c.Writer, ledOn())
	}
	c.Header("Location", location)
	send(c, http.StatusSeeOther, contentText, nil)
}

// A browser that was led on and comes back within backAfter was not helped: no app has
// opened the link. The cookie says nothing else, and not which link it was.
const (
	backCookie = "__Host-carillon-link"
	backAfter  = 10 * time.Minute
)

func ledOn() *http.Cookie {
	return &http.Cookie{
		Name: backCookie, Value: "1", Path: "/", MaxAge: int(backAfter / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func cameBack(r *http.Request) bool {
	_, err := r.Cookie(backCookie)
	return err == nil
}

func (s *Server) site(c *gin.Context) (app.Site, error) {
	v := of(c)
	site := app.Site{Region: v.region, Served: v.tenant != nil, Information: s.config.Links.Information}
	if v.tenant == nil {
		return site, nil
	}
	site.ENX = v.tenant.Settings.ENX
	var err error
	site.Apps, err = s.config.Links.Apps.Of(c.Request.Context(), v.tenant.ID)
	return site, err
}

// appleAssociation says which iOS apps may open the host's links.
func (s *Server) appleAssociation(c *gin.Context) {
	s.associate(c, func(apps []app.Record) (any, bool) { return app.Apple(apps) })
}

// assetLinks says which Android apps may.
func (s *Server) assetLinks(c *gin.Context) {
	s.associate(c, func(apps []app.Record) (any, bool) { return app.AssetLinks(apps) })
}

const associationCaching = "public, max-age=300"

func (s *Server) associate(c *gin.Context, document func([]app.Record) (any, bool)) {
	v := of(c)
	switch {
	case v.region == "":
		s.noAssociation(c, "request is missing region")
		return
	case v.tenant == nil:
		s.noAssociation(c, fmt.Sprintf("no realm exists for region %q", v.region))
		return
	}
	apps, err := s.config.Links.Apps.Of(c.Request.Context(), v.tenant.ID)
	if err != nil {
		s.fail(c, err)
		return
	}
	body, found := document(apps)
	if !found {
		s.noAssociation(c, "no apps are registered")
		return
	}
	c.Header("Cache-Control", associationCaching)
	s.sendJSON(c, http.StatusOK, body)
}

func (s *Server) noAssociation(c *gin.Context, text string) {
	s.sendJSON(c, http.StatusNotFound, struct {
		Error string `json:"error"`
	}{text})
}
