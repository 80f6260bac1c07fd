package client

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/cache"
	"carillon/tenant/limit"
)

// Age is how long a revoked key may still be accepted by a process that does not hear
// of changes; one that does forgets it at once.
const Age = tenant.DirectoryAge

const authenticatorSize = 50_000

// Authenticator finds out whose key a request carries. Keys are remembered for [Age],
// so that they cost no round trip, also those that are good no more; unknown ones are
// not. That a key expires is seen by the clock at each request.
type Authenticator struct {
	db       *tenant.DB
	refusals Refusals
	now      func() time.Time
	keys     *cache.Cache[presented, held]
}

// presented holds a digest, so that no key's text stays in memory.
type presented struct {
	tenant tenant.ID
	kind   Kind
	digest [sha256.Size]byte
}

// held is a key that exists, good or not.
type held struct {
	subject  authz.Subject
	revoked  bool
	expires  *time.Time
	networks []netip.Prefix
}

// Refusals counts the requests with a key that exists and was not accepted. Why is
// [Revoked], [Expired] or [Outside].
type Refusals interface {
	KeyRefused(of tenant.ID, key, why string)
}

// Outside is why a key is refused that comes from outside of its networks.
const Outside = "outside"

// NewAuthenticator returns an authenticator that reads through db and tells refusals of
// the keys that it refused, unless that is nil.
func NewAuthenticator(db *tenant.DB, refusals Refusals, now func() time.Time) *Authenticator {
	a := &Authenticator{db: db, refusals: refusals, now: now}
	a.keys = tenant.NewCache(db, authenticatorSize, Age, func(p presented, _ held) tenant.ID { return p.tenant }, a.load)
	return a
}

// Authenticate returns the subject of a key that came from an address: [ErrUnknownKey]
// if it is missing, malformed, unknown, expired, revoked, of another kind or of another
// tenant, or if the address is outside of the key's networks. Blanks around the key are
// ignored. The address is what [limit.Proxies] say of the caller.
func (a *Authenticator) Authenticate(ctx context.Context, t *tenant.Tenant, kind Kind, key string, from netip.Addr) (authz.Subject, error) {
	key = strings.TrimSpace(key)
	if kind.isPass(key) {
		return a.rehearsal(ctx, t, kind, key)
	}
	if !kind.mayBe(key) {
		return authz.Subject{}, ErrUnknownKey
	}
	k, err := a.keys.Get(ctx, presented{tenant: t.ID, kind: kind, digest: text(key).digest()})
	if err != nil {
		return authz.Subject{}, err
	}
	if why := k.refused(a.now(), from); why != "" {
		if a.refusals != nil {
			a.refusals.KeyRefused(t.ID, k.subject.ID, why)
		}
		return authz.Subject{}, ErrUnknownKey
	}
	return k.subject, nil
}

// refused is why a key is not good, empty if it is.
func (k held) refused(now time.Time, from netip.Addr) string {
	switch {
	case k.revoked:
		return string(Revoked)
	case k.expires != nil && !now.Before(*k.expires):
		return string(Expired)
	case !limit.Admits(k.networks, from):
		return Outside
	}
	return ""
}

// A key that says nothing of its tenant is looked for among all device keys, of which
// the policy shows this one alone.
const ownerSQL = `
select tenant_id
  from api_key
 where digest = $1
   and kind = 'device'
   and disabled_at is null`

// Owner finds the tenant of a device key, for requests whose URL names none:
// [ErrUnknownKey] if there is no such key. The handle must be under the role
// carillon_report. It costs three round trips; that the key is good for anything is
// for [Authenticator.Authenticate] to say.
func (a *Authenticator) Owner(ctx context.Context, key string) (id tenant.ID, err error) {
	key = strings.TrimSpace(key)
	if !Device.mayBe(key) {
		return tenant.ID{}, ErrUnknownKey
	}
	digest := text(key).digest()
	err = a.db.ForKey(ctx, digest, func(tx *tenant.Tx) error { return tx.Get(ctx, &id, ownerSQL, digest[:]) })
	if errors.Is(err, sql.ErrNoRows) {
		return tenant.ID{}, ErrUnknownKey
	}
	if err != nil {
		return tenant.ID{}, fmt.Errorf("find owner of API key: %w", err)
	}
	return id, nil
}

const findSQL = `
select api_key_id, name, disabled_at is not null as revoked, expires_at, networks::text[] as networks
  from api_key
 where digest = $1
   and kind = $2`

func (a *Authenticator) load(ctx context.Context, p presented) (held, error) {
	var found []struct {
		ID        uuid.UUID `db:"api_key_id"`
		Name      string
		Revoked   bool
		ExpiresAt *time.Time `db:"expires_at"`
		Networks  pq.StringArray
	}
	err := a.db.In(ctx, p.tenant, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &found, findSQL, p.digest[:], string(p.kind))
	})
	if err != nil {
		return held{}, fmt.Errorf("find API key: %w", err)
	}
	if len(found) == 0 {
		return held{}, ErrUnknownKey
	}
	k := found[0]
	networks, err := limit.ParseNetworks(k.Networks)
	if err != nil {
		return held{}, fmt.Errorf("networks of API key: %w", err)
	}
	subject := authz.Subject{Kind: authz.APIKey, ID: k.ID.String(), Name: k.Name, Roles: []authz.Role{p.kind.role()}}
	return held{subject: subject, revoked: k.Revoked, expires: k.ExpiresAt, networks: networks}, nil
}

const enabledSQL = `
select exists (select
         from api_key
        where api_key_id = $1::uuid
          and disabled_at is null)`

// Enabled reports whether tx's tenant has a key of this ID that was not revoked, for
// what a key has ordered and is done later. What a key ordered before it expired is
// done.
func Enabled(ctx context.Context, tx *tenant.Tx, id string) (bool, error) {
	var enabled bool
	if err := tx.Get(ctx, &enabled, enabledSQL, id); err != nil {
		return false, fmt.Errorf("find API key: %w", err)
	}
	return enabled, nil
}
