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
	code, err := p.code(ctx, f, query)
	if err != nil {
		return Identity{}, err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return Identity{}, err
	}
	ctx = goidc.ClientContext(ctx, p.config.HTTPClient)
	token, err := m.oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return Identity{}, exchangeError(err)
	}
	id, c, err := p.verify(ctx, m, f, token)
	if err != nil {
		return Identity{}, err
	}
	if err := c.complete(ctx, m.provider, id.Subject, token); err != nil {
		return Identity{}, err
	}
	if c.EmailVerified == nil || !*c.EmailVerified {
		return Identity{}, ErrEmailUnverified
	}
	email, err := parseEmail(c.Email)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		Issuer: id.Issuer, Subject: id.Subject, Email: email, Name: strings.TrimSpace(c.Name),
		AuthTime: c.authTime(), ACR: c.ACR, AMR: c.AMR,
	}, nil
}

// code checks that the answer is for f, and takes the code out of it. Only then is
// the provider's own error looked at: anybody can make a browser show one.
func (p *Provider) code(ctx context.Context, f Flow, query url.Values) (string, error) {
	age := p.config.Now().Sub(f.Started)
	if f.Issuer != p.config.Issuer || age < -skew || age > flowLife {
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
	id, err := goidc.NewVerifier(p.config.Issuer, keys, &goidc.Config{
		ClientID:             p.config.ClientID,
		SupportedSigningAlgs: []string{goidc.ES256, goidc.RS256},
		Now:                  p.config.Now,
	}).Verify(ctx, raw)
	if keys.unreachable != nil {
		return nil, nil, providerError("signing keys", keys.unreachable)
	}
	if err != nil {
		return nil, nil, tokenError(err)
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return nil, nil, fmt.Errorf("%w: ID token's claims", ErrToken)
	}
	return id, &c, p.checkClaims(f, id, c, token)
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
	case f.Fresh && c.authTime().Before(f.Started.Add(-skew)):
		return ErrStale
	}
	return nil
}

// complete asks the userinfo endpoint for the e-mail address if the ID token lacks
// it. Address and verification always come from the same place.
func (c *claims) complete(ctx context.Context, provider *goidc.Provider, subject string, token *oauth2.Token) error {
	if c.Email != "" && c.EmailVerified != nil {
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
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("%w: userinfo's claims", ErrToken)
	}
	if more.Email != "" {
		c.Email, c.EmailVerified = more.Email, more.EmailVerified
	}
	if c.Name == "" {
		c.Name = more.Name
	}
	return nil
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
