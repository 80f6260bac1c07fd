package idp

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/outbound"
)

// Config is what [Staff] and [Directory] work with.
type Config struct {
	// DB is a handle under the role carillon_portal.
	DB       *tenant.DB
	Keys     *key.Ring
	Policies *authz.Policies
	// Network is what may be reached of what authorities name.
	Network *outbound.Network
	// Platform is the issuer of the platform's own provider.
	Platform string
	// BaseURL is how browsers reach the portal, without a trailing slash.
	BaseURL string
	// Records looks up the text records of a domain's name, as [net.Resolver.LookupTXT].
	Records func(ctx context.Context, name string) ([]string, error)
	Now     func() time.Time
}

// Staff is what the staff of health authorities do about their providers, each act after
// the authority's policy was asked: [authz.ErrForbidden] if it does not allow it. Every
// change writes its audit entry. It is safe for concurrent use.
type Staff struct{ Config }

// row is a provider as it is stored.
type row struct {
	ID        uuid.UUID `db:"provider_id"`
	Name      string
	Issuer    string
	ClientID  string `db:"client_id"`
	Proof     Proof
	Sealed    []byte
	PublicKey []byte `db:"public_key"`
	Scopes    pq.StringArray
	Domains   pq.StringArray `db:"email_domains"`
	Trust     bool           `db:"trust_email"`
	Prompt    bool           `db:"trust_prompt"`
	RoleClaim string         `db:"role_claim"`
	Roles     []byte
	ACR       pq.StringArray
	AMR       pq.StringArray
	State     State
	Version   int
	ChangedAt time.Time `db:"changed_at"`
}

func (r row) provider() (Provider, error) {
	p := Provider{
		ID: r.ID, State: r.State, Version: r.Version, ChangedAt: r.ChangedAt, PublicKey: r.PublicKey,
		Settings: Settings{
			Name: r.Name, Issuer: r.Issuer, ClientID: r.ClientID, Proof: r.Proof, Scopes: r.Scopes,
			EmailDomains: r.Domains, TrustEmail: r.Trust, TrustPrompt: r.Prompt, RoleClaim: r.RoleClaim, ACR: r.ACR, AMR: r.AMR,
		},
	}
	if err := json.Unmarshal(r.Roles, &p.Roles); err != nil {
		return Provider{}, errors.New("stored roles of an identity provider cannot be read")
	}
	return p, nil
}

const (
	columns = `provider_id, name, issuer, client_id, proof, sealed, public_key, scopes, email_domains,
         trust_email, trust_prompt, role_claim, roles, acr, amr, state, version, changed_at`

	listSQL = `
  select ` + columns + `
    from identity_provider
order by name`

	findSQL = `
select ` + columns + `
  from identity_provider
 where provider_id = $1`
)

func (s *Staff) in(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(*tenant.Tx) error) error {
	if err := s.Policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return s.DB.In(ctx, t.ID, fn)
}

// List returns the authority's providers by name.
func (s *Staff) List(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]Provider, error) {
	var rows []row
	err := s.in(ctx, t, by, authz.SettingsRead, func(tx *tenant.Tx) error { return tx.Select(ctx, &rows, listSQL) })
	if err != nil {
		return nil, fmt.Errorf("list identity providers: %w", err)
	}
	list := make([]Provider, len(rows))
	for i, r := range rows {
		if list[i], err = r.provider(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Find returns one of them: [ErrMissing] if there is none with this ID.
func (s *Staff) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (p Provider, err error) {
	err = s.in(ctx, t, by, authz.SettingsRead, func(tx *tenant.Tx) error {
		p, err = find(ctx, tx, id)
		return err
	})
	return p, err
}

func find(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (Provider, error) {
	var r row
	err := tx.Get(ctx, &r, findSQL, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Provider{}, ErrMissing
	}
	if err != nil {
		return Provider{}, fmt.Errorf("find identity provider: %w", err)
	}
	return r.provider()
}

// checkFor reports everything that is wrong with settings that somebody wants to save.
func (s *Staff) checkFor(ctx context.Context, t *tenant.Tenant, by authz.Subject, settings Settings) error {
	errs := []error{settings.check()}
	if _, err := s.Network.ParseURL(settings.Issuer); err != nil || settings.Issuer == s.Platform || len(settings.Issuer) > 500 {
		errs = append(errs, ErrIssuer)
	}
	for _, g := range settings.Roles {
		switch err := s.Policies.CheckGrant(ctx, t.ID.String(), by, g.Role); {
		case errors.Is(err, authz.ErrForbidden):
			errs = append(errs, ErrRoles)
		case err != nil:
			return err
		}
	}
	return errors.Join(errs...)
}

// Add makes a draft. The error joins all that is wrong with the settings.
func (s *Staff) Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, settings Settings) (uuid.UUID, error) {
	settings = settings.clean()
	err := s.checkFor(ctx, t, by, settings)
	if settings.Proof == BySecret && settings.Secret == "" {
		err = errors.Join(err, ErrSecret)
	}
	if err != nil {
		return uuid.Nil, err
	}
	id := uuid.New()
	made, err := s.credential(ctx, t, id, settings)
	if err != nil {
		return uuid.Nil, err
	}
	err = s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		return s.insert(ctx, tx, by, id, settings, made)
	})
	return id, named(err)
}

// lockSQL makes those wait who change providers of the same authority.
const lockSQL = `select pg_advisory_xact_lock(hashtextextended('identity_provider' || current_tenant()::text, 0))`

const (
	countSQL = `select count(*) from identity_provider`

	insertSQL = `
insert into identity_provider
       (tenant_id, provider_id, name, issuer, client_id, proof, sealed, public_key, scopes, email_domains,
        trust_email, trust_prompt, role_claim, roles, acr, amr, changed_at)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb, $14, $15, $16)`
)

func (s *Staff) insert(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, settings Settings, c credential) error {
	if _, err := tx.Exec(ctx, lockSQL); err != nil {
		return err
	}
	var n int
	if err := tx.Get(ctx, &n, countSQL); err != nil {
		return err
	}
	if n >= maxProviders {
		return ErrFull
	}
	args, err := settings.args(c)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, insertSQL, append([]any{id}, append(args, s.Now().UTC())...)...); err != nil {
		return err
	}
	return s.record(ctx, tx, by, "sign-in:add", id, settings)
}

// args are the columns from name to amr.
func (s Settings) args(c credential) ([]any, error) {
	roles, err := json.Marshal(append([]Grant{}, s.Roles...))
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	list := func(l []string) pq.StringArray { return append(pq.StringArray{}, l...) }
	return []any{
		s.Name, s.Issuer, s.ClientID, string(s.Proof), c.sealed, c.public, list(s.Scopes), list(s.EmailDomains),
		s.TrustEmail, s.TrustPrompt, s.RoleClaim, string(roles), list(s.ACR), list(s.AMR),
	}, nil
}

// record writes what was done to which provider. The issuer is public.
func (s *Staff) record(ctx context.Context, tx *tenant.Tx, by authz.Subject, action string, id uuid.UUID, settings Settings) error {
	detail := map[string]string{"name": settings.Name, "issuer": settings.Issuer}
	return audit.Record(ctx, tx, s.Now(), by, action, id.String(), detail)
}

func named(err error) error {
	if tenant.Violates(err, "identity_provider_name_key") {
		return ErrName
	}
	return err
}

const changeSQL = `
update identity_provider
   set name = $3, issuer = $4, client_id = $5, proof = $6, sealed = $7, public_key = $8, scopes = $9,
       email_domains = $10, trust_email = $11, trust_prompt = $12, role_claim = $13, roles = $14::jsonb, acr = $15,
       amr = $16, changed_at = $17, version = version + $18, state = $19
 where provider_id = $1
   and version = $2`

// Change gives a provider other settings, errors as for Add; [ErrChanged] if its version
// is not the one that the editor saw. If anything but the name differs it is a draft
// again, and those who signed in through it are signed out.
func (s *Staff) Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, version int, settings Settings) error {
	settings = settings.clean()
	if err := s.checkFor(ctx, t, by, settings); err != nil {
		return err
	}
	made, err := s.credential(ctx, t, id, settings)
	if err != nil {
		return err
	}
	err = s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL); err != nil {
			return err
		}
		var old row
		if err := tx.Get(ctx, &old, findSQL, id); errors.Is(err, sql.ErrNoRows) {
			return ErrMissing
		} else if err != nil {
			return err
		}
		was, err := old.provider()
		if err != nil {
			return err
		}
		c := made
		if settings.Secret == "" && settings.Proof == old.Proof {
			c = credential{old.Sealed, old.PublicKey}
		}
		if settings.Proof == BySecret && c.sealed == nil {
			return ErrSecret
		}
		return s.change(ctx, tx, by, was, version, settings, c)
	})
	return named(err)
}

func (s *Staff) change(ctx context.Context, tx *tenant.Tx, by authz.Subject, was Provider, version int, settings Settings, c credential) error {
	args, err := settings.args(c)
	if err != nil {
		return err
	}
	state, step := was.State, 0
	if !settings.same(was.Settings) {
		state, step = Draft, 1
	}
	args = append([]any{was.ID, version}, append(args, s.Now().UTC(), step, string(state))...)
	n, err := tx.Exec(ctx, changeSQL, args...)
	if err == nil && n == 0 {
		return ErrChanged
	}
	if err == nil && step > 0 {
		err = member.EndAt(ctx, tx, was.ID, s.Now())
	}
	if err != nil {
		return err
	}
	return s.record(ctx, tx, by, "sign-in:change", was.ID, settings)
}

const moveSQL = `
update identity_provider
   set state = $3, changed_at = $4
 where provider_id = $1
   and version = $2
   and state = any($5)`

// move brings a provider from one of some states into another; instead is the error if it
// is in none of them.
func (s *Staff) move(ctx context.Context, tx *tenant.Tx, by authz.Subject, p Provider, to State, action string, instead error, from ...State) error {
	states := make(pq.StringArray, len(from))
	for i, f := range from {
		states[i] = string(f)
	}
	n, err := tx.Exec(ctx, moveSQL, p.ID, p.Version, string(to), s.Now().UTC(), states)
	if err == nil && n == 0 {
		return instead
	}
	if err != nil {
		return err
	}
	return s.record(ctx, tx, by, action, p.ID, p.Settings)
}

// Passed notes that a trial of this version of a provider has passed. Of an active one
// nothing changes.
func (s *Staff) Passed(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, version int) error {
	return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		p, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		if p.State == Active && p.Version == version {
			return nil
		}
		p.Version = version
		return s.move(ctx, tx, by, p, Tested, "sign-in:try", ErrChanged, Draft, Tested, Off)
	})
}

const (
	// lockOwnersSQL makes those wait who take an owner away, as the triggers on members do.
	lockOwnersSQL = `select pg_advisory_xact_lock(hashtextextended('an owner of ' || current_tenant(), 0))`

	breakGlassSQL = `
select count(*)
  from member
 where issuer = $1
   and state = 'active'
   and 'owner' = any(roles)`
)

// Activate lets staff sign in at a provider: [ErrUntried] before a trial has passed,
// [ErrNoOwner] if nobody would be left to put a mistake right.
func (s *Staff) Activate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockOwnersSQL); err != nil {
			return err
		}
		var owners int
		if err := tx.Get(ctx, &owners, breakGlassSQL, s.Platform); err != nil {
			return err
		}
		if owners == 0 {
			return ErrNoOwner
		}
		p, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		return s.move(ctx, tx, by, p, Active, "sign-in:activate", ErrUntried, Tested)
	})
}

// SwitchOff ends that staff sign in at a provider, and signs out those who did. One that
// is not active is [ErrMissing].
func (s *Staff) SwitchOff(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.in(ctx, t, by, authz.SettingsWrite, func(tx *tenant.Tx) error {
		p, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := member.EndAt(ctx, tx, id, s.Now()); err != nil {
			return err
		}
		return s.move(ctx, tx, by, p, Off, "sign-in:off", ErrMissing, Active)
	})
}

// credential is what proves the client, as it is stored.
type credential struct{ sealed, public []byte }

const purpose signing.Purpose = "identity-provider"

func binding(t tenant.ID, id uuid.UUID, p Proof) signing.Binding {
	return signing.Binding{Tenant: t.String(), Purpose: purpose, KeyID: id.String() + "/" + string(p)}
}

// credential seals what settings bring, or makes a key. It happens before any
// transaction, since the data key may have to be unwrapped elsewhere.
func (s *Staff) credential(ctx context.Context, t *tenant.Tenant, id uuid.UUID, settings Settings) (credential, error) {
	if settings.Proof == ByNothing || settings.Proof == BySecret && settings.Secret == "" {
		return credential{}, nil
	}
	data, err := s.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return credential{}, err
	}
	var c credential
	if settings.Proof == ByKey {
		c.sealed, c.public, err = signing.NewP256(data, binding(t.ID, id, ByKey))
	} else {
		c.sealed, err = data.Seal(binding(t.ID, id, BySecret), []byte(settings.Secret))
	}
	return c, err
}
