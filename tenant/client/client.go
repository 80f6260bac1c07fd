// Package client keeps the API keys with which phones and health authorities' own
// systems present themselves (verification protocol §11.2).
//
// The text of a key is shown once, when it is made; the database has a digest of
// it. A key works under its own tenant's URLs and for its own kind of work; every
// other use is answered as an unknown key is.
package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/cache"
)

// Kind is what a key is for.
type Kind string

// The kinds.
const (
	Device Kind = "device" // phones: verify, certificate
	Admin  Kind = "admin"  // back ends: issue codes and see to them
	Stats  Kind = "stats"  // back ends: statistics
	SCIM   Kind = "scim"   // identity providers: the list of staff
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Device, Admin, Stats, SCIM} }

func (k Kind) role() authz.Role {
	switch k {
	case Device:
		return authz.KeyDevice
	case Admin:
		return authz.KeyAdmin
	case Stats:
		return authz.KeyStats
	case SCIM:
		return authz.KeySCIM
	default:
		return ""
	}
}

var (
	// ErrUnknownKey means that no enabled key of that kind and tenant has this text.
	ErrUnknownKey = errors.New("unknown API key")
	// ErrNameTaken means that another key of the tenant has this name.
	ErrNameTaken = errors.New("another API key has this name")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrUnknownKey, ErrNameTaken} }

// Keys are carillon_device_ and so on and 52 letters and digits of 260 random bits, so
// that those who look for secrets in published files find them. Older ones have no
// beginning in common: 64 bytes in base64.
const (
	beginning    = "carillon_"
	secretLength = 52
	oldLength    = 86
	previewSize  = 6
)

// start is what the texts of keys of the kind begin with.
func (k Kind) start() string { return beginning + string(k) + "_" }

// mayBe reports whether a text has the form of a key of the kind.
func (k Kind) mayBe(text string) bool {
	secret, ok := strings.CutPrefix(text, k.start())
	return ok && len(secret) == secretLength || !ok && len(text) == oldLength
}

// text is a key's text, which hides itself.
type text string

// Format hides the text from every verb of package fmt.
func (text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[API key]") }

// digest of so many random bits needs no secret of its own: there is nothing to guess.
func (t text) digest() [sha256.Size]byte { return sha256.Sum256([]byte(t)) }

const createSQL = `
insert into api_key (tenant_id, api_key_id, kind, name, digest, preview)
values (current_tenant(), $1, $2, $3, $4, $5)`

// Create makes a key and returns its text, which nobody can ask for again. Names
// have 1 to 100 characters: [ErrNameTaken] if another key has it. The caller has
// checked who asks, and writes the audit entry.
func Create(ctx context.Context, tx *tenant.Tx, kind Kind, name string) (plain string, id uuid.UUID, err error) {
	secret := rand.Text() + rand.Text()
	plain = kind.start() + secret
	digest := text(plain).digest()
	id = uuid.New()
	_, err = tx.Exec(ctx, createSQL, id, string(kind), name, digest[:], secret[:previewSize])
	if tenant.Violates(err, "api_key_name_key") {
		return "", uuid.Nil, ErrNameTaken
	}
	if err != nil {
		return "", uuid.Nil, fmt.Errorf("store API key: %w", err)
	}
	return plain, id, nil
}

const disableSQL = `
   update api_key
      set disabled_at = now()
    where api_key_id = $1
      and disabled_at is null
returning name`

// Disable ends a key, everywhere within [Age]. The subject needs
// [authz.APIKeyWrite]; [ErrUnknownKey] if the tenant has no enabled key of that ID.
func Disable(ctx context.Context, db *tenant.DB, policies *authz.Policies, id tenant.ID, by authz.Subject, key uuid.UUID, at time.Time) error {
	if err := policies.Check(ctx, id.String(), by, authz.APIKeyWrite); err != nil {
		return err
	}
	return db.In(ctx, id, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, disableSQL, key)
		if err != nil {
			return fmt.Errorf("disable API key: %w", err)
		}
		if rows == 0 {
			return ErrUnknownKey
		}
		return audit.Record(ctx, tx, at, by, "apikey:disable", key.String(), nil)
	})
}

// Age is how long a disabled key may still be accepted.
const Age = 2 * time.Second

const authenticatorSize = 50_000

// Authenticator finds out whose key a request carries. Known keys are remembered
// for [Age], so that they cost no round trip; unknown ones are not.
type Authenticator struct {
	db   *tenant.DB
	keys *cache.Cache[presented, authz.Subject]
}

// presented holds a digest, so that no key's text stays in memory.
type presented struct {
	tenant tenant.ID
	kind   Kind
	digest [sha256.Size]byte
}

// NewAuthenticator returns an authenticator that reads through db.
func NewAuthenticator(db *tenant.DB) *Authenticator {
	a := &Authenticator{db: db}
	a.keys = tenant.NewCache(db, authenticatorSize, Age, func(p presented, _ authz.Subject) tenant.ID { return p.tenant }, a.load)
	return a
}

// Authenticate returns the subject of a key: [ErrUnknownKey] if it is missing,
// malformed, unknown, disabled, of another kind or of another tenant. Blanks around
// the key are ignored.
func (a *Authenticator) Authenticate(ctx context.Context, t *tenant.Tenant, kind Kind, key string) (authz.Subject, error) {
	key = strings.TrimSpace(key)
	if !kind.mayBe(key) {
		return authz.Subject{}, ErrUnknownKey
	}
	return a.keys.Get(ctx, presented{tenant: t.ID, kind: kind, digest: text(key).digest()})
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
select api_key_id, name
  from api_key
 where digest = $1
   and kind = $2
   and disabled_at is null`

func (a *Authenticator) load(ctx context.Context, p presented) (authz.Subject, error) {
	var found []struct {
		ID   uuid.UUID `db:"api_key_id"`
		Name string
	}
	err := a.db.In(ctx, p.tenant, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &found, findSQL, p.digest[:], string(p.kind))
	})
	if err != nil {
		return authz.Subject{}, fmt.Errorf("find API key: %w", err)
	}
	if len(found) == 0 {
		return authz.Subject{}, ErrUnknownKey
	}
	return authz.Subject{
		Kind: authz.APIKey, ID: found[0].ID.String(), Name: found[0].Name,
		Roles: []authz.Role{p.kind.role()},
	}, nil
}

const enabledSQL = `
select exists (select
         from api_key
        where api_key_id = $1::uuid
          and disabled_at is null)`

// Enabled reports whether tx's tenant has a key of this ID that is not disabled, for
// what a key has ordered and is done later.
func Enabled(ctx context.Context, tx *tenant.Tx, id string) (bool, error) {
	var enabled bool
	if err := tx.Get(ctx, &enabled, enabledSQL, id); err != nil {
		return false, fmt.Errorf("find API key: %w", err)
	}
	return enabled, nil
}
