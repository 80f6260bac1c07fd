package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"carillon/migrations/testdb"
	"carillon/tenant"
	"carillon/tenant/export/plan"
	"carillon/tenant/key"
)

// An operator adds, changes and retires export configurations, and rotates export keys.
func TestTenantExport(t *testing.T) {
	t.Parallel()
	database, root := testdb.New(t).DSN(""), filepath.Join(t.TempDir(), "root.key")
	create := []string{
		"create", "north", "--name", "Health of the north", "--region", "XA-N", "--health-authority-id", "org.north",
		"--issuer", "north.example", "--export-key-id", "310", "--root-key", root,
	}
	for _, step := range []struct {
		name string
		args []string
		want int
	}{
		{"create", create, 0},
		{"list", []string{"export", "list", "north"}, 0},
		{"add", []string{"export", "add", "north", "--path", "travelers", "travelers=include", "period=24h"}, 0},
		{"add again", []string{"export", "add", "north", "--path", "travelers"}, exitFailed},
		{"add with a slash", []string{"export", "add", "north", "--path", "partner/"}, 0},
		{"add for a path that cannot be", []string{"export", "add", "north", "--path", "a/b"}, exitFailed},
		{"set", []string{"export", "set", "north", "--path", "travelers", "period=12h"}, 0},
		{"set the one that everybody has", []string{"export", "set", "north", "period=6h"}, 0},
		{"set what cannot be", []string{"export", "set", "north", "period=7h"}, exitFailed},
		{"set nothing of a value", []string{"export", "set", "north", "period"}, exitFailed},
		{"retire", []string{"export", "retire", "north", "--path", "travelers"}, 0},
		{"retire what is not there", []string{"export", "retire", "north", "--path", "nowhere"}, exitFailed},
		{"retire the only key", []string{"export-key", "retire", "north", "1"}, exitFailed},
		{"add a key", []string{"export-key", "add", "north", "--root-key", root}, 0},
		{"activate without a word", []string{"export-key", "activate", "north", "2"}, exitUsage},
		{"activate", []string{"export-key", "activate", "north", "2", "--confirmed", "both platforms, by letter"}, 0},
		{"retire the old key", []string{"export-key", "retire", "north", "1"}, 0},
		{"list keys", []string{"export-key", "list", "north"}, 0},
		{"another authority", []string{"export", "list", "south"}, exitFailed},
	} {
		if code := run(t.Context(), append(append([]string{"tenant"}, step.args...), "--database", database)); code != step.want {
			t.Errorf("%s: exit code %d, want %d", step.name, code, step.want)
		}
	}
	o := operation{Slug: "north", Database: database}
	var shown strings.Builder
	err := o.in(t.Context(), func(tx *tenant.Tx, of *tenant.Tenant) error { return show(t.Context(), &shown, tx, of) })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"/t/north/exports/index.txt\n", "/t/north/exports/travelers/index.txt\n", "/t/north/exports/partner/index.txt\n",
		"  period=6h0m0s", "  period=12h0m0s", "  travelers=include", "  active-thru=20",
		"version 1: verify-only, key ID 310, key version v1,", "version 2: active, key ID 310, key version v2,", "-----BEGIN PUBLIC KEY-----\n",
	} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("what is shown lacks %q:\n%s", want, shown.String())
		}
	}
}

func show(ctx context.Context, to *strings.Builder, tx *tenant.Tx, of *tenant.Tenant) error {
	plans, err := plan.List(ctx, tx)
	if err != nil {
		return err
	}
	if err := printPlans(to, of.Slug, plans); err != nil {
		return err
	}
	keys, err := key.ExportVersions(ctx, tx)
	if err != nil {
		return err
	}
	for _, v := range keys {
		if err := printVersion(to, v); err != nil {
			return err
		}
	}
	return nil
}
