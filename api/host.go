package api

import (
	"errors"
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
// answers. A host that names no tenant has no such paths.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.hosted.has(r.URL.Path) {
		s.engine.ServeHTTP(w, r)
		return
	}
	t, err := s.config.Directory.ByHost(r.Context(), hostName(r.Host))
	if err != nil && !errors.Is(err, tenant.ErrUnknown) {
		s.config.Log.ErrorContext(r.Context(), "host not looked up", slog.Any("error", err))
		http.Error(w, internalError, http.StatusInternalServerError)
		return
	}
	if err == nil {
		r = underPath(r, t.Slug)
	}
	s.engine.ServeHTTP(w, r)
}

func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// underPath is the request as if it had come by the path form.
func underPath(r *http.Request, slug tenant.Slug) *http.Request {
	url := *r.URL
	url.Path, url.RawPath = "/t/"+string(slug)+url.Path, ""
	moved := r.WithContext(r.Context())
	moved.URL = &url
	return moved
}
