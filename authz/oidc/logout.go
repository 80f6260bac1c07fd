package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

// Logout is a provider's word that sessions are over: those of a subject, or the one
// with this SID. One of the two is empty, or it is both a subject's and that session.
type Logout struct {
	Subject, SID string
	// ID is the token's own: a token that was seen before is not taken again.
	ID string
	// Expires is until when it could be sent again.
	Expires time.Time
}

// logoutLife is how old a logout token may be. Providers are to make it anew for each
// message and let it live for two minutes at most (Back-Channel Logout 1.0 §2.4).
const logoutLife = time.Hour

// VerifyLogout reads a logout token (Back-Channel Logout 1.0 §2.6): [ErrToken] if it is
// none of this provider for this client, [ErrProvider] if its keys cannot be had. That a
// token is not taken twice is for the caller to see to.
func (p *Provider) VerifyLogout(ctx context.Context, raw string) (Logout, error) {
	if !ofType(raw, "", "jwt", "logout+jwt", "application/logout+jwt") {
		return Logout{}, fmt.Errorf("%w: logout token's type", ErrToken)
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return Logout{}, err
	}
	keys := &watchedKeys{KeySet: m.keys}
	token, err := p.verifier(keys).VerifyLogout(goidc.ClientContext(ctx, p.config.HTTPClient), raw)
	if keys.unreachable != nil {
		return Logout{}, providerError("signing keys", keys.unreachable)
	}
	if err != nil {
		return Logout{}, fmt.Errorf("%w: logout token", ErrToken) // the cause quotes it
	}
	return p.checkLogout(token)
}

// checkLogout asks for what the library lets pass.
func (p *Provider) checkLogout(token *goidc.LogoutToken) (Logout, error) {
	var c struct {
		Events map[string]map[string]any `json:"events"`
	}
	now := p.config.Now()
	switch err := token.Claims(&c); {
	case err != nil, c.Events["http://schemas.openid.net/event/backchannel-logout"] == nil:
		return Logout{}, fmt.Errorf("%w: logout token's event", ErrToken)
	case token.Issuer != p.config.Issuer:
		return Logout{}, fmt.Errorf("%w: logout token of another issuer", ErrToken)
	case token.IssuedAt.After(now.Add(skew)), now.Sub(token.IssuedAt) > logoutLife:
		return Logout{}, fmt.Errorf("%w: logout token is not of now", ErrToken)
	}
	return Logout{Subject: token.Subject, SID: token.SessionID, ID: token.TokenID, Expires: token.IssuedAt.Add(logoutLife)}, nil
}

// ofType reports whether the header's typ is one of these, in lower case; "" is for a
// header without it.
func ofType(raw string, types ...string) bool {
	head, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	var h struct {
		Type string `json:"typ"`
	}
	if json.Unmarshal(text, &h) != nil {
		return false
	}
	for _, t := range types {
		if strings.EqualFold(h.Type, t) {
			return true
		}
	}
	return false
}
