package verification_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// fixture is a world with two tenants and one service for each database role
// that uses codes.
type fixture struct {
	world                  *tenanttest.World
	north, south           *tenant.Tenant
	sms                    *messagetest.Sender
	issuer, portal, device *verification.Service
}

var (
	backEnd    = authz.Subject{Kind: authz.APIKey, ID: "5e2f", Name: "Back end", Roles: []authz.Role{authz.KeyAdmin}}
	caseworker = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Caseworker}}
	stranger   = authz.Subject{Kind: authz.Person, ID: "00bb", Name: "Sam", Roles: []authz.Role{authz.Analyst}}
)

const phone = "+12065550100"

func setUp(tb testing.TB) *fixture {
	tb.Helper()
	w := tenanttest.New(tb)
	f := &fixture{world: w, sms: &messagetest.Sender{}}
	f.north, f.south = tuned(w.Create("north")), tuned(w.Create("south"))
	f.north.Settings.GenerateSMS = true
	f.issuer = f.service(w.Issuer, nil)
	f.portal = f.service(w.Portal, nil)
	f.device = f.service(w.Device, nil)
	return f
}

// tuned is a tenant that allows everything and sends messages.
func tuned(t *tenant.Tenant) *tenant.Tenant {
	return with(t, func(s *tenant.Settings) {
		s.TestTypes = []string{"confirmed", "likely", "negative", "user-report"}
		s.RequireDate, s.IssueUserReport, s.SMSEnabled, s.SMSCountry = false, true, true, "US"
		s.SMSTemplate = "Code [longcode] for [longexpires] h, or [code] for [expires] min"
		s.CodeDigits, s.CodeLife = 8, 15*time.Minute
		s.LongCodeLength, s.LongCodeLife = 16, 24*time.Hour
		s.TokenLife, s.CertificateLife = 24*time.Hour, 15*time.Minute
	})
}

// with is a copy of a tenant with other settings.
func with(t *tenant.Tenant, change func(*tenant.Settings)) *tenant.Tenant {
	changed := *t
	change(&changed.Settings)
	return &changed
}

// service works under one role's handle; change alters its configuration.
func (f *fixture) service(db *tenant.DB, change func(*verification.Config)) *verification.Service {
	c := verification.Config{
		DB: db, Keys: key.NewRing(db, f.world.Root), Policies: authz.NewPolicies(nil),
		Sender: f.sms, Now: f.world.Now, Rand: rand.Reader,
	}
	if change != nil {
		change(&c)
	}
	return verification.New(c)
}

// issue issues a code that must succeed.
func (f *fixture) issue(tb testing.TB, to *tenant.Tenant, r verification.IssueRequest) *verification.Issued {
	tb.Helper()
	if r.TestType == "" {
		r.TestType = "confirmed"
	}
	issued, err := f.issuer.Issue(tb.Context(), to, backEnd, r)
	if err != nil {
		tb.Fatalf("Issue: %v", explain(err))
	}
	return issued
}

// messaged issues a code with a message and returns its long code, too.
func (f *fixture) messaged(tb testing.TB, to *tenant.Tenant) (issued *verification.Issued, long string) {
	tb.Helper()
	to = with(to, func(s *tenant.Settings) { s.SMSTemplate = "[longcode]" })
	issued = f.issue(tb, to, verification.IssueRequest{Phone: phone})
	sent := f.sms.Delivered()
	return issued, sent[len(sent)-1].Body
}

// verify claims a code, which must succeed.
func (f *fixture) verify(tb testing.TB, at *tenant.Tenant, code string) *verification.Verified {
	tb.Helper()
	v, err := f.device.Verify(tb.Context(), at, verification.VerifyRequest{Code: code})
	if err != nil {
		tb.Fatalf("Verify: %v", explain(err))
	}
	return v
}

// token issues and claims a code for its token.
func (f *fixture) token(tb testing.TB, of *tenant.Tenant, r verification.IssueRequest) string {
	tb.Helper()
	return f.verify(tb, of, f.issue(tb, of, r).Code).Token
}

func (f *fixture) status(tb testing.TB, of *tenant.Tenant, i *verification.Issued) verification.Status {
	tb.Helper()
	s, err := f.issuer.Status(tb.Context(), of, backEnd, i.ID.String())
	if err != nil {
		tb.Fatalf("Status: %v", explain(err))
	}
	return s
}

// wantProblem checks kind and text of a refusal; an empty text is not looked at.
func wantProblem(tb testing.TB, err, kind error, text string) {
	tb.Helper()
	var p *verification.Problem
	if !errors.As(err, &p) || !errors.Is(err, kind) {
		tb.Errorf("got %v, want a Problem: %v", explain(err), kind)
		return
	}
	if text != "" && p.Text != text {
		tb.Errorf("%v says %q, want %q", kind, p.Text, text)
	}
}

// explain shows the text that an error hides from logs.
func explain(err error) error {
	var p *verification.Problem
	if errors.As(err, &p) {
		return errors.New(p.Error() + ": " + p.Text)
	}
	return err
}

// in runs fn in a transaction of the tenant, which must succeed.
func in(tb testing.TB, db *tenant.DB, id tenant.ID, fn func(context.Context, *tenant.Tx) error) {
	tb.Helper()
	err := db.In(tb.Context(), id, func(tx *tenant.Tx) error { return fn(tb.Context(), tx) })
	if err != nil {
		tb.Fatalf("transaction: %v", err)
	}
}

const (
	codeMAC   = signing.CodeMAC
	tokenSeal = signing.Token
)

// rotate gives a tenant a second version of a secret key, and the services new
// rings, which know it at once.
func (f *fixture) rotate(tb testing.TB, of *tenant.Tenant, p signing.Purpose) {
	tb.Helper()
	size := map[signing.Purpose]int{codeMAC: 128, signing.PhoneMAC: 128, tokenSeal: 32}[p]
	in(tb, f.world.Operator, of.ID, func(ctx context.Context, tx *tenant.Tx) error {
		var wrapped []byte
		if err := tx.Get(ctx, &wrapped, `select wrapped from data_key`); err != nil {
			return err
		}
		dk, err := signing.OpenDataKey(ctx, f.world.Root, of.ID.String(), wrapped)
		if err != nil {
			return err
		}
		sealed, err := signing.NewSecret(dk, signing.Binding{Tenant: of.ID.String(), Purpose: p, KeyID: "2/"}, size)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update signing_key set state = 'verify-only' where purpose = $1`, string(p)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
insert into signing_key (tenant_id, purpose, version, key_id, state, sealed)
values (current_tenant(), $1, 2, '2', 'active', $2)`, string(p), sealed)
		return err
	})
	f.issuer, f.device = f.service(f.world.Issuer, nil), f.service(f.world.Device, nil)
}

// zeros yields n zero bytes, then randomness.
func zeros(n int64) io.Reader {
	return io.MultiReader(io.LimitReader(zeroReader{}, n), rand.Reader)
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// senderFunc makes a sender of a function.
type senderFunc func(context.Context, *tenant.Tenant, message.Message) error

func (f senderFunc) Send(ctx context.Context, t *tenant.Tenant, m message.Message) error {
	return f(ctx, t, m)
}

// budget is a quota of which one code is left whenever has says so.
func budget(has func(tenant.ID) bool) func(context.Context, *tenant.Tenant) (func() bool, func(), error) {
	return func(_ context.Context, t *tenant.Tenant) (spend func() bool, release func(), err error) {
		return func() bool { return has(t.ID) }, func() {}, nil
	}
}
