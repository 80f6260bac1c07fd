package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"carillon/migrations/testdb"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/leaving"
	"carillon/tenant/mail"
)

// What those who run two platforms do for an authority that moves: the first makes an
// archive, the second imports it, the first erases and certifies, and anybody verifies the
// certificate with the published key alone.
func TestLeavingCommands(t *testing.T) {
	t.Parallel()
	dir, here, there := t.TempDir(), testdb.New(t), testdb.New(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	carillon := func(want string, args ...string) string {
		t.Helper()
		out, err := carillonIn(t, dir, args...)
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			out += string(failed.Stderr)
		}
		if good := err == nil; good != (want == "") || !good && !strings.Contains(out, want) {
			t.Fatalf("%v: %v, want %q:\n%s", args, err, want, out)
		}
		return out
	}
	create := func(slug string, db *testdb.DB, root string) {
		t.Helper()
		carillon("", "tenant", "create", slug, "--name", slug, "--region", "XA-"+strings.ToUpper(slug[:1]), "--health-authority-id", "org."+slug,
			"--issuer", slug+".example", "--export-key-id", "310", "--root-key", file(root), "--database", db.DSN(""))
	}
	create("north", here, "here.key")
	create("south", there, "there.key")
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	mine := write(t, dir, "identity.txt", []byte(identity.String()+"\n"))
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	others := write(t, dir, "other.txt", []byte(other.String()+"\n"))

	atHome := []string{"--database", here.DSN(""), "--root-key", file("here.key"), "--exports", file("here")}
	elsewhere := []string{"--database", there.DSN(""), "--root-key", file("there.key"), "--exports", file("there")}
	archive := func(slug, to, recipient string) []string {
		return append([]string{"tenant", "archive", slug, "--out", file(to), "--recipient", recipient}, atHome...)
	}
	carillon("not an age public key", archive("north", "none.zip", "age1nobody")...)
	carillon("unknown tenant", archive("nowhere", "none.zip", "")...)
	if _, err := os.Stat(file("none.zip")); err == nil {
		t.Error("what failed has left a file")
	}
	carillon("", archive("north", "reading.zip", "")...)
	made := carillon("", archive("north", "north.zip", identity.Recipient().String())...)
	sum := made[strings.Index(made, "SHA-256 ")+len("SHA-256 "):][:64]

	load := func(name, with, sum string) []string {
		return append([]string{"tenant", "import", "archive", file(name), "--identity", with, "--sha256", sum}, elsewhere...)
	}
	carillon("without the authority's keys", load("reading.zip", mine, "")...)
	carillon("SHA-256", load("north.zip", mine, strings.Repeat("0", 64))...)
	carillon("keys", load("north.zip", others, sum)...)
	if out := carillon("", load("north.zip", mine, sum)...); !strings.Contains(out, "/t/north/") {
		t.Errorf("after the import: %s", out)
	}
	carillon("", "tenant", "show", "north", "--database", there.DSN(""))
	carillon("is or was in this deployment", load("north.zip", mine, sum)...)

	carillon("north", "tenant", "erasure", "north", "--database", here.DSN(""))
	eraseNow(t, here, file("here.key"), file("here"))
	write(t, dir, "certificate.txt", []byte(carillon("", "tenant", "erasure", "north", "--database", here.DSN(""))))
	write(t, dir, "platform.pem", []byte(carillon("", "tenant", "erasure-key", "--database", here.DSN(""))))
	if out := carillon("", "tenant", "verify-erasure", file("certificate.txt"), "--key", file("platform.pem")); !strings.Contains(out, "Valid.") || !strings.Contains(out, "north") {
		t.Errorf("verified: %s", out)
	}
	text, err := os.ReadFile(file("certificate.txt"))
	if err != nil {
		t.Fatal(err)
	}
	at := len(text) / 2
	text[at] = map[bool]byte{true: 'B', false: 'A'}[text[at] == 'A']
	carillon("not a certificate of erasure", "tenant", "verify-erasure", write(t, dir, "changed.txt", text), "--key", file("platform.pem"))
	another := write(t, dir, "other.pem", []byte(carillon("", "audit", "key", "north", "--database", there.DSN(""))))
	carillon("unknown key", "tenant", "verify-erasure", file("certificate.txt"), "--key", another)
	carillon("unknown tenant", append([]string{"tenant", "archive", "north", "--out", file("late.zip")}, atHome...)...)
	carillon("", "tenant", "show", "north", "--database", there.DSN(""))
}

// eraseNow does what the service's jobs do to an authority whose cool-down is over.
func eraseNow(t *testing.T, db *testdb.DB, rootFile, exports string) {
	t.Helper()
	root, err := signing.OpenRootFile(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	files, err := export.NewFileStore(exports)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := tenant.Open(t.Context(), tenant.Config{DSN: db.DSN("carillon_jobs")})
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Close()
	for _, statement := range []string{
		`insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
		 select tenant, 'robin', 'sam', now() - interval '31 days', now() - interval '27 days', now() - interval '1 day' from tenant_directory where slug = 'north'`,
		`update tenant_directory set state = 'leaving' where slug = 'north'`,
	} {
		if _, err := db.Super().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var id tenant.ID
	if err := db.Super().QueryRowContext(t.Context(), `select tenant from tenant_directory where slug = 'north'`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	clock := func() time.Time { return now }
	s := leaving.New(leaving.Config{
		DB: jobs, Directory: tenant.NewDirectory(jobs), Custody: signing.Custody{Root: root}, Files: files,
		Mail: mail.NewBox(clock), BaseURL: "https://platform.example", Log: slog.New(slog.DiscardHandler), Now: clock,
	})
	for _, do := range []func(context.Context) error{
		func(ctx context.Context) error { return s.Turn(ctx, id) }, s.Erase,
		func(context.Context) error { now = now.Add(leaving.Settle); return nil }, s.Erase,
	} {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
