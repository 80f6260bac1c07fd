package batch_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// fixture is a world with two tenants that may have batches, and a worker.
type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	backEnd      authz.Subject // north's
	clerk        authz.Subject // of north's staff
	southern     authz.Subject
	sms          *messagetest.Sender
	service      *batch.Service
	worker       *batch.Worker
	dispatcher   *outbox.Dispatcher
	log          *lines
	quotaSpent   bool
}

var stranger = authz.Subject{Kind: authz.Person, ID: "00bb", Name: "Sam", Roles: []authz.Role{authz.Analyst}}

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	w := tenanttest.New(tb)
	f := &fixture{world: w, sms: &messagetest.Sender{}, log: &lines{}}
	f.north, f.south = f.open(tb, "north"), f.open(tb, "south")
	f.backEnd, f.southern = f.key(tb, f.north), f.key(tb, f.south)
	f.clerk = f.hire(tb, "robin", authz.Caseworker)
	keys := key.NewRing(w.Issuer, w.Root)
	codes := f.codes(keys, f.sms)
	f.service = batch.New(batch.Config{DB: w.Issuer, Keys: keys, Policies: authz.NewPolicies(nil), Codes: codes, Now: w.Now})
	f.worker = f.newWorker(codes)
	f.dispatcher = outbox.NewDispatcher(outbox.Config{
		DB: w.Issuer, Keys: keys, Directory: tenant.NewDirectory(w.Issuer), Sender: f.sms, Log: f.log.logger(), Now: w.Now,
	})
	return f
}

// open makes a tenant as the worker's directory shows it, too.
func (f *fixture) open(tb testing.TB, slug string) *tenant.Tenant {
	tb.Helper()
	t := f.world.Create(slug)
	_, err := f.world.Database.Super().ExecContext(tb.Context(), `
update tenant_setting
   set test_types = '{confirmed,likely}', require_date = false, sms_enabled = true, sms_country = 'US',
       sms_template = 'Code [longcode]', batch_issue = true
 where tenant_id = $1`, t.ID.String())
	if err != nil {
		tb.Fatal(err)
	}
	tuned, err := tenant.NewDirectory(f.world.Issuer).ByID(tb.Context(), t.ID)
	if err != nil {
		tb.Fatal(err)
	}
	return tuned
}

// key makes an admin key and returns its subject.
func (f *fixture) key(tb testing.TB, of *tenant.Tenant) authz.Subject {
	tb.Helper()
	by, err := client.NewAuthenticator(f.world.Issuer, nil, f.world.Now).Authenticate(tb.Context(), of, client.Admin, f.world.Key(of, client.Admin), netip.Addr{})
	if err != nil {
		tb.Fatal(err)
	}
	return by
}

// hire makes a member of north's staff and returns her as she signs in, with what her
// identity provider says of her.
func (f *fixture) hire(tb testing.TB, name string, given authz.Role, claimed ...string) authz.Subject {
	tb.Helper()
	const issuer = "https://login.example"
	email := name + "@north.example"
	err := f.world.Operator.In(tb.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return member.Add(tb.Context(), tx, member.Member{Issuer: issuer, Email: email, Name: name, Roles: []authz.Role{given}})
	})
	if err != nil {
		tb.Fatal(err)
	}
	who := oidc.Identity{Issuer: issuer, Subject: name, Email: email, Roles: claimed}
	by, err := member.Authenticate(tb.Context(), f.world.Portal, f.north, who)
	if err != nil {
		tb.Fatal(err)
	}
	return by
}

// do runs a statement as nobody's guest.
func (f *fixture) do(tb testing.TB, statement string, args ...any) {
	tb.Helper()
	if _, err := f.world.Database.Super().ExecContext(tb.Context(), statement, args...); err != nil {
		tb.Fatal(err)
	}
}

func (f *fixture) codes(keys *key.Ring, sender message.Sender) *verification.Service {
	return verification.New(verification.Config{
		DB: f.world.Issuer, Keys: keys, Policies: authz.NewPolicies(nil), Sender: sender,
		Outbox: outbox.New(keys, f.world.Now), Now: f.world.Now, Rand: rand.Reader,
		Quota: func(context.Context, *tenant.Tenant) (func() bool, func(), error) {
			return func() bool { return !f.quotaSpent }, func() {}, nil
		},
	})
}

func (f *fixture) newWorker(codes *verification.Service) *batch.Worker {
	return batch.NewWorker(batch.WorkerConfig{
		DB: f.world.Issuer, Keys: f.ring(), Directory: tenant.NewDirectory(f.world.Issuer),
		Codes: codes, Log: f.log.logger(), Now: f.world.Now,
	})
}

func (f *fixture) ring() *key.Ring { return key.NewRing(f.world.Issuer, f.world.Root) }

// with is a copy of a tenant with other settings.
func with(t *tenant.Tenant, change func(*tenant.Settings)) *tenant.Tenant {
	changed := *t
	change(&changed.Settings)
	return &changed
}

func all(orders ...batch.Order) iter.Seq2[batch.Order, error] {
	return func(yield func(batch.Order, error) bool) {
		for _, o := range orders {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// many are n orders; every second has a number of its own.
func many(n int) iter.Seq2[batch.Order, error] {
	return func(yield func(batch.Order, error) bool) {
		for i := range n {
			o := batch.Order{TestType: "confirmed", ExternalIssuerID: fmt.Sprint("row ", i+1)}
			if i%2 == 1 {
				o.Phone = fmt.Sprintf("+1206%07d", 5_550_000+i)
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (f *fixture) create(tb testing.TB, key string, orders iter.Seq2[batch.Order, error]) *batch.Batch {
	tb.Helper()
	b, created, err := f.service.Create(tb.Context(), f.north, f.backEnd, key, orders)
	if err != nil || !created {
		tb.Fatalf("Create: new %t, %v", created, err)
	}
	return b
}

// work takes turns, and lets the outbox send, until there is nothing to do.
func (f *fixture) work(tb testing.TB, of *tenant.Tenant) {
	tb.Helper()
	for {
		n, err := f.worker.Turn(tb.Context(), of)
		if err != nil {
			tb.Fatalf("Turn: %v", err)
		}
		sent := f.send(tb, of)
		if n == 0 && sent == 0 {
			return
		}
	}
}

func (f *fixture) send(tb testing.TB, of *tenant.Tenant) (sent int) {
	tb.Helper()
	for {
		n := f.sendSome(tb, of)
		if sent += n; n == 0 {
			return sent
		}
	}
}

// sendSome lets the outbox take one turn.
func (f *fixture) sendSome(tb testing.TB, of *tenant.Tenant) (sent int) {
	tb.Helper()
	sent, err := f.dispatcher.Turn(tb.Context(), of)
	if err != nil {
		tb.Fatalf("dispatcher: %v", err)
	}
	return sent
}

func (f *fixture) progress(tb testing.TB, b *batch.Batch) *batch.Progress {
	tb.Helper()
	p, err := f.service.Get(tb.Context(), f.north, f.backEnd, b.ID.String())
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	return p
}

// want checks a batch's state and the counts of its rows.
func (f *fixture) want(tb testing.TB, b *batch.Batch, state batch.State, counts map[batch.State]int) {
	tb.Helper()
	p := f.progress(tb, b)
	if p.State != state {
		tb.Errorf("the batch is %s, want %s", p.State, state)
	}
	for s, n := range p.Counts {
		if counts[s] != n {
			tb.Errorf("%d rows are %s, want %d", n, s, counts[s])
		}
	}
}

func (f *fixture) rows(tb testing.TB, b *batch.Batch, by authz.Subject) []batch.Row {
	tb.Helper()
	var rows []batch.Row
	for after := 0; ; after = rows[len(rows)-1].Number {
		page, err := f.service.Rows(tb.Context(), f.north, by, b.ID.String(), after, batch.MaxPage)
		if err != nil {
			tb.Fatalf("Rows: %v", err)
		}
		if len(page) == 0 {
			return rows
		}
		rows = append(rows, page...)
	}
}

// count is a number from the database, seen by everybody.
func (f *fixture) count(tb testing.TB, query string, args ...any) (n int) {
	tb.Helper()
	if err := f.world.Database.Super().QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

const minute = time.Minute
