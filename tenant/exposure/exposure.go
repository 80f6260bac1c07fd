// Package exposure takes in the temporary exposure keys (TEKs) of people who tested
// positive, and lets them be revised once.
//
// Keys are accepted with a certificate of the tenant itself, or of an outside server
// that it accepts (package issuer), and an HMAC that ties the certificate to exactly
// these keys. What is stored tells neither when nor
// together with what a key arrived: arrival times are cut to the tenant's window,
// keys still in use are dated to the window after their end, and rows are inserted
// in the order of their random bytes.
//
// The rules and English texts are those of the key server protocol §1 to §4, with
// its defects mended. Publishing new keys, and sending
// the same again, costs one round trip to the database, which uploads share that come at
// the same moment; with a revision token it is three, and a revision costs four.
package exposure

import (
	"errors"
	"fmt"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/cache"
	"carillon/tenant/issuer"
	"carillon/tenant/key"
)

// Arrivals is the lock that separates keys on their way in from windows being
// closed: publishers share it, whoever closes windows of the tenant holds it alone.
const Arrivals tenant.Lock = "arrivals"

// Limits are the numbers of the key server protocol §15.
type Limits struct {
	// MaxKeys is how many keys one upload may have.
	MaxKeys int
	// MaxSameStart is how many keys may start at the same interval.
	MaxSameStart int
	// MaxAge is how long ago a key may have ended.
	MaxAge time.Duration
	// MaxOnsetDays is how far a key may lie from the symptom onset, in days.
	MaxOnsetDays int32
	// MaxOnsetAge is how long ago an onset may lie to be believed.
	MaxOnsetAge time.Duration
	// DefaultOnsetAge is how long ago the onset is taken to be if none is given.
	DefaultOnsetAge time.Duration
	// Retention is how long keys are kept, counted from their arrival (§4).
	Retention time.Duration
}

const day = 24 * time.Hour

// DefaultLimits are those that the platforms and other key servers use.
func DefaultLimits() Limits {
	return Limits{
		MaxKeys: 30, MaxSameStart: 3, MaxAge: 15 * day,
		MaxOnsetDays: 14, MaxOnsetAge: 28 * day, DefaultOnsetAge: 4 * day,
		Retention: 14 * day,
	}
}

// Config is what a [Service] works with.
type Config struct {
	// DB is a handle under the role carillon_publish.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them.
	Keys *key.Ring
	// Certificates are those whose signatures need no check; nil means none.
	Certificates *certificate.Memory
	// Limits are [DefaultLimits] if they are left out.
	Limits Limits
	// Now is the clock.
	Now func() time.Time
}

// Service publishes keys. It is safe for concurrent use.
type Service struct {
	db      *tenant.DB
	keys    *key.Ring
	issuers *issuer.Book
	limits  Limits
	now     func() time.Time
	// certificates are those whose signatures were made or checked here.
	certificates *certificate.Memory
	// unsettled are certificates with which keys came that were stored already. Whoever
	// sends those again and again, a little changed, would fail each time what others share.
	unsettled *cache.Aged[certified, struct{}]
}

// New returns a service.
func New(c Config) *Service {
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
	}
	return &Service{
		db: c.DB, keys: c.Keys, issuers: issuer.NewBook(c.DB), limits: c.Limits, now: c.Now, certificates: c.Certificates,
		unsettled: cache.NewAged[certified, struct{}](unsettledSize, unsettledLife),
	}
}

// What can be wrong with an upload; the codes are those of the key server protocol §1.7.
var (
	// ErrUnknownHealthAuthority: not this tenant's ID (unknown_health_authority_id).
	ErrUnknownHealthAuthority = errors.New("unknown health authority ID")
	// ErrCertificate: certificate or HMAC is not valid
	// (health_authority_verification_certificate_invalid).
	ErrCertificate = errors.New("certificate invalid")
	// ErrBadKeys: no key can be used, or not together (bad_request).
	ErrBadKeys = errors.New("exposure keys invalid")
	// ErrMissingRevisionToken: a key exists and there is no token (missing_revision_token).
	ErrMissingRevisionToken = errors.New("revision token missing")
	// ErrInvalidRevisionToken: a key exists and the token does not cover it
	// (invalid_revision_token).
	ErrInvalidRevisionToken = errors.New("revision token invalid")
	// ErrAlreadyRevised: a key can be revised once (key_already_revised).
	ErrAlreadyRevised = errors.New("key already revised")
	// ErrTransition: a report type cannot become this other one
	// (invalid_report_type_transition).
	ErrTransition = errors.New("report type transition not allowed")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrUnknownHealthAuthority, ErrCertificate, ErrBadKeys, ErrMissingRevisionToken,
		ErrInvalidRevisionToken, ErrAlreadyRevised, ErrTransition,
	}
}

// Problem is a refusal with the words that its asker should read.
type Problem struct {
	// Kind is one of [Sentinels].
	Kind error
	// Text is the protocol's English for the answer. It may repeat what was sent,
	// so it does not belong in a log.
	Text string
	// Warnings tell of keys that were dropped beside the ones that Text is about.
	Warnings []string
}

// Error tells the kind alone, so that a log learns nothing about the upload.
func (p *Problem) Error() string { return p.Kind.Error() }

// Unwrap lets errors.Is find the kind.
func (p *Problem) Unwrap() error { return p.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Problem{Kind: kind, Text: fmt.Sprintf(format, args...)}
}
