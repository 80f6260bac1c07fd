package shelf_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/migrations"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/archive/shelf"
	"carillon/tenant/audit"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

// fixture is an authority with two owners and somebody who may take nothing.
type fixture struct {
	*tenanttest.World
	north          *tenant.Tenant
	ada, bea, carl authz.Subject
	desk           *shelf.Desk
	store          *store
}

// store is one that can be told to fail, or to end the process, at a write.
type store struct {
	*export.FileStore
	atPut func(name string) error
}

func (s *store) PutIfAbsent(ctx context.Context, name string, body []byte) error {
	if s.atPut != nil {
		if err := s.atPut(name); err != nil {
			return err
		}
	}
	return s.FileStore.PutIfAbsent(ctx, name, body)
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	files, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{World: w, north: w.Create("north"), store: &store{FileStore: files}}
	f.ada, f.bea, f.carl = f.hire(t, "ada", authz.Owner), f.hire(t, "bea", authz.Owner), f.hire(t, "carl", authz.Administrator)
	f.desk = shelf.NewDesk(w.Portal, role.NewPolicies(w.Portal), key.NewRing(w.Portal, w.Root), f.store, w.Now)
	return f
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

// maker is that of another process each time.
func (f *fixture) maker() shelf.Maker {
	return shelf.Maker{
		Maker:     archive.Maker{DB: f.Jobs, Keys: key.NewRing(f.Jobs, f.Root), Files: f.store, Schema: migrations.Newest()},
		Directory: tenant.NewDirectory(f.Jobs), Now: f.Now,
	}
}

func (f *fixture) turn(t *testing.T) {
	t.Helper()
	if err := f.maker().Turn(t.Context(), f.north.ID); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) ask(t *testing.T, by authz.Subject, recipient string) error {
	t.Helper()
	return f.desk.Ask(t.Context(), by, f.north, recipient)
}

func (f *fixture) list(t *testing.T) []shelf.Archive {
	t.Helper()
	list, err := f.desk.List(t.Context(), f.ada, f.north)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (f *fixture) take(t *testing.T, by authz.Subject, id uuid.UUID) ([]byte, error) {
	t.Helper()
	a, write, err := f.desk.Take(t.Context(), by, f.north, id)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := write(t.Context(), &b); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b.Bytes()); int64(b.Len()) != a.Size || !bytes.Equal(sum[:], a.SHA256) {
		t.Errorf("%d bytes of %d, or another digest", b.Len(), a.Size)
	}
	return b.Bytes(), nil
}

// stored are the names of all parts.
func (f *fixture) stored(t *testing.T) []string {
	t.Helper()
	names, err := f.store.List(t.Context(), "archives/")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func (f *fixture) acts(t *testing.T) (list []string) {
	t.Helper()
	err := f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		entries, err := audit.List(t.Context(), tx, 100)
		for _, e := range entries {
			if strings.HasSuffix(e.Action, "archive") {
				list = append(list, e.Action+" by "+e.ActorName)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// grow gives the authority so many figures that its archive has several parts. Their
// subjects are long, and none shortens another.
func (f *fixture) grow(t *testing.T) {
	t.Helper()
	_, err := f.Database.Super().ExecContext(t.Context(), `
insert into statistic_day (tenant_id, day, series, subject, cohort, class, quantity)
select $1, '2026-11-25', 'codes-issued', (select string_agg(md5(n || '.' || part), '') from generate_series(1, 8) part), '2026-11-25', 0, n
  from generate_series(1, 45000) n`, f.north.ID)
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever asked takes the archive, which can be opened; nobody else can, and the store
// shows nothing of it. When its time is over it is gone.
func TestOnlyWhoAskedTakes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.ask(t, f.carl, ""); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an administrator asks: %v", err)
	}
	for range 2 {
		if err := f.ask(t, f.ada, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.ask(t, f.bea, ""); !errors.Is(err, shelf.ErrBusy) {
		t.Errorf("somebody else asks meanwhile: %v", err)
	}
	list := f.list(t)
	if len(list) != 1 || list[0].State != shelf.Asked || list[0].Requester != "ada" {
		t.Fatalf("%+v", list)
	}
	id := list[0].ID
	if _, err := f.take(t, f.ada, id); !errors.Is(err, shelf.ErrNoArchive) {
		t.Errorf("before it is made: %v", err)
	}
	f.turn(t)
	f.turn(t) // has nothing to do
	file, err := f.take(t, f.ada, id)
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(bytes.NewReader(file), int64(len(file)), 0, migrations.Newest())
	if err != nil || a.Manifest.Tenant.Slug != "north" || a.Manifest.Keys {
		t.Errorf("%+v, %v", a, err)
	}
	for _, name := range f.stored(t) {
		o, err := f.store.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := io.ReadAll(o)
		if err = errors.Join(err, o.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed, []byte("manifest.json")) || bytes.Contains(file, sealed[:64]) {
			t.Errorf("%s can be read in the store", name)
		}
	}
	for who, by := range map[string]authz.Subject{"another owner": f.bea} {
		if _, err := f.take(t, by, id); !errors.Is(err, shelf.ErrNoArchive) {
			t.Errorf("%s takes it: %v", who, err)
		}
	}
	if _, err := f.take(t, f.carl, id); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("an administrator takes it: %v", err)
	}
	if _, err := f.take(t, f.ada, uuid.New()); !errors.Is(err, shelf.ErrNoArchive) {
		t.Errorf("what is not: %v", err)
	}
	want := []string{"tenant:take-archive by ada", "tenant:make-archive by Carillon", "tenant:archive by ada"}
	if got := f.acts(t); strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("audit log: %q", got)
	}
	f.Advance(shelf.Keep)
	if _, err := f.take(t, f.ada, id); !errors.Is(err, shelf.ErrExpired) {
		t.Errorf("when its time is over: %v", err)
	}
	f.turn(t)
	if names := f.stored(t); len(names) != 0 {
		t.Errorf("left in the store: %q", names)
	}
}

// Keys come along only once two people have agreed that the authority leaves; the
// database says so, too.
func TestKeysComeAlongOnlyWhenLeaving(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient := identity.Recipient().String()
	if err := f.ask(t, f.ada, recipient); !errors.Is(err, shelf.ErrKeysStay) {
		t.Errorf("keys of an authority that stays: %v", err)
	}
	stale := *f.north
	stale.State = tenant.Leaving
	if err := f.desk.Ask(t.Context(), f.ada, &stale, recipient); err == nil {
		t.Error("the database gives keys of an authority that stays")
	}
	f.MarkLeaving(f.north)
	f.north.State = tenant.Leaving
	if err := f.ask(t, f.ada, "age1nobody"); !errors.Is(err, archive.ErrRecipient) {
		t.Errorf("what is no recipient: %v", err)
	}
	if err := f.ask(t, f.ada, recipient); err != nil {
		t.Fatal(err)
	}
	if err := f.ask(t, f.ada, ""); !errors.Is(err, shelf.ErrBusy) {
		t.Errorf("another kind meanwhile: %v", err)
	}
	f.turn(t)
	file, err := f.take(t, f.ada, f.list(t)[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := archive.Open(bytes.NewReader(file), int64(len(file)), 0, migrations.Newest()); err != nil || !a.Manifest.Keys {
		t.Errorf("%+v, %v", a, err)
	}
}

// A process that dies with some parts stored leaves an archive that another one makes anew,
// whole, and without what the first has left. What cannot be made in the end has failed.
func TestHalfMadeIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.grow(t)
	if err := f.ask(t, f.ada, ""); err != nil {
		t.Fatal(err)
	}
	died := errors.New("died")
	f.store.atPut = func(name string) error {
		if strings.HasSuffix(name, "-000001") {
			return died
		}
		return nil
	}
	if err := f.maker().Turn(t.Context(), f.north.ID); !errors.Is(err, died) {
		t.Fatal(err)
	}
	half := f.list(t)[0]
	if half.State != shelf.Asked || half.Parts != 1 || half.Size != 4<<20 || len(f.stored(t)) != 1 {
		t.Errorf("half made: %+v, %q", half, f.stored(t))
	}
	// The first process is not dead but slow: it may store what it likes, but not say so.
	slow := f.maker()
	f.store.atPut = func(name string) error {
		if strings.HasSuffix(name, "/2-000000") {
			f.store.atPut = nil
			return f.maker().Turn(t.Context(), f.north.ID)
		}
		return nil
	}
	if err := slow.Turn(t.Context(), f.north.ID); err == nil {
		t.Error("a process that lost the archive has made it")
	}
	made := f.list(t)[0]
	if made.State != shelf.Made || made.Attempt != 3 {
		t.Fatalf("%+v", made)
	}
	if _, err := f.take(t, f.ada, made.ID); err != nil {
		t.Error(err)
	}

	f.Advance(time.Second)
	if err := f.ask(t, f.ada, ""); err != nil {
		t.Fatal(err)
	}
	f.store.atPut = func(string) error { return died }
	for f.list(t)[0].Attempt < 5 {
		if err := f.maker().Turn(t.Context(), f.north.ID); !errors.Is(err, died) {
			t.Fatal(err)
		}
	}
	f.store.atPut = nil
	f.turn(t)
	if failed := f.list(t)[0]; failed.State != shelf.Failed {
		t.Errorf("%+v", failed)
	}
	if err := f.ask(t, f.bea, ""); err != nil {
		t.Errorf("after one has failed: %v", err)
	}
}

// The newest archive of a person takes the place of the one before.
func TestNewestReplaces(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, by := range []authz.Subject{f.bea, f.ada, f.ada} {
		f.Advance(time.Second)
		if err := f.ask(t, by, ""); err != nil {
			t.Fatal(err)
		}
		f.turn(t)
	}
	list := f.list(t)
	if _, err := f.take(t, f.ada, list[0].ID); err != nil {
		t.Error(err)
	}
	if _, err := f.take(t, f.ada, list[1].ID); !errors.Is(err, shelf.ErrExpired) {
		t.Errorf("the one before: %v", err)
	}
	if _, err := f.take(t, f.bea, list[2].ID); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}
