// Package importer takes over the keys that outside key servers publish, by the index
// and the signed files that they make for phones (key server protocol §10.3).
//
// A [Spec] is one source of a tenant: where the index is, and by which public keys its
// files are believed. [Service.Turn] reads the index, fetches each file that is new, and
// stores its keys as the tenant's own, marked with the source's number: they are in the
// next file of every export configuration that includes imported keys.
//
// Nothing that a server sends is believed before a configured key has signed it, and
// nothing signed is stored before it is judged, key by key: what breaks a rule is put
// into quarantine, which says what was wrong with which key of which file, and costs no
// other key. Work may end anywhere. A file's keys are stored in steps, each with the
// place that was reached in one transaction, so that the next turn goes on from there;
// two processes at one file cannot both take a step. A file that is published again with
// other bytes is not imported, or no more of it.
//
// A file that cannot be had or believed stays open and is tried again, at growing
// intervals, until the index does not list it any more. An index that cannot be read
// changes nothing.
package importer

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/outbound"
)

// Spec is what must be known of an outside key server to import from it.
type Spec struct {
	// Name is how people call the source: 2 to 40 lower-case letters, digits and hyphens.
	Name string
	// Index is the URL of the index, Root the one that the names in it are below; empty
	// means the index's folder.
	Index, Root string
	// Region is what the keys count as reported in, and Traveler whether by travelers.
	Region   string
	Traveler bool
	// MissingType is the report type of keys that tell none: confirmed, which empty
	// means, or likely.
	MissingType certificate.ReportType
	// Keys are those by which the files are believed.
	Keys []exportfile.TrustedKey
}

var (
	// ErrSpec means that one cannot import so. The error's text says why.
	ErrSpec = errors.New("import cannot be set up so")
	// ErrUnknown means that the tenant has no such source.
	ErrUnknown = errors.New("no such import")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrSpec, ErrUnknown} }

// Bounds of what a tenant may set up.
const (
	MaxSources = 20
	MaxKeys    = 10
)

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)
	keyIDForm   = regexp.MustCompile(`^[A-Za-z0-9_.]{1,100}$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9_]{0,20}$`)
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrSpec}, args...)...)
}

// complete fills in what is left out, and checks the rest.
func (s Spec) complete(f *outbound.Fetcher) (Spec, error) {
	if !nameForm.MatchString(s.Name) || len(s.Name) < 2 || len(s.Name) > 40 {
		return s, refuse("a name has 2 to 40 lower-case letters, digits and single hyphens")
	}
	if err := f.Check(s.Index); err != nil {
		return s, refuse("index: %w", err)
	}
	if s.Root == "" {
		s.Root = folder(s.Index)
	}
	s.Root = strings.TrimRight(s.Root, "/") + "/"
	if err := f.Check(s.Root); err != nil {
		return s, refuse("root: %w", err)
	}
	if strings.Contains(s.Root, "?") {
		return s, refuse("the root has a query, below which there are no files")
	}
	region, err := tenant.ParseRegion(s.Region)
	if err != nil {
		return s, refuse("%w", err)
	}
	s.Region = region
	if s.MissingType == "" {
		s.MissingType = certificate.Confirmed
	}
	if s.MissingType != certificate.Confirmed && s.MissingType != certificate.Likely {
		return s, refuse("keys without a report type can count as confirmed or likely")
	}
	return s, s.checkKeys()
}

// folder is the URL of an index without its last part.
func folder(index string) string {
	u, err := url.Parse(index)
	if err != nil {
		return ""
	}
	u.RawQuery, u.RawPath = "", ""
	u.Path = u.Path[:strings.LastIndexByte(u.Path, '/')+1]
	return u.String()
}

func (s Spec) checkKeys() error {
	if len(s.Keys) == 0 || len(s.Keys) > MaxKeys {
		return refuse("it has 1 to %d public keys", MaxKeys)
	}
	for i, k := range s.Keys {
		if !keyIDForm.MatchString(k.KeyID) || !versionForm.MatchString(k.KeyVersion) {
			return refuse("a key ID has letters, digits, _ and dots, a version letters, digits and _")
		}
		if slices.ContainsFunc(s.Keys[:i], func(o exportfile.TrustedKey) bool { return o.KeyID == k.KeyID && o.KeyVersion == k.KeyVersion }) {
			return refuse("key %s version %q occurs twice", k.KeyID, k.KeyVersion)
		}
	}
	return nil
}

const (
	changeSQL = `
   update import_source
      set index_url = $2, root_url = $3, region = $4, traveler = $5, missing_type = $6::report_type, changed_at = $7
    where name = $1
      and removed_at is null
returning import_no`

	addSQL = `
   insert into import_source
          (tenant_id, import_no, name, index_url, root_url, region, traveler, missing_type, changed_at)
   select current_tenant(), coalesce(max(import_no), 0) + 1, $1, $2, $3, $4, $5, $6::report_type, $7
     from import_source
returning import_no`

	countSQL = `select count(*) from import_source where removed_at is null`

	removeKeysSQL = `delete from import_key where import_no = $1`

	addKeySQL = `
insert into import_key (tenant_id, import_no, key_id, key_version, public_der)
values (current_tenant(), $1, $2, $3, $4)`

	// Files that failed may be believed by other keys, or found at the other place.
	dueSQL = `update import_file set due_at = $2 where import_no = $1 and state = 'open'`
)

// Add makes the tenant of tx import from a source, or changes how, if it has one of that
// name: [ErrSpec] if that cannot be. tx is one of the role carillon_operator. The act is
// audited.
func Add(ctx context.Context, tx *tenant.Tx, f *outbound.Fetcher, by authz.Subject, s Spec, now time.Time) error {
	s, err := s.complete(f)
	if err != nil {
		return err
	}
	args := []any{s.Name, s.Index, s.Root, s.Region, s.Traveler, string(s.MissingType), now.UTC()}
	var no int16
	err = tx.Get(ctx, &no, changeSQL, args...)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.Get(ctx, &no, addSQL, args...)
	}
	if err != nil {
		return fmt.Errorf("set up import: %w", err)
	}
	var count int
	if err := tx.Get(ctx, &count, countSQL); err != nil {
		return fmt.Errorf("count imports: %w", err)
	}
	if count > MaxSources {
		return refuse("an authority has up to %d", MaxSources)
	}
	names, err := setKeys(ctx, tx, no, s.Keys)
	if err != nil {
		return fmt.Errorf("set up keys of import: %w", err)
	}
	if _, err := tx.Exec(ctx, dueSQL, no, now.UTC()); err != nil {
		return fmt.Errorf("set up import: %w", err)
	}
	return audit.Record(ctx, tx, now, by, "import:add", s.Name, map[string]string{
		"index": s.Index, "root": s.Root, "region": s.Region, "keys": strings.Join(names, " "),
	})
}

func setKeys(ctx context.Context, tx *tenant.Tx, no int16, keys []exportfile.TrustedKey) (names []string, err error) {
	if _, err := tx.Exec(ctx, removeKeysSQL, no); err != nil {
		return nil, err
	}
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Key)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, addKeySQL, no, k.KeyID, k.KeyVersion, der); err != nil {
			return nil, err
		}
		names = append(names, k.KeyID+"/"+k.KeyVersion)
	}
	return names, nil
}

const removeSQL = `
update import_source
   set removed_at = $2
 where name = $1
   and removed_at is null`

// Remove ends an import: [ErrUnknown] if the tenant of tx has none of that name. Keys
// that it has brought stay until they are old. The act is audited.
func Remove(ctx context.Context, tx *tenant.Tx, by authz.Subject, name string, now time.Time) error {
	rows, err := tx.Exec(ctx, removeSQL, name, now.UTC())
	if err != nil {
		return fmt.Errorf("remove import: %w", err)
	}
	if rows == 0 {
		return ErrUnknown
	}
	return audit.Record(ctx, tx, now, by, "import:remove", name, nil)
}

const hurrySQL = `
with source as (
    select import_no
      from import_source
     where name = $1
       and removed_at is null
), due as (
    update import_file
       set due_at = $2
     where import_no = (select import_no from source)
       and state = 'open'
)
select count(*) from source`

// Hurry lets the next turn try all files again that failed: [ErrUnknown] if the tenant
// of tx has no import of that name. The act is audited.
func Hurry(ctx context.Context, tx *tenant.Tx, by authz.Subject, name string, now time.Time) error {
	var found int
	if err := tx.Get(ctx, &found, hurrySQL, name, now.UTC()); err != nil {
		return fmt.Errorf("hurry import: %w", err)
	}
	if found == 0 {
		return ErrUnknown
	}
	return audit.Record(ctx, tx, now, by, "import:run", name, nil)
}
