package backup

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/deploy/phone"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/leaving"
	"carillon/tenant/mail"
	"carillon/tenant/onboarding"
)

// sealedKey is a private key as a backup has it.
type sealedKey struct {
	Purpose signing.Purpose `json:"purpose"`
	KeyID   string          `json:"key_id"`
	Label   string          `json:"label"`
	Sealed  string          `json:"sealed"`
}

// sealedIn are the private keys of a tenant in a backup.
func sealedIn(t *testing.T, dir string, of *tenant.Tenant) (keys []sealedKey) {
	t.Helper()
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	var in string
	for _, p := range m.Tenants {
		if p.Slug != string(of.Slug) {
			continue
		}
		err := p.read(dir, false, nil, reader{
			begin: func(name string) error { in = name; return nil },
			row: func(row []byte) error {
				if in != "signing_key" {
					return nil
				}
				var k sealedKey
				err := json.Unmarshal(row, &k)
				keys = append(keys, k)
				return err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// opened counts which of the keys of a tenant open with a data key.
func opened(t *testing.T, dk *signing.DataKey, of *tenant.Tenant, keys []sealedKey) (n int) {
	t.Helper()
	for _, k := range keys {
		sealed, err := hex.DecodeString(strings.TrimPrefix(k.Sealed, `\x`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := key.Unseal(dk, of.ID, k.Purpose, k.KeyID, k.Label, sealed); err == nil {
			n++
		} else if !errors.Is(err, signing.ErrSealed) {
			t.Fatal(err)
		}
	}
	return n
}

// dataKeys are all that the key store and a database have, opened as their tenants'.
func (w *world) dataKeys(t *testing.T, dsn string) (keys []*signing.DataKey) {
	t.Helper()
	open := func(id tenant.ID, wrapped []byte) {
		dk, err := signing.OpenDataKey(t.Context(), w.Root, id.String(), wrapped)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, dk)
	}
	list, err := w.keys.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range list {
		k, err := w.keys.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var row struct{ Wrapped string }
		if err := json.Unmarshal(k.Row, &row); err != nil {
			t.Fatal(err)
		}
		wrapped, err := hex.DecodeString(strings.TrimPrefix(row.Wrapped, `\x`))
		if err != nil {
			t.Fatal(err)
		}
		open(id, wrapped)
	}
	for _, of := range []*tenant.Tenant{w.north, w.south} {
		for _, text := range strings.Fields(query[string](t, dsn, `select coalesce(string_agg(encode(wrapped, 'hex'), ' '), '') from data_key where tenant_id = $1`, of.ID)) {
			wrapped, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			open(of.ID, wrapped)
		}
	}
	return keys
}

// erase has north leave and be erased, as the service does.
func (w *world) erase(t *testing.T) {
	t.Helper()
	w.exec(t, `insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
	 values ($1, 'robin', 'sam', $2, $2, $2::timestamptz + interval '30 days')`, w.north.ID, w.Now())
	w.exec(t, `update tenant_directory set state = 'leaving' where tenant = $1`, w.north.ID)
	s := leaving.New(leaving.Config{
		DB: w.Jobs, Directory: tenant.NewDirectory(w.Jobs), Custody: signing.Custody{Root: w.Root}, Files: w.files, Backups: w.keys,
		Mail: mail.NewBox(w.Now), BaseURL: "https://platform.example", Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	w.Advance(30 * 24 * time.Hour)
	for range 2 {
		if err := errors.Join(s.Turn(t.Context(), w.north.ID), s.Erase(t.Context())); err != nil {
			t.Fatal(err)
		}
		w.Advance(leaving.Settle)
	}
	if n := query[int](t, w.Database.DSN(""), `select count(*) from erasure where certified_at is not null`); n != 1 {
		t.Fatalf("%d certificates", n)
	}
}

// An authority is backed up, leaves and is erased. Whoever restores the older backup, with
// the key store and the root key as they are, finds nothing that can be read: no row of
// any table in the new database, no key that opens what is sealed in the old folder, no URL,
// and no file of it. Before the erasure the same keys did open.
func TestAnOldBackupRevealsNothingOfTheErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.backup(t)
	keys := sealedIn(t, dir, w.north)
	before := 0
	for _, dk := range w.dataKeys(t, w.Database.DSN("")) {
		before += opened(t, dk, w.north, keys)
	}
	if len(keys) == 0 || before != 2*len(keys) { // with what the store has, and the database
		t.Fatalf("%d of %d private keys open before the erasure", before, 2*len(keys))
	}
	w.erase(t)
	dsn := w.emptyDatabase(t)
	restored, err := Restore(t.Context(), w.restoreConfig(dir, dsn))
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range restored.Tenants {
		if of.Erased != (of.ID == w.north.ID) {
			t.Errorf("%s: erased is %v", of.Slug, of.Erased)
		}
	}
	if _, err := w.keys.Get(t.Context(), w.north.ID); !errors.Is(err, ErrErased) {
		t.Errorf("the key store: %v", err)
	}
	found := w.dataKeys(t, dsn(""))
	if len(found) != 2 {
		t.Errorf("%d data keys, want south's twice", len(found))
	}
	souths := sealedIn(t, dir, w.south)
	for _, dk := range found {
		if n := opened(t, dk, w.south, souths); n != len(souths) {
			t.Errorf("%d of %d private keys of south open", n, len(souths))
		}
		if n := opened(t, dk, w.north, keys); n != 0 {
			t.Errorf("%d private keys of north open", n)
		}
	}
	for _, name := range strings.Fields(query[string](t, dsn(""), `
select string_agg(distinct table_name::text, ' ') from information_schema.columns where table_schema = 'public' and column_name = 'tenant_id'`)) {
		if n := query[int](t, dsn(""), `select count(*) from `+name+` where tenant_id = $1`, w.north.ID); n != 0 {
			t.Errorf("%d rows of north in %s", n, name)
		}
	}
	second := w.site(t, dsn)
	var refused *phone.Refusal
	if _, err := second.phone(w.north).Verify(t.Context(), "12345678"); err == nil || errors.As(err, &refused) && refused.Code != "" {
		t.Errorf("its phones are answered: %v", err)
	}
	answer, err := http.Get(second.base(w.north) + "exports/" + export.IndexName)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close(); answer.StatusCode != http.StatusNotFound {
		t.Errorf("its index: %d", answer.StatusCode)
	}
	operator, err := tenant.Open(t.Context(), tenant.Config{DSN: dsn("carillon_operator")})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	if _, err := onboarding.Create(t.Context(), operator, signing.Custody{Root: w.Root}, onboarding.Spec{
		Slug: "north", Name: "Another", Region: "XZ-Q", HealthAuthorityID: "org.another", Issuer: "another.example", Audience: "a", ExportKeyID: "310",
	}, w.Now()); err == nil {
		t.Error("its name is used again")
	}
	if left, err := w.files.List(t.Context(), "north/"); err != nil || len(left) != 0 {
		t.Errorf("files %v, %v", left, err)
	}
}
