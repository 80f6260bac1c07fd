package approval_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/member"
	"carillon/tenant/tenanttest"
)

const idp = "https://login.example"

type fixture struct {
	*tenanttest.World
	north, south *tenant.Tenant
	ada, bea     authz.Subject // key custodians
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, north: w.Create("north"), south: w.Create("south")}
	f.ada, f.bea = f.hire(t, idp, "ada", authz.KeyCustodian), f.hire(t, idp, "bea", authz.KeyCustodian)
	return f
}

// hire makes a member of north who has signed in.
func (f *fixture) hire(t *testing.T, issuer, name string, roles ...authz.Role) authz.Subject {
	t.Helper()
	m := member.Member{Issuer: issuer, Email: name + "@north.example", Name: name, Roles: roles}
	if err := f.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error { return member.Add(t.Context(), tx, m) }); err != nil {
		t.Fatal(err)
	}
	s, err := member.Authenticate(t.Context(), f.Portal, f.north, oidc.Identity{Issuer: issuer, Subject: "sub-" + name, Email: m.Email})
	if err != nil {
		t.Fatal(err)
	}
	s.Because = "role key-custodian allows it"
	return s
}

func (f *fixture) exec(t *testing.T, sql string, args ...any) error {
	t.Helper()
	_, err := f.Database.Super().ExecContext(t.Context(), sql, args...)
	return err
}

var activate = approval.Want{Kind: approval.KeyActivate, Target: "export 2", Detail: map[string]string{"confirmed": "apple google"}}

// in runs one call in a transaction of north's.
func in[T any](t *testing.T, f *fixture, call func(*tenant.Tx) (T, error)) (v T, err error) {
	t.Helper()
	err = f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		v, err = call(tx)
		return err
	})
	return v, err
}

func (f *fixture) ask(t *testing.T, by authz.Subject, w approval.Want) (approval.Request, error) {
	t.Helper()
	return in(t, f, func(tx *tenant.Tx) (approval.Request, error) {
		return approval.Ask(t.Context(), tx, by, w, "The old key ends.", f.Now())
	})
}

func (f *fixture) approve(t *testing.T, by authz.Subject, id approval.ID) error {
	t.Helper()
	_, err := in(t, f, func(tx *tenant.Tx) (approval.Request, error) {
		return approval.Approve(t.Context(), tx, by, id, f.Now())
	})
	return err
}

func (f *fixture) use(ctx context.Context, db *tenant.DB, w approval.Want) error {
	return db.In(ctx, f.north.ID, func(tx *tenant.Tx) error {
		_, err := approval.Use(ctx, tx, authz.Subject{Kind: authz.System, ID: "keys"}, w, f.Now())
		return err
	})
}

// must asks for the activation, and approves it.
func (f *fixture) must(t *testing.T) approval.Request {
	t.Helper()
	r, err := f.ask(t, f.ada, activate)
	if err == nil {
		err = f.approve(t, f.bea, r.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

// What two people want happens once, and the log tells who wanted it, and by which rule.
func TestTwoPeople(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	wantErr(t, "before anybody asks", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)
	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "before anybody approves", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)
	_, err = f.ask(t, f.bea, activate)
	wantErr(t, "asked twice", err, approval.ErrAsked)
	wantErr(t, "by herself", f.approve(t, f.ada, r.ID), approval.ErrSamePerson)
	if err := f.approve(t, f.bea, r.ID); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "decided twice", f.approve(t, f.bea, r.ID), approval.ErrDecided)
	other := activate
	other.Detail = map[string]string{"confirmed": "apple"}
	wantErr(t, "another wish", f.use(t.Context(), f.Jobs, other), approval.ErrNotApproved)
	if err := f.use(t.Context(), f.Jobs, activate); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "spent twice", f.use(t.Context(), f.Portal, activate), approval.ErrNotApproved)

	entries, err := in(t, f, func(tx *tenant.Tx) ([]audit.Entry, error) {
		return audit.Find(t.Context(), tx, audit.Filter{Action: "approval:"}, 10)
	})
	if err != nil || len(entries) != 3 {
		t.Fatalf("audit entries %v, %v", entries, err)
	}
	for i, want := range []struct{ action, actor, because string }{
		{"approval:use", "keys", ""}, {"approval:approve", f.bea.ID, f.bea.Because}, {"approval:ask", f.ada.ID, f.ada.Because},
	} {
		e := entries[i]
		if e.Action != want.action || e.ActorID != want.actor || e.Because != want.because || e.Target != "export 2" || !strings.Contains(string(e.Detail), r.ID.String()) {
			t.Errorf("entry %+v, want %v", e, want)
		}
	}
}

// Nobody asks or approves who is not a member that may.
func TestWhoMay(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	analyst := f.hire(t, idp, "ann", authz.Analyst)
	impostor := func(change func(*authz.Subject)) authz.Subject {
		s := f.bea
		change(&s)
		return s
	}
	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatal(err)
	}
	another := activate
	another.Target = "export 3"
	for what, s := range map[string]authz.Subject{
		"without the action":        analyst,
		"an API key":                impostor(func(s *authz.Subject) { s.Kind = authz.APIKey }),
		"a job":                     impostor(func(s *authz.Subject) { s.Kind = authz.System }),
		"support, who is no member": impostor(func(s *authz.Subject) { s.ID = uuid.NewString() }),
		"a name":                    impostor(func(s *authz.Subject) { s.ID = "keys" }),
	} {
		_, err := f.ask(t, s, another)
		wantErr(t, what+" asks", err, authz.ErrForbidden)
		wantErr(t, what+" approves", f.approve(t, s, r.ID), authz.ErrForbidden)
	}
	unknown := another
	unknown.Kind = "tenant:sell"
	_, err = f.ask(t, f.hire(t, idp, "owner", authz.Owner), unknown)
	wantErr(t, "an unknown kind", err, authz.ErrForbidden)

	err = f.Portal.In(t.Context(), f.south.ID, func(tx *tenant.Tx) error {
		_, err := approval.Approve(t.Context(), tx, f.bea, r.ID, f.Now())
		return err
	})
	wantErr(t, "at another tenant", err, approval.ErrNoRequest)
	for _, reason := range []string{"", " \n", strings.Repeat("é", 501), "\xff"} {
		_, err := in(t, f, func(tx *tenant.Tx) (approval.Request, error) {
			return approval.Ask(t.Context(), tx, f.ada, another, reason, f.Now())
		})
		wantErr(t, "reason "+reason, err, approval.ErrReason)
	}
}

// One person is one person, whichever membership she uses; the database knows the simpler
// half of it.
func TestOnePersonTwice(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	again := f.hire(t, "https://own.north.example", "ada", authz.KeyCustodian)
	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "by another sign-in", f.approve(t, again, r.ID), approval.ErrSamePerson)
	err = f.exec(t, `update approval set state = 'approved', decided_by = requested_by, decided_at = now()`)
	if !tenant.Violates(err, "approval_two_people") {
		t.Errorf("the database lets one person approve: %v", err)
	}
	if err := f.approve(t, f.bea, r.ID); err != nil {
		t.Fatal(err)
	}
	// That both have one address may also come about later.
	if err := f.exec(t, `update member set issuer = 'https://third.example', email = 'ada@north.example' where member_id = $1`, f.bea.ID); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "when two turn out to be one", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)
}

// Nothing ended begins again, even for who writes rows directly.
func TestNothingGoesBack(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.must(t)
	if err := f.use(t.Context(), f.Jobs, activate); err != nil {
		t.Fatal(err)
	}
	if err := f.exec(t, `update approval set state = 'approved', ended_at = null`); !tenant.Violates(err, "approval_goes_on") {
		t.Errorf("a spent approval was revived: %v", err)
	}
	if err := f.exec(t, `update approval set kind = 'tenant:sell'`); err == nil {
		t.Error("an unknown kind was stored")
	}
}

// Whoever asked and whoever approved work here still when it is done.
func TestBothStillThere(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := f.must(t)
	state := func(of authz.Subject, state string) {
		t.Helper()
		if err := f.exec(t, `update member set state = $2 where member_id = $1`, of.ID, state); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []authz.Subject{f.ada, f.bea} {
		state(who, "suspended")
		wantErr(t, "while "+who.Name+" is suspended", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)
		state(who, "active")
	}
	if _, err := in(t, f, func(tx *tenant.Tx) (approval.Request, error) {
		return approval.Withdraw(t.Context(), tx, f.bea, r.ID, f.Now())
	}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "withdrawn", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)

	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatal(err)
	}
	state(f.ada, "deactivated")
	wantErr(t, "approved while who asked is out", f.approve(t, f.bea, r.ID), approval.ErrRequesterGone)
	_, err = f.ask(t, f.ada, approval.Want{Kind: approval.KeyActivate, Target: "export 9"})
	wantErr(t, "asked by who is out", err, authz.ErrForbidden)
	if _, err := in(t, f, func(tx *tenant.Tx) (approval.Request, error) {
		return approval.Refuse(t.Context(), tx, f.bea, r.ID, "She has left.", f.Now())
	}); err != nil {
		t.Errorf("refuse: %v", err)
	}
}

// What nobody approves or does in time has to be asked for again; the log tells.
func TestExpiry(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.must(t)
	f.Advance(approval.Life)
	wantErr(t, "spent late", f.use(t.Context(), f.Jobs, activate), approval.ErrNotApproved)
	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatalf("ask again: %v", err)
	}
	f.Advance(approval.Life)
	wantErr(t, "approved late", f.approve(t, f.bea, r.ID), approval.ErrExpired)
	for range 2 {
		if err := approval.Cleanup(t.Context(), f.Jobs, f.north.ID, f.Now()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := in(t, f, func(tx *tenant.Tx) ([]audit.Entry, error) {
		return audit.Find(t.Context(), tx, audit.Filter{Action: "approval:expire"}, 10)
	})
	if err != nil || len(entries) != 2 {
		t.Errorf("entries of expiry: %d, %v; want 2", len(entries), err)
	}
	wantErr(t, "decided after it was noted", f.approve(t, f.bea, r.ID), approval.ErrExpired)
	over := func() int {
		list, err := in(t, f, func(tx *tenant.Tx) ([]approval.Request, error) { return approval.Over(t.Context(), tx, f.Now()) })
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if got := over(); got != 2 {
		t.Errorf("%d requests are over, want 2", got)
	}
	f.Advance(approval.Retention + time.Hour)
	if err := approval.Cleanup(t.Context(), f.Jobs, f.north.ID, f.Now()); err != nil || over() != 0 {
		t.Errorf("after their time %d requests are kept, %v", over(), err)
	}
}

// Of many acts at once one is done, and of many decisions one counts.
func TestOneWins(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r, err := f.ask(t, f.ada, activate)
	if err != nil {
		t.Fatal(err)
	}
	race := func(what string, lost error, one func(context.Context) error) {
		t.Helper()
		results := make(chan error)
		var all sync.WaitGroup
		for range 12 {
			all.Go(func() { results <- one(t.Context()) })
		}
		go func() { all.Wait(); close(results) }()
		won := 0
		for err := range results {
			if err == nil {
				won++
			} else if !errors.Is(err, lost) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d won", what, won)
		}
	}
	race("approve", approval.ErrDecided, func(ctx context.Context) error {
		return f.Portal.In(ctx, f.north.ID, func(tx *tenant.Tx) error {
			_, err := approval.Approve(ctx, tx, f.bea, r.ID, f.Now())
			return err
		})
	})
	race("use", approval.ErrNotApproved, func(ctx context.Context) error { return f.use(ctx, f.Jobs, activate) })
}

// An act that fails has spent nothing.
func TestActFails(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.must(t)
	broken := errors.New("the act fails")
	err := f.Jobs.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		if _, err := approval.Use(t.Context(), tx, f.ada, activate, f.Now()); err != nil {
			return err
		}
		return broken
	})
	wantErr(t, "act", err, broken)
	if err := f.use(t.Context(), f.Jobs, activate); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
