package survival

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/migrations"
	"carillon/migrations/postgres"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
)

const (
	// speed makes a lease of 30 seconds last one and a half, shorter than it is renewed:
	// work is taken over also from workers that live.
	speed   = 20
	period  = 20 * time.Second
	tenants = 4
)

// world is a database server of its own, two processes, and tenants with two
// configurations each.
type world struct {
	t       *testing.T
	server  *postgres.Instance
	super   *sql.DB
	clock   clock
	files   *export.FileStore
	dir     string
	root    signing.Custody
	dsn     string
	tenants []*authority
	workers []*process
}

// authority is a tenant as phones and laboratories know it.
type authority struct {
	id                  tenant.ID
	slug, device, admin string
	key                 key.Public
}

var paths = []string{"", "second/"}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock{Start: time.Now(), Speed: speed}, dir: t.TempDir()}
	w.startDatabase()
	rootFile := filepath.Join(w.dir, "root.key")
	var err error
	if w.root.Root, err = signing.CreateRootFile(rootFile); err != nil {
		t.Fatal(err)
	}
	if w.files, err = export.NewFileStore(filepath.Join(w.dir, "files")); err != nil {
		t.Fatal(err)
	}
	for i := range tenants {
		w.found(fmt.Sprintf("tenant-%d", i))
	}
	for range 2 {
		p := &process{t: t, orders: orders{
			DSN: w.dsn, Root: rootFile, Files: filepath.Join(w.dir, "files"), Listen: freeAddress(t), Clock: w.clock,
		}}
		w.workers = append(w.workers, p)
		p.start()
		t.Cleanup(p.kill)
	}
	for _, p := range w.workers {
		p.ready()
	}
	return w
}

func (w *world) startDatabase() {
	w.t.Helper()
	bin, err := postgres.Find(os.Getenv("CARILLON_POSTGRES_BIN"))
	if errors.Is(err, postgres.ErrNotFound) {
		bin, err = postgres.Install(w.t.Context(), filepath.Join(os.TempDir(), "carillon-postgres-programs"), os.Stderr)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "carillon-survival-")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.server, err = postgres.Start(w.t.Context(), postgres.Config{BinDir: bin, Dir: dir, Durable: true, MaxConnections: 300})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.server.Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	if err := migrations.Up(w.t.Context(), w.server.DSN("postgres", "")); err != nil {
		w.t.Fatal(err)
	}
	w.dsn = w.server.DSN("postgres", "ROLE")
	if w.super, err = sql.Open("postgres", w.server.DSN("postgres", "")); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.super.Close() })
}

func (w *world) open(role string) *tenant.DB {
	w.t.Helper()
	db, err := tenant.Open(w.t.Context(), tenant.Config{DSN: strings.ReplaceAll(w.dsn, "ROLE", role)})
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

func (w *world) found(slug string) {
	w.t.Helper()
	ctx := w.t.Context()
	operator, jobs := w.open("carillon_operator"), w.open("carillon_jobs")
	defer operator.Close()
	defer jobs.Close()
	id, err := onboarding.Create(ctx, operator, w.root, onboarding.Spec{
		Slug: slug, Name: slug, Region: fmt.Sprintf("XA-%d", len(w.tenants)), HealthAuthorityID: slug, Issuer: slug, Audience: "audience",
		ExportKeyID: "310", ExportPeriod: period, Truncate: period, MinRecords: 20, PaddingRange: 5,
	}, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	a := &authority{id: id, slug: slug}
	err = operator.In(ctx, id, func(tx *tenant.Tx) (err error) {
		if a.device, _, err = client.Create(ctx, tx, client.Device, "phones"); err != nil {
			return err
		}
		a.admin, _, err = client.Create(ctx, tx, client.Admin, "laboratory")
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := key.NewRing(jobs, w.root).Public(ctx, id, signing.Export)
	if err != nil {
		w.t.Fatal(err)
	}
	a.key = public[0]
	w.exec(`
insert into export_config (tenant_id, config_id, path, region, period_seconds, min_age_seconds, min_records, padding_range, active_from)
select tenant_id, gen_random_uuid(), 'second/', region, period_seconds, 0, 5, 5, active_from from export_config where tenant_id = $1`, id)
	w.tenants = append(w.tenants, a)
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.super.ExecContext(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) number(query string) (n int) {
	w.t.Helper()
	if err := w.super.QueryRowContext(w.t.Context(), query).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// anyWorker is one of the processes by chance.
func (w *world) anyWorker() *process { return w.workers[rand.IntN(len(w.workers))] }
