package tenant_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing"
	"carillon/signing/erasure"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/leaving"
	"carillon/tenant/mail"
	"carillon/tenant/tenanttest"
)

// mentionsSQL counts the rows of a table in which a text occurs anywhere.
const mentionsSQL = `select count(*) from %s x where position($1 in x::text) > 0`

// A tenant with a row in every table there is, files, and rows of the platform about it, is
// erased; nothing of it is anywhere but what its certificate names, and nothing of another
// tenant has changed. A new table is in this test by being in fillSQL, as it must.
func TestErasureLeavesNothing(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	victim, twin, donor := w.Create("victim"), w.Create("twin"), w.Create("donor")
	for _, of := range []*tenant.Tenant{victim, twin} {
		w.Key(of, client.Device)
		for _, statement := range fillSQL {
			exec(t, w, statement, of.ID)
		}
	}
	exec(t, w, `insert into directory_host (host, tenant) values ('victim.example', $1)`, victim.ID)
	exec(t, w, `insert into job_run (job, tenant, every_seconds, bound_seconds, when_suspended, created_at) values ('export', $1, 1, 1, false, now())`, victim.ID)
	exec(t, w, `
insert into application (application_id, email, confirmed_by, state, authority_name, region, domain, contact_name, contact_email,
                         contact_phone, languages, codes_per_day, challenge, proven_by, proven_at, sandbox, production, created_at, changed_at, decided_at)
values (gen_random_uuid(), 'robin@health.example', 'link', 'approved', 'Victim', 'US-WA', 'health.example', 'Robin', 'robin@health.example',
        '1', '{en}', 1, 'c', 'dns', now(), $2, $1, now(), now(), now())`, victim.ID, donor.ID)
	exec(t, w, `update tenant_leaving set begun_at = $2::timestamptz, closes_at = $2, erase_after = $2::timestamptz + interval '30 days' where tenant_id = $1`, victim.ID, w.Now())
	exec(t, w, `update tenant_directory set state = 'leaving' where tenant = $1`, victim.ID)
	store, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"victim/index.txt", "victim/1.zip", "archives/victim/a/000001", "twin/index.txt", "victim-b/index.txt"} {
		if err := store.Replace(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	tables := tenantTables(t, w.Database.Super(), twin.ID)
	before := contents(t, w.Database.Super(), tables, twin.ID)
	box := mail.NewBox(w.Now)
	s := leaving.New(leaving.Config{
		DB: w.Jobs, Directory: tenant.NewDirectory(w.Jobs), Custody: signing.Custody{Root: w.Root}, Files: store,
		Mail: box, BaseURL: "https://platform.example", Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	turn := func() {
		t.Helper()
		if err := s.Turn(t.Context(), victim.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.Erase(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.Advance(30*24*time.Hour - time.Second)
	turn()
	if n := len(box.List()); n != 2 || rows(t, w, "tenant_setting", victim.ID) != 1 {
		t.Fatalf("%d letters before its time, or erased", n)
	}
	w.Advance(time.Second)
	turn()
	if rows(t, w, "data_key", victim.ID) != 0 {
		t.Fatal("its data key is there")
	}
	exec(t, w, `insert into verification_token (tenant_id, token_digest, expires_at) values ($1, sha256('late'), now())`, victim.ID)
	w.Advance(leaving.Settle)
	turn()

	for _, tab := range tables {
		if n := rows(t, w, tab.name, victim.ID); n != 0 {
			t.Errorf("%s: %d rows are left", tab.name, n)
		}
	}
	if after := contents(t, w.Database.Super(), tables, twin.ID); after != before {
		t.Error("rows of another tenant have changed")
	}
	expectMentions(t, w, victim)
	left, err := store.List(t.Context(), "")
	if err != nil || !slices.Equal(left, []string{"twin/index.txt", "victim-b/index.txt"}) {
		t.Errorf("files %v, %v", left, err)
	}
	expectCertificate(t, w, victim, box)
	turn()
	if n := len(box.List()); n != 4 {
		t.Errorf("%d letters, want a reminder and a certificate for each owner", n)
	}
}

// expectMentions walks all tables and looks into all rows, as nobody but a superuser can.
func expectMentions(t *testing.T, w *tenanttest.World, of *tenant.Tenant) {
	t.Helper()
	want := map[string]bool{"tenant_directory": true, "erasure": true}
	all, err := w.Database.Super().QueryContext(t.Context(), `
  select c.relname from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for all.Next() {
		var table string
		if err := all.Scan(&table); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := w.Database.Super().QueryRowContext(t.Context(), fmt.Sprintf(mentionsSQL, table), of.ID.String()).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if (n > 0) != want[table] {
			t.Errorf("%s has %d rows with its ID", table, n)
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
}

func expectCertificate(t *testing.T, w *tenanttest.World, of *tenant.Tenant, box *mail.Box) {
	t.Helper()
	keys, err := leaving.PublicKeys(t.Context(), w.Operator)
	if err != nil {
		t.Fatal(err)
	}
	var statement string
	if err := w.Database.Super().QueryRowContext(t.Context(), `select statement from erasure where tenant = $1 and addresses = '{}'`, of.ID).Scan(&statement); err != nil {
		t.Fatal(err)
	}
	c, _, err := keys.Open(statement)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Slug, c.HealthAuthorityID, c.Deleted["member"], c.Deleted["data_key"], c.Deleted["verification_token"], c.Deleted["application"], c.Objects, c.BackupKey}
	want := []any{"victim", "org.victim.health", int64(2), int64(1), int64(2), int64(1), int64(3), "none"}
	if diff := cmp.Diff(want, got); diff != "" || !slices.Contains(c.Tables, "audit_entry") || !c.Scanned.After(c.KeyDestroyed) {
		t.Errorf("certificate %+v (-want +got):\n%s", c, diff)
	}
	if letter := box.List()[0]; !strings.Contains(letter.Text, statement) {
		t.Errorf("the letter is %q", letter.Text)
	}
	if _, _, err := (erasure.Keys{}).Open(statement); err == nil {
		t.Error("it is believed without the platform's key")
	}
}

func rows(t *testing.T, w *tenanttest.World, table string, of tenant.ID) (n int) {
	t.Helper()
	if err := w.Database.Super().QueryRowContext(context.WithoutCancel(t.Context()), `select count(*) from `+table+` where tenant_id = $1`, of).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
