// Package adminui serves Carillon's pages for people: signing in, and the portal in
// which the staff of a health authority issue codes and see what became of them.
//
// It promises that every page works without scripts; that every route stands in one
// list with its guard, and none outside it; that a page about a health authority
// is the same 404 for everybody who does not belong to it, whether or not there is
// such an authority; and that a code is in the body of one answer, which no cache
// may keep, and nowhere else: not in a URL, a title, a session or a log.
//
// A handler parses, makes one call to the domain and returns what to show. Pages
// are rendered into memory before anything is sent. All words are in messages/.
package adminui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/idp"
	"carillon/tenant/limit"
	"carillon/tenant/member"
	"carillon/tenant/message/template"
	"carillon/tenant/role"
	"carillon/tenant/sharing"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// Login signs people in at the identity provider.
type Login interface {
	// Begin returns where to send the browser, and what Finish needs to know.
	Begin(ctx context.Context) (redirectURL string, f oidc.Flow, err error)
	// BeginFresh is Begin for somebody who is to prove anew who she is.
	BeginFresh(ctx context.Context) (redirectURL string, f oidc.Flow, err error)
	// Finish tells who came back. Its errors are those of [oidc.Sentinels].
	Finish(ctx context.Context, f oidc.Flow, query url.Values) (oidc.Identity, error)
	// Examine is Finish for somebody who tries a provider out.
	Examine(ctx context.Context, f oidc.Flow, query url.Values) (oidc.Report, error)
	// EndSessionURL is where the provider's own session, which the token names, ends; it
	// may be empty.
	EndSessionURL(ctx context.Context, returnURL, idToken string) (string, error)
	// VerifyLogout reads the provider's word that sessions are over.
	VerifyLogout(ctx context.Context, token string) (oidc.Logout, error)
}

// Providers are the identity providers of health authorities' own, for those who sign
// in. A realm is the ID of an authority.
type Providers interface {
	// Active lists those at which an authority's staff sign in, by name.
	Active(ctx context.Context, id tenant.ID) ([]idp.Choice, error)
	// Provider returns an active one: [idp.ErrMissing] if there is none.
	Provider(ctx context.Context, realm, id string) (Login, error)
	// Trial returns one in any state, and its version.
	Trial(ctx context.Context, realm, id string) (Login, int, error)
	// ByDomain lists the authorities to which addresses of a domain lead.
	ByDomain(ctx context.Context, domain string) ([]idp.Authority, error)
	// WriteKeys writes the public keys of an authority's client, as RFC 7517 has it:
	// [idp.ErrMissing] if there are none.
	WriteKeys(ctx context.Context, t tenant.ID, id uuid.UUID, to io.Writer) error
}

// SignIn is what staff do about their authority's own providers. The promises and errors
// are those of [idp.Staff].
type SignIn interface {
	List(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]idp.Provider, error)
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (idp.Provider, error)
	Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, s idp.Settings) (uuid.UUID, error)
	Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, version int, s idp.Settings) error
	Passed(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, version int) error
	Activate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	SwitchOff(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Domains(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]idp.Domain, error)
	AddDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error
	ProveDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error
	DropDomain(ctx context.Context, t *tenant.Tenant, by authz.Subject, domain string) error
}

// Staff knows who belongs to which health authority.
type Staff interface {
	// Memberships lists the active authorities that know somebody, by name.
	Memberships(ctx context.Context, who oidc.Identity) ([]member.Membership, error)
	// Authenticate makes somebody a subject of t: [member.ErrNotMember] if she is
	// none of its staff.
	Authenticate(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error)
}

// Codes issues verification codes and tells what became of them. The promises and
// errors are those of [verification.Service].
type Codes interface {
	Issue(ctx context.Context, t *tenant.Tenant, by authz.Subject, r verification.IssueRequest) (*verification.Issued, error)
	Status(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (verification.Status, error)
	Expire(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (verification.Status, error)
	Progress(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (verification.Progress, error)
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, code string) (uuid.UUID, error)
	Texts(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]template.Sample, error)
	Resend(ctx context.Context, t *tenant.Tenant, by authz.Subject, r verification.ResendRequest) (*verification.Issued, error)
	LiveOfKey(ctx context.Context, t *tenant.Tenant, by authz.Subject, key uuid.UUID) (int, error)
	ExpireOfKey(ctx context.Context, t *tenant.Tenant, by authz.Subject, key uuid.UUID) (int, error)
}

// APIKeys is what staff do about API keys. The promises and errors are those of
// [client.Staff].
type APIKeys interface {
	List(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]client.Key, error)
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (client.Key, error)
	Make(ctx context.Context, t *tenant.Tenant, by authz.Subject, kind client.Kind, terms client.Terms) (string, client.Key, error)
	Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, terms client.Terms) (client.Key, error)
	Rotate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, overlap time.Duration, expires time.Time) (string, client.Key, error)
	Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (client.Key, error)
}

// KeyUse tells what was done with API keys. It is [stats.Service].
type KeyUse interface {
	LastUses(ctx context.Context, t *tenant.Tenant) (map[uuid.UUID]stats.LastUse, error)
	KeyDays(ctx context.Context, t *tenant.Tenant, key uuid.UUID) ([]stats.KeyDay, error)
}

// AuditLog reads what was done to a health authority.
type AuditLog interface {
	// Find lists the newest entries that a filter chooses, the newest first.
	Find(ctx context.Context, t *tenant.Tenant, f audit.Filter, limit int) ([]audit.Entry, error)
	// Export writes the whole log as of now, in the form of package auditchain.
	Export(ctx context.Context, t *tenant.Tenant, now time.Time, to io.Writer) error
}

// Sharing is what staff do about keys that health authorities give each other. The
// promises and errors are those of [sharing.Staff].
type Sharing interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (outgoing, incoming []sharing.Share, err error)
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) (sharing.Share, error)
	Seen(ctx context.Context, t *tenant.Tenant, by authz.Subject, limit int) (sharing.Seen, error)
	Offer(ctx context.Context, t *tenant.Tenant, by authz.Subject, to string, terms sharing.Terms) error
	Answer(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID, accept bool) error
	Withdraw(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) error
	End(ctx context.Context, t *tenant.Tenant, by authz.Subject, offer uuid.UUID) error
}

// Roles is what staff do about roles. The promises and errors are those of [role.Staff].
type Roles interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (role.Board, error)
	Cast(ctx context.Context, t *tenant.Tenant, by authz.Subject) (role.Cast, error)
	Plan(ctx context.Context, t *tenant.Tenant, by authz.Subject, r role.Role) (role.Plan, error)
	Save(ctx context.Context, t *tenant.Tenant, by authz.Subject, r role.Role) error
	PlanDeletion(ctx context.Context, t *tenant.Tenant, by authz.Subject, name authz.Role) (role.Plan, error)
	Delete(ctx context.Context, t *tenant.Tenant, by authz.Subject, name authz.Role, version uuid.UUID) error
}

// Members is what staff do about who works for a health authority. The promises and
// errors are those of [member.Staff].
type Members interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (member.Board, error)
	Page(ctx context.Context, t *tenant.Tenant, by authz.Subject, after uuid.UUID) (page member.Board, next uuid.UUID, err error)
	Invite(ctx context.Context, t *tenant.Tenant, by authz.Subject, who member.Invitee) error
	Resend(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	SendUnsent(ctx context.Context, t *tenant.Tenant, by authz.Subject) (sent, left int, err error)
	Examine(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (member.Roster, error)
	Import(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (list member.Roster, sent int, err error)
	ChangeRoles(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, to []authz.Role) error
	Suspend(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Resume(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	MapGroup(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, r authz.Role) error
	ChangeOwner(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, owner bool, reason string) (asked bool, err error)
	InviteOwner(ctx context.Context, t *tenant.Tenant, by authz.Subject, who member.Invitee, reason string) (asked bool, err error)
	Link(ctx context.Context, t *tenant.Tenant, from, to oidc.Identity, request string) error
	BringBack(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
	Offered(ctx context.Context, t *tenant.Tenant, who oidc.Identity, digest []byte) (member.Invitation, error)
	Accept(ctx context.Context, t *tenant.Tenant, who oidc.Identity, digest []byte, request string) error
}

// Directory finds the health authority that a URL names: [tenant.ErrUnknown] if
// there is none.
type Directory interface {
	BySlug(ctx context.Context, slug string) (*tenant.Tenant, error)
	ByID(ctx context.Context, id tenant.ID) (*tenant.Tenant, error)
}

// SessionStore keeps the sessions of browsers. It is given digests of cookies, never
// the cookies; its methods without a context are not called. Whose a session is stands
// in its data, as [member.Pack] puts it there.
type SessionStore interface {
	scs.Store
	scs.CtxStore
	// End ends the sessions that a provider says are over: [member.ErrSpent] if that was
	// said before.
	End(ctx context.Context, provider string, l oidc.Logout) error
}

// Config is what a [Server] works with.
type Config struct {
	// BaseURL is how browsers reach the portal, without a trailing slash.
	BaseURL  string
	Login    Login
	Sessions SessionStore
	// The parts of the staff's portal: all of them, or none in a process that leaves it out.
	Staff     Staff
	Codes     Codes
	Figures   Figures
	Exports   Exports
	Audit     AuditLog
	Sharing   Sharing
	Roles     Roles
	Members   Members
	SignIn    SignIn
	Providers Providers
	APIKeys   APIKeys
	KeyUse    KeyUse
	Directory Directory
	Policies  *authz.Policies
	// Keys are the authority's own; nil leaves their pages out.
	Keys Keys
	// Approvals is where acts wait that take two people; nil leaves its pages out.
	Approvals Approvals
	// Support lets those in who support the platform; nil leaves its pages out.
	Support Support
	// Options are what the authority chooses; nil leaves their pages out.
	Options Options
	// Patients is what patients' pages look like; nil leaves its pages out.
	Patients Patients
	// Alerts tell people of figures beyond bounds; nil leaves their pages out.
	Alerts Alerts
	// Budget is how many codes may be issued in a day; nil leaves its page out.
	Budget Budget
	// Wording is the texts of its messages; nil leaves their pages out.
	Wording Wording
	// Batches and Sheets issue many codes at once; without Batches their pages are left out.
	Batches Batches
	Sheets  Sheets
	// SelfTests shows how the tenant's servers tried themselves; nil leaves its page out.
	SelfTests SelfTests
	// Rehearsals lets the staff of sandboxes play a case; nil leaves their pages out.
	Rehearsals Rehearsals
	// Leaving lets staff have their authority leave the platform; nil leaves its pages out.
	Leaving Leaving
	// Archives lets staff take their authority's data; nil leaves its pages out.
	Archives Archives
	// Packs are what Apple and Google are given; nil leaves the pages out.
	Packs Packs
	// Operators is the part of the platform's own pages; nil in a process that leaves
	// them out. Desk, beside it, has the applications to become a health authority; nil
	// leaves them out.
	Operators Operators
	Desk      Desk
	// Signup is the part of the pages on which authorities sign up, nil in a process that
	// leaves them out; SignupIssuer is the platform's identity provider.
	Signup       Signup
	SignupIssuer string
	// Proxies are the networks whose X-Forwarded-For is believed; nil means none.
	Proxies limit.Proxies
	// NoLimits switches rate limits off, for load tests.
	NoLimits bool
	// NotFound serves paths that the portal does not know; nil is its own page.
	NotFound http.Handler
	Log      *slog.Logger
	Now      func() time.Time
}

func (c Config) validate() error {
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Path != "":
		return errors.New("base URL must be scheme and host, without a trailing slash")
	case c.Login == nil || c.Sessions == nil:
		return errors.New("a part that signing in needs is missing")
	case c.Staff == nil && c.Operators == nil:
		return errors.New("there is nobody to serve")
	case c.Staff != nil && (c.Codes == nil || c.Figures == nil || c.Exports == nil || c.Audit == nil || c.Sharing == nil || c.APIKeys == nil || c.KeyUse == nil || c.SignIn == nil || c.Providers == nil || c.Roles == nil || c.Members == nil || c.Directory == nil || c.Policies == nil):
		return errors.New("a part that the portal needs is missing")
	case c.Log == nil || c.Now == nil:
		return errors.New("log or clock is missing")
	}
	return nil
}

// Server is an edition of the portal: all of it, in one language. It is safe for
// concurrent use.
type Server struct {
	config    Config
	sessions  sessions
	limits    map[string]*limit.Limiter
	downloads *downloads
	words     *catalogue
	pages     *pages
	handler   http.Handler
}

// Routes declares every URL of the portal and its guard.
func (s *Server) Routes() []authz.Route {
	list := make([]authz.Route, 0, len(s.routes()))
	for _, r := range s.routes() {
		list = append(list, r.Route)
	}
	return list
}

// engine routes requests. Whatever is served passes through a declared route, or is
// an error page.
func (s *Server) engine() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	for _, r := range s.routes() {
		e.Handle(r.Method, r.Path, func(c *gin.Context) { s.serve(c.Writer, c.Request, c.Params, r) })
	}
	e.NoRoute(func(c *gin.Context) {
		c.Status(http.StatusOK) // gin has set 404; whoever answers knows better
		s.notFound(c.Writer, c.Request)
	})
	e.NoMethod(func(c *gin.Context) { s.fail(c.Writer, c.Request, fmt.Errorf("%w: %s", errMethod, c.Request.Method)) })
	return e
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	if s.config.NotFound != nil {
		s.config.NotFound.ServeHTTP(w, r)
		return
	}
	s.fail(w, r, errNoPage)
}
