package stats_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

// fixture is a world with two tenants, and a reader of their statistics.
type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	reader       *stats.Service
	counter      *stats.Counter
}

func setUp(t testing.TB) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	return &fixture{
		world: w, north: w.Create("north"), south: w.Create("south"),
		reader: stats.New(w.Issuer, w.Now), counter: stats.NewCounter(w.Now),
	}
}

func (f *fixture) sql(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := f.world.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%v in %s", err, statement)
	}
}

func (f *fixture) rollup(t testing.TB, of *tenant.Tenant) time.Time {
	t.Helper()
	settled, err := stats.Rollup(t.Context(), f.world.Jobs, of.ID, f.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	return settled
}

func (f *fixture) flush(t testing.TB) {
	t.Helper()
	if err := f.counter.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}
}

// code is a row of verification_code: zero means as usual, or not claimed.
type code struct {
	of           *tenant.Tenant
	issued       time.Time
	claimedAfter time.Duration
	testType     string
	kind, issuer string
	external     string
}

const longLife = 24 * time.Hour

func (f *fixture) issue(t testing.TB, c code) {
	t.Helper()
	if c.testType == "" {
		c.testType = "confirmed"
	}
	if c.kind == "" {
		c.kind = "system"
	}
	var claimed *time.Time
	if c.claimedAfter > 0 {
		at := c.issued.Add(c.claimedAfter)
		claimed = &at
	}
	f.sql(t, `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, claimed_at, issuer_kind, issuer_id, external_issuer_id)
values ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9)`,
		c.of.ID, uuid.New(), c.testType, c.issued, c.issued.Add(longLife), claimed, c.kind, c.issuer, c.external)
}

// use makes a token of a code that was issued at a time and claimed at another, and
// uses it after a delay.
func (f *fixture) use(t testing.TB, of *tenant.Tenant, testType string, issued, claimed time.Time, delay time.Duration) {
	t.Helper()
	f.sql(t, `
insert into verification_token (tenant_id, token_digest, expires_at, used_at, tekmac_digest, code_day, test_type, seconds_to_use)
values ($1, $2, $3, $4, sha256('mac'), $5, $6, $7)`,
		of.ID, random(32), claimed.Add(longLife), claimed.Add(delay), issued, testType, int(delay.Seconds()))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (f *fixture) realm(t testing.TB, of *tenant.Tenant) []stats.RealmDay {
	t.Helper()
	days, err := f.reader.Realm(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	if len(days) != stats.Days {
		t.Fatalf("%d days, want %d", len(days), stats.Days)
	}
	return days
}

// midnight is that of a number of days before today.
func (f *fixture) midnight(daysAgo int) time.Time {
	return f.world.Now().Truncate(24*time.Hour).AddDate(0, 0, -daysAgo)
}
