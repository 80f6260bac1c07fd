package main

import (
	"os"
	"path/filepath"
	"testing"

	"carillon/migrations/testdb"
	"carillon/tenant/labfeed"
)

// A mapping is shown, edited and put back once; an old or senseless one is refused.
func TestTenantLabFeed(t *testing.T) {
	t.Parallel()
	database, dir := testdb.New(t).DSN(""), t.TempDir()
	create := []string{
		"tenant", "create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--database", database, "--root-key", filepath.Join(dir, "root.key"),
	}
	if code := run(t.Context(), create); code != 0 {
		t.Fatalf("tenant create: exit code %d", code)
	}
	edited, senseless := filepath.Join(dir, "mapping.json"), filepath.Join(dir, "senseless.json")
	file, err := os.Create(edited)
	if err != nil {
		t.Fatal(err)
	}
	m := labfeed.DefaultMapping()
	m.CSV.Phone = "mobile"
	if err := printMapping(file, m); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(senseless, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		args []string
		want int
	}{
		{"show", []string{"north"}, 0},
		{"show nobody's", []string{"south"}, exitFailed},
		{"senseless", []string{"north", "--set", senseless}, exitFailed},
		{"missing file", []string{"north", "--set", filepath.Join(dir, "none.json")}, exitFailed},
		{"set", []string{"north", "--set", edited}, 0},
		{"set the same version again", []string{"north", "--set", edited}, exitFailed},
		{"show again", []string{"north"}, 0},
	} {
		args := append([]string{"tenant", "lab-feed"}, append(step.args, "--database", database)...)
		if code := run(t.Context(), args); code != step.want {
			t.Errorf("%s: exit code %d, want %d", step.name, code, step.want)
		}
	}
}
