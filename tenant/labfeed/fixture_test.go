package labfeed

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// fixture is a world with two tenants whose settings allow everything that a lab feed
// needs, and one service.
type fixture struct {
	t            *testing.T
	world        *tenanttest.World
	north, south *tenant.Tenant
	lab          authz.Subject // an admin key of north
	sms          *messagetest.Sender
	feed         *Service
	log          *logBuffer
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, world: tenanttest.New(t), sms: &messagetest.Sender{}, log: &logBuffer{}}
	f.north, f.south = f.open("north"), f.open("south")
	f.lab = f.subject(f.north, client.Admin)
	f.feed = f.service(f.world.Issuer, nil)
	return f
}

func (f *fixture) open(slug string) *tenant.Tenant {
	f.t.Helper()
	t := f.world.Create(slug)
	f.sql(`update tenant_setting set sms_enabled = true, require_date = true where tenant_id = $1`, t.ID)
	return f.find(t.ID)
}

// find reads a tenant with its settings of now.
func (f *fixture) find(id tenant.ID) *tenant.Tenant {
	f.t.Helper()
	t, err := tenant.NewDirectory(f.world.Operator).ByID(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return t
}

// subject makes a key of a tenant, and is who presents it.
func (f *fixture) subject(of *tenant.Tenant, kind client.Kind) authz.Subject {
	f.t.Helper()
	s, err := client.NewAuthenticator(f.world.Issuer, nil, f.world.Now).Authenticate(f.t.Context(), of, kind, f.world.Key(of, kind), netip.Addr{})
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *fixture) service(db *tenant.DB, change func(*Config, *verification.Config)) *Service {
	keys := key.NewRing(f.world.Issuer, f.world.Root)
	policies := authz.NewPolicies(nil)
	codes := verification.Config{
		DB: db, Keys: keys, Policies: policies, Sender: f.sms, Outbox: outbox.New(keys, f.world.Now), Now: f.world.Now, Rand: rand.Reader,
	}
	c := Config{
		DB: db, Keys: keys, Policies: policies, Directory: tenant.NewDirectory(f.world.Issuer),
		Log: slog.New(slog.NewJSONHandler(f.log, nil)), Now: f.world.Now,
	}
	if change != nil {
		change(&c, &codes)
	}
	c.Codes = verification.New(codes)
	return New(c)
}

func (f *fixture) sql(statement string, args ...any) {
	f.t.Helper()
	if _, err := f.world.Database.Super().ExecContext(f.t.Context(), statement, args...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) number(query string, args ...any) (n int) {
	f.t.Helper()
	if err := f.world.Database.Super().QueryRowContext(f.t.Context(), query, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// codes counts the codes of the tenants.
func (f *fixture) codes() int {
	f.t.Helper()
	return f.number(`select count(*) from verification_code`)
}

// submit hands in a table of results, which must be taken.
func (f *fixture) submit(lines ...string) *Receipt {
	f.t.Helper()
	r, err := f.feed.Submit(f.t.Context(), f.north, f.lab, document.CSV, []byte(table(lines...)))
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// turn has the worker do what is due.
func (f *fixture) turn() {
	f.t.Helper()
	if err := f.feed.Turn(f.t.Context(), f.north.ID); err != nil {
		f.t.Fatal(err)
	}
}

func table(lines ...string) string {
	return "test_code,result,phone,accession,laboratory,collected,onset,status\n" + strings.Join(lines, "\n") + "\n"
}

// result is a line of a table, changed member by member from a usable one.
func result(accession string, change ...string) string {
	line := map[string]string{
		"test": "94500-6", "result": "260373001", "phone": "+12065550100", "collected": "2026-11-24", "onset": "", "status": "final",
	}
	for i := 0; i < len(change); i += 2 {
		line[change[i]] = change[i+1]
	}
	return fmt.Sprintf(`%s,%s,%q,%s,Harbor Lab,%s,%s,%s`,
		line["test"], line["result"], line["phone"], accession, line["collected"], line["onset"], line["status"])
}

const (
	detected    = "260373001"
	notDetected = "260415000"
	antigen     = "94558-4"
)

func (f *fixture) wantCounts(what string, r *Receipt, want Counts) {
	f.t.Helper()
	if r.Counts != want {
		f.t.Errorf("%s: %+v, want %+v", what, r.Counts, want)
	}
}

// states of the rows of north, as "state reason" with their number.
func (f *fixture) states() map[string]int {
	f.t.Helper()
	rows, err := f.world.Database.Super().QueryContext(f.t.Context(),
		`select trim(state || ' ' || reason), count(*) from lab_result where tenant_id = $1 group by 1`, f.north.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			f.t.Fatal(err)
		}
		all[name] = n
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return all
}

func (f *fixture) letters() []DeadLetter {
	f.t.Helper()
	all, err := f.feed.DeadLetters(f.t.Context(), f.north, f.lab, "")
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

func (f *fixture) retry(id uuid.UUID) (Reason, error) {
	return f.feed.Retry(f.t.Context(), f.north, f.lab, id.String())
}
