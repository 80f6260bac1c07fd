package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// flowLife is how long a person may take to sign in.
	flowLife = time.Hour
	// skew is how far the provider's clock may differ from ours.
	skew = time.Minute
)

// Finish ends the sign-in that f began, given the query with which the browser
// came back. The errors are those of [Sentinels].
func (p *Provider) Finish(ctx context.Context, f Flow, query url.Values) (Identity, error) {
	report, err := p.Examine(ctx, f, query)
	if err != nil {
		return Identity{}, err
	}
	return report.Identity, nil
}

// Report is what came of a sign-in, for somebody who tries a provider out.
type Report struct {
	// Identity is as far as it could be found out.
	Identity Identity
	// Claims are the names of all that the provider said, in order: at most 100.
	Claims []string
}

// maxNames bounds a report's names, in number and in bytes of each.
const maxNames, maxName = 100, 100

// Examine is Finish for a trial: what was learned before an error is reported with it.
func (p *Provider) Examine(ctx context.Context, f Flow, query url.Values) (Report, error) {
	code, err := p.code(ctx, f, query)
	if err != nil {
		return Report{}, err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return Report{}, err
	}
	ctx = goidc.ClientContext(ctx, p.config.HTTPClient)
	options, err := p.proof(m, f)
	if err != nil {
		return Report{}, err
	}
	token, err := m.oauth.Exchange(ctx, code, options...)
	if err != nil {
		return Report{}, exchangeError(err)
	}
	id, c, err := p.verify(ctx, m, f, token)
	if err != nil {
		return Report{}, err
	}
	err = p.complete(ctx, c, m.provider, id.Subject, token)
	report := Report{Identity: p.identity(id, c, token), Claims: c.names()}
	if err != nil {
		return report, err
	}
	report.Identity.Email, err = p.email(c)
	if err == nil {
		err = p.checkAssurance(c)
	}
	return report, err
}

func (p *Provider) identity(id *goidc.IDToken, c *claims, token *oauth2.Token) Identity {
	raw, _ := token.Extra("id_token").(string)
	return Identity{
		Issuer: id.Issuer, Subject: id.Subject, Name: strings.TrimSpace(c.Name),
		AuthTime: c.authTime(), ACR: c.ACR, AMR: c.AMR,
		Realm: p.config.Realm, Provider: p.config.ID, Roles: p.roles(c), SID: c.SID, IDToken: raw,
	}
}

// proof is what goes with the code: the verifier, and the client's assertion if it has
// no secret.
func (p *Provider) proof(m *metadata, f Flow) ([]oauth2.AuthCodeOption, error) {
	options := []oauth2.AuthCodeOption{oauth2.VerifierOption(f.Verifier)}
	if p.config.Assert == nil {
		return options, nil
	}
	assertion, err := p.config.Assert(m.oauth.Endpoint.TokenURL)
	if err != nil {
		return nil, fmt.Errorf("client assertion: %w", err)
	}
	return append(options,
		oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		oauth2.SetAuthURLParam("client_assertion", assertion)), nil
}

// code checks that the answer is for f, and takes the code out of it. Only then is
// the provider's own error looked at: anybody can make a browser show one.
func (p *Provider) code(ctx context.Context, f Flow, query url.Values) (string, error) {
	age := p.config.Now().Sub(f.Started)
	if f.Issuer != p.config.Issuer || f.Realm != p.config.Realm || f.Provider != p.config.ID || age < -skew || age > flowLife {
		return "", ErrState
	}
	if f.State == "" || len(query["state"]) != 1 || !equal(query.Get("state"), f.State) {
		return "", ErrState
	}
	if err := p.checkIssuerParameter(ctx, query["iss"]); err != nil {
		return "", err
	}
	if query.Has("error") {
		return "", answerError(query.Get("error"))
	}
	if len(query["code"]) != 1 || query.Get("code") == "" {
		return "", fmt.Errorf("%w: no code", ErrToken)
	}
	return query.Get("code"), nil
}

// checkIssuerParameter refuses an answer that another issuer gave (RFC 9207).
func (p *Provider) checkIssuerParameter(ctx context.Context, iss []string) error {
	if len(iss) == 0 {
		m, err := p.metadata(ctx)
		if err == nil && m.issInResponse {
			return fmt.Errorf("%w: iss parameter is missing", ErrToken)
		}
		return err
	}
	if len(iss) != 1 || iss[0] != p.config.Issuer {
		return fmt.Errorf("%w: iss parameter names another issuer", ErrToken)
	}
	return nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// claims are those of ID token and userinfo that are used (Core 1.0 §2, §5.1).
type claims struct {
	Email           string   `json:"email"`
	EmailVerified   *boolean `json:"email_verified"`
	Name            string   `json:"name"`
	AuthorizedParty string   `json:"azp"`
	AuthTime        int64    `json:"auth_time"` // seconds since 1970
	ACR             string   `json:"acr"`
	AMR             []string `json:"amr"`
	SID             string   `json:"sid"` // Back-Channel Logout 1.0 §2.1

	// all are those of the ID token and, where it was asked, of the userinfo.
	all map[string]json.RawMessage
}

// names lists the claims.
func (c *claims) names() []string {
	var names []string
	for name := range c.all {
		if len(name) <= maxName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), maxNames)]
}

// values are the texts of a claim, which may lie within others.
func (c *claims) values(name string) []string {
	raw, found := c.all[name]
	for inside := c.all; !found; {
		first, rest, nested := strings.Cut(name, ".")
		if !nested {
			raw = inside[name]
			break
		}
		var next map[string]json.RawMessage
		if json.Unmarshal(inside[first], &next) != nil {
			return nil
		}
		inside, name = next, rest
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}

// boolean reads true and false, also in quotes: some providers write them so.
type boolean bool

func (b *boolean) UnmarshalJSON(text []byte) error {
	return json.Unmarshal([]byte(strings.Trim(string(text), `"`)), (*bool)(b))
}

func (c claims) authTime() time.Time {
	if c.AuthTime <= 0 {
		return time.Time{}
	}
	return time.Unix(c.AuthTime, 0).UTC()
}

// verify checks the ID token (Core 1.0 §3.1.3.7) and the access token's hash
// (§3.1.3.8).
func (p *Provider) verify(ctx context.Context, m *metadata, f Flow, token *oauth2.Token) (*goidc.IDToken, *claims, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, nil, fmt.Errorf("%w: no ID token", ErrToken)
	}
	keys := &watchedKeys{KeySet: m.keys}
	id, err := p.verifier(keys).Verify(ctx, raw)
	if keys.unreachable != nil {
		return nil, nil, providerError("signing keys", keys.unreachable)
	}
	if err != nil {
		return nil, nil, tokenError(err)
	}
	var c claims
	if id.Claims(&c) != nil || id.Claims(&c.all) != nil {
		return nil, nil, fmt.Errorf("%w: ID token's claims", ErrToken)
	}
	return id, &c, p.checkClaims(f, id, c, token)
}

func (p *Provider) verifier(keys goidc.KeySet) *goidc.IDTokenVerifier {
	return goidc.NewVerifier(p.config.Issuer, keys, &goidc.Config{
		ClientID:             p.config.ClientID,
		SupportedSigningAlgs: []string{goidc.ES256, goidc.RS256},
		Now:                  p.config.Now,
	})
}

func (p *Provider) checkClaims(f Flow, id *goidc.IDToken, c claims, token *oauth2.Token) error {
	switch {
	case id.Issuer != p.config.Issuer: // the library lets one issuer leave out its scheme
		return fmt.Errorf("%w: ID token of another issuer", ErrToken)
	case id.Subject == "":
		return fmt.Errorf("%w: ID token has no subject", ErrToken)
	case f.Nonce == "" || !equal(id.Nonce, f.Nonce):
		return fmt.Errorf("%w: ID token is for another sign-in", ErrToken)
	case c.AuthorizedParty != "" && c.AuthorizedParty != p.config.ClientID,
		c.AuthorizedParty == "" && len(id.Audience) > 1:
		return fmt.Errorf("%w: ID token is for another client", ErrToken)
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return fmt.Errorf("%w: ID token is for another access token", ErrToken)
	case f.Fresh && c.authTime().IsZero() && !p.config.TrustPrompt:
		return ErrNoAuthTime
	case f.Fresh && !c.authTime().IsZero() && c.authTime().Before(f.Started.Add(-skew)):
		return ErrStale
	}
	return nil
}

// complete asks the userinfo endpoint for the e-mail address and the claim of roles if
// the ID token lacks either. Address and verification always come from the same place.
func (p *Provider) complete(ctx context.Context, c *claims, provider *goidc.Provider, subject string, token *oauth2.Token) error {
	hasEmail := c.Email != "" && (c.EmailVerified != nil || p.trusts(c.Email))
	if hasEmail && (p.config.RoleClaim == "" || c.values(p.config.RoleClaim) != nil) {
		return nil
	}
	if provider.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return providerError("userinfo", err)
	}
	if info.Subject != subject { // Core 1.0 §5.3.2
		return fmt.Errorf("%w: userinfo is somebody else's", ErrToken)
	}
	var more claims
	if info.Claims(&more) != nil || info.Claims(&more.all) != nil {
		return fmt.Errorf("%w: userinfo's claims", ErrToken)
	}
	if !hasEmail && more.Email != "" {
		c.Email, c.EmailVerified = more.Email, more.EmailVerified
	}
	if c.Name == "" {
		c.Name = more.Name
	}
	for name, value := range more.all {
		if _, said := c.all[name]; !said {
			c.all[name] = value
		}
	}
	return nil
}

// email is the address, if the provider vouches for it and it is an allowed one.
func (p *Provider) email(c *claims) (string, error) {
	verified := p.trusts(c.Email)
	if c.EmailVerified != nil {
		verified = bool(*c.EmailVerified)
	}
	if !verified {
		return "", ErrEmailUnverified
	}
	email, err := parseEmail(c.Email)
	if err != nil {
		return "", err
	}
	if len(p.config.EmailDomains) > 0 && !p.ofDomain(email) {
		return "", ErrDomain
	}
	return email, nil
}

func (p *Provider) trusts(email string) bool { return p.config.TrustEmail && p.ofDomain(email) }

func (p *Provider) ofDomain(email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return slices.Contains(p.config.EmailDomains, strings.ToLower(domain))
}

// checkAssurance asks how strongly the person signed in.
func (p *Provider) checkAssurance(c *claims) error {
	if len(p.config.ACR) > 0 && !slices.Contains(p.config.ACR, c.ACR) {
		return fmt.Errorf("%w: acr", ErrAssurance)
	}
	for _, method := range p.config.AMR {
		if !slices.Contains(c.AMR, method) {
			return fmt.Errorf("%w: amr", ErrAssurance)
		}
	}
	return nil
}

// roles are those that follow from the claim of roles, each once.
func (p *Provider) roles(c *claims) []string {
	if p.config.RoleClaim == "" {
		return nil
	}
	var roles []string
	for _, value := range c.values(p.config.RoleClaim) {
		roles = append(roles, p.config.Roles[value]...)
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

const maxEmail = 250 // characters

// parseEmail gives an address in lower case. Beyond ASCII there are letters whose
// lower case is another person's ASCII address, so such addresses are refused.
func parseEmail(s string) (string, error) {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return "", ErrEmail
		}
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") || len(s) > maxEmail {
		return "", ErrEmail
	}
	return strings.ToLower(s), nil
}

// watchedKeys remembers that keys could not be fetched, which the verifier's own
// error does not tell from a bad signature.
type watchedKeys struct {
	goidc.KeySet
	unreachable error
}

func (k *watchedKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	// A remote key set wraps only the errors of fetching.
	if cause := errors.Unwrap(err); cause != nil {
		k.unreachable = cause
	}
	return payload, err
}

// answerError is the provider's refusal (RFC 6749 §4.1.2.1, Core 1.0 §3.1.2.6).
func answerError(code string) error {
	if code == "server_error" || code == "temporarily_unavailable" {
		return fmt.Errorf("%w: %s", ErrProvider, code)
	}
	known := []string{
		"access_denied", "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope",
		"interaction_required", "login_required", "account_selection_required", "consent_required",
	}
	if !slices.Contains(known, code) {
		code = "for a reason of its own"
	}
	return fmt.Errorf("%w: %s", ErrDenied, code)
}

// exchangeError tells a code that is not taken back from everything else.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode == "invalid_grant" {
		return fmt.Errorf("%w: code was refused", ErrToken)
	}
	return providerError("code exchange", err)
}

func tokenError(err error) error {
	var expired *goidc.TokenExpiredError
	if errors.As(err, &expired) {
		return fmt.Errorf("%w: ID token has expired", ErrToken)
	}
	return fmt.Errorf("%w: ID token", ErrToken)
}

// providerError says what went wrong at which step, in words of our own or of the
// network's: what the provider wrote may hold anything.
func providerError(step string, err error) error {
	var timeout interface{ Timeout() bool }
	var mismatch *goidc.IssuerMismatchError
	var refused *oauth2.RetrieveError
	var network *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %s: timed out", ErrProvider, step)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %s: %w", ErrProvider, step, context.Canceled)
	case errors.As(err, &network):
		return fmt.Errorf("%w: %s: %w", ErrProvider, step, network)
	case errors.As(err, &mismatch):
		return fmt.Errorf("%w: %s: it calls itself by another issuer", ErrProvider, step)
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_client":
		return fmt.Errorf("%w: %s: client was refused", ErrProvider, step)
	case errors.As(err, &refused) && refused.Response != nil:
		return fmt.Errorf("%w: %s: %s", ErrProvider, step, http.StatusText(refused.Response.StatusCode))
	}
	return fmt.Errorf("%w: %s: unusable answer", ErrProvider, step)
}
