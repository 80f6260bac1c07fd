package migrations_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path"
	"strings"
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
	role := "schema_owner_" + strings.ToLower(t.Name()) // roles are common to all databases
	sql := fmt.Sprintf(`
create role %[1]s login createrole;
drop schema public cascade;
create schema public authorization %[1]s`, role)
	if _, err := fresh.Super().ExecContext(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := fresh.Super().ExecContext(context.Background(), fmt.Sprintf(`drop owned by %[1]s cascade; drop role %[1]s`, role))
		if err != nil {
			t.Error(err)
		}
	})
	return fresh.DSN(role), fresh.Super()
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

// Files that are staged keep their bytes when these are cut into parts.
func TestStagedFilesMove(t *testing.T) {
	t.Parallel()
	dsn, db := owned(t)
	if err := migrations.UpSteps(t.Context(), dsn, before(t, "00020")); err != nil {
		t.Fatal(err)
	}
	// Rows that these refer to are not needed, only in the way.
	const insert = `
set session_replication_role = replica;
insert into export_batch (tenant_id, config_id, starts_at, ends_at, state, fence)
values (md5('a')::uuid, md5('c')::uuid, '2026-11-25 15:00Z', '2026-11-25 16:00Z', 'staged', 7);
insert into export_file (tenant_id, config_id, starts_at, file_no, name, state, key_count, revised_count, size, sha256, body)
select md5('a')::uuid, md5('c')::uuid, '2026-11-25 15:00Z', n, n || '.zip', case when body is null then 'published' else 'staged' end,
       0, 0, 0, sha256(body::text::bytea), body
  from (values (1, decode(repeat('0123456789abcdef', 300000), 'hex')), (2, 'short'::bytea), (3, decode(repeat('77', 1048576), 'hex'))) as f (n, body);
set session_replication_role = origin`
	if _, err := db.ExecContext(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	const whole = `select concat_ws(' ', file_no, 7, md5(body)) from export_file order by file_no`
	want := texts(t, db, whole)
	if err := migrations.UpSteps(t.Context(), dsn, before(t, "00021")); err != nil {
		t.Fatal(err)
	}
	const after = `
  select concat_ws(' ', file_no, fence, md5(string_agg(body, '' order by part_no)))
    from export_part
group by file_no, fence
order by file_no`
	if diff := cmp.Diff(want, texts(t, db, after)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	parts := texts(t, db, `select file_no || ':' || count(*) from export_part group by file_no order by file_no`)
	if diff := cmp.Diff([]string{"1:3", "2:1", "3:1"}, parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}
