package api_test

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/key"
)

// What one phone uploads, another downloads: by the index, in a file that the
// tenant's public key verifies and no other tenant's does.
func TestDownload(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	teks := f.teks(14)
	must(t, f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, teks, object{"symptomDate": "2026-11-20"})))
	f.exportAll(t)

	index := f.ask(t, http.MethodGet, "/t/north/exports/index.txt", nil, "")
	found := map[string]bool{}
	for _, name := range strings.Fields(string(index.body)) {
		a := f.ask(t, http.MethodGet, "/t/north/exports/"+name, nil, "")
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/zip" {
			t.Fatalf("%s is in the index: %s", name, a.Status)
		}
		own, foreign := f.exportKey(t, f.north), f.exportKey(t, f.south)
		file, err := exportfile.Verify(a.body, own.KeyID, own.Label, own.Key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if file.Region != f.north.Region {
			t.Errorf("%s: region %q, want %q", name, file.Region, f.north.Region)
		}
		if _, err := exportfile.VerifyAny(a.body, foreign.Key); err == nil {
			t.Errorf("%s: south's key verifies it, too", name)
		}
		for _, k := range file.Keys {
			found[base64.StdEncoding.EncodeToString(k.Data[:])] = true
		}
		if a := f.ask(t, http.MethodGet, "/t/south/exports/"+name, nil, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s at south: %s, want 404", name, a.Status)
		}
	}
	for i, k := range teks {
		if !found[k.Key] {
			t.Errorf("key %d of %d is in no file", i, len(teks))
		}
	}
}

// exportAll lets enough time pass that every key is settled, and runs the job.
func (f *fixture) exportAll(t *testing.T) {
	t.Helper()
	s := export.New(export.Config{
		DB: f.world.Jobs, Keys: key.NewRing(f.world.Jobs, f.world.Root), Directory: tenant.NewDirectory(f.world.Jobs),
		Store: f.files, Log: slog.New(slog.DiscardHandler), Now: f.world.Now,
	})
	for range 12 {
		for _, of := range []account{f.north, f.south} {
			if err := s.Turn(t.Context(), of.ID); err != nil {
				t.Fatalf("export of %s: %v", of.Slug, err)
			}
		}
		f.world.Advance(4 * time.Hour)
	}
}

func (f *fixture) exportKey(t *testing.T, of account) key.Public {
	t.Helper()
	keys, err := key.NewRing(f.world.Jobs, f.world.Root).Public(t.Context(), of.ID, signing.Export)
	if err != nil {
		t.Fatal(err)
	}
	active := slices.IndexFunc(keys, func(k key.Public) bool { return k.State == key.Active })
	if active < 0 {
		t.Fatalf("%s has no active export key", of.Slug)
	}
	return keys[active]
}
