package migrations_test

import (
	"context"
	"database/sql"
	"os"
	"path"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"carillon/migrations"
	"carillon/migrations/testdb"
)

// before are the real steps up to a number, itself left out.
func before(t *testing.T, number string) fstest.MapFS {
	t.Helper()
	entries, err := os.ReadDir("sql")
	if err != nil {
		t.Fatal(err)
	}
	steps := fstest.MapFS{}
	for _, e := range entries {
		if e.Name() >= number {
			continue
		}
		body, err := os.ReadFile(path.Join("sql", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		steps[e.Name()] = &fstest.MapFile{Data: body}
	}
	return steps
}

// owned is an empty database with an owner whom row security binds, as a hosted
// Postgres has them.
func owned(t *testing.T) (dsn string, super *sql.DB) {
	t.Helper()
	fresh := testdb.New(t)
	const sql = `
create role schema_owner login createrole;
drop schema public cascade;
create schema public authorization schema_owner`
	if _, err := fresh.Super().ExecContext(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := fresh.Super().ExecContext(context.Background(), `drop owned by schema_owner cascade; drop role schema_owner`)
		if err != nil {
			t.Error(err)
		}
	})
	return fresh.DSN("schema_owner"), fresh.Super()
}

// Keys keep all that was stored of them when their rows are made narrow.
func TestExposureRowsMove(t *testing.T) {
	t.Parallel()
	dsn, db := owned(t)
	if err := migrations.UpSteps(t.Context(), dsn, before(t, "00019")); err != nil {
		t.Fatal(err)
	}
	const insert = `
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
        traveler, regions, created_at, generated, revised_type, revised_at, revised_days, revised_risk)
values (md5('a')::uuid, decode(md5('1'), 'hex'), 1, 144, 2, 'confirmed', -3, false, '{XA}', '2026-11-25 15:00Z', false, null, null, null, null),
       (md5('a')::uuid, decode(md5('2'), 'hex'), 2, 100, 0, 'user-report', null, true, '{XA,XB,XC}', '2026-11-25 16:00Z', true, null, null, null, null),
       (md5('b')::uuid, decode(md5('1'), 'hex'), 3, 90, 8, 'likely', 14, false, '{}', '2026-11-25 17:00Z', false, 'negative', '2026-11-26 01:00Z', 5, 6)`
	if _, err := db.ExecContext(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	const moved = `
select concat_ws(' ', left(tenant_id::text, 2), left(encode(tek, 'hex'), 2), rolling_start, rolling_period, transmission_risk, report_type,
                 coalesce(days_since_onset::text, '-'), traveler, region, coalesce(other_regions::text, '-'), created_at at time zone 'UTC', generated,
                 coalesce(revised_type::text, '-'), revised_at at time zone 'UTC', revised_days, revised_risk, import_no)
  from exposure`
	want := []string{
		"0c c4 1 144 2 confirmed -3 f XA - 2026-11-25 15:00:00 f -",
		"0c c8 2 100 0 user-report - t XA {XB,XC} 2026-11-25 16:00:00 t -",
		"92 c4 3 90 8 likely 14 f  - 2026-11-25 17:00:00 f negative 2026-11-26 01:00:00 5 6",
	}
	if diff := cmp.Diff(want, texts(t, db, moved)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
