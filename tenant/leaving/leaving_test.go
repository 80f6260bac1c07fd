package leaving_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/leaving"
	"carillon/tenant/mail"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

type fixture struct {
	*tenanttest.World
	north    *tenant.Tenant
	ada, bea authz.Subject // owners
	desk     *leaving.Desk
	files    *export.FileStore
	box      *mail.Box
	service  *leaving.Service
	keys     *backups
}

// backups is a store of data keys that can fail.
type backups struct {
	deleted []string
	err     error
}

func (b *backups) Destroy(_ context.Context, id tenant.ID, _ time.Time) error {
	if b.err == nil {
		b.deleted = append(b.deleted, id.String())
	}
	return b.err
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, north: w.Create("north"), box: mail.NewBox(w.Now), keys: &backups{}}
	f.ada, f.bea = f.hire(t, "ada", authz.Owner), f.hire(t, "bea", authz.Owner)
	var err error
	if f.desk, err = leaving.NewDesk(w.Portal, role.NewPolicies(w.Portal), approval.NewPost(w.Portal, f.box, "https://platform.example"), 0, w.Now); err != nil {
		t.Fatal(err)
	}
	if f.files, err = export.NewFileStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	f.service = f.newService()
	return f
}

// newService is that of another process.
func (f *fixture) newService() *leaving.Service {
	return leaving.New(leaving.Config{
		DB: f.Jobs, Directory: tenant.NewDirectory(f.Jobs), Custody: signing.Custody{Root: f.Root}, Files: f.files, Backups: f.keys,
		Mail: f.box, BaseURL: "https://platform.example", Log: slog.New(slog.DiscardHandler), Now: f.Now,
	})
}

func (f *fixture) hire(t *testing.T, name string, roles ...authz.Role) authz.Subject {
	t.Helper()
	m := member.Member{Issuer: "https://login.example", Email: name + "@north.example", Name: name, Roles: roles}
	if err := f.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error { return member.Add(t.Context(), tx, m) }); err != nil {
		t.Fatal(err)
	}
	s, err := member.Authenticate(t.Context(), f.Portal, f.north, oidc.Identity{Issuer: m.Issuer, Subject: "sub-" + name, Email: m.Email})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// now is the tenant as the directory has it.
func (f *fixture) now(t *testing.T) *tenant.Tenant {
	t.Helper()
	n, err := tenant.NewDirectory(f.Portal).ByID(t.Context(), f.north.ID)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// approve has somebody approve what was asked for.
func (f *fixture) approve(t *testing.T, by authz.Subject) error {
	t.Helper()
	s, err := f.desk.Show(t.Context(), f.ada, f.north)
	if err != nil || s.Request == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	return f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		_, err := approval.Approve(t.Context(), tx, by, s.Request.ID, f.Now())
		return err
	})
}

// leave has north leave.
func (f *fixture) leave(t *testing.T) leaving.Leave {
	t.Helper()
	if err := f.desk.Ask(t.Context(), f.ada, f.north, "north", "It is over."); err != nil {
		t.Fatal(err)
	}
	if err := f.approve(t, f.bea); err != nil {
		t.Fatal(err)
	}
	l, err := f.desk.Begin(t.Context(), f.bea, f.north)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// It takes two people, and what was typed; one of them can have it stay, until it is
// erased.
func TestTwoPeopleBeginOneEnds(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	clerk := f.hire(t, "clerk", authz.Caseworker)
	ctx := t.Context()
	if err := f.desk.Ask(ctx, f.ada, f.north, "North", "It is over."); !errors.Is(err, leaving.ErrTyped) {
		t.Errorf("another name typed: %v", err)
	}
	if err := f.desk.Ask(ctx, clerk, f.north, "north", "It is over."); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker asks: %v", err)
	}
	if letters := f.box.List(); len(letters) != 0 {
		t.Errorf("told of what was not asked for: %+v", letters)
	}
	if err := f.desk.Ask(ctx, f.ada, f.north, "north", "It is over."); err != nil {
		t.Fatal(err)
	}
	if letters := f.box.List(); len(letters) != 1 || letters[0].To != "bea@north.example" || !strings.Contains(letters[0].Text, "https://platform.example/portal/north/approvals") {
		t.Errorf("who may agree is told by %+v", letters)
	}
	if _, err := f.desk.Begin(ctx, f.ada, f.north); !errors.Is(err, approval.ErrNotApproved) {
		t.Errorf("before a second person approves: %v", err)
	}
	if err := f.approve(t, f.ada); !errors.Is(err, approval.ErrSamePerson) {
		t.Errorf("by oneself: %v", err)
	}
	if err := f.approve(t, f.bea); err != nil {
		t.Fatal(err)
	}
	if _, err := f.desk.Begin(ctx, clerk, f.north); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker begins: %v", err)
	}
	if _, err := f.desk.Begin(ctx, f.bea, f.north); err != nil {
		t.Fatal(err)
	}
	n := f.now(t)
	if n.State != tenant.Leaving || !n.ClosedForIssue() || n.ClosedForVerify() || n.ClosedForPublish() {
		t.Errorf("at first %+v", n)
	}
	if _, err := f.desk.Begin(ctx, f.bea, f.north); !errors.Is(err, approval.ErrNotApproved) {
		t.Errorf("twice: %v", err)
	}
	if err := f.desk.Ask(ctx, f.ada, n, "north", "Again."); !errors.Is(err, leaving.ErrState) {
		t.Errorf("asked while it leaves: %v", err)
	}
	f.Advance(leaving.WindDown)
	if err := f.service.Turn(ctx, f.north.ID); err != nil {
		t.Fatal(err)
	}
	if n := f.now(t); !n.ClosedForVerify() || !n.ClosedForPublish() {
		t.Errorf("wound down: %+v", n)
	}
	if err := f.desk.Undo(ctx, clerk, f.north); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker undoes: %v", err)
	}
	if err := f.desk.Undo(ctx, f.ada, f.north); err != nil {
		t.Fatal(err)
	}
	if n := f.now(t); n.State != tenant.Active || n.ClosedForIssue() {
		t.Errorf("back: %+v", n)
	}
	if err := f.desk.Undo(ctx, f.ada, f.north); !errors.Is(err, leaving.ErrNotLeaving) {
		t.Errorf("undone twice: %v", err)
	}
	f.Advance(leaving.CoolDown)
	f.run(t)
	if n := f.now(t); n.State != tenant.Active {
		t.Errorf("erased after all: %+v", n)
	}
}

// run does what is due, as the jobs do.
func (f *fixture) run(t *testing.T) {
	t.Helper()
	if err := errors.Join(f.service.Turn(t.Context(), f.north.ID), f.service.Erase(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestCoolDownHasBounds(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{leaving.MinCoolDown - 1, leaving.MaxCoolDown + 1, -1} {
		if _, err := leaving.NewDesk(nil, nil, nil, d, time.Now); err == nil {
			t.Errorf("%v is taken", d)
		}
	}
}

// The owners are told when it begins, a week and a day before the end, each once, and
// nothing is lost while no mail server answers.
func TestReminders(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.hire(t, "clerk", authz.Caseworker)
	l := f.leave(t)
	before := len(f.box.List()) // to the other owner, when it was asked for
	for _, step := range []struct {
		at   time.Time
		want int
	}{
		{l.Begun, 2},
		{l.Begun.Add(time.Hour), 2},
		{l.Erases.Add(-7*24*time.Hour - 1), 2},
		{l.Erases.Add(-7 * 24 * time.Hour), 4},
		{l.Erases.Add(-24 * time.Hour), 6},
		{l.Erases.Add(-time.Second), 6},
	} {
		f.SetNow(step.at)
		f.run(t)
		if got := len(f.box.List()) - before; got != step.want {
			t.Errorf("%v after the beginning: %d letters, want %d", step.at.Sub(l.Begun), got, step.want)
		}
	}
	if text := f.box.List()[0].Text; !strings.Contains(text, "https://platform.example/portal/north/leaving") {
		t.Errorf("the letter says %s", text)
	}
}

var errKilled = errors.New("killed")

// The process dies after any step, and another one goes on: in the end all is gone, every
// row is counted once, and there is one certificate.
func TestErasureIsGoneOnWith(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.Key(f.north, client.Device)
	if err := f.files.Replace(t.Context(), "north/index.txt", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Database.Super().ExecContext(t.Context(), `
insert into verification_token (tenant_id, token_digest, expires_at)
select $1, sha256(i::text::bytea), now() from generate_series(1, 4500) i`, f.north.ID); err != nil {
		t.Fatal(err)
	}
	l := f.leave(t)
	f.SetNow(l.Erases)
	f.keys.err = errKilled
	if err := errors.Join(f.service.Turn(t.Context(), f.north.ID), f.service.Erase(t.Context())); !errors.Is(err, errKilled) {
		t.Fatalf("the store of backups' keys fails: %v", err)
	}
	f.keys.err = nil
	const most = 100
	ended, deaths := false, 0
	for death := 1; !ended && deaths < most; death++ { // each life gets one step further
		s, steps := f.newService(), 0
		s.Interrupt(func(string) error {
			if steps++; steps == death {
				return errKilled
			}
			return nil
		})
		err := errors.Join(s.Turn(t.Context(), f.north.ID), s.Erase(t.Context()))
		switch {
		case err == nil && f.Now().Equal(l.Erases):
			f.Advance(leaving.Settle)
			death = 0
		case err == nil:
			ended = true
		case !errors.Is(err, errKilled):
			t.Fatal(err)
		default:
			deaths++
		}
	}
	if deaths < 5 || deaths == most {
		t.Errorf("it died %d times", deaths)
	}
	var tokens, certified int
	err := f.Database.Super().QueryRowContext(t.Context(), `
select (deleted ->> 'verification_token')::int, (select count(*) from platform_entry where action = 'tenant:erase')
  from erasure where sent_at is not null`).Scan(&tokens, &certified)
	if err != nil || tokens != 4500 || certified != 1 {
		t.Errorf("%d tokens counted, %d times decided, %v", tokens, certified, err)
	}
	if got := fmt.Sprint(f.keys.deleted); !strings.Contains(got, f.north.ID.String()) {
		t.Errorf("keys of backups: %s", got)
	}
}

// Slug and health authority ID are never anybody else's again; the region can be.
func TestNamesAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	l := f.leave(t)
	f.SetNow(l.Erases)
	f.run(t)
	f.Advance(leaving.Settle)
	f.run(t)
	insert := func(slug, region, id string) error {
		return f.Operator.Platform(t.Context(), func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), `
insert into tenant_directory (tenant, slug, name, region, health_authority_id) values ($1, $2, 'N', $3, $4)`, uuid.New(), slug, region, id)
			return err
		})
	}
	if err := insert("north", "XX", "org.other"); !tenant.Violates(err, "tenant_directory_slug_key") {
		t.Errorf("the slug: %v", err)
	}
	if err := insert("other", "XX", f.north.HealthAuthorityID); !tenant.Violates(err, "tenant_directory_health_authority_id_key") {
		t.Errorf("the health authority ID: %v", err)
	}
	if err := insert("other", f.north.Region, "org.other"); err != nil {
		t.Errorf("the region: %v", err)
	}
}
