package idp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/signing/jws"
	"carillon/tenant"
	"carillon/tenant/cache"
)

// Directory finds providers for those who sign in. It keeps those that were asked for
// last, with what they said of themselves; a change is heard in every process. It is safe
// for concurrent use.
type Directory struct {
	Config
	// base is what all clients have in common: what they reach, and the clock.
	base      oidc.Config
	providers *cache.Cache[place, *Entry]
	choices   *cache.Cache[tenant.ID, []Choice]
}

// place is where a provider is.
type place struct {
	tenant tenant.ID
	id     uuid.UUID
}

// Entry is a provider that people can be sent to.
type Entry struct {
	*oidc.Provider
	State   State
	Version int
}

// Choice is a provider that staff of an authority can choose.
type Choice struct {
	ID   uuid.UUID
	Name string
}

const (
	maxEntries = 500
	entryLife  = tenant.DirectoryAge
	// requestTime bounds a request to a provider, body included.
	requestTime = 5 * time.Second
)

// NewDirectory returns one that has read nothing yet.
func NewDirectory(c Config) *Directory {
	client := c.Network.Client()
	client.Timeout = requestTime
	d := &Directory{Config: c, base: oidc.Config{HTTPClient: client, Now: c.Now}}
	d.providers = tenant.NewCache(c.DB, maxEntries, entryLife, func(p place, _ *Entry) tenant.ID { return p.tenant }, d.load)
	d.choices = tenant.NewCache(c.DB, maxEntries, entryLife, func(id tenant.ID, _ []Choice) tenant.ID { return id }, d.list)
	return d
}

const activeSQL = `
  select provider_id as id, name
    from identity_provider
   where state = 'active'
order by name`

func (d *Directory) list(ctx context.Context, id tenant.ID) ([]Choice, error) {
	var list []Choice
	err := d.DB.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, activeSQL) })
	if err != nil {
		return nil, fmt.Errorf("list active identity providers: %w", err)
	}
	return list, nil
}

// Active lists the providers at which staff of an authority sign in, by name.
func (d *Directory) Active(ctx context.Context, id tenant.ID) ([]Choice, error) {
	return d.choices.Get(ctx, id)
}

// Provider returns an active provider of a realm, as flows and identities name it:
// [ErrMissing] if there is none.
func (d *Directory) Provider(ctx context.Context, realm, id string) (*oidc.Provider, error) {
	e, err := d.Any(ctx, realm, id)
	if err != nil {
		return nil, err
	}
	if e.State != Active {
		return nil, ErrMissing
	}
	return e.Provider, nil
}

// Any is Provider for a trial: the provider may be in any state.
func (d *Directory) Any(ctx context.Context, realm, id string) (*Entry, error) {
	t, err := uuid.Parse(realm)
	if err != nil {
		return nil, ErrMissing
	}
	p, err := uuid.Parse(id)
	if err != nil {
		return nil, ErrMissing
	}
	return d.providers.Get(ctx, place{tenant.ID(t), p})
}

// load makes a provider ready, its secret or key opened.
func (d *Directory) load(ctx context.Context, at place) (*Entry, error) {
	var r row
	err := d.DB.In(ctx, at.tenant, func(tx *tenant.Tx) error {
		var rows []row
		err := tx.Select(ctx, &rows, findSQL, at.id)
		if err == nil && len(rows) == 0 {
			return ErrMissing
		}
		if err == nil {
			r = rows[0]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find identity provider: %w", err)
	}
	p, err := r.provider()
	if err != nil {
		return nil, err
	}
	c := p.client()
	c.Realm, c.ID = at.tenant.String(), at.id.String()
	c.RedirectURL = d.CallbackURL(at.id)
	c.HTTPClient, c.Now = d.base.HTTPClient, d.base.Now
	if err := d.open(ctx, at, r, &c); err != nil {
		return nil, err
	}
	client, err := oidc.New(c)
	if err != nil {
		return nil, fmt.Errorf("identity provider: %w", err)
	}
	return &Entry{Provider: client, State: p.State, Version: p.Version}, nil
}

// CallbackURL is where a provider sends browsers back to. Each has its own, so that an
// answer of one is not taken for that of another, even if it does not say whose it is.
func (d *Directory) CallbackURL(id uuid.UUID) string {
	return d.BaseURL + "/login/callback/" + id.String()
}

// open gives the client what it proves itself with.
func (d *Directory) open(ctx context.Context, at place, r row, c *oidc.Config) error {
	if r.Proof == ByNothing {
		return nil
	}
	data, err := d.Keys.DataKey(ctx, at.tenant)
	if err != nil {
		return err
	}
	if r.Proof == ByKey {
		signer, err := signing.OpenP256(data, binding(at.tenant, at.id, ByKey), r.Sealed)
		if err != nil {
			return fmt.Errorf("client's key: %w", err)
		}
		c.Assert = func(audience string) (string, error) {
			return jws.Sign(signer, keyID(r.PublicKey), newAssertion(r.ClientID, audience, d.Now()))
		}
		return nil
	}
	secret, err := data.Open(binding(at.tenant, at.id, BySecret), r.Sealed)
	if err != nil {
		return fmt.Errorf("client's secret: %w", err)
	}
	c.ClientSecret = string(secret)
	clear(secret)
	return nil
}

// assertion is what the client says of itself (OpenID Connect Core 1.0 §9). The key is
// one provider's alone, so that a provider which passes on what it was sent gains nothing.
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

const assertionLife = time.Minute

func newAssertion(client, audience string, now time.Time) assertion {
	return assertion{
		Issuer: client, Subject: client, Audience: audience, ID: rand.Text(),
		IssuedAt: now.Unix(), Expires: now.Add(assertionLife).Unix(),
	}
}

// keyID names a public key by its digest.
func keyID(public []byte) string {
	digest := sha256.Sum256(public)
	return base64.RawURLEncoding.EncodeToString(digest[:12])
}

// WriteKeys writes the public key of an authority's client at a provider, as RFC 7517 has
// it: [ErrMissing] if there is none.
func (d *Directory) WriteKeys(ctx context.Context, t tenant.ID, id uuid.UUID, to io.Writer) error {
	var public []byte
	err := d.DB.In(ctx, t, func(tx *tenant.Tx) error {
		p, err := find(ctx, tx, id)
		public = p.PublicKey
		return err
	})
	if err == nil && public == nil {
		err = ErrMissing
	}
	if err != nil {
		return err
	}
	parsed, err := signing.ParsePublicDER(public)
	if err != nil {
		return fmt.Errorf("client's key: %w", err)
	}
	k, err := jws.NewJWK(keyID(public), parsed)
	if err != nil {
		return fmt.Errorf("client's key: %w", err)
	}
	return json.NewEncoder(to).Encode(map[string][]jws.JWK{"keys": {k}})
}
