package adminui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"

	"carillon/authz/oidc"
	"carillon/tenant/member"
)

// cookieName makes browsers insist on TLS, this host and the path / (RFC 6265bis).
const cookieName = "__Host-carillon"

// absoluteLife is how long a session lasts at most. That it ends when nobody uses it is
// for the store to see to.
const absoluteLife = 12 * time.Hour

// sessions keeps, on the server, who signed in with which browser and the sign-ins
// under way. The cookie holds a random word, the store its digest. A page that changes
// nothing of a session only reads it.
type sessions struct{ *scs.SessionManager }

func newSessions(store SessionStore, now func() time.Time) sessions {
	// Not by the library's constructor, which starts a store and a goroutine of its own.
	m := &scs.SessionManager{
		Store: store, Codec: codec{now: now}, HashTokenInStore: true, Lifetime: absoluteLife,
		Cookie: scs.SessionCookie{
			Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		},
	}
	return sessions{m}
}

// codec writes whose a session is in front of it, so that it can be ended from elsewhere.
type codec struct {
	scs.GobCodec
	now func() time.Time
}

func (c codec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	data, err := c.GobCodec.Encode(deadline, values)
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	var owner member.Owner
	if text, ok := values[identityKey].([]byte); ok {
		if who := readIdentity(text); who != nil {
			owner = member.OwnerOf(*who)
		}
	}
	return member.Pack(owner, data)
}

// Decode takes what it cannot read, which another version wrote, for an empty session.
func (c codec) Decode(b []byte) (time.Time, map[string]any, error) {
	deadline, values, err := c.GobCodec.Decode(member.Unpack(b))
	if err != nil {
		return c.now().Add(absoluteLife), map[string]any{}, nil //nolint:nilerr // as promised above
	}
	return deadline, values, nil
}

// load reads the session of the request's cookie, or prepares an empty one.
func (s sessions) load(ctx context.Context, r *http.Request) (context.Context, error) {
	token := ""
	if c, err := r.Cookie(cookieName); err == nil {
		token = c.Value
	}
	ctx, err := s.Load(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("load session: %w", err)
	}
	return ctx, nil
}

// save stores a session that was changed.
func (s sessions) save(ctx context.Context, w http.ResponseWriter) error {
	switch s.Status(ctx) {
	case scs.Unmodified:
	case scs.Modified:
		token, expiry, err := s.Commit(ctx)
		if err != nil {
			return fmt.Errorf("save session: %w", err)
		}
		s.WriteSessionCookie(ctx, w, token, expiry)
	case scs.Destroyed:
		s.WriteSessionCookie(ctx, w, "", time.Time{})
	}
	return nil
}

// Keys of a session's values, which are JSON.
const (
	identityKey = "identity"
	flowsKey    = "flows"
	noticeKey   = "notice"
	// noticePlaceKey is where the notice is told.
	noticePlaceKey = "notice-place"
	// invitationKey is the digest, in hexadecimal, of the link to an invitation.
	invitationKey = "invitation"
	trialKey      = "trial"
	linkKey       = "link"
)

// identity is who signed in; nil if nobody has.
func (s sessions) identity(ctx context.Context) *oidc.Identity {
	return readIdentity(s.GetBytes(ctx, identityKey))
}

func readIdentity(text []byte) *oidc.Identity {
	var who oidc.Identity
	if json.Unmarshal(text, &who) != nil || who.Subject == "" {
		return nil
	}
	return &who
}

// maxIDToken bounds what is kept of a provider's token, in bytes: it is for signing out
// only, which works without it.
const maxIDToken = 6 << 10

// signIn gives the browser a new cookie, so that one that was planted or seen
// before is worth nothing.
func (s sessions) signIn(ctx context.Context, who oidc.Identity) error {
	if err := s.RenewToken(ctx); err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
	return s.put(ctx, identityKey, bounded(who))
}

// bounded is an identity without a token that is too long.
func bounded(who oidc.Identity) oidc.Identity {
	if len(who.IDToken) > maxIDToken {
		who.IDToken = ""
	}
	return who
}

func (s sessions) put(ctx context.Context, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("session value: %w", err)
	}
	s.Put(ctx, key, text)
	return nil
}

// maxFlows is how many sign-ins one browser can have under way, one in each tab.
const maxFlows = 5

// begin remembers a sign-in under way.
func (s sessions) begin(ctx context.Context, f oidc.Flow) error {
	flows := append(s.flows(ctx), f)
	return s.put(ctx, flowsKey, flows[max(0, len(flows)-maxFlows):])
}

// take removes and returns the sign-in that state belongs to. A zero flow, which
// no answer fits, if there is none.
func (s sessions) take(ctx context.Context, state string) (oidc.Flow, error) {
	flows := s.flows(ctx)
	i := slices.IndexFunc(flows, func(f oidc.Flow) bool { return f.State == state })
	if i < 0 {
		return oidc.Flow{}, nil
	}
	f := flows[i]
	return f, s.put(ctx, flowsKey, slices.Delete(flows, i, i+1))
}

func (s sessions) flows(ctx context.Context) []oidc.Flow {
	var flows []oidc.Flow
	_ = json.Unmarshal(s.GetBytes(ctx, flowsKey), &flows) // none yet
	return flows
}
