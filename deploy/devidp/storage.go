//go:build !release

package devidp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// requestLife is how long a person may look at the sign-in page.
	requestLife = time.Hour
	// tokenLife is how long an access token serves at the userinfo endpoint.
	tokenLife = 5 * time.Minute

	algorithm = jose.ES256
)

var (
	errUnknown     = errors.New("unknown or expired")
	errNotProvided = errors.New("not provided here")
)

// storage is the provider's memory: sign-ins under way, codes and access tokens.
type storage struct {
	clients map[string]*client
	people  map[string]Person
	key     *ecdsa.PrivateKey
	keyID   string
	acr     string
	amr     []string
	full    bool // ID tokens say all

	mu       sync.Mutex
	requests map[string]request
	codes    map[string]string // code to request's ID
	tokens   map[string]token
	sessions []session
	logouts  []string // addresses for back-channel logout
}

type token struct {
	subject, client string
	scopes          []string
	expires         time.Time
}

func newStorage(c Config, prefix string) (*storage, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &storage{
		clients: map[string]*client{}, people: map[string]Person{}, key: key, keyID: rand.Text(),
		requests: map[string]request{}, codes: map[string]string{}, tokens: map[string]token{},
		acr: c.ACR, amr: c.AMR, full: c.FullTokens,
	}
	for _, registered := range c.Clients {
		s.clients[registered.ID] = &client{Client: registered, loginURL: prefix + loginPath + "?id="}
	}
	for _, p := range c.People {
		s.people[p.Login] = p
	}
	return s, nil
}

// signIn marks a request as answered by the person with this login, and reports
// whether there is such a person. Earlier means that she did so an hour ago, if that will
// do. [errUnknown] means that there is no such request.
func (s *storage) signIn(id, login string, earlier bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests[id]
	if !ok {
		return false, errUnknown
	}
	if _, ok := s.people[login]; !ok {
		return false, nil
	}
	r.subject, r.session, r.authTime = login, rand.Text(), time.Now()
	if earlier && !r.anew() {
		r.authTime = r.authTime.Add(-time.Hour)
	}
	s.requests[id] = r
	s.remember(session{id: r.session, subject: login, client: r.ClientID, since: r.authTime})
	return true, nil
}

// asked is a request that waits for somebody to sign in.
func (s *storage) asked(id string) (request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests[id]
	if !ok {
		return request{}, errUnknown
	}
	return r, nil
}

// sweep forgets what has expired. It is called with the lock held.
func (s *storage) sweep(now time.Time) {
	maps.DeleteFunc(s.requests, func(_ string, r request) bool { return now.Sub(r.created) > requestLife })
	maps.DeleteFunc(s.codes, func(_, id string) bool { _, ok := s.requests[id]; return !ok })
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return now.After(t.expires) })
}

// CreateAuthRequest implements [op.AuthStorage]. It refuses what a person would
// have to be signed in for already, and a client that does not use PKCE.
func (s *storage) CreateAuthRequest(_ context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if len(r.Prompt) == 1 && r.Prompt[0] == oidc.PromptNone {
		return nil, oidc.ErrLoginRequired()
	}
	if r.CodeChallenge == "" || r.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE with S256 is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.sweep(now)
	created := request{AuthRequest: *r, id: rand.Text(), created: now, acr: s.acr, amr: s.amr}
	s.requests[created.id] = created
	return created, nil
}

// AuthRequestByID implements [op.AuthStorage].
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests[id]
	if !ok {
		return nil, errUnknown
	}
	return r, nil
}

// AuthRequestByCode implements [op.AuthStorage]. It takes the code: whatever
// becomes of this exchange, there is no second.
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests[s.codes[code]]
	if !ok {
		return nil, errUnknown
	}
	delete(s.codes, code)
	return r, nil
}

// SaveAuthCode implements [op.AuthStorage].
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

// DeleteAuthRequest implements [op.AuthStorage].
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
	return nil
}

// CreateAccessToken implements [op.AuthStorage].
func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	authorized, ok := r.(request)
	if !ok {
		return "", time.Time{}, errNotProvided
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, expires := rand.Text(), time.Now().Add(tokenLife)
	s.tokens[id] = token{subject: authorized.subject, client: authorized.ClientID, scopes: authorized.Scopes, expires: expires}
	return id, expires, nil
}

// TerminateSession implements [op.AuthStorage]: access tokens end.
func (s *storage) TerminateSession(_ context.Context, subject, client string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return t.subject == subject && t.client == client })
	return nil
}

// RevokeToken implements [op.AuthStorage].
func (s *storage) RevokeToken(_ context.Context, id, _, client string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[id]; ok && t.client == client {
		delete(s.tokens, id)
	}
	return nil
}

// SetUserinfoFromToken implements [op.OPStorage].
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, _, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[id]
	if !ok || time.Now().After(t.expires) {
		return errUnknown
	}
	s.people[t.subject].tell(info, t.scopes)
	return nil
}

// tell says of a person what the scopes ask for.
func (p Person) tell(info *oidc.UserInfo, scopes []string) {
	info.Subject = p.Login
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeEmail:
			info.Email, info.EmailVerified = p.Email, oidc.Bool(!p.Unverified)
		case oidc.ScopeProfile:
			info.Name, info.PreferredUsername = p.Name, p.Login
		}
	}
	if p.Groups != nil {
		info.AppendClaims("groups", p.Groups)
	}
}

// SetUserinfoFromRequest implements [op.CanSetUserinfoFromRequest], for the ID
// token: it says who, and leaves the rest to userinfo unless it is to say all.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	info.Subject = r.GetSubject()
	if signedIn, ok := r.(request); ok && s.full {
		s.people[r.GetSubject()].tell(info, r.GetScopes())
		info.AppendClaims("sid", signedIn.session)
	}
	return nil
}

// GetClientByClientID implements [op.OPStorage].
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	c, ok := s.clients[id]
	if !ok {
		return nil, errUnknown
	}
	return c, nil
}

// AuthorizeClientIDSecret implements [op.OPStorage].
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c, ok := s.clients[id]
	if !ok || c.Secret == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(c.Secret)) != 1 {
		return errUnknown
	}
	return nil
}

// SigningKey implements [op.AuthStorage].
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return signingKey{s}, nil }

// SignatureAlgorithms implements [op.AuthStorage].
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{algorithm}, nil
}

// KeySet implements [op.AuthStorage].
func (s *storage) KeySet(context.Context) ([]op.Key, error) { return []op.Key{publicKey{s}}, nil }

// Health implements [op.Storage].
func (s *storage) Health(context.Context) error { return nil }

type signingKey struct{ s *storage }

func (k signingKey) ID() string                                  { return k.s.keyID }
func (k signingKey) Key() any                                    { return k.s.key }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return algorithm }

type publicKey struct{ s *storage }

func (k publicKey) ID() string                         { return k.s.keyID }
func (k publicKey) Key() any                           { return k.s.key.Public() }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return algorithm }

// The rest of [op.Storage] is for what this provider does not do: refresh tokens,
// introspection, clients that sign, claims of their own.

func (s *storage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, errNotProvided
}

func (s *storage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, errNotProvided
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errNotProvided
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errNotProvided
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errNotProvided
}
