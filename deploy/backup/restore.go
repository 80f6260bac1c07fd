package backup

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/lib/pq"

	"carillon/migrations"
	"carillon/tenant"
	"carillon/tenant/export"
)

// RestoreConfig is what a backup is restored with.
type RestoreConfig struct {
	// Dir is the backup's own folder.
	Dir string
	// Database is a connection string for the owner of an empty database.
	Database string
	// Keys is where the tenants' wrapped data keys are.
	Keys KeyStore
	// Exports is the store of published files, which may have newer ones than the backup,
	// or none. Nil leaves files alone: then files of the same names must not be there.
	Exports export.Store
	// Tenant restores no other tenant than this; empty restores all.
	Tenant string
	// KeepAPIKeys leaves the API keys of back ends good. Whoever sets it vouches that none
	// was revoked after the recovery point.
	KeepAPIKeys bool
	// Identities open an encrypted backup.
	Identities []age.Identity
	// SignedBy is the public key of whoever makes the backups: one that is not signed by it
	// is refused. Nil takes any backup.
	SignedBy *ecdsa.PublicKey
	Log      *slog.Logger
	Now      func() time.Time
}

// Restored tells what was restored.
type Restored struct {
	Manifest *Manifest
	Tenants  []RestoredTenant
	// Took is from the first check to the commit.
	Took time.Duration
}

// RestoredTenant is one tenant of it.
type RestoredTenant struct {
	ID   tenant.ID
	Slug string
	Rows int64
	// Erased since the backup: its name stays taken, and nothing else of it came back.
	Erased bool
	// FilesBroughtBack were missing in the store, FilesAdopted newer than the backup.
	FilesBroughtBack, FilesAdopted int
	// FilesLost are in no store: they are not listed any more.
	FilesLost []string
	// Review is what was taken away after the recovery point, if it was, and is there again:
	// somebody who knows has to look through it.
	Review []Review
}

// Review is one thing that a restore may have given back.
type Review struct {
	// Kind is device-key, member or signing-key.
	Kind string
	// Name says which, and Detail what it can do.
	Name, Detail string
}

// Restore puts a backup into an empty database, whole or not at all: [ErrNotEmpty] if it is
// not empty, [ErrAltered], [ErrNewer], [ErrNoManifest], [ErrEncrypted], [ErrUnsigned],
// [ErrNoBackupKey].
// What fails can be repeated with the same database.
//
// Every row that was written is read back, and the sums must be those of the manifest. In
// the same transaction ends what may have been used since: see [endings].
func Restore(ctx context.Context, c RestoreConfig) (*Restored, error) {
	began := c.Now()
	m, err := ReadManifest(c.Dir)
	if err != nil {
		return nil, err
	}
	if c.SignedBy != nil {
		if err := verifySignature(c.Dir, c.SignedBy); err != nil {
			return nil, err
		}
	}
	for _, p := range m.parts() {
		if err := p.check(c.Dir); err != nil {
			return nil, err
		}
	}
	r := restoring{RestoreConfig: c, manifest: m, report: &Restored{Manifest: m}, now: began.UTC().Truncate(time.Second)}
	if err := r.choose(); err != nil {
		return nil, err
	}
	if err := r.database(ctx); err != nil {
		return nil, err
	}
	if err := migrations.Up(ctx, c.Database); err != nil {
		return nil, fmt.Errorf("the rows are restored; bring the schema up to date with \"carillon migrate\": %w", err)
	}
	if err := r.dropArchives(ctx); err != nil {
		// What is left is sealed, and the rows are restored: that is no reason to fail.
		c.Log.WarnContext(ctx, "parts of archives are left in the store", slog.Any("error", err))
	}
	r.report.Took = c.Now().Sub(began)
	return r.report, nil
}

// restoring is a restore under way.
type restoring struct {
	RestoreConfig
	manifest *Manifest
	report   *Restored
	tx       *sql.Tx
	tables   map[string]table
	ordered  []table
	chosen   []Part // of tenants
	now      time.Time
}

// choose finds the tenants that are wanted.
func (r *restoring) choose() error {
	for _, p := range r.manifest.Tenants {
		if r.Tenant == "" || r.Tenant == p.Slug {
			r.chosen = append(r.chosen, p)
		}
	}
	if r.Tenant != "" && len(r.chosen) == 0 {
		return fmt.Errorf("%s: %w in the backup", r.Tenant, ErrUnknownTenant)
	}
	return nil
}

// whole reports whether all of the backup is restored.
func (r *restoring) whole() bool { return r.Tenant == "" && r.manifest.Tenant == "" }

const (
	anyTableSQL = `
select exists (select
         from pg_class
        where relnamespace = 'public'::regnamespace
          and relkind in ('r', 'p'))`

	// The lock keeps a second restore, and whoever makes tenants, out until the commit.
	claimSQL = `lock table tenant_directory in access exclusive mode`

	emptySQL = `
select not exists (select from tenant_directory),
       (select max(version_id) from goose_db_version where is_applied)`
)

func (r *restoring) database(ctx context.Context) error {
	db, err := sql.Open("postgres", r.Database)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer db.Close()
	var there bool
	if err := db.QueryRowContext(ctx, anyTableSQL).Scan(&there); err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	if !there {
		if err := migrations.UpTo(ctx, r.Database, r.manifest.Schema); err != nil {
			return fmt.Errorf("make the schema: %w", err)
		}
	}
	if r.tx, err = db.BeginTx(ctx, nil); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = r.tx.Rollback() }() // does nothing after the commit
	if err := r.everything(ctx); err != nil {
		return err
	}
	if err := r.tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (r *restoring) everything(ctx context.Context) error {
	if err := r.claim(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		r.open, r.platform, r.tenants, r.compare, r.sequences, r.shut, r.files, r.end, r.review,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoring) claim(ctx context.Context) error {
	var exists bool
	if err := r.tx.QueryRowContext(ctx, `select to_regclass('public.tenant_directory') is not null`).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		return ErrNotEmpty // somebody else's tables
	}
	if _, err := r.tx.ExecContext(ctx, fixedTextSQL); err != nil {
		return fmt.Errorf("prepare session: %w", err)
	}
	if _, err := r.tx.ExecContext(ctx, claimSQL); err != nil {
		return fmt.Errorf("lock the directory: %w", err)
	}
	var empty bool
	var schema int64
	if err := r.tx.QueryRowContext(ctx, emptySQL).Scan(&empty, &schema); err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	if !empty {
		return ErrNotEmpty
	}
	if schema != r.manifest.Schema {
		return fmt.Errorf("%w: its schema has version %d, the backup's %d", ErrNotEmpty, schema, r.manifest.Schema)
	}
	var err error
	r.ordered, err = catalogue(ctx, r.tx)
	r.tables = map[string]table{}
	for _, t := range r.ordered {
		r.tables[t.Name] = t
	}
	return err
}

// open makes the tables take rows as they are: without triggers, which would number
// entries anew, and for the owner without row-level security. Nobody else sees it before
// shut has undone it.
func (r *restoring) open(ctx context.Context) error {
	return r.alterAll(ctx, "disable trigger user", "no force row level security")
}

func (r *restoring) shut(ctx context.Context) error {
	return r.alterAll(ctx, "enable trigger user", "force row level security")
}

const forcedSQL = `
select array(select relname::text
               from pg_class
              where relnamespace = 'public'::regnamespace
                and relkind in ('r', 'p')
                and relrowsecurity
           order by relname)`

func (r *restoring) alterAll(ctx context.Context, triggers, security string) error {
	var secured pq.StringArray
	if err := r.tx.QueryRowContext(ctx, forcedSQL).Scan(&secured); err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, t := range r.ordered {
		if _, err := r.tx.ExecContext(ctx, "alter table "+pq.QuoteIdentifier(t.Name)+" "+triggers); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	for _, name := range secured {
		if _, err := r.tx.ExecContext(ctx, "alter table "+pq.QuoteIdentifier(name)+" "+security); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// platform puts the rows of no tenant in the place of those that the schema begins with.
func (r *restoring) platform(ctx context.Context) error {
	for i := len(r.ordered) - 1; i >= 0; i-- {
		if t := r.ordered[i]; !t.tenantTable() && (r.whole() || t.tenant != "") {
			if _, err := r.tx.ExecContext(ctx, "delete from "+pq.QuoteIdentifier(t.Name)); err != nil { //nolint:gosec // names of the catalogue, quoted
				return fmt.Errorf("empty %s: %w", t.Name, err)
			}
		}
	}
	_, err := r.load(ctx, r.manifest.Platform, r.wanted)
	return err
}

// wanted chooses the platform's rows: all, or those that say who the wanted tenant is.
func (r *restoring) wanted(t table, row []byte) bool {
	if r.Tenant == "" {
		return true
	}
	var of struct {
		Tenant string `json:"tenant"`
	}
	return t.tenant != "" && json.Unmarshal(row, &of) == nil && of.Tenant == r.chosen[0].Tenant.String()
}

const (
	keySQL = `insert into data_key select * from json_populate_record(null::data_key, $1::json)`

	erasedSQL = `
update tenant_directory
   set state = 'erased', state_reason = 'erased after the backup that was restored', state_since = $2
 where tenant = $1`
)

func (r *restoring) tenants(ctx context.Context) error {
	for _, p := range r.chosen {
		done, err := r.tenant(ctx, p)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", p.Slug, err)
		}
		r.report.Tenants = append(r.report.Tenants, done)
	}
	return nil
}

func (r *restoring) tenant(ctx context.Context, p Part) (RestoredTenant, error) {
	id := tenant.ID(p.Tenant)
	done := RestoredTenant{ID: id, Slug: p.Slug}
	if p.HasKey {
		key, err := r.Keys.Get(ctx, id)
		if errors.Is(err, ErrErased) {
			done.Erased = true
			_, err = r.tx.ExecContext(ctx, erasedSQL, id, r.now)
			return done, err
		}
		if err != nil {
			return done, fmt.Errorf("data key: %w", err)
		}
		if _, err := r.tx.ExecContext(ctx, keySQL, string(key.Row)); err != nil {
			return done, fmt.Errorf("data key: %w", err)
		}
	}
	rows, err := r.load(ctx, p, r.ofOne)
	done.Rows = rows
	return done, err
}

// ofOne leaves out agreements with tenants that are not restored.
func (r *restoring) ofOne(t table, _ []byte) bool { return r.whole() || !notOfOneTenant[t.Name] }

// batchSize bounds what is sent at once, in bytes.
const batchSize = 1 << 20

// loading sends rows in batches.
type loading struct {
	tx    *sql.Tx
	table table
	batch bytes.Buffer
	rows  int64
}

func (l *loading) add(ctx context.Context, row []byte) error {
	if l.batch.Len() > 0 && l.batch.Len()+len(row) > batchSize {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	separator := byte(',')
	if l.batch.Len() == 0 {
		separator = '['
	}
	l.batch.WriteByte(separator)
	l.batch.Write(row)
	l.rows++
	return nil
}

func (l *loading) flush(ctx context.Context) error {
	if l.batch.Len() == 0 {
		return nil
	}
	l.batch.WriteByte(']')
	_, err := l.tx.ExecContext(ctx, l.table.insertSQL(), l.batch.String())
	l.batch.Reset()
	if err != nil {
		return fmt.Errorf("write %s: %w", l.table.Name, err)
	}
	return nil
}

// load writes the rows of a part that choose wants, and returns how many.
func (r *restoring) load(ctx context.Context, p Part, choose func(table, []byte) bool) (int64, error) {
	l := &loading{tx: r.tx}
	err := p.read(r.Dir, r.manifest.Encrypted, r.Identities, reader{
		begin: func(name string) error {
			if err := l.flush(ctx); err != nil {
				return err
			}
			t, known := r.tables[name]
			if !known {
				return fmt.Errorf("%w: there is no table %s", ErrAltered, name)
			}
			l.table = t
			return nil
		},
		row: func(row []byte) error {
			if !choose(l.table, row) {
				return nil
			}
			return l.add(ctx, row)
		},
	})
	if err == nil {
		err = l.flush(ctx)
	}
	return l.rows, err
}

// compare reads back what was written.
func (r *restoring) compare(ctx context.Context) error {
	if r.whole() && !r.anyErased() {
		if err := r.compareTables(ctx, r.manifest.Platform, nil); err != nil {
			return fmt.Errorf("rows of the platform: %w", err)
		}
	}
	for i, p := range r.chosen {
		if r.report.Tenants[i].Erased {
			continue
		}
		id := tenant.ID(p.Tenant)
		if err := r.compareTables(ctx, p, &id); err != nil {
			return fmt.Errorf("tenant %s: %w", p.Slug, err)
		}
	}
	return nil
}

// anyErased reports whether a row of the directory says so since the backup.
func (r *restoring) anyErased() bool {
	for _, t := range r.report.Tenants {
		if t.Erased {
			return true
		}
	}
	return false
}

func (r *restoring) compareTables(ctx context.Context, p Part, id *tenant.ID) error {
	for _, want := range p.Tables {
		t := r.tables[want.Table]
		if id != nil && !r.ofOne(t, nil) {
			continue
		}
		sum := sha256.New()
		got := Content{Table: t.Name}
		err := t.each(ctx, r.tx, id, func(row []byte) error {
			hashLine(sum, row)
			got.Rows++
			return nil
		})
		if err != nil {
			return err
		}
		if got.SHA256 = sumOf(sum); got != want {
			return fmt.Errorf("%w: %s came back as %d rows with SHA-256 %s, not %d with %s", ErrAltered, t.Name, got.Rows, got.SHA256, want.Rows, want.SHA256)
		}
	}
	return nil
}

const (
	identitiesSQL = `
select c.relname, a.attname
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
 where c.relnamespace = 'public'::regnamespace
   and c.relkind in ('r', 'p')
   and c.relname <> 'goose_db_version'
   and a.attidentity <> ''
   and not a.attisdropped`

	nextSQL = `select setval(pg_get_serial_sequence($1, $2), greatest((select max(%s) from %s), 1))`
)

// sequences go on after the rows that were written with their numbers.
func (r *restoring) sequences(ctx context.Context) error {
	rows, err := r.tx.QueryContext(ctx, identitiesSQL)
	if err != nil {
		return fmt.Errorf("list sequences: %w", err)
	}
	defer rows.Close()
	var columns [][2]string
	for rows.Next() {
		var c [2]string
		if err := rows.Scan(&c[0], &c[1]); err != nil {
			return fmt.Errorf("list sequences: %w", err)
		}
		columns = append(columns, c)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list sequences: %w", err)
	}
	for _, c := range columns {
		query := fmt.Sprintf(nextSQL, pq.QuoteIdentifier(c[1]), pq.QuoteIdentifier(c[0]))
		if _, err := r.tx.ExecContext(ctx, query, c[0], c[1]); err != nil {
			return fmt.Errorf("sequence of %s: %w", c[0], err)
		}
	}
	return nil
}

// files makes the store of published files and the rows agree.
func (r *restoring) files(ctx context.Context) error {
	if r.Exports == nil {
		return nil
	}
	copies, err := copiesIn(filepath.Dir(filepath.Clean(r.Dir)))
	if err != nil {
		return err
	}
	for i := range r.report.Tenants {
		t := &r.report.Tenants[i]
		if t.Erased {
			continue
		}
		if err := bind(ctx, r.tx, t.ID); err != nil {
			return err
		}
		o := owner{t.ID, t.Slug}
		if t.FilesBroughtBack, t.FilesLost, err = bringBack(ctx, r.tx, o, copies, r.Exports); err == nil {
			t.FilesAdopted, err = adopt(ctx, r.tx, o, r.Exports)
		}
		if err != nil {
			return fmt.Errorf("tenant %s: %w", t.Slug, err)
		}
	}
	return nil
}
