package main

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/deploy/backup"
	"carillon/migrations/testdb"
)

// After a restore the operator has a list of what to look through, in which nothing that
// staff have named can pass for something else.
func TestReviewIsPrinted(t *testing.T) {
	t.Parallel()
	r := &backup.Restored{
		Manifest: &backup.Manifest{RecoveryPoint: time.Date(2026, 11, 27, 4, 0, 0, 0, time.UTC)},
		Tenants: []backup.RestoredTenant{
			{Slug: "north", Review: []backup.Review{
				{Kind: "device-key", Name: "app\n    [ ] another", Detail: "made 2026-11-01"},
				{Kind: "member", Name: "robin@north.example", Detail: "owner"},
			}},
			{Slug: "gone", Erased: true},
		},
	}
	var b strings.Builder
	if err := printRestored(&b, r, false, r.Manifest.RecoveryPoint.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"2026-11-27T04:00:00Z", `[ ] "robin@north.example"  owner`, `[ ] "app\n    [ ] another"  made 2026-11-01`,
		"Suspend again who was suspended", "Destroy again what was destroyed:\n    none",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\ngone\n") {
		t.Errorf("an erased authority is to be looked through:\n%s", text)
	}
}

// What an operator does every week: a signed backup, and a drill that trusts one key.
func TestBackupCommands(t *testing.T) {
	t.Parallel()
	db, dir := testdb.New(t), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	carillon := func(want int, args ...string) {
		t.Helper()
		if code := run(t.Context(), args); code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
	}
	carillon(0, "tenant", "create", "north", "--name", "North", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "n.example", "--export-key-id", "310", "--root-key", file("root.key"), "--database", db.DSN(""))
	key := newKey(t)
	private := privateFile(t, dir, key)
	public, others := keyFile(t, dir, "backup.pem", key), keyFile(t, dir, "other.pem", newKey(t))
	backUp := func(want int, signer string) {
		carillon(want, "backup", "--database", db.DSN(""), "--folder", file("backups"), "--backup-keys", file("keys"), "--exports", file("exports"), "--sign-key", signer)
	}
	backUp(exitFailed, public) // no private key
	backUp(exitFailed, file("missing.key"))
	backUp(0, private)
	made, err := filepath.Glob(file("backups/*z"))
	if err != nil || len(made) != 1 {
		t.Fatalf("backups %q, %v", made, err)
	}
	drill := func(want int, args ...string) {
		carillon(want, append([]string{"drill", made[0], "--database", db.DSN(""), "--backup-keys", file("keys"), "--root-key", file("root.key")}, args...)...)
	}
	drill(0)
	drill(0, "--signed-by", public, "--json")
	drill(exitFailed, "--signed-by", others)
	drill(exitFailed, "--signed-by", private) // no public key
}

func privateFile(t *testing.T, dir string, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, dir, "backup.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
