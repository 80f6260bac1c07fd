// Package app keeps a health authority's mobile apps, and decides where its links
// lead: into an app, to a store, or to the part of the telephone that notifies
// without one.
//
// Links come with text messages, so they hold codes. Where one leads is a pure
// function of the request and of the authority's apps (verification protocol §7.5);
// nothing of it is stored or logged. The apps also say of themselves, under the
// authority's host, that they may open its links (§7.6). All of it is public.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/cache"
)

// OS is the system that an app is made for.
type OS string

// The systems.
const (
	IOS     OS = "ios"
	Android OS = "android"
)

// Record is one app. Its name is unique among the tenant's apps of the same system.
type Record struct {
	OS OS
	// Name is for people, 1 to 100 characters.
	Name string
	// ID is the package's name on Android, and on iOS the team's prefix, a dot, and
	// the bundle's ID.
	ID string `db:"app_id"`
	// StoreURL is an https URL. An app to which no link leads may have none.
	StoreURL string `db:"store_url"`
	// Fingerprints are those of an Android app's signing certificates: 1 to 10, each
	// 32 bytes as upper-case hexadecimal pairs with colons between them.
	Fingerprints pq.StringArray
	// DisableRedirect keeps links from leading to this app. It may open them still.
	DisableRedirect bool `db:"disable_redirect"`
	// Headless says that the app has no face: Android's own pages stand for it.
	Headless bool
}

var (
	// ErrRecord means that a record's parts are not what they must be, alone or
	// together. The error's text says which.
	ErrRecord = errors.New("not an app")
	// ErrNameTaken means that another app of the tenant and system has this name.
	ErrNameTaken = errors.New("another app has this name")
	// ErrUnknown means that the tenant has no app of that system and name.
	ErrUnknown = errors.New("unknown app")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrRecord, ErrNameTaken, ErrUnknown} }

const (
	maxName         = 100
	maxID           = 255
	maxURL          = 1000
	maxFingerprints = 10
)

var (
	idForm          = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)
	fingerprintForm = regexp.MustCompile(`^([0-9A-F]{2}:){31}[0-9A-F]{2}$`)
)

// Validate reports what is wrong with a record, as [ErrRecord].
func (r Record) Validate() error {
	var errs []error
	fault := func(found bool, text string) {
		if found {
			errs = append(errs, fmt.Errorf("%w: %s", ErrRecord, text))
		}
	}
	fault(r.OS != IOS && r.OS != Android, "the system is ios or android")
	fault(r.Name == "" || len(r.Name) > maxName, "the name has 1 to 100 bytes")
	fault(!idForm.MatchString(r.ID) || len(r.ID) > maxID, "the ID has parts of letters, digits, hyphens and underscores with dots between them")
	fault(r.StoreURL == "" && !r.Headless && !r.DisableRedirect, "an app to which links lead needs its store's URL")
	fault(r.StoreURL != "" && !isStore(r.StoreURL), "the store's URL is an https URL of at most 1000 bytes")
	fault(r.Headless && r.OS != Android, "only an Android app can be headless")
	fault(r.OS == IOS && len(r.Fingerprints) > 0, "only an Android app has fingerprints")
	fault(r.OS == Android && (len(r.Fingerprints) == 0 || len(r.Fingerprints) > maxFingerprints), "an Android app has 1 to 10 fingerprints")
	for _, f := range r.Fingerprints {
		fault(!fingerprintForm.MatchString(f), "a fingerprint is 32 upper-case hexadecimal pairs with colons between them")
	}
	return errors.Join(errs...)
}

func isStore(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && len(text) <= maxURL
}

const addSQL = `
insert into mobile_app (tenant_id, os, name, app_id, store_url, fingerprints, disable_redirect, headless)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7)`

// Add gives tx's tenant an app; only the operator's role may. [ErrRecord] if the record
// is none, [ErrNameTaken] if another app has its name.
func Add(ctx context.Context, tx *tenant.Tx, by authz.Subject, r Record, at time.Time) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Fingerprints == nil {
		r.Fingerprints = pq.StringArray{}
	}
	_, err := tx.Exec(ctx, addSQL, string(r.OS), r.Name, r.ID, r.StoreURL, r.Fingerprints, r.DisableRedirect, r.Headless)
	if tenant.Violates(err, "mobile_app_pkey") {
		return ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("store app: %w", err)
	}
	return audit.Record(ctx, tx, at, by, "app:add", r.target(), map[string]string{"app_id": r.ID})
}

func (r Record) target() string { return string(r.OS) + " " + r.Name }

const removeSQL = `delete from mobile_app where os = $1 and name = $2`

// Remove takes an app from tx's tenant; only the operator's role may. [ErrUnknown] if
// there is none of that system and name.
func Remove(ctx context.Context, tx *tenant.Tx, by authz.Subject, os OS, name string, at time.Time) error {
	rows, err := tx.Exec(ctx, removeSQL, string(os), name)
	if err != nil {
		return fmt.Errorf("remove app: %w", err)
	}
	if rows == 0 {
		return ErrUnknown
	}
	return audit.Record(ctx, tx, at, by, "app:remove", Record{OS: os, Name: name}.target(), nil)
}

// most bounds how many apps of a tenant are read.
const most = 100

const listSQL = `
  select os, name, app_id, store_url, fingerprints, disable_redirect, headless
    from mobile_app
order by created_at, os, name
   limit $1`

// List returns the apps of tx's tenant, the first that was added first. The roles
// operator, issuer and publish may see them.
func List(ctx context.Context, tx *tenant.Tx) ([]Record, error) {
	var list []Record
	if err := tx.Select(ctx, &list, listSQL, most); err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return list, nil
}

// Age is how long a change to the apps may take to be seen. The protocol allows five
// minutes (§7.5).
const Age = 30 * time.Second

const catalogueSize = 10_000

// Catalogue answers what apps a tenant has, mostly from memory: links are followed by
// whoever likes to. It is safe for concurrent use.
type Catalogue struct {
	byTenant *cache.Cache[tenant.ID, []Record]
}

// NewCatalogue returns a catalogue that reads through db.
func NewCatalogue(db *tenant.DB) *Catalogue {
	return &Catalogue{cache.New(catalogueSize, Age, func(ctx context.Context, id tenant.ID) (list []Record, err error) {
		err = db.In(ctx, id, func(tx *tenant.Tx) error {
			list, err = List(ctx, tx)
			return err
		})
		return list, err
	})}
}

// Of returns a tenant's apps as [List] does. Nobody may change them.
func (c *Catalogue) Of(ctx context.Context, id tenant.ID) ([]Record, error) {
	return c.byTenant.Get(ctx, id)
}
