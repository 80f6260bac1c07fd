package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/migrations"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
)

// mover is an authority that goes from one running deployment to another.
type mover struct {
	here, there *deployment
	server      phone.Server
	admin       string
	identity    *age.X25519Identity
}

func newMover(t *testing.T) *mover {
	t.Helper()
	m := &mover{here: deploy(t, "north"), there: deploy(t, "south")}
	m.server = phone.Server{DeviceKey: m.here.world.Key(m.here.tenant, client.Device), HealthAuthorityID: m.here.tenant.HealthAuthorityID}
	m.admin = m.here.world.Key(m.here.tenant, client.Admin)
	var err error
	if m.identity, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	return m
}

// at is a phone whose host is a deployment's: nothing else about it differs.
func (m *mover) at(d *deployment) *phone.Phone {
	s := m.server
	s.DeviceBase, s.PublishURL = d.url+"/", d.url+"/v1/publish"
	s.IndexURL, s.DownloadBase = d.url+"/exports/index.txt", d.url+"/exports/"
	return &phone.Phone{Server: s, Now: d.world.Now}
}

// code is one that was issued by the authority's own system, which has its API key.
func (m *mover) code(t *testing.T, d *deployment, testType string) string {
	t.Helper()
	c, err := phone.Issuer{Base: d.url + "/", AdminKey: m.admin}.Issue(t.Context(), testType, d.world.Now().AddDate(0, 0, -2))
	if err != nil {
		t.Fatal(err)
	}
	return c.Code
}

// archive makes one, sealed to the mover.
func (m *mover) archive(t *testing.T, recipient string) []byte {
	t.Helper()
	w := m.here.world
	by := authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}
	var file bytes.Buffer
	var id [16]byte
	m.here.asOperator(t, func(ctx context.Context, tx *tenant.Tx) error {
		asked, err := archive.Ask(ctx, tx, by, recipient, w.Now())
		id = asked
		return err
	})
	maker := archive.Maker{DB: w.Jobs, Keys: key.NewRing(w.Jobs, w.Root), Files: m.here.store, Schema: migrations.Newest()}
	if _, err := maker.Write(t.Context(), m.here.tenant, recipient, w.Now(), &file); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file.Bytes())
	err := w.Jobs.In(t.Context(), m.here.tenant.ID, func(tx *tenant.Tx) error {
		return archive.End(t.Context(), tx, id, int64(file.Len()), sum[:], w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maker.Write(t.Context(), m.here.tenant, recipient, w.Now(), &bytes.Buffer{}); !errors.Is(err, archive.ErrNotAsked) {
		t.Errorf("rows can be read although nobody asks for an archive: %v", err)
	}
	return file.Bytes()
}

func (m *mover) importer() archive.Importer {
	w := m.there.world
	return archive.Importer{
		DB: w.Operator, Root: w.Root, Files: m.there.store, By: authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}, Now: w.Now,
	}
}

// move imports an archive, whose phones then change the host.
func (m *mover) move(t *testing.T, file []byte) {
	t.Helper()
	m.there.world.SetNow(m.here.world.Now())
	a, err := archive.Open(bytes.NewReader(file), int64(len(file)), 0, migrations.Newest())
	if err != nil {
		t.Fatal(err)
	}
	id, err := m.importer().Import(t.Context(), a, m.identity)
	if err != nil {
		t.Fatal(err)
	}
	if m.there.tenant, err = tenant.NewDirectory(m.there.world.Operator).ByID(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m.there.service.Handler())
	t.Cleanup(server.Close)
	m.there.url = server.URL + "/t/north"
}

func must[T any](t *testing.T, what string) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

// A left authority is imported into a second running deployment. Its phones go on where they
// were, whatever they were at, by changing the host and nothing else; nobody is warned
// twice.
func TestPhonesGoOnElsewhere(t *testing.T) {
	t.Parallel()
	m := newMover(t)
	ctx := t.Context()
	before := m.at(m.here)
	reader := m.here.owner(t)

	waiting := m.code(t, m.here, "confirmed") // not typed yet
	verified := must[phone.Diagnosis](t, "verify")(before.Verify(ctx, m.code(t, m.here, "confirmed")))
	held := must[phone.Diagnosis](t, "verify")(before.Verify(ctx, m.code(t, m.here, "confirmed")))
	heldKeys, earlyKeys := before.NewKeys(3, false), before.NewKeys(4, false)
	cert := must[string](t, "certificate")(before.Certificate(ctx, held.Token, heldKeys))
	early := must[phone.Diagnosis](t, "verify")(before.Verify(ctx, m.code(t, m.here, "likely")))
	earlyCert := must[string](t, "certificate")(before.Certificate(ctx, early.Token, earlyKeys))
	published := must[phone.Published](t, "publish")(before.Publish(ctx, earlyKeys, earlyCert, ""))

	m.here.world.MarkLeaving(m.here.tenant) // and nothing changes any more
	m.move(t, m.archive(t, m.identity.Recipient().String()))
	after := m.at(m.there)

	if got := must[phone.Published](t, "a certificate from before")(after.Publish(ctx, heldKeys, cert, "")); got.Inserted != 3 {
		t.Errorf("a certificate from before: %+v", got)
	}
	tokenKeys := after.NewKeys(2, false)
	tokenCert := must[string](t, "a token from before")(after.Certificate(ctx, verified.Token, tokenKeys))
	must[phone.Published](t, "publish by a token from before")(after.Publish(ctx, tokenKeys, tokenCert, ""))
	codeKeys := after.NewKeys(2, false)
	late := must[phone.Diagnosis](t, "a code from before")(after.Verify(ctx, waiting))
	lateCert := must[string](t, "certificate")(after.Certificate(ctx, late.Token, codeKeys))
	must[phone.Published](t, "publish by a code from before")(after.Publish(ctx, codeKeys, lateCert, ""))
	for name, code := range map[string]string{"the same code": waiting} {
		var refusal *phone.Refusal
		if _, err := after.Verify(ctx, code); !errors.As(err, &refusal) {
			t.Errorf("%s again: %v", name, err)
		}
	}
	var refusal *phone.Refusal
	if _, err := after.Certificate(ctx, held.Token, heldKeys); err != nil && !errors.As(err, &refusal) {
		t.Error(err)
	}
	second := must[phone.Diagnosis](t, "verify")(after.Verify(ctx, m.code(t, m.there, "confirmed")))
	revised := must[string](t, "certificate")(after.Certificate(ctx, second.Token, earlyKeys))
	must[phone.Published](t, "a revision token from before")(after.Revise(ctx, earlyKeys, revised, published))

	m.there.export(t)
	reader.phone.Server = after.Server
	reader.phone.Now = m.there.world.Now
	files := must[[]phone.Downloaded](t, "download")(reader.phone.Download(ctx, reader.trust, reader.seen))
	for name, keys := range map[string]phone.Keys{"certificate": heldKeys, "token": tokenKeys, "code": codeKeys, "not exported before": earlyKeys} {
		if found, most := phone.Contains(files, keys.TEKs); found != len(keys.TEKs) || most != 1 {
			t.Errorf("%s: %d of %d keys, a key in up to %d files", name, found, len(keys.TEKs), most)
		}
	}
}

// Files that were published are there under the same names, and the index goes on from
// them: whoever has loaded them loads only what is new, in which nothing is that she has.
func TestIndexGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	m := newMover(t)
	ctx := t.Context()
	reader := m.here.owner(t)
	first := must[phone.Report](t, "flow")(m.at(m.here).Flow(ctx, phone.Plan{Issuer: phone.Issuer{Base: m.here.url + "/", AdminKey: m.admin}, Keys: 3}))
	m.here.export(t)
	files := must[[]phone.Downloaded](t, "download")(reader.phone.Download(ctx, reader.trust, reader.seen))
	if found, _ := phone.Contains(files, first.Keys.TEKs); found != 3 {
		t.Fatalf("%d keys before", found)
	}
	names := strings.Fields(m.here.object(t, export.IndexName))
	m.move(t, m.archive(t, m.identity.Recipient().String()))
	if got := strings.Fields(m.there.object(t, export.IndexName)); !slices.Equal(got, names) {
		t.Errorf("index at first %v, want %v", got, names)
	}
	after := m.at(m.there)
	next := must[phone.Report](t, "flow")(after.Flow(ctx, phone.Plan{Issuer: phone.Issuer{Base: m.there.url + "/", AdminKey: m.admin}, Keys: 2}))
	m.there.export(t)
	reader.phone.Server = after.Server
	fresh := must[[]phone.Downloaded](t, "download")(reader.phone.Download(ctx, reader.trust, reader.seen))
	if found, most := phone.Contains(fresh, next.Keys.TEKs); found != 2 || most != 1 {
		t.Errorf("%d new keys, in up to %d files", found, most)
	}
	if again, _ := phone.Contains(fresh, first.Keys.TEKs); again != 0 {
		t.Errorf("%d keys come again", again)
	}
	got := strings.Fields(m.there.object(t, export.IndexName))
	if len(got) <= len(names) || !slices.Equal(got[:len(names)], names) || !slices.IsSorted(got) {
		t.Errorf("index %v does not go on from %v", got, names)
	}
}

// What was altered, cut off, is of a newer release, too large or escapes its folder, is
// refused, and leaves nothing behind; so is an authority that is here, or one of whose names
// is.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	m := newMover(t)
	if _, err := m.at(m.here).Flow(t.Context(), phone.Plan{Issuer: phone.Issuer{Base: m.here.url + "/", AdminKey: m.admin}, Keys: 3}); err != nil {
		t.Fatal(err)
	}
	m.here.export(t)
	m.there.world.SetNow(m.here.world.Now())
	file := m.archive(t, m.identity.Recipient().String())
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	load := func(file []byte, limit, schema int64, identity age.Identity) error {
		a, err := archive.Open(bytes.NewReader(file), int64(len(file)), limit, schema)
		if err == nil {
			_, err = m.importer().Import(t.Context(), a, identity)
		}
		return err
	}
	flip := func(at int) []byte {
		b := bytes.Clone(file)
		b[at] ^= 1
		return b
	}
	newest := migrations.Newest()
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"nothing":             {load(nil, 0, newest, m.identity), archive.ErrArchive},
		"cut off":             {load(file[:len(file)-100], 0, newest, m.identity), archive.ErrArchive},
		"altered":             {load(flip(len(file)/3), 0, newest, m.identity), archive.ErrArchive},
		"of a newer release":  {load(file, 0, newest-1, m.identity), archive.ErrNewer},
		"too large":           {load(file, 1000, newest, m.identity), archive.ErrArchive},
		"sealed to another":   {load(file, 0, newest, other), archive.ErrNoKeys},
		"nothing to open it":  {load(file, 0, newest, nil), archive.ErrNoKeys},
		"without keys":        {load(m.archive(t, ""), 0, newest, m.identity), archive.ErrNoKeys},
		"a traversing name":   {load(bytes.ReplaceAll(file, []byte("tables/member"), []byte("tables/../mem")), 0, newest, m.identity), archive.ErrArchive},
		"a row of another":    {load(rewritten(t, file, "tables/report_text.ndjson", `{"tenant_id":"`+tenant.NewID().String()+`","language":"es"}`+"\n"), 0, newest, m.identity), archive.ErrArchive},
		"an audit log cut":    {load(rewritten(t, file, "tables/audit_entry.ndjson", ""), 0, newest, m.identity), archive.ErrArchive},
		"a table is missing":  {load(rewritten(t, file, "tables/api_key.ndjson", "drop"), 0, newest, m.identity), archive.ErrArchive},
		"a file of no format": {load(bytes.ReplaceAll(file, []byte("audit.ndjson"), []byte("audit.exe.js")), 0, newest, m.identity), archive.ErrArchive},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if left, err := m.there.store.List(t.Context(), "north/"); err != nil || len(left) > 0 {
		t.Errorf("files of what was refused: %v, %v", left, err)
	}
	if _, err := tenant.NewDirectory(m.there.world.Operator).BySlug(t.Context(), "north"); !errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("what was refused is there: %v", err)
	}
	m.there.world.Create("taken", func(s *onboarding.Spec) { s.Region = m.here.tenant.Region })
	if err := load(file, 0, newest, m.identity); !errors.Is(err, onboarding.ErrExists) || !strings.Contains(err.Error(), "region") {
		t.Errorf("its region is another's: %v", err)
	}
	if err := load(file, 0, newest, m.identity); !errors.Is(err, onboarding.ErrExists) {
		t.Errorf("once more: %v", err)
	}
}
