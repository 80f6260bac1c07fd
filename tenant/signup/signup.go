// Package signup is how a health authority that nobody here has met becomes a tenant.
//
// Somebody confirms an e-mail address, by the platform's identity provider or by a link
// in a letter, and fills in an application. She proves that the authority's domain is the
// authority's own: by a TXT record in the DNS, or by a link in a letter to an address
// there. At once she has a sandbox: a tenant for trying out, whose keys the schema keeps
// out of every production export. An operator approves, asks back or refuses; approval
// makes the production tenant, with her as its first owner.
//
// Nothing on the public side tells what exists. Whether an address, a region, a name or a
// domain is known is told to operators only, and an address that nobody wrote from gets
// the same answer as any other.
//
// Each step is one transaction, and letters are sent after it. A step that was cut off
// has happened whole or not at all, and to do it again is always right. Links are kept as
// digests, are good once and for a while.
package signup

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/mail"
)

// State is how far an application has come.
type State string

// The states of an application.
const (
	// Draft has been begun.
	Draft State = "draft"
	// Proving is complete, and waits for proof that the domain is the authority's.
	Proving State = "proving"
	// Waiting is proven, has a sandbox and waits for an operator.
	Waiting State = "waiting"
	// Asked waits for the applicant's answer to an operator's question.
	Asked State = "asked"
	// Approved has a production tenant.
	Approved State = "approved"
	// Refused is over. Another application may be made.
	Refused State = "refused"
)

// States lists them.
func States() []State { return []State{Draft, Proving, Waiting, Asked, Approved, Refused} }

// Confirmation says how somebody has shown that an e-mail address is hers.
type Confirmation string

// The ways to confirm an address.
const (
	ByProvider Confirmation = "provider"
	ByLink     Confirmation = "link"
)

// Applicant is somebody whose e-mail address is confirmed.
type Applicant struct {
	Email     string // in any case
	Confirmed Confirmation
}

// Proof says how a domain was proven.
type Proof string

// The ways to prove a domain.
const (
	ByDNS  Proof = "dns"
	ByMail Proof = "mail"
)

// Place is a tenant that an application has led to.
type Place struct {
	Slug tenant.Slug
	Name string
}

// Application is what somebody asks for, and what has become of it.
type Application struct {
	ID    uuid.UUID
	State State
	// Email is the applicant's, lower case, Confirmed how that is known.
	Email     string
	Confirmed Confirmation
	// Form is what was typed last, Details what it means; Details are nil in a draft.
	Form    Form
	Details *Details
	// Record and Value are name and value of the TXT record that proves the domain;
	// empty in a draft.
	Record, Value string
	// ProvenBy is empty until the domain is proven. ProofAddress is where the last proof
	// by mail was sent.
	ProvenBy     Proof
	ProvenAt     *time.Time
	ProofAddress string
	// Sandbox and Production are nil until there are such tenants.
	Sandbox, Production *Place
	// Message is the operator's last question, or the reason of a refusal; Reply the
	// applicant's last answer.
	Message, Reply       string
	CreatedAt, ChangedAt time.Time
	DecidedAt            *time.Time
	// Told says whether the applicant has been sent the letter about the last decision.
	Told bool
}

// Why a step is refused, beside a [*FormError].
var (
	// ErrNone means that there is no such application.
	ErrNone = errors.New("no such application")
	// ErrState means that the application is in a state in which this cannot be done.
	ErrState = errors.New("the application is not in a state for this")
	// ErrAddress means that a text is no e-mail address.
	ErrAddress = errors.New("not an e-mail address")
	// ErrOtherDomain means that an address is not on the authority's domain.
	ErrOtherDomain = errors.New("not an address on the authority's domain")
	// ErrBusy means that there have been too many sign-ups today, of everybody's.
	ErrBusy = errors.New("too many sign-ups today")
	// ErrLetters means that an application has been sent too many letters within an hour.
	ErrLetters = errors.New("too many letters within an hour")
	// ErrLink means that a link was never sent, or has been forgotten.
	ErrLink = errors.New("unknown link")
	// ErrLinkUsed and ErrLinkExpired mean that a link was good before.
	ErrLinkUsed    = errors.New("the link has been used")
	ErrLinkExpired = errors.New("the link has expired")
	// ErrOtherBrowser means that a link was asked for in another browser.
	ErrOtherBrowser = errors.New("the link was asked for in another browser")
	// ErrNoRecord means that the DNS has no such TXT record, or one of another value.
	ErrNoRecord = errors.New("no such TXT record")
	// ErrDNS means that the DNS did not answer in time, or not sensibly.
	ErrDNS = errors.New("the DNS does not answer")
	// ErrTaken means that another tenant has a name; the error's text says which.
	ErrTaken = errors.New("taken by another tenant")
	// ErrAuthorityID means that a text is none that phones could send as the ID of their
	// health authority.
	ErrAuthorityID = errors.New("a health authority ID has 1 to 256 letters, digits, dots, underscores and hyphens")
	// ErrReason means that an operator gave no reason or question, or too long a one.
	ErrReason = errors.New("a reason has 1 to 2,000 characters")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrNone, ErrState, ErrAddress, ErrOtherDomain, ErrBusy, ErrLetters, ErrLink, ErrLinkUsed, ErrLinkExpired,
		ErrOtherBrowser, ErrNoRecord, ErrDNS, ErrTaken, ErrAuthorityID, ErrReason,
	}
}

// Resolver asks the DNS; [net.Resolver] is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Limits bound what sign-up does in a day.
type Limits struct {
	// LettersAnHour go to one address at most.
	LettersAnHour int
	// LettersADay and ApplicationsADay are for everybody together.
	LettersADay, ApplicationsADay int
}

// DefaultLimits are for a service that few authorities join on one day.
func DefaultLimits() Limits { return Limits{LettersAnHour: 5, LettersADay: 500, ApplicationsADay: 100} }

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_operator.
	DB   *tenant.DB
	Root signing.Custody
	Mail mail.Sender
	DNS  Resolver
	// BaseURL is how browsers reach the pages, without a trailing slash: letters link there.
	BaseURL string
	// Issuer is the platform's identity provider, where the first owner of a tenant signs in.
	Issuer string
	Limits Limits
	Log    *slog.Logger
	Now    func() time.Time
}

// Service does what applicants and operators ask for. It is safe for concurrent use.
type Service struct {
	Config
	letters sync.WaitGroup
}

// New returns a service.
func New(c Config) *Service { return &Service{Config: c} }

// Wait returns when no letter is on its way any more.
func (s *Service) Wait() { s.letters.Wait() }

const columns = `
       a.application_id, a.state, a.email, a.confirmed_by, a.form, a.authority_name, a.region, a.domain, a.contact_name,
       a.contact_email, a.contact_phone, a.languages, a.codes_per_day, a.challenge, a.proven_by, a.proven_at,
       a.proof_address, a.sandbox, a.production, a.message, a.reply, a.created_at, a.changed_at, a.decided_at,
       a.told_at is not null as told, s.slug as sandbox_slug, s.name as sandbox_name, p.slug as production_slug, p.name as production_name
  from application a
  left join tenant_directory s on s.tenant = a.sandbox
  left join tenant_directory p on p.tenant = a.production`

// row is a row of application.
type row struct {
	ID             uuid.UUID `db:"application_id"`
	State          State
	Email          string
	Confirmed      Confirmation `db:"confirmed_by"`
	Form           []byte
	AuthorityName  *string        `db:"authority_name"`
	Region         *string        `db:"region"`
	Domain         *string        `db:"domain"`
	ContactName    *string        `db:"contact_name"`
	ContactEmail   *string        `db:"contact_email"`
	ContactPhone   *string        `db:"contact_phone"`
	Languages      pq.StringArray `db:"languages"`
	CodesPerDay    *int           `db:"codes_per_day"`
	Challenge      string
	ProvenBy       *string    `db:"proven_by"`
	ProvenAt       *time.Time `db:"proven_at"`
	ProofAddress   *string    `db:"proof_address"`
	Sandbox        *tenant.ID
	Production     *tenant.ID
	Message        string
	Reply          string
	CreatedAt      time.Time  `db:"created_at"`
	ChangedAt      time.Time  `db:"changed_at"`
	DecidedAt      *time.Time `db:"decided_at"`
	Told           bool
	SandboxSlug    *string `db:"sandbox_slug"`
	SandboxName    *string `db:"sandbox_name"`
	ProductionSlug *string `db:"production_slug"`
	ProductionName *string `db:"production_name"`
}

func (r row) application() (*Application, error) {
	a := &Application{
		ID: r.ID, State: r.State, Email: r.Email, Confirmed: r.Confirmed, ProvenBy: Proof(text(r.ProvenBy)), ProvenAt: r.ProvenAt,
		ProofAddress: text(r.ProofAddress), Message: r.Message, Reply: r.Reply,
		CreatedAt: r.CreatedAt, ChangedAt: r.ChangedAt, DecidedAt: r.DecidedAt, Told: r.Told,
		Sandbox: place(r.SandboxSlug, r.SandboxName), Production: place(r.ProductionSlug, r.ProductionName),
	}
	if err := json.Unmarshal(r.Form, &a.Form); err != nil {
		return nil, err
	}
	if r.State != Draft {
		a.Details = &Details{
			Name: text(r.AuthorityName), Region: text(r.Region), Domain: text(r.Domain), ContactName: text(r.ContactName),
			ContactEmail: text(r.ContactEmail), ContactPhone: text(r.ContactPhone), Languages: r.Languages, CodesPerDay: *r.CodesPerDay,
		}
		a.Record, a.Value = recordName(a.Details.Domain), recordValue(r.Challenge)
	}
	return a, nil
}

func place(slug, name *string) *Place {
	if slug == nil {
		return nil
	}
	return &Place{Slug: tenant.Slug(*slug), Name: text(name)}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// address is an e-mail address as it is stored: [ErrAddress] if it is none. Only ASCII
// is, so that no two addresses look the same.
func address(typed string) (string, error) {
	a := strings.ToLower(strings.TrimSpace(typed))
	for _, c := range a {
		if c < '!' || c > '~' {
			return "", ErrAddress
		}
	}
	if len(a) > maxEmail || !mail.IsAddress(a) {
		return "", ErrAddress
	}
	return a, nil
}

// maxEmail is what a member's address may have, in bytes.
const maxEmail = 250
