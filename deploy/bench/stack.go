package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/migrations"
	"carillon/migrations/postgres"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/onboarding"
)

// stack is a server process with its database, and the tenants that load is for.
type stack struct {
	dir        string // of this run alone
	database   *postgres.Instance
	root       signing.Custody
	server     *exec.Cmd
	exited     chan struct{} // closed when the server process has ended
	address    string        // where it serves
	bare       []string      // the program that it is compared with for downloads
	operations string        // where its metrics are
	tenants    []*target
}

// target is a tenant as callers know it.
type target struct {
	id                  tenant.ID
	slug, issuer        string
	path                string // of its URLs, ending in a slash
	deviceKey, adminKey string
	healthAuthorityID   string
}

const (
	maxConnections = 400
	installTimeout = 5 * time.Minute
	stopTimeout    = 20 * time.Second
)

func start(ctx context.Context, o Options) (_ *stack, err error) {
	s, err := startStore(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.stop(ctx)
		}
	}()
	if s.tenants, err = s.grow(ctx, few); err != nil {
		return nil, err
	}
	if err := s.makeFiles(ctx); err != nil {
		return nil, err
	}
	s.bare = o.Bare
	return s, s.startServer(ctx, o.Server)
}

// startStore is a stack without server and tenants.
func startStore(ctx context.Context, o Options) (_ *stack, err error) {
	s := &stack{}
	defer func() {
		if err != nil {
			s.stop(ctx)
		}
	}()
	if s.dir, err = os.MkdirTemp(o.Dir, "carillon-bench-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // Postgres may run as another user
		return nil, err
	}
	if s.root.Root, err = signing.CreateRootFile(s.rootFile()); err != nil {
		return nil, err
	}
	return s, s.startDatabase(ctx, o)
}

func (s *stack) rootFile() string { return filepath.Join(s.dir, "root.key") }

const (
	database = "postgres"
	audience = "exposure-notifications-server"
)

func (s *stack) dsn(role string) string { return s.database.DSN(database, role) }

func (s *stack) startDatabase(ctx context.Context, o Options) error {
	bin, err := postgres.Find(o.PostgresBin)
	if errors.Is(err, postgres.ErrNotFound) {
		install, cancel := context.WithTimeout(ctx, installTimeout)
		defer cancel()
		bin, err = postgres.Install(install, filepath.Join(s.dir, "programs"), o.Out)
	}
	if err != nil {
		return err
	}
	s.database, err = postgres.Start(ctx, postgres.Config{
		BinDir: bin, Dir: filepath.Join(s.dir, "postgres"), Durable: true, MaxConnections: maxConnections,
	})
	if err != nil {
		return err
	}
	if err := migrations.Up(ctx, s.dsn("")); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return s.makeFloor(ctx)
}

// startServer runs the server program, as an operator would, and waits until it
// answers. Its log goes to a file.
func (s *stack) startServer(ctx context.Context, program []string) error {
	for _, address := range []*string{&s.address, &s.operations} {
		var err error
		if *address, err = freeAddress(); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(program[1:len(program):len(program)],
		"--database", s.database.DSN(database, "ignored"), "--root-key", s.rootFile(), "--exports", s.files(),
		"--listen", s.address, "--operations", s.operations, "--profile", "--no-limits")
	s.server = exec.CommandContext(ctx, program[0], args...)
	s.server.Stderr = log
	s.server.Cancel = func() error { return s.server.Process.Signal(syscall.SIGTERM) }
	if err := s.server.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.server.Wait() // however it ends, it has
		close(s.exited)
	}()
	return s.await(ctx)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

var errServerEnded = errors.New("the server process has ended; its log says why")

func (s *stack) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exited:
			words, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
			return fmt.Errorf("%w: %s", errServerEnded, words)
		case <-tick.C:
		}
	}
}

// stop ends the server, then the database, and removes what they wrote.
func (s *stack) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if s.exited != nil {
		_ = s.server.Process.Signal(syscall.SIGTERM) // unless it has ended
		select {
		case <-s.exited:
		case <-ctx.Done():
			_ = s.server.Process.Kill()
		}
	}
	if s.database != nil {
		_ = s.database.Stop(ctx)
	}
	_ = os.RemoveAll(s.dir)
}

// makers is how many tenants are made at once.
const makers = 8

// grow returns n tenants: those that there are, and new ones.
func (s *stack) grow(ctx context.Context, n int) ([]*target, error) {
	db, err := tenant.Open(ctx, tenant.Config{DSN: s.dsn("carillon_operator")})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	all := make([]*target, n)
	have := copy(all, s.tenants)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(makers)
	for i := have; i < n; i++ {
		group.Go(func() (err error) {
			all[i], err = s.create(ctx, db, i)
			return err
		})
	}
	return all, group.Wait()
}

func (s *stack) create(ctx context.Context, db *tenant.DB, i int) (*target, error) {
	slug := fmt.Sprintf("tenant-%04d", i)
	t := &target{slug: slug, issuer: slug + ".example", path: "/t/" + slug + "/", healthAuthorityID: "org." + slug}
	var err error
	t.id, err = onboarding.Create(ctx, db, s.root, onboarding.Spec{
		Slug: slug, Name: slug, Region: region(i), HealthAuthorityID: t.healthAuthorityID,
		Issuer: t.issuer, Audience: audience, ExportKeyID: "310", ExportMinAge: -1,
	}, time.Now())
	if err != nil {
		return nil, err
	}
	return t, db.In(ctx, t.id, func(tx *tenant.Tx) (err error) {
		if t.deviceKey, _, err = client.Create(ctx, tx, client.Device, "load"); err != nil {
			return err
		}
		t.adminKey, _, err = client.Create(ctx, tx, client.Admin, "load, back end")
		return err
	})
}

// region is a code of the user-assigned part of ISO 3166, another one for each number.
func region(i int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return "X" + letters[i/26/26/26%26:][:1] + "-" + letters[i/26/26%26:][:1] + letters[i/26%26:][:1] + letters[i%26:][:1]
}
