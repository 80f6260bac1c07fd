// Package tenanttest is a whole world for tests: a database with the current
// schema, a handle under each process role, a root key, a clock that a test can
// set, and tenants on request.
package tenanttest

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"carillon/migrations/testdb"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/onboarding"
)

// World is one test's. Handles are closed when the test ends.
type World struct {
	// Handles under each role, all with the full schema.
	Device, Issuer, Report, Publish, Portal, Jobs, Operator *tenant.DB
	// Root wraps the data keys of the world's tenants.
	Root signing.Custody
	// RootFile is where that key is, for other processes.
	RootFile string
	// Database is the world's database itself.
	Database *testdb.DB

	t       testing.TB
	mu      sync.Mutex
	now     time.Time
	handles []*tenant.DB // guarded by mu
}

// Start is what the clock shows at first: a Wednesday afternoon.
var Start = time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)

// New makes a world.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, now: Start, Database: testdb.New(t), RootFile: filepath.Join(t.TempDir(), "root.key")}
	root, err := signing.CreateRootFile(w.RootFile)
	if err != nil {
		t.Fatal(err)
	}
	w.Root = signing.Custody{Root: root}
	for role, db := range map[string]**tenant.DB{
		"device": &w.Device, "issuer": &w.Issuer, "report": &w.Report, "publish": &w.Publish,
		"portal": &w.Portal, "jobs": &w.Jobs, "operator": &w.Operator,
	} {
		*db = w.Open("carillon_" + role)
	}
	return w
}

// Open makes one more handle, under a database role.
func (w *World) Open(databaseRole string) *tenant.DB {
	w.t.Helper()
	db, err := tenant.Open(w.t.Context(), tenant.Config{DSN: w.Database.DSN(databaseRole)})
	if err != nil {
		w.t.Fatalf("open as %s: %v", databaseRole, err)
	}
	w.mu.Lock()
	w.handles = append(w.handles, db)
	w.mu.Unlock()
	w.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
	return db
}

// Now is the world's clock.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Advance moves the clock.
func (w *World) Advance(d time.Duration) { w.SetNow(w.Now().Add(d)) }

// SetNow sets the clock.
func (w *World) SetNow(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// Create makes a tenant that is named after its slug.
func (w *World) Create(slug string, change ...func(*onboarding.Spec)) *tenant.Tenant {
	w.t.Helper()
	spec := onboarding.Spec{
		Slug: slug, Name: "Health of " + slug, Region: region(slug),
		HealthAuthorityID: "org." + slug + ".health",
		Issuer:            "health." + slug + ".example", Audience: "exposure-notifications-server",
		ExportKeyID: "310",
	}
	for _, c := range change {
		c(&spec)
	}
	id, err := onboarding.Create(context.Background(), w.Operator, w.Root, spec, w.Now())
	if err != nil {
		w.t.Fatalf("create tenant %s: %v", slug, err)
	}
	t, err := tenant.NewDirectory(w.Operator).ByID(context.Background(), id)
	if err != nil {
		w.t.Fatalf("find tenant %s: %v", slug, err)
	}
	return t
}

// MarkLeaving has a tenant leave, as if it had wound down already: package leaving has it
// leave as people do.
func (w *World) MarkLeaving(t *tenant.Tenant) {
	w.t.Helper()
	w.mark(t, `insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
	           values ($1, 'robin', 'sam', now(), now(), now() + interval '30 days')`)
	w.mark(t, `update tenant_directory set state = 'leaving' where tenant = $1`)
}

// MarkErased has a tenant be in the state that it has after its erasure. Its rows stay:
// package leaving erases.
func (w *World) MarkErased(t *tenant.Tenant) {
	w.t.Helper()
	w.MarkLeaving(t)
	w.mark(t, `update tenant_directory set state = 'erased' where tenant = $1`)
}

func (w *World) mark(t *tenant.Tenant, statement string) {
	w.t.Helper()
	if _, err := w.Database.Super().ExecContext(context.Background(), statement, t.ID); err != nil {
		w.t.Fatalf("change state of %s: %v", t.Slug, err)
	}
}

// region is a code of the user-assigned part of ISO 3166, one for each slug.
func region(slug string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	sum := 0
	for _, c := range slug {
		sum = sum*31 + int(c)
	}
	sum &= 0x7fffffff
	return "X" + letters[sum%26:sum%26+1] + "-" + letters[sum/26%26:sum/26%26+1] + letters[sum/676%26:sum/676%26+1] + letters[sum/17576%26:sum/17576%26+1]
}

// Key makes an API key of a tenant and returns its text.
func (w *World) Key(t *tenant.Tenant, kind client.Kind) string {
	w.t.Helper()
	var text string
	err := w.Operator.In(context.Background(), t.ID, func(tx *tenant.Tx) (err error) {
		text, _, err = client.Create(context.Background(), tx, kind, string(kind)+" "+rand.Text())
		return err
	})
	if err != nil {
		w.t.Fatalf("API key: %v", err)
	}
	return text
}

// Denied reports whether err is the database's refusal to let a role do something:
// a missing grant, or a row that a policy does not admit.
func Denied(err error) bool {
	var answer *pq.Error
	return errors.As(err, &answer) && answer.Code == "42501"
}

// Trips returns how many round trips to the database the world's handles make
// while fn runs, not counting those that prepare a statement on a connection: it is
// chance which connection that is.
func (w *World) Trips(fn func()) int {
	before := w.trips()
	fn()
	return int(w.trips() - before)
}

func (w *World) trips() (sum int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, db := range w.handles {
		stats := db.Stats()
		sum += stats.RoundTrips - stats.Prepared
	}
	return sum
}
