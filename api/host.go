package api

import (
	"log/slog"
	"net"
	"net/http"
	"strings"

	"carillon/authz"
	"carillon/tenant"
)

// tenantPath begins the path form of every tenant's routes.
const tenantPath = "/t/:tenant"

// hostedPaths are what follows [tenantPath] in the list: the paths that a tenant's
// own host name serves. A path with a parameter is kept up to that.
type hostedPaths struct {
	exact    map[string]bool
	prefixes []string
}

func hostForms(routes []route) hostedPaths {
	h := hostedPaths{exact: map[string]bool{}}
	for _, r := range routes {
		path, ok := strings.CutPrefix(r.Path, tenantPath)
		if !ok || r.TenantFrom != authz.TenantFromURL {
			continue
		}
		if before, _, found := strings.Cut(path, ":"); found {
			h.prefixes = append(h.prefixes, before)
		} else {
			h.exact[path] = true
		}
	}
	return h
}

func (h hostedPaths) has(path string) bool {
	if h.exact[path] {
		return true
	}
	for _, p := range h.prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// serve turns the host form of a URL into the path form: the same routes, guards and
// answers. A host that names no tenant has no such paths. What remains of a host that
// links have are links.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	hosted := s.hosted.has(r.URL.Path)
	if !hosted && !s.mayBeLink(r) {
		s.engine.ServeHTTP(w, r)
		return
	}
	host := hostName(r.Host)
	if s.strangeHost(host) && !s.mayAskForNames(w, s.caller(r)) {
		return
	}
	p, err := s.placeOf(r.Context(), host)
	switch {
	case err != nil:
		s.config.Log.ErrorContext(r.Context(), "host not looked up", slog.Any("error", err))
		http.Error(w, internalError, http.StatusInternalServerError)
	case hosted && p.tenant != nil:
		s.engine.ServeHTTP(w, underPath(r, p.tenant.Slug))
	case p.links:
		s.links.ServeHTTP(w, r)
	default:
		s.engine.ServeHTTP(w, r)
	}
}

// strangeHost reports whether a host is a name that nobody has had an answer for.
func (s *Server) strangeHost(host string) bool {
	if s.config.Links != nil {
		if label, below := s.config.Links.region(host); below {
			return s.config.Directory.StrangeRegion(label)
		}
	}
	return s.config.Directory.StrangeHost(host)
}

// mayBeLink keeps what is no link from costing a look at its host: the path form, the
// portal, and what is the same under every host.
func (s *Server) mayBeLink(r *http.Request) bool {
	l, path := s.config.Links, r.URL.Path
	if l == nil || s.common[path] || isPage(path) {
		return false
	}
	host := hostName(r.Host)
	if _, below := l.region(host); below {
		return true
	}
	return host != l.PortalHost && !strings.HasPrefix(path, "/t/")
}

// commonPaths are those of routes that are the same under every host.
func commonPaths(routes []route) map[string]bool {
	common := map[string]bool{}
	for _, r := range routes {
		if r.TenantFrom != authz.TenantFromURL && r.Path != anyPath {
			common[r.Path] = true
		}
	}
	return common
}

// hostName is a request's host as names are compared: without port, in small letters.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// underPath is the request as if it had come by the path form.
func underPath(r *http.Request, slug tenant.Slug) *http.Request {
	url := *r.URL
	url.Path, url.RawPath = "/t/"+string(slug)+url.Path, ""
	moved := r.WithContext(r.Context())
	moved.URL = &url
	return moved
}
