// Package service wires the parts into one Carillon process: the roles it was
// asked to play, each with its own database role, one listener for the world,
// one for operations, and the background jobs.
//
// It decides nothing. Rules live in tenant/, answers in api/ and admin-ui/.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/job"
	"carillon/tenant/leaving"
	"carillon/tenant/limit"
	"carillon/tenant/mail"
	"carillon/tenant/message"
	"carillon/tenant/message/provider"
	"carillon/tenant/signup"
	"carillon/tenant/stats"
)

// Role is a part of the service that a process may play. Each connects to the
// database under its own role, carillon_<role>.
type Role string

// The roles.
const (
	Device  Role = "device"  // verify, certificate
	Issuer  Role = "issuer"  // the API for health departments' own systems
	Report  Role = "report"  // self-reports, by API and on the hosted page
	Publish Role = "publish" // publish, and the files that phones download
	Portal  Role = "portal"  // pages for staff
	Jobs    Role = "jobs"    // exports and retention
	// Operator is the pages for those who run the platform, and for who wants to join it.
	Operator Role = "operator"
)

// Roles are all of them.
func Roles() []Role { return []Role{Device, Issuer, Report, Publish, Portal, Jobs, Operator} }

// ParseRoles reads role names; none means all.
func ParseRoles(names []string) ([]Role, error) {
	if len(names) == 0 {
		return Roles(), nil
	}
	roles := make([]Role, 0, len(names))
	for _, name := range names {
		if !slices.Contains(Roles(), Role(name)) {
			return nil, fmt.Errorf("there is no role %q; the roles are %v", name, Roles())
		}
		roles = append(roles, Role(name))
	}
	return roles, nil
}

// Config is what a process needs.
type Config struct {
	// Roles that this process plays.
	Roles []Role
	// DSN gives the connection string for a database role.
	DSN func(databaseRole string) (string, error)
	// Root unwraps the tenants' data keys.
	Root signing.Custody
	// Files are the published ones, and archives that staff asked for: shared by publish, jobs
	// and portal.
	Files export.Store
	// CoolDown is how long authorities that leave can come back, 7 to 365 days; zero means 30.
	CoolDown time.Duration
	// BackupKeys is where data keys are kept for backups; nil for a platform that keeps none.
	BackupKeys leaving.BackupKeys
	// BaseURL is where people's browsers reach the portal, without a trailing slash.
	BaseURL string
	// RedirectDomains are those below which each region has a host name for its links
	// (verification protocol §7.4). Messages name the first; without one, their links
	// are of the ens: scheme. A port, for development, is the links' only.
	RedirectDomains []string
	// InformationURL is where a link leads on a computer that cannot open it; empty
	// means [app.InformationURL].
	InformationURL string
	// Login is the identity provider for staff.
	Login oidc.Config
	// SMS is the message provider of tenants that have none of their own; nil for Sender.
	SMS *provider.Settings
	// Sender takes their messages if there is no SMS.
	Sender message.Sender
	// Mail sends letters to people of health authorities; nil for a platform without a
	// mail server, where letters fail.
	Mail mail.Sender
	// DNS is asked for the records that prove a domain; nil asks the system's servers.
	DNS signup.Resolver
	// AppleURL is Apple's service for Exposure Notifications, to which changes of packs can be
	// sent; empty switches that off.
	AppleURL string
	// Loopback lets tenants name addresses of this machine, for development.
	Loopback bool
	// JobInterval is the pause between two turns of a tenant at the export job.
	JobInterval time.Duration
	// Lease is how long a process may be silent before others do its jobs; zero means 30
	// seconds.
	Lease time.Duration
	// SelfTestInterval is the pause between two self-tests of a tenant; zero means none.
	SelfTestInterval time.Duration
	// SelfTestURL is where they, and simulated phones of sandboxes, reach the service as
	// phones do; empty means BaseURL.
	SelfTestURL string
	// StatisticsRetention is how long statistics are kept, 30 to 180 days; zero means 91.
	StatisticsRetention time.Duration
	// Proxies are the networks of the proxies in front of this process. Their
	// X-Forwarded-For is believed, nobody else's.
	Proxies limit.Proxies
	// Maintenance makes every tenant read-only as this process sees it (verification
	// protocol §0.4). "carillon maintenance" does it for all processes.
	Maintenance bool
	// QuotaLogOnly issues codes beyond the tenants' quotas and tells the log.
	QuotaLogOnly bool
	// NoLimits switches rate limits off, for load tests.
	NoLimits bool
	// Profile serves Go's profiles on the listener for operators. They hold no
	// tenant's data, but taking one costs time.
	Profile bool
	// Extra serves paths that no role knows; nil answers 404.
	Extra http.Handler
	Log   *slog.Logger
	Now   func() time.Time
}

// Service is a wired process. Close it after Run has returned.
type Service struct {
	config  Config
	handles []*tenant.DB
	handler http.Handler
	routes  []authz.Route
	jobs    []func(context.Context) error
	holder  string
	// scheduled are the jobs that are run by the schedule, which scheduleDB reaches; nil
	// if there are none.
	scheduled  []job.Job
	scheduleDB *tenant.DB
	metrics    *prometheus.Registry
	// counter counts for statistics, and counts is the handle through which it flushes;
	// nil if this process has nothing to count.
	counter *stats.Counter
	counts  *tenant.DB
	// certificates are told of by who signs them and believed by who takes them, if one
	// process does both.
	certificates *certificate.Memory
	// wakeBatches tells this process's worker of a new batch; nil if it has none.
	wakeBatches func()
	// unsigned counts messages without the signature that they should have.
	unsigned prometheus.Counter
}

// Open connects to the database under each role and wires the parts. It refuses
// a database role that could walk around row-level security.
func Open(ctx context.Context, c Config) (*Service, error) {
	c.StatisticsRetention = cmp.Or(c.StatisticsRetention, stats.Retention)
	if c.StatisticsRetention < stats.MinRetention || c.StatisticsRetention > stats.MaxRetention {
		return nil, fmt.Errorf("statistics are kept %v to %v, not %v", stats.MinRetention, stats.MaxRetention, c.StatisticsRetention)
	}
	if c.Mail == nil {
		c.Mail = mail.None{}
	}
	s := &Service{config: c, certificates: certificate.NewMemory(), metrics: prometheus.NewRegistry(), counter: stats.NewCounter(c.Now), holder: holder(), unsigned: newUnsigned()}
	c.Root.Providers.Observe(s.keyCalls())
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s.unsigned)
	if err := s.wire(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// database opens the handle of a role; Close closes it.
func (s *Service) database(ctx context.Context, r Role) (*tenant.DB, error) {
	dsn, err := s.config.DSN("carillon_" + string(r))
	if err != nil {
		return nil, err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: dsn, Watch: true})
	if err != nil {
		return nil, fmt.Errorf("database as carillon_%s: %w", r, err)
	}
	s.handles = append(s.handles, db)
	s.countDatabase(r, db)
	if err := s.checkRoot(ctx, db); err != nil {
		return nil, err
	}
	if !db.Shares() {
		s.config.Log.WarnContext(ctx, "the database logs failed statements, so requests share no transactions: set log_min_error_statement to panic",
			slog.String("role", string(r)))
	}
	return db, nil
}

// Close ends the database connections.
func (s *Service) Close() error {
	var errs []error
	for _, db := range s.handles {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// Routes lists every route of the process with its guard.
func (s *Service) Routes() []authz.Route { return s.routes }

// Handler serves the roles' URLs.
func (s *Service) Handler() http.Handler { return s.handler }

// drainTimeout is how long requests under way may take to finish.
const drainTimeout = 15 * time.Second

// Run serves until ctx ends, then lets requests under way finish. operations may
// be nil: then there are no metrics.
func (s *Service) Run(ctx context.Context, world, operations net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, world, s.handler) })
	if operations != nil {
		group.Go(func() error { return serve(ctx, operations, s.Operations()) })
	}
	for _, job := range s.jobs {
		group.Go(func() error { return job(ctx) })
	}
	err := group.Wait()
	return errors.Join(err, s.flushCounts(ctx))
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := api.NewHTTPServer(h)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		stopped <- server.Shutdown(drain)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
