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
