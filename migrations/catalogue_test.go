package migrations_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/migrations/testdb"
)

var update = flag.Bool("update", false, "rewrite golden files")

// A tenant's table must keep its rows apart by itself: forced row security with a
// policy, and the tenant first in every key. These queries return what does not.
var rules = []struct{ name, query string }{
	{"row security is not enabled and forced", `
  select c.relname
    from pg_class c
   where c.relname in (select relname from tenant_tables)
     and not (c.relrowsecurity and c.relforcerowsecurity)`},

	{"no policy compares the tenant for every role and command", `
  select t.relname
    from tenant_tables t
   where not exists (
         select from pg_policy p
          where p.polrelid = t.oid
            and p.polpermissive and p.polcmd = '*' and p.polroles = '{0}'
            and pg_get_expr(p.polqual, p.polrelid) = '(tenant_id = current_tenant())'
            and (p.polwithcheck is null
                 or pg_get_expr(p.polwithcheck, p.polrelid) = '(tenant_id = current_tenant())'))`},

	{"no primary key", `
  select t.relname
    from tenant_tables t
   where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)`},

	{"an index does not begin with the tenant", `
  select i.indexrelid::regclass::text
    from pg_index i
    join tenant_tables t on t.oid = i.indrelid
    left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
   where a.attname is distinct from 'tenant_id'`},

	{"a foreign key to a tenants' table does not begin with the tenant", `
  select con.conname
    from pg_constraint con
    join tenant_tables target on target.oid = con.confrelid
    left join pg_attribute m on m.attrelid = con.conrelid  and m.attnum = con.conkey[1]
    left join pg_attribute f on f.attrelid = con.confrelid and f.attnum = con.confkey[1]
   where con.contype = 'f'
     and (m.attname is distinct from 'tenant_id' or f.attname is distinct from 'tenant_id')`},

	{"a view reads with its owner's rights", `
  select c.relname
    from pg_class c
   where c.relkind in ('v', 'm') and c.relnamespace = 'public'::regnamespace
     and not coalesce('security_invoker=true' = any (c.reloptions), false)`},

	{"a function runs with its owner's rights", `
  select p.proname
    from pg_proc p
   where p.pronamespace = 'public'::regnamespace and p.prosecdef`},

	{"a check has no name of its own", `
  select con.conname
    from pg_constraint con
   where con.contype = 'c' and con.connamespace = 'public'::regnamespace
     and con.conname ~ '_check[0-9]*$'`},

	{"the tenant may be null", `
  select t.relname
    from tenant_tables t
    join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id'
   where not a.attnotnull`},

	{"the tenant's rows cannot be erased", `
  select t.relname
    from tenant_tables t
   where not has_table_privilege('carillon_erasure', t.oid, 'select')
      or not has_table_privilege('carillon_erasure', t.oid, 'delete')
      or not exists (select from pg_policy p where p.polrelid = t.oid and p.polname = 'only_erased' and not p.polpermissive)`},

	{"a table has no comment", `
  select c.relname
    from pg_class c
   where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
     and c.relname <> 'goose_db_version'
     and obj_description(c.oid, 'pg_class') is null`},
}

// tenantTables is the set that the rules are about.
const tenantTables = `
create temporary view tenant_tables as
  select c.oid, c.relname
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
   where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace`

// violations lists what breaks the rules, as "rule: name".
func violations(t *testing.T, db *testdb.DB) []string {
	t.Helper()
	conn, err := db.Super().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), tenantTables); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, r := range rules {
		for _, name := range texts(t, conn, r.query) {
			found = append(found, r.name+": "+name)
		}
	}
	return found
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func texts(t *testing.T, q querier, query string) []string {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestTenantTablesKeepTenantsApart(t *testing.T) {
	t.Parallel()
	for _, v := range violations(t, testdb.New(t)) {
		t.Error(v)
	}
}

// The walk through the catalogue must find each kind of careless table.
func TestCarelessTablesAreFound(t *testing.T) {
	t.Parallel()
	const (
		secure  = `alter table careless enable row level security; alter table careless force row level security;`
		policy  = `create policy tenant_only on careless using (tenant_id = current_tenant());`
		comment = `comment on table careless is 'c';`
	)
	for _, test := range []struct{ name, sql, want string }{
		{"not forced", `create table careless (tenant_id uuid primary key); alter table careless enable row level security;` + policy + comment, "row security is not enabled and forced: careless"},
		{"no security", `create table careless (tenant_id uuid primary key);` + policy + comment, "row security is not enabled and forced: careless"},
		{"no policy", `create table careless (tenant_id uuid primary key);` + secure + comment, "no policy compares the tenant for every role and command: careless"},
		{"policy lets all through", `create table careless (tenant_id uuid primary key);` + secure + comment + `create policy all_rows on careless using (true);`, "no policy compares the tenant for every role and command: careless"},
		{"policy checks nothing on write", `create table careless (tenant_id uuid primary key);` + secure + comment + `create policy p on careless using (tenant_id = current_tenant()) with check (true);`, "no policy compares the tenant for every role and command: careless"},
		{"no key", `create table careless (tenant_id uuid not null);` + secure + policy + comment, "no primary key: careless"},
		{"key led by another column", `create table careless (id uuid, tenant_id uuid, constraint careless_pkey primary key (id, tenant_id));` + secure + policy + comment, "an index does not begin with the tenant: careless_pkey"},
		{"index without the tenant", `create table careless (tenant_id uuid primary key, x text); create index careless_x on careless (x);` + secure + policy + comment, "an index does not begin with the tenant: careless_x"},
		{"simple foreign key", `create unique index member_id_alone on member (member_id); create table careless (tenant_id uuid primary key, m uuid, constraint careless_fkey foreign key (m) references member (member_id));` + secure + policy + comment, "a foreign key to a tenants' table does not begin with the tenant: careless_fkey"},
		{"foreign key with the tenant last", `create unique index member_reversed on member (member_id, tenant_id); create table careless (tenant_id uuid primary key, m uuid, constraint careless_fkey foreign key (m, tenant_id) references member (member_id, tenant_id));` + secure + policy + comment, "a foreign key to a tenants' table does not begin with the tenant: careless_fkey"},
		{"foreign key from a table without a tenant", `create table careless (t uuid, constraint careless_fkey foreign key (t) references tenant_setting);` + comment, "a foreign key to a tenants' table does not begin with the tenant: careless_fkey"},
		{"view of all rows", `create view careless as select email from member;`, "a view reads with its owner's rights: careless"},
		{"materialised view of all rows", `create materialized view careless as select email from member;`, "a view reads with its owner's rights: careless"},
		{"function above the policies", `create function careless() returns bigint language sql security definer return (select count(*) from member);`, "a function runs with its owner's rights: careless"},
		{"check without a name", `create table careless (tenant_id uuid primary key, x int check (x > 0));` + secure + policy + comment, "a check has no name of its own: careless_x_check"},
		{"tenant may be null", `create table careless (tenant_id uuid);` + secure + policy + comment, "the tenant may be null: careless"},
		{"not erased", `create table careless (tenant_id uuid primary key);` + secure + policy + comment, "the tenant's rows cannot be erased: careless"},
		{"no comment", `create table careless (tenant_id uuid primary key);` + secure + policy, "a table has no comment: careless"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := testdb.New(t)
			if _, err := db.Super().ExecContext(t.Context(), test.sql); err != nil {
				t.Fatal(err)
			}
			if found := violations(t, db); !slices.Contains(found, test.want) {
				t.Errorf("found %q, want %q among them", found, test.want)
			}
		})
	}
}

// A table without a tenant is an exception that somebody has given a reason for.
func TestPlatformTablesHaveReasons(t *testing.T) {
	t.Parallel()
	got := texts(t, testdb.New(t).Super(), `
  select c.relname
    from pg_class c
   where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
     and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)`)
	if diff := cmp.Diff(listed(t, "testdata/platform_tables.txt"), got); diff != "" {
		t.Errorf("tables without a tenant (-listed +found):\n%s", diff)
	}
}

// Permissive policies are alternatives: one that lets more than the tenant's own rows
// through opens the table, however good the others are. Each has a reason.
func TestWiderPoliciesHaveReasons(t *testing.T) {
	t.Parallel()
	got := texts(t, testdb.New(t).Super(), `
  select format('%s.%s', tablename, policyname)
    from pg_policies
   where schemaname = 'public' and permissive = 'PERMISSIVE'
     and (qual is distinct from '(tenant_id = current_tenant())'
          or coalesce(with_check, qual) is distinct from '(tenant_id = current_tenant())')`)
	if diff := cmp.Diff(listed(t, "testdata/wider_policies.txt"), got); diff != "" {
		t.Errorf("policies that let more through (-listed +found):\n%s", diff)
	}
}

func listed(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found || reason == "" {
			t.Errorf("%s: %q has no reason", file, line)
		}
		names = append(names, name)
	}
	return names
}

// The process roles own nothing and can bypass nothing.
func TestProcessRolesAreUnprivileged(t *testing.T) {
	t.Parallel()
	db := testdb.New(t).Super()
	if bad := texts(t, db, `
  select r.rolname
    from pg_roles r
   where r.rolname like 'carillon\_%'
     and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb
          or r.rolreplication
          or exists (select from pg_shdepend o
                      where o.refclassid = 'pg_authid'::regclass and o.refobjid = r.oid
                        and o.deptype = 'o' and o.dbid in (0, (select oid from pg_database where datname = current_database())))
          or exists (select from pg_auth_members m
                      where m.member = r.oid
                        -- taken on by name, for one transaction: see DB.InSharing, DB.InRole
                        and (r.rolinherit or (r.rolname, m.roleid::regrole::text) not in (
                             ('carillon_jobs', 'carillon_sharing'), ('carillon_jobs', 'carillon_erasure'),
                             ('carillon_jobs', 'carillon_archive'), ('carillon_operator', 'carillon_import'),
                             ('carillon_jobs', 'carillon_keeping'), ('carillon_portal', 'carillon_key_list')))))`); len(bad) > 0 {
		t.Errorf("privileged: %q", bad)
	}
	want := []string{
		"carillon_archive", "carillon_backup", "carillon_device", "carillon_erasure", "carillon_import", "carillon_issuer", "carillon_jobs",
		"carillon_keeping", "carillon_key_list", "carillon_operator", "carillon_portal", "carillon_publish", "carillon_report", "carillon_sharing",
	}
	if diff := cmp.Diff(want, texts(t, db, `select rolname from pg_roles where rolname like 'carillon\_%'`)); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if login := texts(t, db, `
  select rolname
    from pg_roles
   where rolname in ('carillon_sharing', 'carillon_erasure', 'carillon_archive', 'carillon_import', 'carillon_keeping', 'carillon_key_list') and rolcanlogin`); len(login) > 0 {
		t.Errorf("anybody may log in as %q, which are for one transaction each", login)
	}
	if unasked := texts(t, db, `
  select m.rolname || ' has the rights of ' || r.rolname
    from pg_roles r, pg_roles m
   where r.rolname in ('carillon_keeping', 'carillon_key_list', 'carillon_erasure', 'carillon_archive', 'carillon_import')
     and m.rolname like 'carillon\_%' and m.rolname <> r.rolname
     and pg_has_role(m.oid, r.oid, 'usage')`); len(unasked) > 0 {
		t.Errorf("all the time: %q", unasked)
	}
}

// sharesUnasked lists who sees shared keys without having become carillon_sharing.
const sharesUnasked = `
  select r.rolname
    from pg_roles r
   where r.rolname <> 'carillon_sharing'
     and not r.rolsuper
     and pg_has_role(r.oid, 'carillon_sharing', 'usage')`

// The jobs role sees keys of other tenants only where it takes on the role that does; a
// cluster in which it has those rights all the time is mended.
func TestSharedKeysAreSeenByName(t *testing.T) {
	t.Parallel()
	db := testdb.New(t).Super()
	if bad := texts(t, db, sharesUnasked); len(bad) > 0 {
		t.Errorf("%q have the rights of carillon_sharing all the time", bad)
	}
	if may := texts(t, db, `select 'may' where pg_has_role('carillon_jobs', 'carillon_sharing', 'member')`); len(may) == 0 {
		t.Error("carillon_jobs may not become carillon_sharing")
	}
	text, err := os.ReadFile("sql/00035_sharing_by_name.sql")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil) // roles are common to all databases: never committed
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	spoil := `alter role carillon_jobs inherit`
	if version := texts(t, tx, `show server_version_num`)[0]; version >= "160000" {
		spoil = `grant carillon_sharing to carillon_jobs with inherit true`
	}
	for _, step := range []struct {
		sql  string
		want []string
	}{{spoil, []string{"carillon_jobs"}}, {string(text), nil}, {string(text), nil}} {
		if _, err := tx.ExecContext(t.Context(), step.sql); err != nil {
			t.Fatal(err)
		}
		if got := texts(t, tx, sharesUnasked); !slices.Equal(got, step.want) {
			t.Errorf("%q have the rights all the time, want %q, after %s", got, step.want, step.sql)
		}
	}
}

// schemaQueries describe the schema as text, one line for each thing.
var schemaQueries = []struct{ title, query string }{
	{"columns", `
  select format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                case when a.attnotnull then ' not null' else '' end,
                coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
   where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace and c.relname <> 'goose_db_version'`},
	{"constraints", `
  select format('%s %s %s', c.relname, con.conname, pg_get_constraintdef(con.oid))
    from pg_constraint con
    join pg_class c on c.oid = con.conrelid
   where c.relnamespace = 'public'::regnamespace and c.relname <> 'goose_db_version'`},
	{"domains", `
  select format('%s is %s, %s %s', t.typname, format_type(t.typbasetype, t.typtypmod), con.conname, pg_get_constraintdef(con.oid))
    from pg_type t
    join pg_constraint con on con.contypid = t.oid
   where t.typnamespace = 'public'::regnamespace`},
	{"indexes", `
  select pg_get_indexdef(i.indexrelid)
    from pg_index i
    join pg_class c on c.oid = i.indrelid
   where c.relnamespace = 'public'::regnamespace and c.relname <> 'goose_db_version'`},
	{"policies", `
  select format('%s %s %s %s to %s using %s check %s', tablename, policyname, permissive, cmd, roles, qual, with_check)
    from pg_policies where schemaname = 'public'`},
	{"grants on tables", `
  select format('%s may %s %s', grantee, lower(string_agg(privilege_type, ', ' order by privilege_type)), table_name)
    from information_schema.role_table_grants
   where grantee like 'carillon\_%'
group by grantee, table_name`},
	{"grants on columns", `
  select format('%s may %s %s (%s)', g.grantee, lower(g.privilege_type), g.table_name, string_agg(g.column_name, ', ' order by g.column_name))
    from information_schema.column_privileges g
   where g.grantee like 'carillon\_%'
     and not exists (select from information_schema.role_table_grants t
                      where t.grantee = g.grantee and t.table_name = g.table_name and t.privilege_type = g.privilege_type)
group by g.grantee, g.privilege_type, g.table_name`},
}

// The schema as a whole is a golden file: its changes are read like code.
func TestSchemaIsGolden(t *testing.T) {
	t.Parallel()
	db := testdb.New(t).Super()
	var b strings.Builder
	for _, q := range schemaQueries {
		fmt.Fprintf(&b, "== %s ==\n%s\n\n", q.title, strings.Join(texts(t, db, q.query), "\n"))
	}
	const golden = "testdata/schema.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) { // a difference of thousands of lines takes long to find
		diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n"))
		t.Errorf("schema differs from %s (-want +got); run the test with -update if that is meant:\n%s", golden, diff)
	}
}
