package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"carillon/migrations/testdb"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit/checkpoint"
	"carillon/tenant/key"
)

// What an auditor does: the log and its key are exported, and verified without the
// database; what a superuser changed shows.
func TestAuditCommands(t *testing.T) {
	t.Parallel()
	db, dir := testdb.New(t), t.TempDir()
	root, log, late, log2 := filepath.Join(dir, "root.key"), filepath.Join(dir, "north.jsonl"), filepath.Join(dir, "late.jsonl"), filepath.Join(dir, "serve.log")
	carillon := func(want int, args ...string) {
		t.Helper()
		if code := run(t.Context(), args); code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
	}
	database := "--database=" + db.DSN("")
	carillon(0, "tenant", "create", "north", "--name", "North", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "n.example", "--export-key-id", "310", "--root-key", root, database)
	carillon(0, "tenant", "set", "north", "self-report=on", database)
	signLogs(t, db, root, log2)
	carillon(0, "audit", "export", "north", "--out", log, database)
	carillon(exitFailed, "audit", "export", "nowhere", "--out", log, database)
	carillon(0, "audit", "key", "north", database)
	carillon(0, "audit", "verify", log)
	carillon(0, "audit", "verify", log, "--json", "--kept", log2)
	carillon(exitFailed, "audit", "verify", root)                    // no log at all
	carillon(exitFailed, "audit", "verify", log, "--key", log)       // no keys in it
	carillon(exitFailed, "audit", "verify", log, "--kept", root)     // no checkpoints in it
	carillon(exitUsage, "audit", "verify", filepath.Join(dir, "no")) // no such file

	if _, err := db.Super().ExecContext(t.Context(), `update audit_entry set actor_name = 'Somebody else' where entry_no = 2`); err != nil {
		t.Fatal(err)
	}
	carillon(0, "audit", "export", "north", "--out", late, database)
	carillon(exitFailed, "audit", "verify", late)
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// signLogs does what the service's job does, and keeps its log.
func signLogs(t *testing.T, db *testdb.DB, rootFile, logFile string) {
	t.Helper()
	root, err := signing.OpenRootFile(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := tenant.Open(t.Context(), tenant.Config{DSN: db.DSN("carillon_jobs")})
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Close()
	north, err := tenant.NewDirectory(jobs).BySlug(t.Context(), "north")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	signer := checkpoint.NewSigner(jobs, key.NewRing(jobs, signing.Custody{Root: root}), slog.New(slog.NewJSONHandler(&log, nil)), time.Now)
	if signed, err := signer.Sign(t.Context(), north); err != nil || !signed {
		t.Fatalf("signed: %v, %v", signed, err)
	}
	text, err := io.ReadAll(&log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
