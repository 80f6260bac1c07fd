package migrations_test

import (
	"database/sql"
	"testing"
	"testing/fstest"

	"golang.org/x/sync/errgroup"

	"carillon/migrations"
	"carillon/migrations/testdb"
)

// empty is a database in which nothing of ours exists.
func empty(t *testing.T) (dsn string, db *sql.DB) {
	t.Helper()
	fresh := testdb.New(t)
	if _, err := fresh.Super().ExecContext(t.Context(), `drop schema public cascade; create schema public`); err != nil {
		t.Fatal(err)
	}
	return fresh.DSN(""), fresh.Super()
}

func step(sql string) *fstest.MapFile { return &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)} }

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const countTables = `select count(*) from pg_tables where schemaname = 'public' and tablename in ('first', 'second', 'half')`

// A step that fails leaves nothing of itself, and the steps before it; corrected, it
// goes on from there.
func TestFailedStepIsRolledBackWhole(t *testing.T) {
	t.Parallel()
	dsn, db := empty(t)
	steps := fstest.MapFS{
		"00001_first.sql":  step(`create table first (x integer);`),
		"00002_second.sql": step(`create table half (x integer); create table first (x integer);`),
	}
	if err := migrations.UpSteps(t.Context(), dsn, steps); err == nil {
		t.Fatal("a step that cannot work was applied")
	}
	if n := count(t, db, countTables); n != 1 {
		t.Errorf("%d tables are left, want the first step's one", n)
	}
	steps["00002_second.sql"] = step(`create table second (x integer);`)
	if err := migrations.UpSteps(t.Context(), dsn, steps); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, countTables); n != 2 {
		t.Errorf("%d tables, want 2", n)
	}
}

// Programs that start at the same moment agree on who migrates.
func TestManyStartersMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn, db := empty(t)
	steps := fstest.MapFS{"00001_first.sql": step(`create table first (x integer); insert into first values (1);`)}
	group, ctx := errgroup.WithContext(t.Context())
	for range 6 {
		group.Go(func() error { return migrations.UpSteps(ctx, dsn, steps) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `select count(*) from first`); n != 1 {
		t.Errorf("the step ran %d times", n)
	}
}

// The real steps apply to a cluster in which the roles exist already: another
// database may have made them.
func TestRealStepsApplyTwiceInOneCluster(t *testing.T) {
	t.Parallel()
	dsn, db := empty(t)
	for range 2 {
		if err := migrations.Up(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, db, `select count(*) from pg_tables where schemaname = 'public'`); n < 10 {
		t.Errorf("%d tables", n)
	}
}

// Entries that were written before there was a chain are numbered and chained, each
// tenant's by themselves.
func TestOlderAuditEntriesAreChained(t *testing.T) {
	t.Parallel()
	dsn, db := empty(t)
	earlier, err := migrations.Before("00026_audit_chain.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := migrations.UpSteps(t.Context(), dsn, earlier); err != nil {
		t.Fatal(err)
	}
	const arrange = `
insert into tenant_directory (tenant, slug, name, region, health_authority_id)
select gen_random_uuid(), 'tenant-' || n, 'Health', 'XA-' || n, 'org.' || n from generate_series(1, 3) n;
insert into audit_entry (tenant_id, at, actor_kind, actor_id, actor_name, action, target)
select tenant, date_trunc('second', now()), 'system', 'x', 'X', 'act', n::text
  from generate_series(1, 5) n, tenant_directory where slug <> 'tenant-3'`
	if _, err := db.ExecContext(t.Context(), arrange); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `
select count(*)
  from audit_entry e
  left join audit_entry b on b.tenant_id = e.tenant_id and b.entry_no = e.entry_no - 1
 where e.entry_no = e.target::integer
   and e.digest = audit_digest(coalesce(b.digest, decode(repeat('00', 32), 'hex')), e)`); n != 10 {
		t.Errorf("%d entries of 10 are numbered in order and chained", n)
	}
	if n := count(t, db, `
select count(*)
  from audit_head h
  join audit_entry e on e.tenant_id = h.tenant_id and e.entry_no = h.entries and e.digest = h.digest
 where h.entries = 5`); n != 2 {
		t.Errorf("%d heads of 2 are the newest entries'", n)
	}
}
