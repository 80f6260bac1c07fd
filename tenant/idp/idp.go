// Package idp keeps the identity providers of health authorities: OpenID providers at
// which their staff sign in with the accounts they have at work.
//
// A provider is a draft until its administrator has signed in through it herself, in a
// trial whose result she sees; only then can it be made active. Whatever changes who can
// sign in, or as what, makes it a draft again and ends the sessions of those who came
// through it. What it asserts counts with its own authority alone, and opens only rows of
// staff that name its issuer: it makes nobody a member, and nobody an owner. The
// platform's own provider stays open, and an authority that has a provider of its own
// keeps an owner there, so that a mistake in it locks nobody out.
//
// The client's secret, or the private key that is made here instead, is sealed under the
// authority's data key. Every request to a provider goes through package outbound.
package idp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
)

// What can be wrong with a provider, each with the part that it is about.
var (
	ErrName     = errors.New("name has 1 to 60 characters, and no other provider has it")
	ErrIssuer   = errors.New("issuer is the https URL of a provider that is not the platform's own")
	ErrClientID = errors.New("client ID has 1 to 300 characters without spaces")
	ErrSecret   = errors.New("client secret has 8 to 500 characters")
	ErrScopes   = errors.New("scopes are at most 20 words")
	ErrDomains  = errors.New("domains are at most 50, and named if addresses are trusted")
	ErrClaim    = errors.New("claim of roles has at most 200 characters, and there is one if roles follow from it")
	ErrRoles    = errors.New("roles that follow from a claim are at most 100, each one that the editor may give, and none is owner")
	ErrStrength = errors.New("required classes and methods of sign-in are at most 10 words each")
)

// What else can be wrong.
var (
	// ErrMissing means that the authority has no such provider, or that it is not active
	// where only an active one will do.
	ErrMissing = errors.New("no such identity provider")
	// ErrChanged means that somebody else changed the provider a moment ago.
	ErrChanged = errors.New("identity provider was changed in the meantime")
	// ErrUntried means that a provider cannot be made active before a trial.
	ErrUntried = errors.New("identity provider was not tried since it was changed")
	// ErrNoOwner means that the authority would have no owner who signs in at the
	// platform's own provider.
	ErrNoOwner = errors.New("no owner signs in at the platform's own provider")
	// ErrFull means that the authority has as many providers as it can.
	ErrFull = errors.New("an authority has five identity providers at most")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrName, ErrIssuer, ErrClientID, ErrSecret, ErrScopes, ErrDomains, ErrClaim, ErrRoles, ErrStrength,
		ErrMissing, ErrChanged, ErrUntried, ErrNoOwner, ErrFull, ErrDomain, ErrUnproved,
	}
}

// State is how far a provider is.
type State string

// The states.
const (
	Draft  State = "draft"  // changed since the last trial
	Tested State = "tested" // a trial has passed
	Active State = "active" // staff sign in
	Off    State = "off"    // was active; can be tried again
)

// Proof is how the client proves itself to the provider.
type Proof string

// The proofs.
const (
	ByNothing Proof = "none"   // a public client; PKCE alone
	BySecret  Proof = "secret" // a secret that the provider gave out
	ByKey     Proof = "key"    // a key of our own (private_key_jwt)
)

// Grant gives a role to whoever has a value in the claim of roles.
type Grant struct {
	Value string     `json:"value"`
	Role  authz.Role `json:"role"`
}

// Settings are what an administrator chooses. Printed, they show name and issuer only.
type Settings struct {
	// Name is on the button with which people sign in.
	Name             string
	Issuer, ClientID string
	Proof            Proof
	// Secret is the client's, when Proof is [BySecret]. It is never read back; empty
	// keeps the one that is there.
	Secret string
	Scopes []string
	// EmailDomains and TrustEmail are as in [oidc.Config], as are ACR and AMR.
	EmailDomains []string
	TrustEmail   bool
	// TrustPrompt is as in [oidc.Config].
	TrustPrompt bool
	RoleClaim   string
	Roles       []Grant
	ACR, AMR    []string
}

// Format prints name and issuer, whatever the verb.
func (s Settings) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Name+" at "+s.Issuer) }

// LogValue gives what Format gives.
func (s Settings) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Provider is one of an authority's, as it is shown: without its secret.
type Provider struct {
	ID uuid.UUID
	Settings
	State State
	// Version counts the changes that need another trial.
	Version   int
	ChangedAt time.Time
	// PublicKey is what the provider needs of the client's key, as DER-encoded SPKI; nil
	// if there is none.
	PublicKey []byte
}

const (
	maxProviders = 5
	maxScopes    = 20
	maxDomains   = 50
	maxGrants    = 100
	maxWords     = 10
	maxWord      = 200
)

// clean brings settings into the form in which they are kept.
func (s Settings) clean() Settings {
	s.Name, s.Issuer, s.ClientID = strings.TrimSpace(s.Name), strings.TrimSpace(s.Issuer), strings.TrimSpace(s.ClientID)
	s.RoleClaim = strings.TrimSpace(s.RoleClaim)
	s.EmailDomains = slices.Clone(s.EmailDomains)
	for i, d := range s.EmailDomains {
		s.EmailDomains[i] = strings.ToLower(d)
	}
	if s.Proof != BySecret {
		s.Secret = ""
	}
	return s
}

// check reports everything that does not depend on who asks.
func (s Settings) check() error {
	var errs []error
	fault := func(found bool, err error) {
		if found {
			errs = append(errs, err)
		}
	}
	fault(!printable(s.Name, 1, 60), ErrName)
	fault(!word(s.ClientID, 300), ErrClientID)
	fault(!slices.Contains([]Proof{ByNothing, BySecret, ByKey}, s.Proof), ErrSecret)
	fault(s.Secret != "" && !printable(s.Secret, 8, 500), ErrSecret)
	fault(!words(s.Scopes, maxScopes), ErrScopes)
	fault(len(s.EmailDomains) > maxDomains || s.TrustEmail && len(s.EmailDomains) == 0, ErrDomains)
	fault(slices.ContainsFunc(s.EmailDomains, func(d string) bool { return !isDomain(d) }), ErrDomains)
	fault(s.RoleClaim != "" && !word(s.RoleClaim, maxWord) || s.RoleClaim == "" && len(s.Roles) > 0, ErrClaim)
	fault(!words(s.ACR, maxWords) || !words(s.AMR, maxWords), ErrStrength)
	fault(len(s.Roles) > maxGrants || slices.ContainsFunc(s.Roles, func(g Grant) bool {
		return !printable(g.Value, 1, maxWord) || g.Role == authz.Owner
	}), ErrRoles)
	return errors.Join(errs...)
}

// printable reports whether a text of that many characters can be shown.
func printable(s string, least, most int) bool {
	n := len([]rune(s))
	return n >= least && n <= most && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func word(s string, most int) bool {
	return printable(s, 1, most) && !strings.ContainsFunc(s, unicode.IsSpace)
}

func words(list []string, most int) bool {
	return len(list) <= most && !slices.ContainsFunc(list, func(s string) bool { return !word(s, maxWord) })
}

// same reports whether nothing that matters differs: a name is for people only.
func (s Settings) same(other Settings) bool {
	return s.Issuer == other.Issuer && s.ClientID == other.ClientID && s.Proof == other.Proof && s.Secret == "" &&
		s.TrustEmail == other.TrustEmail && s.TrustPrompt == other.TrustPrompt && s.RoleClaim == other.RoleClaim &&
		slices.Equal(s.Scopes, other.Scopes) && slices.Equal(s.EmailDomains, other.EmailDomains) &&
		slices.Equal(s.Roles, other.Roles) && slices.Equal(s.ACR, other.ACR) && slices.Equal(s.AMR, other.AMR)
}

// client is how [oidc] sees the settings.
func (s Settings) client() oidc.Config {
	c := oidc.Config{
		Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: s.Secret,
		EmailDomains: s.EmailDomains, TrustEmail: s.TrustEmail, TrustPrompt: s.TrustPrompt, RoleClaim: s.RoleClaim, ACR: s.ACR, AMR: s.AMR,
		Roles: map[string][]string{},
	}
	if len(s.Scopes) > 0 {
		c.Scopes = s.Scopes
	}
	for _, g := range s.Roles {
		c.Roles[g.Value] = append(c.Roles[g.Value], string(g.Role))
	}
	return c
}
