// Package issuer keeps the outside verification servers whose certificates a tenant
// accepts beside its own (key server protocol §2.2, §2.7).
//
// A server is known by the issuer in its certificates, and has an audience and public
// keys of its own. The keys are pinned by hand, or fetched from the server's key set
// again and again: a key that appears is trusted from then on, one that disappears is
// revoked for good, and an answer that cannot be used changes nothing. So a server that
// fails, or is taken over by a page of errors, does not take its keys away; that it
// fails is seen in [List].
//
// A key is what it is made of, whatever its name. Acceptance is a tenant's own: what
// one accepts, no other does.
package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Spec is what must be known of a verification server to accept its certificates.
type Spec struct {
	// Issuer and Audience are iss and aud of its certificates, compared exactly.
	Issuer, Audience string
	// JWKS is the URL of its key set; empty if Keys are pinned.
	JWKS string
	// Keys are the pinned ones.
	Keys []jws.PublicKey
}

// Why a server is not accepted.
var (
	// ErrSpec means that a server cannot be accepted so. The error's text says why.
	ErrSpec = errors.New("verification server cannot be accepted")
	// ErrUnknown means that the tenant accepts no such issuer.
	ErrUnknown = errors.New("no such verification server is accepted")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrSpec, ErrUnknown} }

const (
	// MaxIssuers is how many verification servers a tenant may accept.
	MaxIssuers = 10
	maxName    = 500
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrSpec}, args...)...)
}

func (s Spec) validate(own string) error {
	for what, text := range map[string]string{"issuer": s.Issuer, "audience": s.Audience} {
		if text == "" || len(text) > maxName || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return refuse("the %s has 1 to %d characters and none that cannot be seen", what, maxName)
		}
	}
	switch {
	case s.Issuer == own:
		return refuse("the issuer is the authority's own")
	case (s.JWKS == "") == (len(s.Keys) == 0):
		return refuse("it has either the URL of a key set or pinned keys")
	case len(s.Keys) > jws.MaxSetKeys:
		return refuse("it has up to %d keys", jws.MaxSetKeys)
	}
	for i, k := range s.Keys {
		if !jws.ValidKeyID(k.KeyID) {
			return refuse("a key ID has 1 to 200 printable ASCII characters")
		}
		if slices.ContainsFunc(s.Keys[:i], func(other jws.PublicKey) bool { return other.KeyID == k.KeyID || other.Key.Equal(k.Key) }) {
			return refuse("key %s occurs twice", k.KeyID)
		}
	}
	return nil
}

const (
	acceptSQL = `
insert into outside_issuer (tenant_id, issuer, audience, jwks_url, changed_at)
values (current_tenant(), $1, $2, nullif($3, ''), $4)
    on conflict (tenant_id, issuer) do update
   set audience     = excluded.audience,
       jwks_url     = excluded.jwks_url,
       changed_at   = excluded.changed_at,
       fence        = outside_issuer.fence + 1,
       refreshed_at = null,
       failed_at    = null,
       failure      = ''`

	countSQL = `select count(*) from outside_issuer`
)

// Accept makes the tenant of tx accept a server's certificates, or changes how: pinned
// keys take the place of what was trusted before, a key set does so when it is first
// fetched. [ErrSpec] if that cannot be. tx is one of the role carillon_operator, t its
// tenant. The act is audited.
func Accept(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, s Spec, now time.Time) error {
	if err := s.validate(t.Settings.Issuer); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, acceptSQL, s.Issuer, s.Audience, s.JWKS, now.UTC()); err != nil {
		return fmt.Errorf("accept verification server: %w", err)
	}
	var count int
	if err := tx.Get(ctx, &count, countSQL); err != nil {
		return fmt.Errorf("count verification servers: %w", err)
	}
	if count > MaxIssuers {
		return refuse("an authority has up to %d", MaxIssuers)
	}
	detail := map[string]string{"audience": s.Audience}
	if s.JWKS != "" {
		detail["keySet"] = s.JWKS
	} else {
		changed, err := trust(ctx, tx, s.Issuer, s.Keys, now)
		if err != nil {
			return err
		}
		changed.describe(detail)
	}
	return audit.Record(ctx, tx, now, by, "verification-server:accept", s.Issuer, detail)
}

// changes are the names of keys that became trusted, and that ceased to be.
type changes struct{ added, revoked []string }

func (c changes) any() bool { return len(c.added)+len(c.revoked) > 0 }

func (c changes) describe(detail map[string]string) {
	for what, kids := range map[string][]string{"added": c.added, "revoked": c.revoked} {
		if len(kids) > 0 {
			detail[what] = strings.Join(kids, " ")
		}
	}
}

// revokedFor is how long a revoked key is remembered, and so not trusted again (§2.7).
const revokedFor = 30 * 24 * time.Hour

const (
	forgetSQL = `delete from outside_issuer_key where issuer = $1 and revoked_at < $2`

	revokeSQL = `
   update outside_issuer_key
      set revoked_at = $3
    where issuer = $1
      and revoked_at is null
      and public_der <> all ($2::bytea[])
returning kid`

	addSQL = `
insert into outside_issuer_key (tenant_id, issuer, public_der, kid, added_at)
   select current_tenant(), $1, l.der, l.kid, $4
     from unnest($2::bytea[], $3::text[]) as l (der, kid)
       on conflict on constraint outside_issuer_key_pkey do nothing
returning kid`

	// All trusted keys are listed, and no name is listed twice.
	renameSQL = `
update outside_issuer_key k
   set kid = l.kid
  from unnest($2::bytea[], $3::text[]) as l (der, kid)
 where k.issuer = $1
   and k.public_der = l.der
   and k.revoked_at is null
   and k.kid <> l.kid`

	knownSQL = `
select count(*) filter (where revoked_at is null) as trusted, count(*) as known
  from outside_issuer_key
 where issuer = $1`
)

// maxKnown is how many keys of a server are remembered, revoked ones included.
const maxKnown = 200

var (
	// errAllRevoked means that a list has no key that was not revoked before.
	errAllRevoked = refuse("every key of it was revoked before; a revoked key is not trusted again for 30 days")
	// errRestless means that a server makes up new keys again and again.
	errRestless = refuse("it has had more than %d keys within 30 days", maxKnown)
)

// trust makes the listed keys the ones that are trusted, but for those that were
// revoked before: they stay so (§2.7). It leaves at least one, or fails.
func trust(ctx context.Context, tx *tenant.Tx, issuer string, keys []jws.PublicKey, now time.Time) (c changes, err error) {
	now = now.UTC().Truncate(time.Second)
	var ders pq.ByteaArray
	var kids pq.StringArray
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Key)
		if err != nil {
			return c, fmt.Errorf("encode public key: %w", err)
		}
		ders, kids = append(ders, der), append(kids, k.KeyID)
	}
	if _, err := tx.Exec(ctx, forgetSQL, issuer, now.Add(-revokedFor)); err != nil {
		return c, fmt.Errorf("forget revoked keys: %w", err)
	}
	if err := tx.Select(ctx, &c.revoked, revokeSQL, issuer, ders, now); err != nil {
		return c, fmt.Errorf("revoke keys: %w", err)
	}
	if err := tx.Select(ctx, &c.added, addSQL, issuer, ders, kids, now); err != nil {
		return c, fmt.Errorf("add keys: %w", err)
	}
	if _, err := tx.Exec(ctx, renameSQL, issuer, ders, kids); err != nil {
		return c, fmt.Errorf("rename keys: %w", err)
	}
	var left struct{ Trusted, Known int }
	if err := tx.Get(ctx, &left, knownSQL, issuer); err != nil {
		return c, fmt.Errorf("count keys: %w", err)
	}
	switch {
	case left.Trusted == 0:
		return c, errAllRevoked
	case left.Known > maxKnown:
		return c, errRestless
	}
	return c, nil
}

const (
	removeKeysSQL = `delete from outside_issuer_key where issuer = $1`
	removeSQL     = `delete from outside_issuer where issuer = $1`
)

// Remove makes the tenant of tx accept a server's certificates no more: [ErrUnknown] if
// it does not. What was revoked is forgotten with it. The act is audited.
func Remove(ctx context.Context, tx *tenant.Tx, by authz.Subject, issuer string, now time.Time) error {
	if _, err := tx.Exec(ctx, removeKeysSQL, issuer); err != nil {
		return fmt.Errorf("remove keys: %w", err)
	}
	rows, err := tx.Exec(ctx, removeSQL, issuer)
	if err != nil {
		return fmt.Errorf("remove verification server: %w", err)
	}
	if rows == 0 {
		return ErrUnknown
	}
	return audit.Record(ctx, tx, now, by, "verification-server:remove", issuer, nil)
}

// Entry is an accepted server as it is shown.
type Entry struct {
	Issuer, Audience string
	// JWKS is the URL of the key set; empty if the keys are pinned.
	JWKS string `db:"jwks_url"`
	// RefreshedAt is when the key set was last taken in; nil if it never was.
	RefreshedAt *time.Time `db:"refreshed_at"`
	// FailedAt and Failure tell of the last fetch, if it failed.
	FailedAt *time.Time `db:"failed_at"`
	Failure  string
	// Keys are those that are known, the newest first.
	Keys []KeyEntry `db:"-"`
}

// KeyEntry is a key of a server.
type KeyEntry struct {
	Issuer  string
	KeyID   string    `db:"kid"`
	AddedAt time.Time `db:"added_at"`
	// RevokedAt is when the key ceased to be trusted; nil if it is.
	RevokedAt *time.Time `db:"revoked_at"`
}

const (
	listSQL = `
  select issuer, audience, coalesce(jwks_url, '') as jwks_url, refreshed_at, failed_at, failure
    from outside_issuer
order by issuer`

	listKeysSQL = `
  select issuer, kid, added_at, revoked_at
    from outside_issuer_key
order by added_at desc, kid`
)

// List returns the servers that the tenant of tx accepts, by issuer.
func List(ctx context.Context, tx *tenant.Tx) ([]Entry, error) {
	var list []Entry
	if err := tx.Select(ctx, &list, listSQL); err != nil {
		return nil, fmt.Errorf("list verification servers: %w", err)
	}
	var keys []KeyEntry
	if err := tx.Select(ctx, &keys, listKeysSQL); err != nil {
		return nil, fmt.Errorf("list their keys: %w", err)
	}
	for i := range list {
		for _, k := range keys {
			if k.Issuer == list[i].Issuer {
				list[i].Keys = append(list[i].Keys, k)
			}
		}
	}
	return list, nil
}
