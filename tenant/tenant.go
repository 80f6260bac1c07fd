// Package tenant holds what makes Carillon one service for many health
// authorities: a tenant's identity, the directory that finds it, and the
// database handle that is bound to it.
//
// The handle is the only way to SQL. [DB.In] opens a transaction in which the
// row-level security of every tenant table admits that tenant's rows and no
// other; the pool behind it has no query methods, so SQL outside such a
// transaction does not compile. The tenant and the acting subject are always
// parameters: a forgotten parameter does not compile, a forgotten context value
// does.
package tenant

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ID names a tenant in the database and in the associated data of everything
// sealed for it. It never appears on the wire.
type ID uuid.UUID

// NewID returns a random ID.
func NewID() ID { return ID(uuid.New()) }

// String gives the ID in the canonical form of a UUID.
func (id ID) String() string { return uuid.UUID(id).String() }

// Value makes the ID a statement's parameter.
func (id ID) Value() (driver.Value, error) { return id.String(), nil }

// Scan reads the ID from a uuid column.
func (id *ID) Scan(src any) error { return (*uuid.UUID)(id).Scan(src) }

// Slug is the name of a tenant in URLs, as in /t/{slug}/.
type Slug string

// ErrSlug means that a text cannot be a slug.
var ErrSlug = errors.New("a slug has 2 to 40 lower-case letters, digits and single hyphens, starts and ends with a letter or digit, and is not a reserved word")

// reservedSlugs would be mistaken for a part of the service, or for its operator.
var reservedSlugs = map[string]bool{
	"admin": true, "api": true, "archives": true, "assets": true, "carillon": true, "codes": true, "dev": true,
	"docs": true, "exports": true, "health": true, "help": true, "internal": true, "jobs": true,
	"jwks": true, "login": true, "logout": true, "metrics": true, "new": true, "operator": true,
	"platform": true, "portal": true, "public": true, "ready": true, "report": true, "root": true,
	"security": true, "signup": true, "static": true, "status": true, "support": true, "system": true,
	"tenant": true, "test": true, "well-known": true, "www": true,
}

// ParseSlug checks that s can name a tenant: [ErrSlug] if not.
func ParseSlug(s string) (Slug, error) {
	if len(s) < 2 || len(s) > 40 || !hasSlugForm(s) || reservedSlugs[s] {
		return "", ErrSlug
	}
	return Slug(s), nil
}

// hasSlugForm reports whether s is of words of a to z and digits with a hyphen between them.
func hasSlugForm(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1 && s[i-1] != '-':
		default:
			return false
		}
	}
	return true
}

// ErrRegion means that a text is not a region's code.
var ErrRegion = errors.New("a region is two letters of ISO 3166-1 and, optionally, a hyphen and up to three letters or digits of its subdivision")

var regionForm = regexp.MustCompile(`^[A-Z]{2}(-[A-Z0-9]{1,3})?$`)

// ParseRegion returns the code in upper case, whatever its case was: [ErrRegion] if it
// is none.
func ParseRegion(text string) (string, error) {
	region := strings.ToUpper(text)
	if len(region) != len(text) || !regionForm.MatchString(region) {
		return "", ErrRegion
	}
	return region, nil
}

// State says whether a tenant is served.
type State string

// The states of a tenant. One that was erased is as if it had never been: no directory
// finds it.
const (
	Active State = "active"
	// Suspended tenants are only read from, until an operator resumes them.
	Suspended State = "suspended"
	// Leaving tenants issue no codes, and are only read from once those that are out have
	// ended (Tenant.WindingDown). They stay if they say so in time.
	Leaving State = "leaving"
	Erased  State = "erased"
)

// States lists them.
func States() []State { return []State{Active, Suspended, Leaving, Erased} }

// Kind says what a tenant is for. It never changes.
type Kind string

// The kinds of tenants.
const (
	Production Kind = "production"
	// Sandbox is for trying out: nobody has vouched for the authority, and the schema
	// keeps its keys out of the exports of every tenant in production.
	Sandbox Kind = "sandbox"
)

// Tenant is one health authority as the rest of the program sees it: the public
// facts of the directory and the settings it chose. It may be a few seconds old.
type Tenant struct {
	ID ID
	// Number is a short name for programs that want one: realm_id of the statistics
	// (verification protocol §8.2). Tenants are numbered from 1 as they arrive.
	Number int64
	Slug   Slug
	// Name is the authority's name for people, 1 to 200 characters.
	Name string
	// Region is the ISO 3166 code that the tenant serves, upper case, as US-WA.
	Region string
	// HealthAuthorityID is what phones send when they publish, lower case; it is
	// compared without regard to case (key server protocol §1.2).
	HealthAuthorityID string
	State             State
	Kind              Kind
	// StateReason is why, for the tenant's staff; StateSince is the zero time for a state
	// that it has had from the start.
	StateReason string
	StateSince  time.Time
	// WindingDown says of a leaving tenant that its phones can use the codes that are out.
	WindingDown bool
	// Maintenance says whether the whole platform is in maintenance (verification
	// protocol §0.4). The tenant's own switch is in Settings.
	Maintenance bool
	Settings    Settings
}

// ErrUnknown means that no tenant has that name. Suspended and leaving ones are found.
var ErrUnknown = errors.New("unknown tenant")

func unknown(kind string) error { return fmt.Errorf("%w: no such %s", ErrUnknown, kind) }
