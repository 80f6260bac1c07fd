//go:build !release

package devidp

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// session is that somebody has signed in for a client and not signed out.
type session struct {
	id, subject, client string
	since               time.Time
}

const (
	// maxSessions is how many the provider remembers, and maxLogouts how many addresses.
	maxSessions, maxLogouts = 100, 20
	// logoutTime bounds a message to a client.
	logoutTime = 5 * time.Second
	logoutLife = 2 * time.Minute
)

// remember notes a session. It is called with the lock held.
func (s *storage) remember(new session) {
	s.sessions = append(s.sessions, new)
	s.sessions = s.sessions[max(0, len(s.sessions)-maxSessions):]
}

// live lists sessions, the newest first, and the addresses that are told.
func (s *storage) live() ([]session, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.sessions)
	slices.Reverse(list)
	return list, slices.Clone(s.logouts)
}

// listen registers an address for back-channel logout.
func (s *storage) listen(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.logouts, address) {
		s.logouts = append(s.logouts, address)
	}
	s.logouts = s.logouts[max(0, len(s.logouts)-maxLogouts):]
}

// end ends a session, and tells every address. It reports how many of them took it.
func (s *storage) end(ctx context.Context, issuer, id string) (told int, err error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.sessions, func(l session) bool { return l.id == id })
	if i < 0 {
		s.mu.Unlock()
		return 0, errUnknown
	}
	over := s.sessions[i]
	s.sessions = slices.Delete(s.sessions, i, i+1)
	addresses := slices.Clone(s.logouts)
	s.mu.Unlock()

	for _, address := range addresses {
		took, err := s.tell(ctx, issuer, address, over)
		if err != nil {
			return told, err
		}
		if took {
			told++
		}
	}
	return told, nil
}

// tell sends a logout token (Back-Channel Logout 1.0 §2.4, §2.5) and reports whether it was
// taken.
func (s *storage) tell(ctx context.Context, issuer, address string, over session) (bool, error) {
	key := jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: s.key, KeyID: s.keyID}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("logout+jwt"))
	if err != nil {
		return false, fmt.Errorf("logout token: %w", err)
	}
	claims := oidc.NewLogoutTokenClaims(issuer, over.subject, []string{over.client}, time.Now().Add(logoutLife), rand.Text(), over.id, 0)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return false, fmt.Errorf("logout token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, logoutTime)
	defer cancel()
	form := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, form)
	if err != nil {
		return false, fmt.Errorf("logout address: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, nil // nobody is there: it was not taken
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

// TerminateSessionFromRequest implements [op.CanTerminateSessionFromRequest]: the session
// that the token names ends, here and with the clients.
func (s *storage) TerminateSessionFromRequest(ctx context.Context, r *op.EndSessionRequest) (string, error) {
	if err := s.TerminateSession(ctx, r.UserID, r.ClientID); err != nil {
		return "", err
	}
	if r.IDTokenHintClaims != nil {
		_, err := s.end(ctx, r.IDTokenHintClaims.Issuer, r.IDTokenHintClaims.SessionID)
		if err != nil && err != errUnknown { //nolint:errorlint // it is ours, and never wrapped
			return "", err
		}
	}
	return r.RedirectURI, nil
}
