package issuer

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"time"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/cache"
)

// Age is how long a change of what a tenant accepts may take to be seen by every process.
const Age = 5 * time.Second

const bookSize = 10_000

// Book finds the servers that tenants accept. What it found it keeps, so that an upload
// costs no round trip for it. It is safe for concurrent use.
type Book struct {
	db      *tenant.DB
	servers *cache.Cache[tenant.ID, map[string]*Accepted]
}

// NewBook reads through db, under the role carillon_publish.
func NewBook(db *tenant.DB) *Book {
	b := &Book{db: db}
	b.servers = tenant.NewCache(db, bookSize, Age, func(id tenant.ID, _ map[string]*Accepted) tenant.ID { return id }, b.load)
	return b
}

// Accepted is a server whose certificates a tenant accepts.
type Accepted struct {
	// Audience is the one that its certificates must name.
	Audience string
	keys     map[string]*ecdsa.PublicKey
}

// Key returns the trusted key of this name; nil if there is none.
func (a *Accepted) Key(kid string) *ecdsa.PublicKey { return a.keys[kid] }

// Find returns the server that a tenant accepts as this issuer: [ErrUnknown] if there is
// none.
func (b *Book) Find(ctx context.Context, id tenant.ID, issuer string) (*Accepted, error) {
	servers, err := b.servers.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	a, ok := servers[issuer]
	if !ok {
		return nil, ErrUnknown
	}
	return a, nil
}

const bookSQL = `
   select i.issuer, i.audience, coalesce(k.kid, '') as kid, k.public_der
     from outside_issuer i
left join outside_issuer_key k on k.tenant_id = i.tenant_id and k.issuer = i.issuer and k.revoked_at is null`

func (b *Book) load(ctx context.Context, id tenant.ID) (map[string]*Accepted, error) {
	var rows []struct {
		Issuer, Audience string
		KeyID            string `db:"kid"`
		DER              []byte `db:"public_der"`
	}
	err := b.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &rows, bookSQL) })
	if err != nil {
		return nil, fmt.Errorf("read accepted verification servers: %w", err)
	}
	servers := map[string]*Accepted{}
	for _, r := range rows {
		a, ok := servers[r.Issuer]
		if !ok {
			a = &Accepted{Audience: r.Audience, keys: map[string]*ecdsa.PublicKey{}}
			servers[r.Issuer] = a
		}
		if r.DER == nil {
			continue // no key of it is trusted yet
		}
		if a.keys[r.KeyID], err = signing.ParsePublicDER(r.DER); err != nil {
			return nil, fmt.Errorf("key of an accepted verification server: %w", err)
		}
	}
	return servers, nil
}
