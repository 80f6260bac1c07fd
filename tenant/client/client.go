// Package client keeps the API keys with which phones, health authorities' own systems
// and identity providers present themselves (verification protocol §11.2).
//
// The text of a key is shown once, when it is made; the database has a digest of
// it. A key works under its own tenant's URLs, for its own kind of work, until it
// expires or is revoked, and from the networks that were listed for it; every
// other use is answered as an unknown key is.
//
// A key is rotated by another one of the same name and the next generation. For a
// time that whoever rotates it chooses both are good. What was revoked stays so.
package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/limit"
)

// Kind is what a key is for.
type Kind string

// The kinds.
const (
	Device Kind = "device" // phones: verify, certificate
	Admin  Kind = "admin"  // back ends: issue codes and see to them
	Stats  Kind = "stats"  // back ends: statistics
	SCIM   Kind = "scim"   // identity providers: the list of staff
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Device, Admin, Stats, SCIM} }

func (k Kind) role() authz.Role {
	switch k {
	case Device:
		return authz.KeyDevice
	case Admin:
		return authz.KeyAdmin
	case Stats:
		return authz.KeyStats
	case SCIM:
		return authz.KeySCIM
	default:
		return ""
	}
}

var (
	// ErrUnknownKey means that no key of that kind and tenant that is good has this text
	// or ID.
	ErrUnknownKey = errors.New("unknown API key")
	// ErrKind means that there is no such kind.
	ErrKind = errors.New("unknown kind of API key")
	// ErrName means that a name has none of 1 to 100 characters, or some that do not print.
	ErrName = errors.New("no name for an API key")
	// ErrNameTaken means that another key of the tenant has this name.
	ErrNameTaken = errors.New("another API key has this name")
	// ErrExpiry means that a key should expire in the past or in more than [MaxLife].
	ErrExpiry = errors.New("no time at which an API key can expire")
	// ErrOverlap means that a key should live on for less than nothing or more than
	// [MaxOverlap] after it was rotated.
	ErrOverlap = errors.New("no time for which two API keys can overlap")
	// ErrNetworks means that a text is no list of at most [MaxNetworks] networks.
	ErrNetworks = errors.New("not a list of networks")
	// ErrDeviceNetworks means that a phone's key should be good from some networks only.
	ErrDeviceNetworks = errors.New("phones come from everywhere")
	// ErrReplaced means that the key has been rotated before.
	ErrReplaced = errors.New("another API key has taken its place")
	// ErrTooMany means that the tenant has [MaxKeys] keys that are good.
	ErrTooMany = errors.New("too many API keys")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{
		ErrUnknownKey, ErrKind, ErrName, ErrNameTaken, ErrExpiry, ErrOverlap, ErrNetworks, ErrDeviceNetworks,
		ErrReplaced, ErrTooMany,
	}
}

const (
	// MaxLife is the longest time after which a key may expire; it may also never.
	MaxLife = 5 * 365 * 24 * time.Hour
	// Overlap is the usual time for which a key lives on after it was rotated.
	Overlap = 7 * 24 * time.Hour
	// MaxOverlap is the longest.
	MaxOverlap = 90 * 24 * time.Hour
	// MaxNetworks is how many networks can be listed for a key.
	MaxNetworks = 50
	// MaxKeys is how many good keys a tenant can have.
	MaxKeys = 500
)

// Keys are carillon_device_ and so on and 52 letters and digits of 260 random bits, so
// that those who look for secrets in published files find them. Older ones have no
// beginning in common: 64 bytes in base64.
const (
	beginning    = "carillon_"
	secretLength = 52
	oldLength    = 86
	previewSize  = 6
)

// start is what the texts of keys of the kind begin with.
func (k Kind) start() string { return beginning + string(k) + "_" }

// mayBe reports whether a text has the form of a key of the kind.
func (k Kind) mayBe(text string) bool {
	secret, ok := strings.CutPrefix(text, k.start())
	return ok && len(secret) == secretLength || !ok && len(text) == oldLength
}

// text is a key's text, which hides itself.
type text string

// Format hides the text from every verb of package fmt.
func (text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[API key]") }

// digest of so many random bits needs no secret of its own: there is nothing to guess.
func (t text) digest() [sha256.Size]byte { return sha256.Sum256([]byte(t)) }

// Terms are what can be changed about a key.
type Terms struct {
	// Name has 1 to 100 characters that print.
	Name string
	// Expires is when the key ends by itself: never if it is zero.
	Expires time.Time
	// Networks are from where the key is good: from everywhere if there are none. Phones'
	// keys can have none.
	Networks []netip.Prefix
}

// ParseNetworks reads networks as 192.0.2.0/24, or single addresses, between blanks,
// commas or lines: [ErrNetworks] if one is none or there are too many.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(words) > MaxNetworks {
		return nil, fmt.Errorf("%w: more than %d", ErrNetworks, MaxNetworks)
	}
	list, err := limit.ParseNetworks(words)
	if err != nil || strings.Contains(text, "%") { // zones mean nothing here
		return nil, ErrNetworks // the parser's words repeat what was typed
	}
	for _, n := range list {
		if n.Addr().Is4In6() { // callers' addresses never are, so none would be in it
			return nil, ErrNetworks
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list), nil
}

// check refuses terms that a key of the kind cannot have.
func (t Terms) check(kind Kind, now time.Time) error {
	switch {
	case kind.role() == "":
		return ErrKind
	case !namely(t.Name):
		return ErrName
	case !t.Expires.IsZero() && (!t.Expires.After(now) || t.Expires.Sub(now) > MaxLife):
		return ErrExpiry
	case len(t.Networks) > MaxNetworks:
		return ErrNetworks
	case kind == Device && len(t.Networks) > 0:
		return ErrDeviceNetworks
	}
	return nil
}

func namely(name string) bool {
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= 100 && name == strings.TrimSpace(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (t Terms) expires() *time.Time {
	if t.Expires.IsZero() {
		return nil
	}
	utc := t.Expires.UTC().Truncate(time.Second)
	return &utc
}

func (t Terms) networks() pq.StringArray {
	list := make(pq.StringArray, len(t.Networks))
	for i, n := range t.Networks {
		list[i] = n.String()
	}
	return list
}

const createSQL = `
insert into api_key (tenant_id, api_key_id, kind, name, generation, digest, preview, created_at, expires_at, networks)
values (current_tenant(), $1, $2, $3, $4, $5, $6, coalesce($7, now()), $8, $9::cidr[])`

// row is what a key is made of, but for its secret.
type row struct {
	kind       Kind
	terms      Terms
	generation int
	at         *time.Time // the database's clock if nil
}

// insert stores a key with a new secret and returns its text.
func (r row) insert(ctx context.Context, tx *tenant.Tx) (plain string, id uuid.UUID, err error) {
	secret := rand.Text() + rand.Text()
	plain = r.kind.start() + secret
	digest := text(plain).digest()
	id = uuid.New()
	_, err = tx.Exec(ctx, createSQL, id, string(r.kind), r.terms.Name, r.generation, digest[:], secret[:previewSize],
		r.at, r.terms.expires(), r.terms.networks())
	if tenant.Violates(err, "api_key_name_key") {
		return "", uuid.Nil, ErrNameTaken
	}
	if err != nil {
		return "", uuid.Nil, fmt.Errorf("store API key: %w", err)
	}
	return plain, id, nil
}

// Create makes a key that is good for ever and from everywhere, and returns its text,
// which nobody can ask for again. It is for setting up a tenant: the caller has checked
// who asks, and writes the audit entry. [ErrNameTaken] if another key has the name.
func Create(ctx context.Context, tx *tenant.Tx, kind Kind, name string) (plain string, id uuid.UUID, err error) {
	return row{kind: kind, terms: Terms{Name: name}, generation: 1}.insert(ctx, tx)
}
