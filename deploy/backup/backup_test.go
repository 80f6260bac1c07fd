package backup

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/api"
	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit/checkpoint"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// world is a deployment with two tenants that phones have used, and a place for backups.
type world struct {
	*tenanttest.World
	north, south  *tenant.Tenant
	device, admin map[tenant.ID]string // API keys
	files         *export.FileStore
	folder        string
	keys          KeyStore
	keyObjects    export.Store
	first         *site // on the world's own database
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: tenanttest.New(t), folder: filepath.Join(t.TempDir(), "backups"), device: map[tenant.ID]string{}, admin: map[tenant.ID]string{}}
	small := func(s *onboarding.Spec) { s.ExportPeriod, s.MinRecords, s.PaddingRange = time.Hour, 1, 1 }
	w.north, w.south = w.Create("north", small), w.Create("south", small)
	for _, of := range []*tenant.Tenant{w.north, w.south} {
		w.device[of.ID], w.admin[of.ID] = w.Key(of, client.Device), w.Key(of, client.Admin)
	}
	var err error
	if w.files, err = export.NewFileStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.keys, w.keyObjects = newKeyStore(t)
	w.first = w.site(t, w.Database.DSN)
	w.first.turn(t)
	for _, of := range []*tenant.Tenant{w.north, w.south} {
		w.first.upload(t, of)
	}
	w.windows(t, w.first)
	return w
}

// site is a running service on some database, with the world's files.
type site struct {
	w       *world
	url     string
	jobs    *tenant.DB
	exports *export.Service
	sign    *checkpoint.Signer
}

func (w *world) site(t *testing.T, dsn func(role string) string) *site {
	t.Helper()
	open := func(role string) *tenant.DB {
		db, err := tenant.Open(t.Context(), tenant.Config{DSN: dsn("carillon_" + role)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	log := slog.New(slog.DiscardHandler)
	s := &site{w: w, jobs: open("jobs")}
	s.exports = export.New(export.Config{
		DB: s.jobs, Keys: key.NewRing(s.jobs, w.Root), Directory: tenant.NewDirectory(s.jobs), Store: w.files, Log: log, Now: w.Now,
	})
	s.sign = checkpoint.NewSigner(s.jobs, key.NewRing(s.jobs, w.Root), log, w.Now)
	device, issuer, report, publish := open("device"), open("issuer"), open("report"), open("publish")
	policies, public := authz.NewPolicies(nil), key.NewRing(publish, w.Root)
	codes := func(db *tenant.DB) *verification.Service {
		return verification.New(verification.Config{DB: db, Keys: key.NewRing(db, w.Root), Policies: policies, Sender: &messagetest.Sender{}, Now: w.Now, Rand: rand.Reader})
	}
	serving, err := api.New(api.Config{
		Directory: tenant.NewDirectory(device), Policies: policies,
		Device: codes(device), DeviceKeys: client.NewAuthenticator(device, nil, w.Now),
		Reporter: codes(report), Issuer: codes(issuer), IssuerKeys: client.NewAuthenticator(issuer, nil, w.Now),
		Publisher:  exposure.New(exposure.Config{DB: publish, Keys: public, Limits: exposure.DefaultLimits(), Now: w.Now}),
		PublicKeys: public, Files: w.files, Metrics: prometheus.NewRegistry(), Log: log, Now: w.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(serving.Handler())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *site) base(of *tenant.Tenant) string { return s.url + "/t/" + string(of.Slug) + "/" }

func (s *site) phone(of *tenant.Tenant) *phone.Phone {
	base := s.base(of)
	return &phone.Phone{Now: s.w.Now, Server: phone.Server{
		DeviceBase: base, PublishURL: base + "v1/publish", IndexURL: base + "exports/index.txt", DownloadBase: base + "exports/",
		DeviceKey: s.w.device[of.ID], HealthAuthorityID: of.HealthAuthorityID,
	}}
}

func (s *site) issuer(of *tenant.Tenant) phone.Issuer {
	return phone.Issuer{Base: s.base(of), AdminKey: s.w.admin[of.ID]}
}

func (s *site) code(t *testing.T, of *tenant.Tenant) string {
	t.Helper()
	code, err := s.issuer(of).Issue(t.Context(), "confirmed", s.w.Now().Add(-48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return code.Code
}

func (s *site) upload(t *testing.T, of *tenant.Tenant) phone.Keys {
	t.Helper()
	report, err := s.phone(of).Flow(t.Context(), phone.Plan{Issuer: s.issuer(of), Keys: 5})
	if err != nil {
		t.Fatal(err)
	}
	return report.Keys
}

func (s *site) turn(t *testing.T) {
	t.Helper()
	for _, of := range []*tenant.Tenant{s.w.north, s.w.south} {
		if err := s.exports.Turn(t.Context(), of.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.sign.Sign(t.Context(), of); err != nil {
			t.Fatal(err)
		}
	}
}

// windows lets all windows of the past close.
func (w *world) windows(t *testing.T, s *site) {
	t.Helper()
	w.Advance(4 * time.Hour)
	s.turn(t)
}

// listener is a phone that remembers which files it has read.
type listener struct {
	of     *tenant.Tenant
	trust  phone.Trust
	memory phone.Memory
}

func (w *world) listener(t *testing.T, of *tenant.Tenant) *listener {
	t.Helper()
	public, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), of.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	return &listener{of: of, trust: phone.Trust{KeyID: public[0].KeyID, KeyVersion: public[0].Label, Key: public[0].Key}}
}

// hears counts how many of the keys are in files that are new to the listener.
func (l *listener) hears(t *testing.T, s *site, keys phone.Keys) int {
	t.Helper()
	var files []phone.Downloaded
	err := s.phone(l.of).Fresh(t.Context(), l.trust, &l.memory, func(d phone.Downloaded) error {
		files = append(files, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found, _ := phone.Contains(files, keys.TEKs)
	return found
}

func (w *world) config() Config {
	return Config{
		Database: w.Database.DSN("carillon_backup"), Folder: w.folder, Keys: w.keys, Exports: w.files,
		Log: slog.New(slog.DiscardHandler), Now: w.Now,
	}
}

func (w *world) backup(t *testing.T, change ...func(*Config)) string {
	t.Helper()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	dir, _, err := Make(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// emptyDatabase makes one; name is its name and dsn connects to it as a role.
func (w *world) emptyDatabase(t *testing.T) (dsn func(role string) string) {
	t.Helper()
	name := "restored_" + strings.ToLower(rand.Text()[:10])
	if _, err := w.Database.Super().ExecContext(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	return func(role string) string {
		own, err := inDatabase(w.Database.DSN(role), name)
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
}

func (w *world) restoreConfig(dir string, dsn func(string) string) RestoreConfig {
	return RestoreConfig{Dir: dir, Database: dsn(""), Keys: w.keys, Exports: w.files, Log: slog.New(slog.DiscardHandler), Now: w.Now}
}

func query[T any](t *testing.T, dsn, query string, args ...any) (v T) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func refusal(t *testing.T, err error, code string) {
	t.Helper()
	var refused *phone.Refusal
	if !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("got %v, want a refusal with code %q", err, code)
	}
}

// Nothing that was used up between the recovery point and the crash can be used again.
func TestNothingRevives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.first.phone(w.north)
	usedCode, openCode := w.first.code(t, w.north), w.first.code(t, w.north)
	early, err := p.Verify(t.Context(), w.first.code(t, w.north))
	if err != nil {
		t.Fatal(err)
	}
	w.exec(t, `insert into login_session (token_digest, data, expires_at) values ('d', 'x', now() + interval '1 hour')`)
	dir := w.backup(t)

	// After the recovery point a code is claimed, a token spent, a code made.
	claimed, err := p.Verify(t.Context(), usedCode)
	if err != nil {
		t.Fatal(err)
	}
	keys := p.NewKeys(3, false)
	cert, err := p.Certificate(t.Context(), early.Token, keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), keys, cert, ""); err != nil {
		t.Fatal(err)
	}
	lateCode := w.first.code(t, w.north)

	dsn := w.emptyDatabase(t)
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); err != nil {
		t.Fatal(err)
	}
	second := w.site(t, dsn)
	p = second.phone(w.north)
	for _, test := range []struct{ what, code, want string }{
		{"claimed after the recovery point", usedCode, "code_expired"},
		{"never claimed", openCode, "code_expired"},
		{"made after the recovery point", lateCode, "code_invalid"},
	} {
		t.Run(test.what, func(t *testing.T) {
			_, err := p.Verify(t.Context(), test.code)
			refusal(t, err, test.want)
		})
	}
	_, err = p.Certificate(t.Context(), early.Token, p.NewKeys(3, false))
	refusal(t, err, "token_expired")
	_, err = p.Certificate(t.Context(), claimed.Token, p.NewKeys(3, false))
	refusal(t, err, "token_invalid")
	// A certificate holds for its own keys alone: sending it again brings back what was lost.
	if again, err := p.Publish(t.Context(), keys, cert, ""); err != nil || again.Inserted != 3 {
		t.Errorf("the same upload again: %+v, %v", again, err)
	}
	if _, err := p.Publish(t.Context(), p.NewKeys(3, false), cert, ""); err == nil {
		t.Error("other keys with a certificate that was used")
	}
	if _, err := second.issuer(w.north).Issue(t.Context(), "confirmed", w.Now().Add(-48*time.Hour)); err == nil {
		t.Error("an API key of a back end is good after the restore")
	}
	if n := query[int](t, dsn(""), `select count(*) from login_session`); n != 0 {
		t.Errorf("%d sessions", n)
	}
	w.newAdminKeys(t, dsn)
	second.upload(t, w.north)
	w.wholeAudit(t, dsn)
}

// A restore without its endings would let all of that pass: so it is they that the test
// before is about.
func TestKeptAPIKeysAreGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dsn := w.emptyDatabase(t)
	c := w.restoreConfig(w.backup(t), dsn)
	c.KeepAPIKeys = true
	if _, err := Restore(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.site(t, dsn).upload(t, w.north)
}

// The index goes on where phones saw it end, no file is made a second time, and no phone
// misses keys that arrived after the restore.
func TestTheIndexGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hears := w.listener(t, w.north)
	var none phone.Keys
	hears.hears(t, w.first, none)
	waiting := w.first.upload(t, w.north) // not published by the recovery point
	dir := w.backup(t)
	late := w.first.upload(t, w.north)
	w.windows(t, w.first)
	if got := hears.hears(t, w.first, late); got != 5 {
		t.Fatalf("before the crash a phone hears of %d keys, want 5", got)
	}
	before := w.index(t)
	// The crash comes while the next file is being published: no index has named it.
	unlisted := w.unlisted(t)

	dsn := w.emptyDatabase(t)
	c := w.restoreConfig(dir, dsn)
	c.KeepAPIKeys = true
	restored, err := Restore(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if n := restored.Tenants; n[0].FilesAdopted+n[1].FilesAdopted != 1 || n[0].FilesBroughtBack+n[1].FilesBroughtBack != 0 {
		t.Errorf("restored %+v", n)
	}
	if _, err := w.files.Open(t.Context(), unlisted); !errors.Is(err, export.ErrNotFound) {
		t.Errorf("%s, which no index has named: %v", unlisted, err)
	}
	second := w.site(t, dsn)
	second.turn(t)
	if got := w.index(t); !strings.HasPrefix(got, before) {
		t.Errorf("the index went from\n%s\nto\n%s", before, got)
	}
	if got := hears.hears(t, second, waiting) + hears.hears(t, second, late); got != 0 {
		t.Errorf("a phone hears again of %d keys", got)
	}
	fresh := second.upload(t, w.north)
	w.windows(t, second)
	if got := hears.hears(t, second, fresh); got != 5 {
		t.Errorf("after the restore a phone hears of %d keys, want 5", got)
	}
}

// unlisted puts a file of the window after the newest into the store, as a process does
// that dies before it writes the index.
func (w *world) unlisted(t *testing.T) string {
	t.Helper()
	names := strings.Fields(w.index(t))
	newest, ok := parseFile(names[len(names)-1])
	if !ok {
		t.Fatalf("index %v", names)
	}
	name := fmt.Sprintf("north/%d-%d-00001.zip", newest.end.Add(4*time.Hour).Unix(), newest.end.Add(5*time.Hour).Unix())
	if err := w.files.PutIfAbsent(t.Context(), name, []byte("never listed")); err != nil {
		t.Fatal(err)
	}
	return name
}

// A file that none of the tenant's keys has signed is not adopted, whoever listed it.
func TestForeignFilesAreNotAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	name := w.unlisted(t)
	if err := w.files.Replace(t.Context(), "north/index.txt", []byte(w.index(t)+"\n"+strings.TrimPrefix(name, "north/"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), w.restoreConfig(dir, w.emptyDatabase(t))); !errors.Is(err, errForeignFile) {
		t.Errorf("restore: %v", err)
	}
}

func (w *world) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) index(t *testing.T) string {
	t.Helper()
	o, err := w.files.Open(t.Context(), "north/index.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	text, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newAdminKeys is what owners do after a restore.
func (w *world) newAdminKeys(t *testing.T, dsn func(string) string) {
	t.Helper()
	operator, err := tenant.Open(t.Context(), tenant.Config{DSN: dsn("carillon_operator")})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	err = operator.In(t.Context(), w.north.ID, func(tx *tenant.Tx) (err error) {
		w.admin[w.north.ID], _, err = client.Create(t.Context(), tx, client.Admin, "after the restore")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wholeAudit: the chain goes on, and says that and to when it was restored. The drill of a
// second backup verifies it.
func (w *world) wholeAudit(t *testing.T, dsn func(string) string) {
	t.Helper()
	if n := query[int](t, dsn(""), `select count(*) from audit_entry where tenant_id = $1 and action = $2 and detail ? 'recovery-point'`, w.north.ID, Action); n != 1 {
		t.Errorf("%d entries about the restore", n)
	}
	dir := w.backup(t, func(c *Config) { c.Database = dsn("carillon_backup") })
	d := w.drill(t, dir, w.Root)
	if !d.Whole() {
		t.Errorf("drill of what was restored: %+v", d)
	}
}

func (w *world) drill(t *testing.T, dir string, root signing.Root) *Drilled {
	t.Helper()
	c := w.restoreConfig(dir, w.Database.DSN)
	d, err := Drill(t.Context(), DrillConfig{RestoreConfig: c, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDrill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.backup(t)
	d := w.drill(t, good, w.Root)
	if !d.Whole() || len(d.Tenants) != 2 {
		t.Fatalf("drill: %+v", d)
	}
	for _, of := range d.Tenants {
		if of.Rows < 20 || of.AuditEntries == 0 || of.Files == 0 || of.Newest == "" {
			t.Errorf("drilled %+v", of)
		}
	}
	if n := query[int](t, w.Database.DSN(""), `select count(*) from pg_database where datname like 'carillon_drill_%'`); n != 0 {
		t.Errorf("%d databases are left", n)
	}
	otherRoot, err := signing.CreateRootFile(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if d := w.drill(t, good, otherRoot); d.Whole() || d.Fault != nil || len(d.Tenants[0].Faults) != 1 || !errors.Is(d.Tenants[0].Faults[0], signing.ErrSealed) {
		t.Errorf("with another root key: %+v", d)
	}
	m, err := ReadManifest(good)
	if err != nil {
		t.Fatal(err)
	}
	part := m.Tenants[0].Name
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   error
	}{
		{"a flipped bit", func(t *testing.T, dir string) { t.Helper(); flip(t, filepath.Join(dir, part)) }, ErrAltered},
		{"a missing tenant", func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, part)) }, ErrAltered},
		{"a truncated part", func(t *testing.T, dir string) { t.Helper(); truncate(t, filepath.Join(dir, part)) }, ErrAltered},
		{"a swapped part", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Rename(filepath.Join(dir, m.Tenants[1].Name), filepath.Join(dir, part)); err != nil {
				t.Fatal(err)
			}
		}, ErrAltered},
		{"no manifest", func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, manifestName)) }, ErrNoManifest},
		{"of a newer release", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, manifestName), `"format": 1`, `"format": 2`)
		}, ErrNewer},
		{"of a newer schema", func(t *testing.T, dir string) {
			t.Helper()
			edit(t, filepath.Join(dir, manifestName), `"schema": `, `"schema": 9`)
		}, ErrNewer},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(w.folder, "damaged-"+strings.ToLower(rand.Text()))
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			test.damage(t, dir)
			if d := w.drill(t, dir, w.Root); d.Whole() || !errors.Is(d.Fault, test.want) {
				t.Errorf("drill says %v, want %v", d.Fault, test.want)
			}
		})
	}
	if err := w.keyObjects.Delete(t.Context(), keyName(w.south.ID)); err != nil {
		t.Fatal(err)
	}
	if d := w.drill(t, good, w.Root); d.Whole() || !errors.Is(d.Fault, ErrNoBackupKey) {
		t.Errorf("without a key: %+v", d)
	}
}

// A sum that was made to fit what was damaged does not help: the database gives the rows
// back, and what was signed is verified.
func TestTheDrillFindsWhatSumsDoNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, `update audit_entry set actor_name = 'Somebody else' where tenant_id = $1 and entry_no = 1`, w.north.ID)
	d := w.drill(t, w.backup(t), w.Root)
	if d.Whole() || d.Fault != nil {
		t.Fatalf("drill: %+v", d)
	}
	for _, of := range d.Tenants {
		if damaged := of.ID == w.north.ID; damaged != (len(of.Faults) > 0) {
			t.Errorf("%s: %v", of.Slug, of.Faults)
		}
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-10)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path, from, to string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(body), from) {
		t.Fatalf("%s has no %s: %v", path, from, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(body), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A tenant that was erased after the backup does not come back with it.
func TestTheErasedStayErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	if err := w.keys.Destroy(t.Context(), w.north.ID, w.Now()); err != nil {
		t.Fatal(err)
	}
	dsn := w.emptyDatabase(t)
	restored, err := Restore(t.Context(), w.restoreConfig(dir, dsn))
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range restored.Tenants {
		if of.Erased != (of.ID == w.north.ID) {
			t.Errorf("%s: erased is %v", of.Slug, of.Erased)
		}
	}
	if state := query[string](t, dsn(""), `select state from tenant_directory where tenant = $1`, w.north.ID); state != string(tenant.Erased) {
		t.Errorf("north is %s", state)
	}
	for _, name := range []string{"member", "exposure", "signing_key", "data_key", "audit_entry", "verification_code", "export_file"} {
		if n := query[int](t, dsn(""), `select count(*) from `+name+` where tenant_id = $1`, w.north.ID); n != 0 {
			t.Errorf("%d rows of north in %s", n, name)
		}
	}
}

// What fails leaves the database empty, and can be repeated with it.
func TestRestoreIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	last := slices.MaxFunc([]*tenant.Tenant{w.north, w.south}, func(a, b *tenant.Tenant) int {
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	kept, err := w.keys.Get(t.Context(), last.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.keyObjects.Delete(t.Context(), keyName(last.ID)); err != nil {
		t.Fatal(err)
	}
	dsn := w.emptyDatabase(t)
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); !errors.Is(err, ErrNoBackupKey) {
		t.Fatalf("without the second tenant's key: %v", err)
	}
	for _, name := range []string{"tenant_directory", "exposure", "audit_entry"} {
		if n := query[int](t, dsn(""), `select count(*) from `+name); n != 0 {
			t.Errorf("%d rows are left in %s", n, name)
		}
	}
	if err := w.keys.Put(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); err != nil {
		t.Fatalf("again: %v", err)
	}
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into what is there: %v", err)
	}
	if _, err := Restore(t.Context(), w.restoreConfig(dir, w.Database.DSN)); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into the database that serves: %v", err)
	}
	unforced := `select count(*) from pg_class where relnamespace = 'public'::regnamespace and relrowsecurity and not relforcerowsecurity`
	if n := query[int](t, dsn(""), unforced); n != 0 {
		t.Errorf("%d tables are without forced row-level security", n)
	}
	disabled := `select count(*) from pg_trigger where tgenabled <> 'O' and not tgisinternal`
	if n := query[int](t, dsn(""), disabled); n != 0 {
		t.Errorf("%d triggers are disabled", n)
	}
}

// A folder of somebody else's tables is no empty database.
func TestForeignTablesAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	dsn := w.emptyDatabase(t)
	_ = query[string](t, dsn(""), `create table ledger (n int); select 'made'`)
	if _, err := Restore(t.Context(), w.restoreConfig(dir, dsn)); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restore: %v", err)
	}
	if n := query[int](t, dsn(""), `select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`); n != 1 {
		t.Errorf("%d tables", n)
	}
}

func TestOfOneTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.backup(t, func(c *Config) { c.Tenant = "south" })
	if m, err := ReadManifest(one); err != nil || len(m.Tenants) != 1 || m.Tenants[0].Slug != "south" {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	if d := w.drill(t, one, w.Root); !d.Whole() {
		t.Errorf("drill: %+v", d)
	}
	c := w.config()
	c.Tenant = "nowhere"
	if _, _, err := Make(t.Context(), c); !errors.Is(err, ErrUnknownTenant) {
		t.Errorf("of nobody: %v", err)
	}
	all := w.backup(t)
	for _, dir := range []string{one, all} {
		dsn := w.emptyDatabase(t)
		config := w.restoreConfig(dir, dsn)
		config.Tenant = "south"
		if _, err := Restore(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if n := query[int](t, dsn(""), `select count(*) from tenant_directory`); n != 1 {
			t.Errorf("%d tenants", n)
		}
		if n := query[int](t, dsn(""), `select count(*) from exposure where tenant_id <> $1`, w.south.ID); n != 0 {
			t.Errorf("%d keys of others", n)
		}
	}
}

func TestEncrypted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := w.backup(t, func(c *Config) { c.Recipients = []age.Recipient{identity.Recipient()} })
	for _, test := range []struct {
		identities []age.Identity
		want       error
	}{{nil, ErrEncrypted}, {[]age.Identity{other}, ErrEncrypted}, {[]age.Identity{other, identity}, nil}} {
		config := w.restoreConfig(dir, w.emptyDatabase(t))
		config.Identities = test.identities
		if _, err := Restore(t.Context(), config); !errors.Is(err, test.want) {
			t.Errorf("with %d identities: %v, want %v", len(test.identities), err, test.want)
		}
	}
}

// No wrapped key, and nothing else that the key store holds, is in a backup; and nobody
// else may read it.
func TestBackupsHaveNoKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.parts() {
		err := p.read(dir, false, nil, reader{
			begin: func(name string) error {
				if leftOut[name] != "" {
					t.Errorf("%s has rows of %s", p.Name, name)
				}
				return nil
			},
			row: func(row []byte) error {
				if strings.Contains(string(row), `"wrapped"`) {
					t.Errorf("%s has a wrapped key", p.Name)
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Files that the store lost come back from the copies; what nobody has is not listed.
func TestFilesComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	for _, prefix := range []string{"north/", "south/"} {
		names, err := w.files.List(t.Context(), prefix)
		if err != nil || len(names) < 2 {
			t.Fatalf("files %v, %v", names, err)
		}
		for _, name := range names {
			if err := w.files.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost, err := filepath.Glob(filepath.Join(w.folder, "files", "south", "*.zip"))
	if err != nil || len(lost) == 0 {
		t.Fatalf("copies %v, %v", lost, err)
	}
	remove(t, lost[0])
	dsn := w.emptyDatabase(t)
	restored, err := Restore(t.Context(), w.restoreConfig(dir, dsn))
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range restored.Tenants {
		if wantLost := of.ID == w.south.ID; wantLost != (len(of.FilesLost) == 1) || !wantLost && of.FilesBroughtBack == 0 {
			t.Errorf("restored %+v", of)
		}
	}
	second := w.site(t, dsn)
	second.turn(t)
	var none phone.Keys
	for _, of := range []*tenant.Tenant{w.north, w.south} {
		w.listener(t, of).hears(t, second, none) // fails if a listed file is missing
	}
	if d := w.drill(t, dir, w.Root); d.Whole() {
		t.Error("the drill does not miss the file")
	}
}

// The lists of exceptions name what exists, and every table is either in a backup or on
// the list.
func TestEveryTableIsInABackup(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for name := range leftOut {
		if n := query[int](t, w.Database.DSN(""), `select count(*) from pg_class where relname = $1`, name); n != 1 {
			t.Errorf("there is no table %s", name)
		}
	}
	tables, err := catalogue(t.Context(), w.Database.Super())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if len(table.sorted) == 0 {
			t.Errorf("%s has no primary key", table.Name)
		}
	}
	all := query[int](t, w.Database.DSN(""), `select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`)
	if len(tables)+len(leftOut) != all {
		t.Errorf("%d tables and %d left out are not all %d", len(tables), len(leftOut), all)
	}
}

// The role that makes backups reads and does nothing else.
func TestTheBackupRoleOnlyReads(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	granted := query[int](t, w.Database.DSN(""), `
select count(*)
  from pg_class c
 where c.relnamespace = 'public'::regnamespace
   and c.relkind in ('r', 'p')
   and has_table_privilege('carillon_backup', c.oid, 'insert, update, delete, truncate, references, trigger')`)
	if granted != 0 {
		t.Errorf("it may write %d tables", granted)
	}
	unread := query[int](t, w.Database.DSN(""), `
select count(*)
  from pg_class c
 where c.relnamespace = 'public'::regnamespace
   and c.relkind in ('r', 'p')
   and not has_table_privilege('carillon_backup', c.oid, 'select')`)
	if unread != 0 {
		t.Errorf("it may not read %d tables", unread)
	}
	tables, err := catalogue(t.Context(), w.Database.Super())
	if err != nil {
		t.Fatal(err)
	}
	north := w.Create("north")
	for _, table := range tables { // without a tenant, it sees no tenant's rows
		if !table.tenantTable() {
			continue
		}
		if n := query[int](t, w.Database.DSN("carillon_backup"), `select count(*) from `+table.Name+` where tenant_id = $1`, north.ID); n != 0 {
			t.Errorf("%d rows of %s without being bound to the tenant", n, table.Name)
		}
	}
}
