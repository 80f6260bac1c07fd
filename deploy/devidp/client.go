//go:build !release

package devidp

import (
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// client is a [Client] as the protocol sees it.
type client struct {
	Client
	loginURL string // lacks the request's ID at its end
}

func (c *client) GetID() string                        { return c.ID }
func (c *client) RedirectURIs() []string               { return c.Client.RedirectURIs }
func (c *client) PostLogoutRedirectURIs() []string     { return c.Client.PostLogoutRedirectURIs }
func (c *client) ApplicationType() op.ApplicationType  { return op.ApplicationTypeWeb }
func (c *client) RedirectURIGlobs() []string           { return c.RedirectPatterns }
func (c *client) PostLogoutRedirectURIGlobs() []string { return nil }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}

func (c *client) GrantTypes() []oidc.GrantType         { return []oidc.GrantType{oidc.GrantTypeCode} }
func (c *client) LoginURL(id string) string            { return c.loginURL + id }
func (c *client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c *client) IDTokenLifetime() time.Duration       { return tokenLife }
func (c *client) IsScopeAllowed(string) bool           { return false }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return false }
func (c *client) ClockSkew() time.Duration             { return 0 }

// DevMode allows redirects to http.
func (c *client) DevMode() bool { return true }

func (c *client) AuthMethod() oidc.AuthMethod {
	if c.Secret == "" {
		return oidc.AuthMethodNone
	}
	return oidc.AuthMethodBasic
}

//nolint:staticcheck // ST1003: op.Client spells it so
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string { return unchanged }

func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return unchanged }

func unchanged(scopes []string) []string { return scopes }

// request is a sign-in under way, as the protocol sees it.
type request struct {
	oidc.AuthRequest
	id      string
	created time.Time
	acr     string
	amr     []string
	// subject, session and authTime are set once the person has signed in.
	subject, session string
	authTime         time.Time
}

func (r request) GetID() string                      { return r.id }
func (r request) GetACR() string                     { return r.acr }
func (r request) GetAMR() []string                   { return r.amr }
func (r request) GetAudience() []string              { return []string{r.ClientID} }
func (r request) GetAuthTime() time.Time             { return r.authTime }
func (r request) GetClientID() string                { return r.ClientID }
func (r request) GetNonce() string                   { return r.Nonce }
func (r request) GetRedirectURI() string             { return r.RedirectURI }
func (r request) GetResponseType() oidc.ResponseType { return r.ResponseType }
func (r request) GetResponseMode() oidc.ResponseMode { return r.ResponseMode }
func (r request) GetScopes() []string                { return r.Scopes }
func (r request) GetState() string                   { return r.State }
func (r request) GetSubject() string                 { return r.subject }
func (r request) Done() bool                         { return r.subject != "" }

func (r request) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: r.CodeChallenge, Method: r.CodeChallengeMethod}
}

// anew reports whether the person has to sign in whatever she did before.
func (r request) anew() bool { return r.MaxAge != nil || slices.Contains(r.Prompt, oidc.PromptLogin) }
