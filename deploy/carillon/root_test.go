package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carillon/migrations/testdb"
	"carillon/signing"
	"carillon/signing/provider/vault/vaulttest"
	"carillon/tenant/key/rootkey"
)

// An operator replaces a root key by the steps of the documentation, and the old one is
// refused afterwards.
func TestRootCommands(t *testing.T) {
	t.Parallel()
	database, folder := testdb.New(t).DSN(""), t.TempDir()
	old, fresh := filepath.Join(folder, "old.key"), filepath.Join(folder, "fresh.key")
	create := func(slug, region string, keys ...string) []string {
		return append([]string{
			"tenant", "create", slug, "--name", slug, "--region", region, "--health-authority-id", "org." + slug,
			"--issuer", slug, "--export-key-id", "310", "--database", database,
		}, keys...)
	}
	on := func(args ...string) []string { return append(args, "--database", database) }
	before, moved := []string{"--root-key", old, "--old-root-key", fresh}, []string{"--root-key", fresh, "--old-root-key", old}
	must := func(want int, args ...string) {
		t.Helper()
		if code := run(t.Context(), args); code != want {
			t.Errorf("%s: exit code %d, want %d", strings.Join(args[:2], " "), code, want)
		}
	}
	must(0, create("north", "XA-N", "--root-key", old)...) // makes the file
	must(0, "root", "create", fresh)
	must(exitFailed, "root", "create", fresh)
	name := func(path string) string {
		root, err := signing.OpenRootFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return root.Name()
	}
	must(0, create("south", "XA-S", before...)...)
	must(exitFailed, on("root", "retire", name(old))...)
	must(exitFailed, on("root", "rewrap", "--root-key", fresh)...) // cannot open what it should wrap
	must(0, on(append([]string{"root", "rewrap"}, moved...)...)...)
	must(0, on(append([]string{"root", "rewrap"}, moved...)...)...)
	must(0, on(append([]string{"root", "status"}, moved...)...)...)
	must(0, on("root", "retire", name(old))...)
	must(exitFailed, create("west", "XA-W", before...)...)
	must(exitFailed, on(append([]string{"root", "rewrap"}, before...)...)...)
	must(0, create("west", "XA-W", "--root-key", fresh)...)

	db, err := openAsOperator(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	use, err := rootkey.Use(t.Context(), db)
	if want := map[string]int{name(fresh): 3}; err != nil || !maps.Equal(use, want) {
		t.Errorf("root keys in use: %v, want %v (%v)", use, want, err)
	}
}

// What the settings of keys say is taken exactly, or refused.
func TestKeyOptions(t *testing.T) {
	t.Parallel()
	server, folder := vaulttest.New(t, "root"), t.TempDir()
	root := filepath.Join(folder, "root.key")
	if _, err := signing.CreateRootFile(root); err != nil {
		t.Fatal(err)
	}
	services := func(text string) string {
		path := filepath.Join(t.TempDir(), "services.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := services(fmt.Sprintf(`{"vault": {"address": "https://vault.example", "mount": "transit", "tokenFile": %q}}`, server.Config.TokenFile))
	for name, c := range map[string]struct {
		o    keyOptions
		want []string // names of providers; none is a refusal
	}{
		"a file":                  {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyProvider: "sealed"}}, []string{"sealed"}},
		"keys in Vault":           {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: good, KeyProvider: "vault"}}, []string{"sealed", "vault"}},
		"the root key in Vault":   {keyOptions{RootKey: "vault:root", outsideKeys: outsideKeys{KeyServices: good, KeyProvider: "sealed"}}, []string{"sealed", "vault"}},
		"both root keys":          {keyOptions{RootKey: "vault:root", outsideKeys: outsideKeys{OldRootKey: []string{root}, KeyServices: good, KeyProvider: "sealed"}}, []string{"sealed", "vault"}},
		"a root key twice":        {keyOptions{RootKey: root, outsideKeys: outsideKeys{OldRootKey: []string{root}, KeyProvider: "sealed"}}, nil},
		"no such file":            {keyOptions{RootKey: root + "x", outsideKeys: outsideKeys{KeyProvider: "sealed"}}, nil},
		"a service without file":  {keyOptions{RootKey: "vault:root", outsideKeys: outsideKeys{KeyProvider: "sealed"}}, nil},
		"another service":         {keyOptions{RootKey: "aws-kms:arn", outsideKeys: outsideKeys{KeyServices: good, KeyProvider: "sealed"}}, nil},
		"keys in another service": {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: good, KeyProvider: "aws-kms"}}, nil},
		"an unknown member":       {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: services(`{"valt": {}}`), KeyProvider: "sealed"}}, nil},
		"an unknown setting":      {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: services(`{"vault": {"token": "x"}}`), KeyProvider: "sealed"}}, nil},
		"two objects":             {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: services(`{} {}`), KeyProvider: "sealed"}}, nil},
		"no TLS":                  {keyOptions{RootKey: root, outsideKeys: outsideKeys{KeyServices: services(`{"vault": {"address": "http://vault.example", "mount": "transit", "tokenFile": "/x"}}`), KeyProvider: "sealed"}}, nil},
	} {
		keys, err := c.o.open(t.Context(), false)
		if (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil {
			if got := keys.Providers.Names(); !slices.Equal(got, c.want) {
				t.Errorf("%s: providers %v, want %v", name, got, c.want)
			}
			keys.Close()
		}
	}
}
