// Package api is Carillon's HTTP surface for programs: phones, health authorities'
// own systems, and whoever downloads export files.
//
// It parses, makes one call to the domain, and renders; rules are elsewhere. Every
// route is in one list with its guard (routes.go), and one table for each protocol
// turns the domain's errors into answers (errors.go). What the protocols fix byte by
// byte is followed byte by byte; an answer says what the protocol allows and no more.
//
// A credential works only under its own tenant's URL: anywhere else it is answered
// exactly as one that does not exist. Logs and metrics know routes, tenants and
// outcomes, and never codes, tokens, keys, telephone numbers or network addresses.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/api/openapi"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/guess"
	"carillon/tenant/key"
	"carillon/tenant/labfeed"
	"carillon/tenant/limit"
	"carillon/tenant/member"
	"carillon/tenant/message/provider"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// Config is what a [Server] works with. A process that plays only some roles leaves
// the parts of the others nil; their routes do not exist then.
type Config struct {
	// Directory finds the tenant of a URL or host. Every role needs it.
	Directory *tenant.Directory
	// Policies decide what an API key may do. The roles device,
	// report and issuer need them.
	Policies *authz.Policies

	// Device serves phones: verify and certificate.
	Device *verification.Service
	// Reporter takes in self-reports.
	Reporter *verification.Service
	// DeviceKeys authenticates phones, for both.
	DeviceKeys *client.Authenticator
	// Issuer serves health authorities' own systems.
	Issuer *verification.Service
	// Batches takes in batches of codes from them; nil means that there are none.
	Batches *batch.Service
	// IssuerKeys authenticates them.
	IssuerKeys *client.Authenticator
	// Receipts takes in what message providers report; nil means that none do.
	Receipts *provider.Router
	// LabFeed takes in laboratory results, from whoever IssuerKeys knows.
	LabFeed *labfeed.Service
	// Stats serves statistics, to keys that IssuerKeys knows.
	Stats *stats.Service
	// Shared serves those statistics that the key server may tell; PublicKeys are the
	// keys that those who ask have signed with.
	Shared *stats.Service
	// Counter counts what statistics need to know of phones' requests; nil does not.
	Counter *stats.Counter
	// Publisher takes in exposure keys.
	Publisher *exposure.Service
	// PublicKeys are the certificate keys that /jwks lists, and Files the export
	// files. Downloads are served if both are there.
	PublicKeys *key.Ring
	Files      export.Store

	// Provisioner serves identity providers, which StaffKeys knows.
	Provisioner *member.Provisioner
	StaffKeys   *client.Authenticator

	// BaseURL is how the world reaches the service, https://host without a trailing
	// slash, for the document that describes it; empty makes its URLs relative.
	BaseURL string
	// Links answers the links in text messages; nil if another process does.
	Links *Links

	// Limiter bounds requests per caller, key and tenant; nil means no limit.
	Limiter *limit.Traffic
	// Turns shares the work for phones among tenants; nil lets all work at once.
	Turns *limit.Turns
	// Guesses counts unknown codes; nil counts none.
	Guesses *guess.Counter
	// Proxies are the networks whose X-Forwarded-For is believed; nil means none.
	Proxies limit.Proxies
	// Ready asks whether this process can work; nil means that it always can.
	Ready func(context.Context) error
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// NotFound answers paths that are not in the list; nil is a plain 404.
	NotFound http.Handler
	Log      *slog.Logger
	Now      func() time.Time
}

// check finds parts that are missing for the roles that are there.
func (c Config) check() error {
	var errs []error
	needs := func(role string, plays, complete bool) {
		if plays && !complete {
			errs = append(errs, errors.New("api: a part of the role "+role+" is missing"))
		}
	}
	directory := c.Directory != nil
	needs("device", c.Device != nil, directory && c.DeviceKeys != nil && c.Policies != nil)
	needs("report", c.Reporter != nil, directory && c.DeviceKeys != nil && c.Policies != nil)
	needs("issuer", c.Issuer != nil, directory && c.IssuerKeys != nil && c.Policies != nil)
	needs("receipts", c.Receipts != nil, directory)
	needs("lab feed", c.LabFeed != nil, directory && c.IssuerKeys != nil && c.Policies != nil)
	needs("key server statistics", c.Shared != nil, directory && c.PublicKeys != nil)
	needs("stats", c.Stats != nil, directory && c.IssuerKeys != nil && c.Policies != nil)
	needs("publish", c.Publisher != nil, directory)
	needs("exports", c.Files != nil && c.PublicKeys != nil, directory)
	needs("links", c.Links != nil, directory && c.Links != nil && c.Links.Apps != nil)
	needs("any", true, c.Metrics != nil && c.Log != nil && c.Now != nil)
	return errors.Join(errs...)
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	config    Config
	engine    *gin.Engine
	links     *gin.Engine // of hosts whose paths are links
	hosted    hostedPaths
	common    map[string]bool
	contract  *openapi.Document
	metrics   *metrics
	chaff     map[string]*profile // by the class of a route
	crossings *crossings
	tags      *tags
	documents documents
}

// New returns a server for the roles that the configuration has parts for.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{
		config: c, metrics: newMetrics(c.Metrics), chaff: newProfiles(),
		crossings: newCrossings(), tags: newTags(),
		documents: documents{of: map[tenant.ID]int{}},
	}
	var err error
	if s.contract, err = openapi.Load(); err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	s.engine, s.links = s.newEngine(), s.newEngine()
	if err := s.install(s.routes()); err != nil {
		return nil, err
	}
	s.engine.NoRoute(s.notFound)
	return s, nil
}

func (s *Server) newEngine() *gin.Engine {
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.Use(s.observe, s.recover, securityHeaders)
	e.NoMethod(noMethod)
	return e
}

// install gives the router every route with its guard: [authz.ErrRoute] if one has
// none.
func (s *Server) install(routes []route) error {
	if err := authz.ValidateRoutes(declared(routes)); err != nil {
		return err
	}
	for _, r := range routes {
		chain, err := s.guard(r)
		if err != nil {
			return err
		}
		engine := s.engine
		if r.Path == anyPath {
			engine = s.links
		}
		engine.Handle(r.Method, r.Path, chain...)
	}
	s.hosted, s.common = hostForms(routes), commonPaths(routes)
	return nil
}

// Handler serves the routes, in their path form and in their host form.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Routes lists every route with its guard.
func (s *Server) Routes() []authz.Route { return declared(s.routes()) }

// Bounds of a connection (verification protocol §0.2 asks for bounds on slow
// requests). A phone's request has some 5 kB; a file may have 16 MB.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 15 * time.Second // header and body
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// NewHTTPServer returns a server for h whose connections are bounded in time and
// header size. The caller starts it and ends it.
func NewHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}

// noMethod answers a known path's other methods: 405 without a body, even for cover
// traffic (§0.2).
func noMethod(c *gin.Context) {
	c.Status(http.StatusMethodNotAllowed)
	c.Writer.WriteHeaderNow() // or gin would write a text
}

// notFound leaves to others what is not below a tenant's URL.
func (s *Server) notFound(c *gin.Context) {
	if s.config.NotFound != nil && !strings.HasPrefix(c.Request.URL.Path, "/t/") {
		c.Status(http.StatusOK) // gin has set 404; whoever answers knows better
		s.config.NotFound.ServeHTTP(c.Writer, c.Request)
		return
	}
	pageNotFound(c)
}

func pageNotFound(c *gin.Context) {
	send(c, http.StatusNotFound, contentText, []byte("404 page not found\n"))
}
