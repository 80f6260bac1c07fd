package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export"
)

// KeyStore keeps the wrapped data key of every tenant beside the backups, never in them:
// one object of each tenant, always the current one. Whoever destroys a tenant's object
// makes every backup of it unreadable, however old. Wrapped keys open with the platform's
// root key alone; still, the store must keep no history (no versions, no snapshots), or
// what was destroyed could be had back.
type KeyStore struct {
	objects export.Store
}

// NewKeyStore keeps the keys in a folder or bucket of their own.
func NewKeyStore(objects export.Store) KeyStore { return KeyStore{objects: objects} }

// Key is what the store has of a tenant.
type Key struct {
	Tenant uuid.UUID `json:"tenant"`
	// Row is the tenant's row of the table data_key, as JSON.
	Row json.RawMessage `json:"row"`
	// StoredAt is when it was put.
	StoredAt time.Time `json:"stored_at"`
}

// What a key store answers.
var (
	ErrNoBackupKey = errors.New("the key store has no key of this tenant")
	ErrErased      = errors.New("the tenant was erased: its key was destroyed for good")
	ErrKeyObject   = errors.New("an object of the key store is not a key of its tenant")
)

const (
	keyPrefix    = "keys/"
	erasedPrefix = "erased/"
	maxKeyObject = 64 << 10
)

func keyName(id tenant.ID) string    { return keyPrefix + id.String() }
func erasedName(id tenant.ID) string { return erasedPrefix + id.String() }

// Put makes k the tenant's current key: [ErrErased] if the tenant was erased meanwhile, in
// which case nothing of it stays. A backup that began before the erasure brings nothing back.
func (s KeyStore) Put(ctx context.Context, k Key) error {
	body, err := json.Marshal(k)
	if err != nil {
		return err
	}
	id := tenant.ID(k.Tenant)
	if err := s.objects.Replace(ctx, keyName(id), body); err != nil {
		return fmt.Errorf("put key: %w", err)
	}
	// The mark of erasure is written before the key is deleted: whoever puts a key either
	// sees the mark here, or has put it before the deletion.
	erased, err := s.Erased(ctx, id)
	if err != nil || !erased {
		return err
	}
	return errors.Join(ErrErased, s.remove(ctx, id))
}

// Get returns the tenant's key: [ErrNoBackupKey] or [ErrErased] if there is none.
func (s KeyStore) Get(ctx context.Context, id tenant.ID) (Key, error) {
	erased, err := s.Erased(ctx, id)
	if err != nil {
		return Key{}, err
	}
	if erased {
		return Key{}, ErrErased
	}
	object, err := s.objects.Open(ctx, keyName(id))
	if errors.Is(err, export.ErrNotFound) {
		return Key{}, ErrNoBackupKey
	}
	if err != nil {
		return Key{}, fmt.Errorf("open key: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(object, maxKeyObject))
	if err = errors.Join(err, object.Close()); err != nil {
		return Key{}, fmt.Errorf("read key: %w", err)
	}
	var k Key
	if err := json.Unmarshal(body, &k); err != nil || k.Tenant != uuid.UUID(id) {
		return Key{}, ErrKeyObject
	}
	return k, nil
}

// Destroy removes the tenant's key for good and leaves a mark that says so, which names
// the tenant by its ID alone. It may be repeated; nil means that the key is gone.
func (s KeyStore) Destroy(ctx context.Context, id tenant.ID, now time.Time) error {
	mark := []byte(now.UTC().Format(time.RFC3339) + "\n")
	if err := s.objects.Replace(ctx, erasedName(id), mark); err != nil {
		return fmt.Errorf("mark as erased: %w", err)
	}
	return s.remove(ctx, id)
}

func (s KeyStore) remove(ctx context.Context, id tenant.ID) error {
	if err := s.objects.Delete(ctx, keyName(id)); err != nil && !errors.Is(err, export.ErrNotFound) {
		return fmt.Errorf("delete key: %w", err)
	}
	_, err := s.objects.Open(ctx, keyName(id))
	if errors.Is(err, export.ErrNotFound) {
		return nil
	}
	return errors.Join(errors.New("the key is there after it was deleted"), err)
}

// Erased reports whether the tenant's key was destroyed.
func (s KeyStore) Erased(ctx context.Context, id tenant.ID) (bool, error) {
	object, err := s.objects.Open(ctx, erasedName(id))
	if errors.Is(err, export.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a mark of erasure: %w", err)
	}
	return true, object.Close()
}

// List returns the tenants that have a key, by their IDs.
func (s KeyStore) List(ctx context.Context) ([]tenant.ID, error) {
	names, err := s.objects.List(ctx, keyPrefix)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	ids := make([]tenant.ID, 0, len(names))
	for _, name := range names {
		id, err := uuid.Parse(strings.TrimPrefix(name, keyPrefix))
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrKeyObject, name)
		}
		ids = append(ids, tenant.ID(id))
	}
	return ids, nil
}
