package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/tenanttest"
)

// A route that is declared without a guard, or with one that nobody has built here,
// keeps the server from being made: it must never be served open.
func TestRoutesWithoutAGuardAreRefused(t *testing.T) {
	t.Parallel()
	good := authz.Route{
		Method: http.MethodPost, Path: tenantPath + "/api/new",
		Audience: authz.AudienceBackend, Credential: authz.CredentialAdminKey, Action: authz.CodeRead,
		Limit: perCaller, Padding: authz.PaddingResponse, TenantFrom: authz.TenantFromURL,
	}
	with := func(change func(*authz.Route)) []route {
		r := route{Route: good, handle: func(*gin.Context) {}}
		change(&r.Route)
		return []route{r}
	}
	for name, routes := range map[string][]route{
		"nothing declared": {{Route: authz.Route{Method: http.MethodGet, Path: "/open"}, handle: func(*gin.Context) {}}},
		"no credential":    with(func(r *authz.Route) { r.Credential = "" }),
		"no action":        with(func(r *authz.Route) { r.Action = "" }),
		"no limit":         with(func(r *authz.Route) { r.Limit = "" }),
		"no tenant":        with(func(r *authz.Route) { r.TenantFrom = "" }),
		"declared twice":   append(with(func(*authz.Route) {}), with(func(*authz.Route) {})...),
		// These are declared well, for other surfaces.
		"session":       with(func(r *authz.Route) { r.Credential = authz.CredentialSession }),
		"another limit": with(func(r *authz.Route) { r.Limit = "caller 5/min" }),
	} {
		s := emptyServer(t)
		if err := s.install(routes); !errors.Is(err, authz.ErrRoute) {
			t.Errorf("%s: %v, want ErrRoute", name, err)
		}
	}
	if err := emptyServer(t).install(with(func(*authz.Route) {})); err != nil {
		t.Errorf("a guarded route: %v", err)
	}
}

// emptyServer plays no role.
func emptyServer(t *testing.T) *Server {
	t.Helper()
	s, err := New(Config{Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A good key opens only what the policy gives to its role, and nothing while the
// policy cannot be read.
func TestPolicyIsAsked(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	keys := client.NewAuthenticator(w.Device, nil, w.Now)
	unreadable := func(context.Context, string) (*authz.Policy, error) { return nil, errors.New("disk on fire") }
	ask := func(p *authz.Policies, a authz.Action, key string) *httptest.ResponseRecorder {
		s := emptyServer(t)
		s.config.Directory, s.config.DeviceKeys, s.config.Policies = tenant.NewDirectory(w.Device), keys, p
		err := s.install([]route{{
			Route: authz.Route{
				Method: http.MethodPost, Path: tenantPath + "/api/new",
				Audience: authz.AudienceDevice, Credential: authz.CredentialDeviceKey, Action: a,
				Limit: perCaller, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: func(c *gin.Context) { c.Status(http.StatusTeapot) },
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/t/north/api/new", nil)
		r.Header.Set("X-API-Key", key)
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, r)
		return answer
	}
	builtIn, device := authz.NewPolicies(nil), w.Key(north, client.Device)
	if got := ask(builtIn, authz.DeviceVerify, device); got.Code != http.StatusTeapot {
		t.Errorf("an action of phones: %d, want what the handler says", got.Code)
	}
	forbidden, unknown := ask(builtIn, authz.CodeIssue, device), ask(builtIn, authz.CodeIssue, "nobody's")
	if forbidden.Code != http.StatusUnauthorized || forbidden.Body.String() != unknown.Body.String() {
		t.Errorf("an action of back ends: %d %s, want the 401 of an unknown key", forbidden.Code, forbidden.Body)
	}
	if got := ask(authz.NewPolicies(unreadable), authz.DeviceVerify, device); got.Code != http.StatusInternalServerError {
		t.Errorf("no policy to ask: %d, want 500", got.Code)
	}
}
