//go:build !release

// Package dev is the whole of Carillon on one computer, for people who want to
// see it or work on it: a private Postgres, an identity provider, another one that a
// department can have as its own, an inbox for text messages, a mailbox for letters and two
// demo health departments with the sandbox of one, seeded by sending simulated phones through the real endpoints.
//
// It exists in no release: everything here trusts whoever can reach it.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"carillon/deploy/service"
	"carillon/migrations"
	"carillon/signing"
	"carillon/tenant/export"
	"carillon/tenant/mail"
	"carillon/tenant/message"
	"carillon/tenant/signup/localdns"
)

// Options are the flags of `carillon dev`.
type Options struct {
	// Listen is the address to serve, host:port; port 0 takes any free one.
	Listen string
	// Data is the folder that keeps everything between runs.
	Data string
	// ExportPeriod is how often export files are cut; it must divide a day.
	ExportPeriod time.Duration
	// NoLimits switches rate limits off.
	NoLimits bool
	// Check runs the whole flow for both departments, reports, and ends.
	Check bool
	// Database is a superuser's connection string of a server to use instead of
	// a private one; empty starts a private one.
	Database string
	// PostgresBin is the folder of Postgres's programs; empty looks for them.
	PostgresBin string
	Out         io.Writer
	Log         *slog.Logger
}

// ErrCheckFailed means that a step of the check did not do what it should; the
// report has been printed.
var ErrCheckFailed = errors.New("the check found a step that failed")

const (
	day = 24 * time.Hour
	// jobsPerPeriod is how often in a period the export job looks for work.
	jobsPerPeriod = 8
	minJobPause   = 100 * time.Millisecond
	maxJobPause   = 5 * time.Second
	selfTestPause = 15 * time.Minute
)

func (o Options) validate() error {
	if o.ExportPeriod < time.Second || o.ExportPeriod > day || o.ExportPeriod%time.Second != 0 || day%o.ExportPeriod != 0 {
		return fmt.Errorf("--export-period %v: give whole seconds that divide a day evenly, such as 5s, 15s, 1m or 4h", o.ExportPeriod)
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("--listen %q: give host:port, such as 127.0.0.1:8080: %w", o.Listen, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %q: the demo trusts everybody who reaches it, so it listens on loopback addresses only", o.Listen)
	}
	return nil
}

// Run starts everything, seeds what is missing, and serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("%w (is another one running? --listen 127.0.0.1:0 takes any free port)", err)
	}
	defer listener.Close()

	started := time.Now()
	fmt.Fprintln(o.Out, "Starting Postgres …")
	database, stopDatabase, err := o.startDatabase(ctx)
	if err != nil {
		return err
	}
	defer stopDatabase()
	if err := migrations.Up(ctx, database("")); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	root, err := openRoot(filepath.Join(o.Data, "root.key"))
	if err != nil {
		return err
	}

	files, err := export.NewFileStore(filepath.Join(o.Data, "exports"))
	if err != nil {
		return err
	}

	dns, err := localdns.Start()
	if err != nil {
		return err
	}
	defer func() { _ = dns.Close() }()

	s := stack{
		options: o, database: database, root: root, files: files,
		base:  "http://" + listener.Addr().String(),
		inbox: message.NewInbox(time.Now), mailbox: mail.NewBox(time.Now), dns: dns,
	}
	return s.run(ctx, cancel, listener, started)
}

// openRoot opens the platform's root key, and makes it on the first run.
func openRoot(path string) (signing.Custody, error) {
	root, err := signing.OpenRootFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		root, err = signing.CreateRootFile(path)
	}
	if err != nil {
		return signing.Custody{}, fmt.Errorf("root key: %w", err)
	}
	return signing.Custody{Root: root}, nil
}

// stack is a running demo.
type stack struct {
	options  Options
	database func(role string) string
	root     signing.Custody
	files    export.Store
	base     string // http://host:port
	inbox    *message.Inbox
	mailbox  *mail.Box
	dns      *localdns.Server
}

func (s stack) run(ctx context.Context, cancel context.CancelFunc, listener net.Listener, started time.Time) error {
	tenants, found, err := s.provision(ctx)
	if err != nil {
		return err
	}
	extra, err := s.extra(tenants)
	if err != nil {
		return err
	}
	svc, err := service.Open(ctx, s.config(extra))
	if err != nil {
		return err
	}
	defer svc.Close()

	operations, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- svc.Run(ctx, listener, operations) }()

	err = s.afterStart(ctx, found, operations.Addr(), started)
	if err != nil || s.options.Check {
		cancel()
	}
	return errors.Join(err, <-served)
}

// afterStart sends the phones, tells the user where everything is and, if asked,
// runs the check.
func (s stack) afterStart(ctx context.Context, e endpoints, operations net.Addr, started time.Time) error {
	if err := s.seed(ctx, e); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if err := e.write(s.options.Data); err != nil {
		return fmt.Errorf("write %s: %w", endpointsFile, err)
	}
	s.announce(e, operations, time.Since(started))
	if s.options.Check {
		return s.check(ctx, e)
	}
	return nil
}

func (s stack) config(extra http.Handler) service.Config {
	pause := min(max(s.options.ExportPeriod/jobsPerPeriod, minJobPause), maxJobPause)
	return service.Config{
		Roles:            service.Roles(),
		DSN:              func(role string) (string, error) { return s.database(role), nil },
		Root:             s.root,
		Files:            s.files,
		BaseURL:          s.base,
		Login:            s.login(),
		Sender:           s.inbox,
		Mail:             s.mailbox,
		DNS:              s.dns.Resolver(),
		Loopback:         true,
		RedirectDomains:  []string{s.redirectDomain()},
		JobInterval:      pause,
		SelfTestInterval: selfTestPause,
		NoLimits:         s.options.NoLimits,
		Extra:            extra,
		Log:              s.options.Log,
		Now:              time.Now,
	}
}

func (s stack) announce(e endpoints, operations net.Addr, took time.Duration) {
	out := s.options.Out
	fmt.Fprintf(out, "\nCarillon is ready after %.1f s: %s\n\n", took.Seconds(), s.base)
	for _, t := range e.Tenants {
		fmt.Fprintf(out, "  %s (%s)\n    portal    %s\n    phones    %s\n    index     %s\n    links     %s\n", t.Name, t.Region, t.PortalURL, t.DeviceBase, t.IndexURL, t.RedirectBase)
		for _, p := range t.Staff {
			fmt.Fprintf(out, "    sign in   %-28s %s\n", p.Login, p.Name)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "  %s, for rehearsals with simulated phones\n    portal    %srehearsal\n", e.Sandbox.Name, e.Sandbox.PortalURL)
	for _, p := range e.Sandbox.Staff {
		fmt.Fprintf(out, "    sign in   %-34s %s\n", p.Login, p.Name)
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "  the platform   %s/operator\n", s.base)
	for _, o := range operators {
		fmt.Fprintf(out, "    sign in   %-28s %s\n", string(o.Role)+"@platform", o.Name)
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "  text messages  %s/dev/inbox\n", s.base)
	fmt.Fprintf(out, "  letters        %s/dev/mailbox\n", s.base)
	fmt.Fprintf(out, "  sign up        %s/signup (as applicant@lakeland; prove a domain at %s/dev/dns)\n", s.base, s.base)
	fmt.Fprintf(out, "  own sign-in    %s%s, for Settings → Sign-in; client and people at %s%s/desk\n", s.base, ownProviderPath, s.base, ownProviderPath)
	fmt.Fprintf(out, "  metrics        http://%s/metrics\n", operations)
	fmt.Fprintf(out, "  for programs   %s (holds keys; readable by you alone)\n\n", filepath.Join(s.options.Data, endpointsFile))
	fmt.Fprintf(out, "Keys that phones publish are in an export file within %v or two. Same-day keys are released at once, which no real\ndepartment may do. Ctrl-C stops everything; the next start continues with the same data.\n", s.options.ExportPeriod)
}
