package backup

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export"
)

func newKeyStore(t *testing.T) (KeyStore, export.Store) {
	t.Helper()
	objects, err := export.NewFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return NewKeyStore(objects), objects
}

func TestTheKeyStoreHasTheCurrentKeyOnly(t *testing.T) {
	keys, objects := newKeyStore(t)
	id := tenant.ID(uuid.New())
	if _, err := keys.Get(t.Context(), id); !errors.Is(err, ErrNoBackupKey) {
		t.Errorf("of nobody: %v", err)
	}
	for _, wrapped := range []string{`{"wrapped":"1"}`, `{"wrapped":"2"}`} {
		if err := keys.Put(t.Context(), Key{Tenant: uuid.UUID(id), Row: json.RawMessage(wrapped), StoredAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := keys.Get(t.Context(), id)
	if err != nil || string(got.Row) != `{"wrapped":"2"}` {
		t.Errorf("key %s, %v", got.Row, err)
	}
	if list, err := keys.List(t.Context()); err != nil || len(list) != 1 || list[0] != id {
		t.Errorf("list %v, %v", list, err)
	}
	if names, err := objects.List(t.Context(), ""); err != nil || len(names) != 1 {
		t.Errorf("objects %v, %v", names, err)
	}
}

func TestADestroyedKeyStaysDestroyed(t *testing.T) {
	keys, _ := newKeyStore(t)
	gone, other := tenant.ID(uuid.New()), tenant.ID(uuid.New())
	for _, id := range []tenant.ID{gone, other} {
		if err := keys.Put(t.Context(), Key{Tenant: uuid.UUID(id), Row: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again does no harm
		if err := keys.Destroy(t.Context(), gone, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keys.Get(t.Context(), gone); !errors.Is(err, ErrErased) {
		t.Errorf("get: %v", err)
	}
	// A backup that read the key before the erasure puts it after.
	if err := keys.Put(t.Context(), Key{Tenant: uuid.UUID(gone), Row: json.RawMessage(`{}`)}); !errors.Is(err, ErrErased) {
		t.Errorf("put: %v", err)
	}
	if list, err := keys.List(t.Context()); err != nil || len(list) != 1 || list[0] != other {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestAKeyOfAnotherTenantIsRefused(t *testing.T) {
	keys, objects := newKeyStore(t)
	id := tenant.ID(uuid.New())
	for _, body := range []string{`{"tenant":"` + uuid.NewString() + `","row":{}}`, `{`, ``} {
		if err := objects.Replace(t.Context(), keyName(id), []byte(body)); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Get(t.Context(), id); !errors.Is(err, ErrKeyObject) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
