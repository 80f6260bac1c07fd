// Package report serves the pages that patients see: the hosted page on which they ask for
// a verification code for themselves (verification protocol §5.2), for iOS and for apps
// without a page of their own, and the page behind a link that no app has opened.
//
// A phone opens the hosted page with its device key and a nonce; from then on the browser
// has a sealed cookie and nothing else, and the service keeps nothing of the visit. It does
// not tell whether a number has reported before. The page of a link is a [Landing].
//
// Both work without scripts, in English, Spanish and Arabic, and in each other language
// that has a file of messages, in the health authority's colors and words.
package report

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"carillon/admin-ui/assets"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/limit"
	"carillon/tenant/reportpage"
	"carillon/tenant/verification"
)

// Codes has codes sent. The promises and errors are those of [verification.Service].
type Codes interface {
	Report(ctx context.Context, t *tenant.Tenant, by authz.Subject, r verification.ReportRequest) (time.Time, error)
}

// Apps tells whose a device key is, and that it is good. The promises are those of
// [client.Authenticator].
type Apps interface {
	Owner(ctx context.Context, key string) (tenant.ID, error)
	Authenticate(ctx context.Context, t *tenant.Tenant, kind client.Kind, key string, from netip.Addr) (authz.Subject, error)
}

// Directory finds health authorities: [tenant.ErrUnknown] if there is none.
type Directory interface {
	ByID(ctx context.Context, id tenant.ID) (*tenant.Tenant, error)
}

// Pages is what package [reportpage] does.
type Pages interface {
	Branding(ctx context.Context, id tenant.ID) (reportpage.Branding, error)
	Seal(ctx context.Context, v reportpage.Visit) (string, error)
	Open(ctx context.Context, text string, now time.Time) (reportpage.Visit, error)
}

// Config is what a [Server] works with.
type Config struct {
	// Hosts are the host names of the page, lower case and without a port: the redirect
	// domains themselves. Elsewhere there is no page.
	Hosts     []string
	Codes     Codes
	Apps      Apps
	Directory Directory
	Policies  *authz.Policies
	Pages     Pages
	// Proxies are the networks of the proxies in front of this process.
	Proxies limit.Proxies
	// NoLimits switches rate limits off, for load tests.
	NoLimits bool
	// NotFound serves the paths that are not the page's; nil answers 404.
	NotFound http.Handler
	Log      *slog.Logger
	Now      func() time.Time
}

func (c Config) validate() error {
	if c.Codes == nil || c.Apps == nil || c.Directory == nil || c.Policies == nil || c.Pages == nil || c.Log == nil || c.Now == nil {
		return errors.New("a part that the report page needs is missing")
	}
	return nil
}

// Server serves the page. It is safe for concurrent use.
type Server struct {
	config  Config
	limiter *limit.Limiter
	press   *press
	handler http.Handler
}

// perAddress is how many requests a network address may make in a minute: a family or
// a clinic shares one.
const perAddress = 60

// New returns a server of the page.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c}
	if !c.NoLimits {
		s.limiter = limit.New(perAddress, c.Now)
	}
	var err error
	if s.press, err = newPress(c.Log); err != nil {
		return nil, err
	}
	if err := authz.ValidateRoutes(s.Routes()); err != nil {
		return nil, err
	}
	s.handler = s.engine()
	return s, nil
}

// Handler serves the page.
func (s *Server) Handler() http.Handler { return s.handler }

// route is a declaration with what serves it.
type route struct {
	authz.Route
	handle func(context.Context, *visit) answer
}

const (
	openPath  = "/report"
	issuePath = "/report/issue"
	filesPath = "/report/files/"

	limitAddress = "address 60/min"
)

func (s *Server) routes() []route {
	declare := func(method, path string, credential authz.Credential, from authz.TenantFrom, limit string, h func(context.Context, *visit) answer) route {
		return route{
			Route: authz.Route{
				Method: method, Path: path, Audience: authz.AudiencePatient,
				Credential: credential, TenantFrom: from, Limit: limit,
			},
			handle: h,
		}
	}
	open := func(method string) route {
		r := declare(method, openPath, authz.CredentialDeviceKey, authz.TenantFromCredential, limitAddress, s.open)
		r.Action = authz.DeviceReport
		return r
	}
	return []route{
		open(http.MethodGet),
		open(http.MethodPost),
		declare(http.MethodPost, issuePath, authz.CredentialVisit, authz.TenantFromCredential, limitAddress, s.issue),
		{Route: FilesRoute()},
	}
}

// Routes declares every URL of the page and its guard.
func (s *Server) Routes() []authz.Route {
	var list []authz.Route
	for _, r := range s.routes() {
		list = append(list, r.Route)
	}
	return list
}

// engine routes requests: what is not the page's is somebody else's.
func (s *Server) engine() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		pattern := r.Method + " " + strings.Replace(r.Path, ":name", "{name}", 1)
		if r.handle == nil {
			mux.HandleFunc(pattern, file)
			continue
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, request *http.Request) { s.serve(w, request, r) })
	}
	if s.config.NotFound == nil {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == openPath || strings.HasPrefix(r.URL.Path, openPath+"/") {
			mux.ServeHTTP(w, r)
			return
		}
		s.config.NotFound.ServeHTTP(w, r)
	})
}

// Files serves the pages' styles and scripts where there is no [Server], and leaves other
// paths to next; nil answers them 404.
func Files(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+filesPath+"{name}", file)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if next != nil && !strings.HasPrefix(r.URL.Path, filesPath) {
			next.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// FilesRoute declares the URL of [Files].
func FilesRoute() authz.Route {
	return authz.Route{
		Method: http.MethodGet, Path: filesPath + ":name", Audience: authz.AudiencePatient,
		Credential: authz.CredentialNone, TenantFrom: authz.TenantFromNone, Limit: authz.LimitNone,
	}
}

func file(w http.ResponseWriter, r *http.Request) {
	found, ok := assets.Find(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	found.Send(w, r)
}
