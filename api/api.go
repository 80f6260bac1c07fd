// Package api is Carillon's HTTP surface for programs: phones, health authorities'
// own systems, and whoever downloads export files.
//
// It parses, makes one call to the domain, and renders; rules are elsewhere. Every
// route is in one list with its guard (routes.go), and one table turns the domain's
// errors into answers (answers.go). What the protocols fix byte by byte is followed
// byte by byte; an answer says what the protocol allows and no more.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/limit"
	"carillon/tenant/verification"
)

// Config is what a [Server] works with. A process that plays only some roles leaves
// the parts of the others nil; their routes do not exist then.
type Config struct {
	// Directory finds the tenant of a URL.
	Directory *tenant.Directory
	// Policies decide what an API key may do.
	Policies *authz.Policies

	// Device serves phones: verify and certificate.
	Device *verification.Service
	// DeviceKeys authenticates phones.
	DeviceKeys *client.Authenticator
	// Issuer serves health authorities' own systems.
	Issuer *verification.Service
	// IssuerKeys authenticates them.
	IssuerKeys *client.Authenticator
	// Publisher takes in exposure keys.
	Publisher *exposure.Service
	// PublicKeys are the certificate keys that /jwks lists.
	PublicKeys *key.Ring
	// Files are the export files.
	Files export.Store

	// Limiter bounds requests per tenant and caller; nil means no limit.
	Limiter *limit.Limiter
	// TrustProxy takes the caller's address from X-Forwarded-For (§0.2).
	TrustProxy bool
	// Ready asks whether this process can work.
	Ready func(context.Context) error
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// NotFound answers paths that are not in the list; nil is a plain 404.
	NotFound http.Handler
	Log      *slog.Logger
	Now      func() time.Time
}

// Server answers requests.
type Server struct {
	config  Config
	engine  *gin.Engine
	metrics *metrics
	chaff   map[string]*profile // by the class of a route
}

// New returns a server for the roles that the configuration has parts for.
func New(c Config) (*Server, error) {
	s := &Server{config: c, metrics: newMetrics(c.Metrics), chaff: newProfiles()}
	routes := s.routes()
	if err := authz.ValidateRoutes(declared(routes)); err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	s.engine = gin.New()
	s.engine.HandleMethodNotAllowed = true
	s.engine.RedirectTrailingSlash = false
	s.engine.RedirectFixedPath = false
	s.engine.Use(s.observe, s.recover, securityHeaders)
	for _, r := range routes {
		s.engine.Handle(r.Method, r.Path, s.guard(r)...)
	}
	s.engine.NoMethod(func(c *gin.Context) { c.Status(http.StatusMethodNotAllowed) })
	s.engine.NoRoute(s.notFound)
	return s, nil
}

// Handler serves the routes.
func (s *Server) Handler() http.Handler { return s.engine }

// Routes lists every route with its guard.
func (s *Server) Routes() []authz.Route { return declared(s.routes()) }

func (s *Server) notFound(c *gin.Context) {
	if s.config.NotFound != nil {
		s.config.NotFound.ServeHTTP(c.Writer, c.Request)
		return
	}
	c.String(http.StatusNotFound, "404 page not found\n")
}
