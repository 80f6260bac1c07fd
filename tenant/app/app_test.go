package app_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/audit"
	"carillon/tenant/tenanttest"
)

var fingerprint = strings.Repeat("AB:", 31) + "CD"

var operator = authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}

func tryAdd(t *testing.T, w *tenanttest.World, of *tenant.Tenant, r app.Record) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return app.Add(t.Context(), tx, operator, r, w.Now())
	})
}

func add(t *testing.T, w *tenanttest.World, of *tenant.Tenant, r app.Record) {
	t.Helper()
	if err := tryAdd(t, w, of, r); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, w *tenanttest.World, of *tenant.Tenant, r app.Record) error {
	t.Helper()
	return w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		return app.Remove(t.Context(), tx, operator, r.OS, r.Name, w.Now())
	})
}

func list(t *testing.T, db *tenant.DB, of *tenant.Tenant) (l []app.Record, err error) {
	t.Helper()
	err = db.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
		l, err = app.List(t.Context(), tx)
		return err
	})
	return l, err
}

func wantApps(t *testing.T, db *tenant.DB, of *tenant.Tenant, want ...app.Record) {
	t.Helper()
	got, err := list(t, db, of)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
}

// Apps belong to one tenant, in the order in which they came; a name is one app's of a
// system and tenant.
func TestApps(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	add(t, w, north, androidApp)
	add(t, w, north, iosApp)
	add(t, w, south, iosApp)
	second := changed(androidApp, func(r *app.Record) { r.Name, r.ID = "A second", "org.second" })
	add(t, w, north, second)
	if err := tryAdd(t, w, north, second); !errors.Is(err, app.ErrNameTaken) {
		t.Errorf("the same name again: %v", err)
	}
	readIOS := changed(iosApp, func(r *app.Record) { r.Fingerprints = pq.StringArray{} })
	for _, db := range []*tenant.DB{w.Issuer, w.Publish, w.Operator} {
		wantApps(t, db, north, androidApp, readIOS, second)
	}
	if _, err := list(t, w.Device, north); !tenanttest.Denied(err) {
		t.Errorf("the role device reads: %v", err)
	}
	if err := remove(t, w, south, androidApp); !errors.Is(err, app.ErrUnknown) {
		t.Errorf("another tenant's app: %v", err)
	}
	if err := remove(t, w, north, androidApp); err != nil {
		t.Fatal(err)
	}
	wantApps(t, w.Operator, north, readIOS, second)
	wantApps(t, w.Operator, south, readIOS)
	var entries []audit.Entry
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.List(t.Context(), tx, 4)
		return err
	})
	var did []string
	for _, e := range entries {
		did = append(did, e.Action+" "+e.Target)
	}
	if want := "app:remove android WA|app:add android A second|app:add ios WA|app:add android WA"; err != nil || strings.Join(did, "|") != want {
		t.Errorf("audit: %q, %v", did, err)
	}
}

// What a record may not be is refused before the database, and by the database too.
func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for name, r := range map[string]app.Record{
		"no system":                changed(iosApp, func(r *app.Record) { r.OS = "" }),
		"no name":                  changed(iosApp, func(r *app.Record) { r.Name = "" }),
		"long name":                changed(iosApp, func(r *app.Record) { r.Name = strings.Repeat("n", 101) }),
		"no ID":                    changed(iosApp, func(r *app.Record) { r.ID = "" }),
		"ID of one part":           changed(androidApp, func(r *app.Record) { r.ID = "exposure" }),
		"ID that ends the intent":  changed(androidApp, func(r *app.Record) { r.ID = "org.wa;end#" }),
		"no store":                 changed(androidApp, storeless),
		"store over plain HTTP":    changed(androidApp, func(r *app.Record) { r.StoreURL = "http://store.example" }),
		"store with another line":  changed(androidApp, func(r *app.Record) { r.StoreURL = "https://store.example/\nx" }),
		"store that runs a script": changed(androidApp, func(r *app.Record) { r.StoreURL = "javascript:alert(1)" }),
		"long store":               changed(androidApp, func(r *app.Record) { r.StoreURL = "https://s.example/" + strings.Repeat("x", 1000) }),
		"no fingerprint":           changed(androidApp, func(r *app.Record) { r.Fingerprints = nil }),
		"short fingerprint":        changed(androidApp, func(r *app.Record) { r.Fingerprints = pq.StringArray{fingerprint[3:]} }),
		"fingerprint in small":     changed(androidApp, func(r *app.Record) { r.Fingerprints = pq.StringArray{strings.ToLower(fingerprint)} }),
		"one fingerprint is none":  changed(androidApp, func(r *app.Record) { r.Fingerprints = pq.StringArray{fingerprint, ""} }),
		"many fingerprints": changed(androidApp, func(r *app.Record) {
			r.Fingerprints = strings.Split(strings.Repeat(fingerprint+" ", 10)+fingerprint, " ")
		}),
		"fingerprint on iOS": changed(iosApp, func(r *app.Record) { r.Fingerprints = pq.StringArray{fingerprint} }),
		"headless on iOS":    changed(iosApp, headless),
	} {
		if err := tryAdd(t, w, north, r); !errors.Is(err, app.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Fingerprints == nil {
			r.Fingerprints = pq.StringArray{}
		}
		_, err := w.Database.Super().ExecContext(t.Context(), `
insert into mobile_app (tenant_id, os, name, app_id, store_url, fingerprints, disable_redirect, headless)
values ($1, $2, $3, $4, $5, $6, $7, $8)`, north.ID, string(r.OS), r.Name, r.ID, r.StoreURL, r.Fingerprints, r.DisableRedirect, r.Headless)
		if err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
	for name, r := range map[string]app.Record{
		"headless without a store": changed(changed(androidApp, headless), storeless),
		"no links, no store":       changed(changed(iosApp, kept), storeless),
		"as many fingerprints as may": changed(androidApp, func(r *app.Record) {
			r.Name, r.Fingerprints = "ten", strings.Split(strings.Repeat(fingerprint+" ", 9)+fingerprint, " ")
		}),
	} {
		if err := tryAdd(t, w, north, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The catalogue asks the database once, and for each tenant by itself.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	add(t, w, north, androidApp)
	c := app.NewCatalogue(w.Publish)
	trips := w.Trips(func() {
		for range 3 {
			for of, want := range map[*tenant.Tenant]int{north: 1, south: 0} {
				if got, err := c.Of(t.Context(), of.ID); err != nil || len(got) != want {
					t.Errorf("%s: %v, %v", of.Slug, got, err)
				}
			}
		}
	})
	if want := 2 * 3; trips != want { // begin, query, commit for each tenant
		t.Errorf("%d round trips, want %d", trips, want)
	}
}

// The documents of the verification protocol §7.6, byte for byte, with apps that get
// no links among them.
func TestAssociations(t *testing.T) {
	t.Parallel()
	apps := []app.Record{androidApp, iosApp, changed(androidApp, kept)}
	apple, found := app.Apple(apps)
	if got, want := text(t, apple), `{"applinks":{"apps":[],"details":[{"appID":"TEAMID.org.wa.exposure","paths":["*"]}]}}`; !found || got != want {
		t.Errorf("%v %s", found, got)
	}
	entry := `{"relation":["delegate_permission/common.handle_all_urls"],"target":{"namespace":"android_app","package_name":"org.wa.exposure","sha256_cert_fingerprints":["` + fingerprint + `"]}}`
	android, found := app.AssetLinks(apps)
	if got, want := text(t, android), "["+entry+","+entry+"]"; !found || got != want {
		t.Errorf("%v %s", found, got)
	}
	if _, found := app.Apple([]app.Record{androidApp}); found {
		t.Error("a document for iOS without an app")
	}
	if _, found := app.AssetLinks([]app.Record{iosApp}); found {
		t.Error("a document for Android without an app")
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
