package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/lib/pq"

	"carillon/authz/oidc"
	"carillon/deploy/service"
	"carillon/tenant/limit"
	"carillon/tenant/message"
)

type serveCommand struct {
	Roles []string `arg:"" optional:"" help:"Which roles: device, issuer, report, publish, portal, jobs, operator. None means all."`

	Database string `required:"" env:"CARILLON_DATABASE" help:"Connection string without a user: each role connects as carillon_<role>. Keep passwords in a password file (passfile=…)." placeholder:"DSN"`
	keyOptions
	Exports        string        `required:"" env:"CARILLON_EXPORTS" help:"Where export files are published: a folder, or s3://BUCKET/FOLDER/ in an S3-compatible store, as the documentation of operation says." placeholder:"PLACE"`
	Listen         string        `default:"127.0.0.1:8080" env:"CARILLON_LISTEN" help:"Address to serve, behind a proxy that ends TLS."`
	Operations     string        `default:"127.0.0.1:9090" env:"CARILLON_OPERATIONS" help:"Address of the metrics listener; empty for none."`
	BaseURL        string        `name:"base-url" env:"CARILLON_BASE_URL" help:"How browsers reach the portal, https://host without a trailing slash." placeholder:"URL"`
	RedirectDomain []string      `env:"CARILLON_REDIRECT_DOMAIN" help:"Domain below which each region has a host name, as us-wa.en.example: links in text messages lead there. Several are served; messages name the first. Without one, links are of the ens: scheme." placeholder:"DOMAIN"`
	InformationURL string        `name:"information-url" env:"CARILLON_INFORMATION_URL" help:"Where a link leads on a computer that cannot open it (default: the reference's page)." placeholder:"URL"`
	OIDCIssuer     string        `name:"oidc-issuer" env:"CARILLON_OIDC_ISSUER" help:"Issuer of the identity provider for staff, exactly as it spells itself." placeholder:"URL"`
	OIDCClient     string        `name:"oidc-client" env:"CARILLON_OIDC_CLIENT" help:"Client ID at the identity provider."`
	OIDCSecret     string        `name:"oidc-secret" env:"CARILLON_OIDC_SECRET" help:"Client secret. Prefer the environment: command lines are visible."`
	SMS            string        `name:"sms" env:"CARILLON_SMS" type:"path" help:"JSON file with the message provider of health authorities that have none of their own: kind, options, secret, perMinute. Readable by this user alone." placeholder:"FILE"`
	Mail           string        `name:"mail" env:"CARILLON_MAIL" type:"path" help:"JSON file with the mail server for letters to staff: host, port, user, password, from. Readable by this user alone. Without one, invitations cannot be sent." placeholder:"FILE"`
	AppleURL       string        `name:"apple-url" env:"CARILLON_APPLE_URL" help:"Apple's service for Exposure Notifications, such as https://gateway.icloud.com/enservice/v2: staff can then send changes of their configuration there. Without it they hand packs over." placeholder:"URL"`
	JobInterval    time.Duration `default:"30s" env:"CARILLON_JOB_INTERVAL" help:"Pause between rounds of the export job."`
	SelfTest       time.Duration `name:"self-test" default:"15m" env:"CARILLON_SELF_TEST" help:"Pause between two self-tests of a health authority: a rehearsal from code to verified export. 0 for none."`
	SelfTestURL    string        `name:"self-test-url" env:"CARILLON_SELF_TEST_URL" help:"Where self-tests and simulated phones reach the service, as phones do (default: --base-url)." placeholder:"URL"`
	StatisticsDays int           `default:"91" env:"CARILLON_STATISTICS_DAYS" help:"Days that statistics are kept: 30 to 180."`
	CoolDownDays   int           `default:"30" env:"CARILLON_COOL_DOWN_DAYS" help:"Days until an authority that leaves is erased, in which it can come back: 7 to 365."`
	BackupKeys     string        `name:"backup-keys" env:"CARILLON_BACKUP_KEYS" help:"Where the wrapped data keys of health authorities are kept beside the backups, as for \"carillon backup\": an erased authority's is destroyed there. Without it, certificates of erasure say that there are none." placeholder:"PLACE"`
	TrustedProxy   []string      `env:"CARILLON_TRUSTED_PROXY" help:"Network of a proxy in front, such as 10.0.0.0/8: its X-Forwarded-For is believed. May be given several times, or with commas." placeholder:"NETWORK"`
	Maintenance    bool          `env:"CARILLON_MAINTENANCE" help:"Start read-only: this process issues and verifies no codes. \"carillon maintenance on\" does it for all, without a restart."`
	QuotaLogOnly   bool          `name:"quota-log-only" env:"CARILLON_QUOTA_LOG_ONLY" help:"Issue codes beyond the daily quotas, and only tell the log."`
	NoRateLimits   bool          `name:"no-limits" help:"Switch rate limits off, for load tests."`
	Profile        bool          `env:"CARILLON_PROFILE" help:"Serve Go's profiles on the operations listener, below /debug/pprof/."`
}

// leaveProcessors leaves half of them to a database that is on this machine, unless
// GOMAXPROCS in the environment decides. Having all, Go's scheduler looks for work on those
// that the database is about to need, which costs more than they bring: a quarter of the
// requests on two processors.
func leaveProcessors(dsn string) {
	if onThisMachine(dsn) {
		leaveHalf()
	}
}

func leaveHalf() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// onThisMachine reports whether the database is reached by a socket in the file system.
func onThisMachine(dsn string) bool {
	c, err := pq.NewConfig(dsn)
	return err == nil && (strings.HasPrefix(c.Host, "/") || strings.HasPrefix(c.Host, "@"))
}

// slack is how many bytes of garbage may lie about, beyond as many as live, before they are
// collected. A server lives on some ten megabytes; collecting whenever they have doubled,
// as the runtime does, costs a tenth of the CPU time to save what nobody misses.
const slack = 64 << 20

// leaveGarbage makes it so: what is allocated here counts as alive, but is never touched,
// so that it takes no memory.
func leaveGarbage() (end func()) {
	ballast := make([]byte, slack)
	return func() { runtime.KeepAlive(ballast) }
}

func (c serveCommand) Run(ctx context.Context) error {
	defer leaveGarbage()()
	leaveProcessors(c.Database)
	roles, err := service.ParseRoles(c.Roles)
	if err != nil {
		return err
	}
	proxies, err := limit.ParseNetworks(c.TrustedProxy)
	if err != nil {
		return fmt.Errorf("trusted proxy: %w", err)
	}
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	files, err := openExports(ctx, c.Exports)
	if err != nil {
		return err
	}
	sms, err := readProvider(c.SMS)
	if err != nil {
		return fmt.Errorf("message provider: %w", err)
	}
	letters, err := readMailServer(c.Mail)
	if err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	backups, err := openBackupKeys(ctx, c.BackupKeys)
	if err != nil {
		return fmt.Errorf("keys of backups: %w", err)
	}
	svc, err := service.Open(ctx, service.Config{
		Roles:           roles,
		DSN:             func(role string) (string, error) { return asRole(c.Database, role) },
		Root:            keys.Custody,
		Files:           files,
		BaseURL:         c.BaseURL,
		RedirectDomains: c.RedirectDomain, InformationURL: c.InformationURL, AppleURL: c.AppleURL,
		Login: oidc.Config{
			Issuer: c.OIDCIssuer, ClientID: c.OIDCClient, ClientSecret: c.OIDCSecret,
			RedirectURL: c.BaseURL + "/login/callback", Now: time.Now,
		},
		SMS:                 sms,
		Sender:              message.None{},
		Mail:                letters,
		JobInterval:         c.JobInterval,
		SelfTestInterval:    c.SelfTest,
		SelfTestURL:         c.SelfTestURL,
		StatisticsRetention: time.Duration(c.StatisticsDays) * 24 * time.Hour,
		CoolDown:            time.Duration(c.CoolDownDays) * 24 * time.Hour,
		BackupKeys:          backups,
		Proxies:             proxies,
		Maintenance:         c.Maintenance,
		QuotaLogOnly:        c.QuotaLogOnly,
		NoLimits:            c.NoRateLimits,
		Profile:             c.Profile,
		Log:                 slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		Now:                 time.Now,
	})
	if err != nil {
		return err
	}
	defer svc.Close()
	return c.run(ctx, svc)
}

func (c serveCommand) run(ctx context.Context, svc *service.Service) error {
	world, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	var operations net.Listener
	if c.Operations != "" {
		if operations, err = net.Listen("tcp", c.Operations); err != nil {
			return errors.Join(err, world.Close())
		}
	}
	return svc.Run(ctx, world, operations)
}

// asRole adds a user to a connection string of either form.
func asRole(dsn, role string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " binary_parameters=yes user=" + role, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("the database connection string is not a URL that can be read") // it may hold a password
	}
	u.User = url.User(role)
	q := u.Query()
	q.Set("binary_parameters", "yes")
	u.RawQuery = q.Encode()
	return u.String(), nil
}
