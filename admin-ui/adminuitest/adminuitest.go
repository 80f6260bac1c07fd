// Package adminuitest has stand-ins, in memory, for what the portal asks of the
// domain and of the identity provider. Each does the least that a page can show, and
// has a switch to fail.
package adminuitest

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/member"
	"carillon/tenant/message/delivery"
	"carillon/tenant/message/template"
	"carillon/tenant/sharing"
	"carillon/tenant/verification"
)

// Code is what [Codes] issues.
const Code = "12345678"

// Codes is a stand-in for the domain's service.
type Codes struct {
	Now func() time.Time
	// Fail is what every call returns, if it is set.
	Fail error
	// SendError is why no message goes out, if it is set.
	SendError error

	mu     sync.Mutex
	issued map[uuid.UUID]*issued
	// OfKey is how many codes of an API key can be claimed.
	OfKey map[uuid.UUID]int
	// Samples are the texts that codes can be sent with.
	Samples []template.Sample
	// Messages are what became of codes' messages.
	Messages map[uuid.UUID]delivery.Report
	// Resent are the messages that were sent again.
	Resent []verification.ResendRequest
	// Requests are those that made a code.
	Requests []verification.IssueRequest
}

type issued struct {
	owner  tenant.ID
	status verification.Status
}

// Issue makes a code, once for each UUID and tenant.
func (c *Codes) Issue(_ context.Context, t *tenant.Tenant, _ authz.Subject, r verification.IssueRequest) (*verification.Issued, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Fail != nil {
		return nil, c.Fail
	}
	id := uuid.MustParse(r.UUID)
	switch {
	case c.issued[id] != nil:
		return nil, verification.ErrUUIDExists
	case r.TestType == "":
		return nil, verification.ErrInvalidTestType
	case r.Phone == "invalid":
		return nil, verification.ErrPhoneInvalid
	}
	expires := c.Now().Add(t.Settings.CodeLife)
	s := verification.Status{ID: id, ExpiresAt: expires, LongExpiresAt: expires}
	if r.Phone != "" {
		s.LongExpiresAt = c.Now().Add(t.Settings.LongCodeLife)
	}
	if c.issued == nil {
		c.issued = map[uuid.UUID]*issued{}
	}
	c.issued[id] = &issued{owner: t.ID, status: s}
	c.Requests = append(c.Requests, r)
	return &verification.Issued{
		ID: id, Code: Code, ExpiresAt: s.ExpiresAt, LongExpiresAt: s.LongExpiresAt, SendError: c.SendError,
	}, nil
}

func (c *Codes) find(t *tenant.Tenant, id string) (*issued, error) {
	if c.Fail != nil {
		return nil, c.Fail
	}
	parsed, err := uuid.Parse(id)
	if err != nil || c.issued[parsed] == nil || c.issued[parsed].owner != t.ID {
		return nil, verification.ErrCodeNotFound
	}
	return c.issued[parsed], nil
}

// Status finds a code of the tenant.
func (c *Codes) Status(_ context.Context, t *tenant.Tenant, _ authz.Subject, id string) (verification.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(t, id)
	if err != nil {
		return verification.Status{}, err
	}
	return found.status, nil
}

// Progress is Status, and the message that the code has in [Codes.Messages].
func (c *Codes) Progress(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (verification.Progress, error) {
	status, err := c.Status(ctx, t, by, id)
	if err != nil {
		return verification.Progress{}, err
	}
	p := verification.Progress{Status: status}
	if m, ok := c.Messages[status.ID]; ok {
		p.Message = &m
	}
	return p, nil
}

// Refuse has a code refused to a phone, for a cause.
func (c *Codes) Refuse(id string, r verification.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued[uuid.MustParse(id)].status.Refused = &r
}

// Find knows [Code], as the tenant's one code, and nothing else.
func (c *Codes) Find(_ context.Context, t *tenant.Tenant, _ authz.Subject, code string) (uuid.UUID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Fail != nil {
		return uuid.UUID{}, c.Fail
	}
	for id, i := range c.issued {
		if i.owner == t.ID && code == Code {
			return id, nil
		}
	}
	return uuid.UUID{}, verification.ErrCodeNotFound
}

// Texts returns [Codes.Samples].
func (c *Codes) Texts(context.Context, *tenant.Tenant, authz.Subject) ([]template.Sample, error) {
	return c.Samples, nil
}

// Resend takes any number but "invalid" for a code that can be used, and draws digits
// anew for one whose language is "new". Without a number it has nothing to send.
func (c *Codes) Resend(_ context.Context, t *tenant.Tenant, _ authz.Subject, r verification.ResendRequest) (*verification.Issued, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(t, r.UUID)
	switch {
	case err != nil:
		return nil, err
	case found.status.Claimed:
		return nil, verification.ErrAlreadyClaimed
	case r.Email == "invalid":
		return nil, verification.ErrEmailInvalid
	case r.Phone == "" && r.Email == "":
		return nil, verification.ErrMissingPhone
	case r.Phone == "invalid":
		return nil, verification.ErrPhoneInvalid
	}
	c.Resent = append(c.Resent, r)
	i := &verification.Issued{ID: found.status.ID, ExpiresAt: found.status.ExpiresAt, LongExpiresAt: found.status.LongExpiresAt}
	if r.Language == "new" {
		i.Code = Code
	}
	return i, nil
}

// Expire ends a code of the tenant now.
func (c *Codes) Expire(_ context.Context, t *tenant.Tenant, _ authz.Subject, id string) (verification.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(t, id)
	switch {
	case err != nil:
		return verification.Status{}, err
	case found.status.Claimed:
		return verification.Status{}, verification.ErrAlreadyClaimed
	}
	found.status.ExpiresAt, found.status.LongExpiresAt = c.Now(), c.Now()
	return found.status, nil
}

// LiveOfKey is how many codes [Codes.OfKey] has for the key.
func (c *Codes) LiveOfKey(_ context.Context, _ *tenant.Tenant, _ authz.Subject, key uuid.UUID) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.OfKey[key], c.Fail
}

// ExpireOfKey ends them.
func (c *Codes) ExpireOfKey(_ context.Context, _ *tenant.Tenant, _ authz.Subject, key uuid.UUID) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.OfKey[key]
	delete(c.OfKey, key)
	return n, c.Fail
}

// Claim is what a phone does with a code.
func (c *Codes) Claim(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued[uuid.MustParse(id)].status.Claimed = true
}

// Audit is a stand-in for audit logs: each tenant has the entries that it is given.
type Audit struct {
	Entries map[tenant.ID][]audit.Entry
	// Fail is what Find returns, and Export after it has written Head bytes.
	Fail error
	Head int
	// Making is how many calls of Export have not returned.
	Making atomic.Int32
	// Time is how much of it the last call of Export had, a [time.Duration]; zero if there
	// was no bound.
	Time atomic.Int64

	mu sync.Mutex
	// Asked is the last filter.
	Asked audit.Filter
}

// Find returns entries older than the filter's Before, and remembers the filter.
func (a *Audit) Find(_ context.Context, t *tenant.Tenant, f audit.Filter, limit int) ([]audit.Entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Asked = f
	var found []audit.Entry
	for _, e := range a.Entries[t.ID] {
		if len(found) < limit && (f.Before == 0 || e.No < f.Before) {
			found = append(found, e)
		}
	}
	return found, a.Fail
}

// Export writes Head bytes.
func (a *Audit) Export(ctx context.Context, _ *tenant.Tenant, _ time.Time, to io.Writer) error {
	a.Making.Add(1)
	defer a.Making.Add(-1)
	if _, err := io.WriteString(to, strings.Repeat("x", a.Head)); err != nil {
		return err
	}
	if until, ok := ctx.Deadline(); ok {
		a.Time.Store(int64(time.Until(until)))
	}
	return a.Fail
}

// Sharing is a stand-in for what authorities share. It keeps what one of them offers and
// is offered, whoever asks.
type Sharing struct {
	Now                func() time.Time
	Outgoing, Incoming []sharing.Share
	Windows            sharing.Seen
}

// Board lists both directions.
func (s *Sharing) Board(context.Context, *tenant.Tenant, authz.Subject) (outgoing, incoming []sharing.Share, err error) {
	return s.Outgoing, s.Incoming, nil
}

// Find looks in both directions.
func (s *Sharing) Find(_ context.Context, _ *tenant.Tenant, _ authz.Subject, offer uuid.UUID) (sharing.Share, error) {
	for incoming, list := range map[bool][]sharing.Share{false: s.Outgoing, true: s.Incoming} {
		for _, o := range list {
			if o.Offer == offer {
				o.Incoming = incoming
				return o, nil
			}
		}
	}
	return sharing.Share{}, sharing.ErrNoOffer
}

// Seen returns Windows.
func (s *Sharing) Seen(context.Context, *tenant.Tenant, authz.Subject, int) (sharing.Seen, error) {
	return s.Windows, nil
}

// Offer adds to Outgoing; "taken" has an offer already,
// and "tired" has had too many.
func (s *Sharing) Offer(_ context.Context, _ *tenant.Tenant, _ authz.Subject, to string, terms sharing.Terms) error {
	switch to {
	case "":
		return sharing.ErrRecipient
	case "taken":
		return sharing.ErrOffered
	case "tired":
		return sharing.ErrOften
	}
	s.Outgoing = append(s.Outgoing, sharing.Share{
		Offer: uuid.New(), Peer: tenant.Slug(to), TravelersOnly: terms.TravelersOnly, Regions: terms.Regions, OfferedAt: s.Now(),
	})
	return nil
}

// Answer changes an offer of Incoming.
func (s *Sharing) Answer(_ context.Context, _ *tenant.Tenant, _ authz.Subject, offer uuid.UUID, accept bool) error {
	now := s.Now()
	return change(s.Incoming, offer, sharing.Waiting, func(o *sharing.Share) { o.Answered, o.Accepted = &now, accept })
}

// Withdraw ends an offer of Outgoing that waits.
func (s *Sharing) Withdraw(_ context.Context, _ *tenant.Tenant, _ authz.Subject, offer uuid.UUID) error {
	now := s.Now()
	return change(s.Outgoing, offer, sharing.Waiting, func(o *sharing.Share) { o.Over, o.Withdrawn = &now, true })
}

// End ends one of Incoming.
func (s *Sharing) End(_ context.Context, _ *tenant.Tenant, _ authz.Subject, offer uuid.UUID) error {
	now := s.Now()
	return change(s.Incoming, offer, sharing.InForce, func(o *sharing.Share) { o.Over = &now })
}

func change(list []sharing.Share, offer uuid.UUID, from sharing.State, to func(*sharing.Share)) error {
	for i := range list {
		if list[i].Offer == offer && list[i].State() == from {
			to(&list[i])
			return nil
		}
	}
	return sharing.ErrNoOffer
}

// Staff is a stand-in for the members of tenants. It is also the directory.
type Staff struct {
	Tenants []*tenant.Tenant
	// Roles are those of a person, by e-mail address, at a tenant.
	Roles map[string]map[tenant.Slug][]authz.Role
	// Fail is what every call returns, if it is set.
	Fail error
}

// BySlug finds a tenant.
func (s *Staff) BySlug(_ context.Context, slug string) (*tenant.Tenant, error) {
	for _, t := range s.Tenants {
		if string(t.Slug) == slug {
			return t, nil
		}
	}
	return nil, tenant.ErrUnknown
}

// ByID finds a tenant.
func (s *Staff) ByID(_ context.Context, id tenant.ID) (*tenant.Tenant, error) {
	for _, t := range s.Tenants {
		if t.ID == id {
			return t, nil
		}
	}
	return nil, tenant.ErrUnknown
}

// Memberships lists the tenants at which somebody has roles.
func (s *Staff) Memberships(_ context.Context, who oidc.Identity) ([]member.Membership, error) {
	var list []member.Membership
	for _, t := range s.Tenants {
		if s.Roles[who.Email][t.Slug] != nil {
			list = append(list, member.Membership{Tenant: t.ID, Slug: t.Slug, Name: t.Name, Region: t.Region})
		}
	}
	return list, s.Fail
}

// Authenticate makes a subject of somebody who has roles at the tenant.
func (s *Staff) Authenticate(_ context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	if who.Realm != "" && who.Realm != t.ID.String() {
		return authz.Subject{}, member.ErrNotMember
	}
	roles := s.Roles[who.Email][t.Slug]
	if roles == nil {
		return authz.Subject{}, member.ErrNotMember
	}
	return authz.Subject{Kind: authz.Person, ID: who.Subject, Name: who.Name, Roles: roles}, s.Fail
}

// Login is a stand-in for the identity provider: it answers at once, for whoever As
// names.
type Login struct {
	As  oidc.Identity
	Now func() time.Time
	// FailBegin and FailFinish are what the methods return, if they are set.
	FailBegin, FailFinish error
}

// Begin leads straight back.
func (l *Login) Begin(context.Context) (string, oidc.Flow, error) {
	state := uuid.NewString()
	return "/login/callback?" + url.Values{"state": {state}}.Encode(), oidc.Flow{State: state}, l.FailBegin
}

// BeginFresh leads straight back, too.
func (l *Login) BeginFresh(ctx context.Context) (string, oidc.Flow, error) {
	to, flow, err := l.Begin(ctx)
	flow.Fresh = true
	return to, flow, err
}

// Finish signs As in. A fresh sign-in is one of just now, if Now is set.
func (l *Login) Finish(_ context.Context, f oidc.Flow, _ url.Values) (oidc.Identity, error) {
	who := l.As
	if f.Fresh && l.Now != nil {
		who.AuthTime = l.Now()
	}
	return who, l.FailFinish
}

// EndSessionURL leads to a place that does not exist.
func (l *Login) EndSessionURL(context.Context, string, string) (string, error) {
	if l.FailBegin != nil {
		return "", l.FailBegin
	}
	return "https://login.example/logout", nil
}

// Examine reports As, or what it can of it.
func (l *Login) Examine(ctx context.Context, f oidc.Flow, query url.Values) (oidc.Report, error) {
	who, err := l.Finish(ctx, f, query)
	return oidc.Report{Identity: who, Claims: []string{"email", "groups", "sub"}}, err
}

// VerifyLogout takes a token that is a person's subject.
func (l *Login) VerifyLogout(_ context.Context, token string) (oidc.Logout, error) {
	if l.FailFinish != nil || token == "" {
		return oidc.Logout{}, oidc.ErrToken
	}
	return oidc.Logout{Subject: token, ID: token}, nil
}

// Sessions is a session store in memory.
type Sessions struct {
	// Fail is what every call returns, if it is set.
	Fail error

	// Used counts the requests that kept their session from ending.
	Used int

	// Ended are the tokens that ended sessions, each with its provider.
	Ended []string

	mu   sync.Mutex
	data map[string][]byte
}

// FindCtx returns what was committed.
func (s *Sessions) FindCtx(ctx context.Context, digest string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !member.IsUnattended(ctx) {
		s.Used++
	}
	data, found := s.data[digest]
	return data, found, s.Fail
}

// CommitCtx keeps a session.
func (s *Sessions) CommitCtx(_ context.Context, digest string, data []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[digest] = data
	return s.Fail
}

// DeleteCtx removes a session.
func (s *Sessions) DeleteCtx(_ context.Context, digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.data, digest)
	return s.Fail
}

// Digests are the keys of all sessions.
func (s *Sessions) Digests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for k := range s.data {
		keys = append(keys, k)
	}
	return keys
}

// End ends nothing, and takes each token once.
func (s *Sessions) End(_ context.Context, provider string, l oidc.Logout) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.Ended, provider+" "+l.ID) {
		return member.ErrSpent
	}
	s.Ended = append(s.Ended, provider+" "+l.ID)
	return nil
}

// Find is not called.
func (s *Sessions) Find(string) ([]byte, bool, error) { panic("session store without a context") }

// Commit is not called.
func (s *Sessions) Commit(string, []byte, time.Time) error {
	panic("session store without a context")
}

// Delete is not called.
func (s *Sessions) Delete(string) error { panic("session store without a context") }
