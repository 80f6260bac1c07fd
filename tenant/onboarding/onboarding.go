// Package onboarding makes tenants: the directory's entry, the settings, the keys
// and the export configuration of a health authority, in one transaction. A tenant
// exists whole or not at all.
package onboarding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
)

// Spec is what must be known of a health authority to make it a tenant.
type Spec struct {
	// Kind is what the tenant is for; empty means production. A sandbox has a slug that
	// ends with -sandbox and a region that begins with ZZ-, and no other tenant has.
	Kind tenant.Kind
	// Slug names it in URLs; Name is for people; Region is the ISO 3166 code it serves.
	Slug, Name, Region string
	// HealthAuthorityID is what phones send when they publish, in any case.
	HealthAuthorityID string
	// Issuer and Audience are iss and aud of its certificates.
	Issuer, Audience string
	// ExportKeyID is the key ID in its export files, usually a mobile country code.
	ExportKeyID string
	// ExportPeriod is how often files are cut; it divides 24 hours; zero means 4 h.
	ExportPeriod time.Duration
	// ExportMinAge is how old a window must be before it is cut. The platforms ask
	// for two hours, which a negative value means; zero means at once.
	ExportMinAge time.Duration
	// Truncate is the window to which arrival times are cut; zero means 1 h.
	Truncate time.Duration
	// MinRecords and PaddingRange: a file with fewer keys is filled up to between
	// MinRecords and their sum (key server protocol §5.4); zeros mean 1000 and 100.
	MinRecords, PaddingRange int
	// ReleaseSameDay skips the embargo of keys still in use. Development only.
	ReleaseSameDay bool
	// SMSEnabled lets codes be sent by text message.
	SMSEnabled bool
	// EmailEnabled lets staff send a code by e-mail.
	EmailEnabled bool
	// Language is the authority's own, a BCP 47 tag, empty for English; SMSCountry the
	// ISO 3166-1 code of the telephone numbers that name none, empty for US.
	Language, SMSCountry string
	// Limited has no more codes issued in a day than twice as many as are to be expected
	// (package quota).
	Limited bool
}

// ErrExists means that another tenant has the slug, region or health authority ID.
// The error's text says which of them, and nothing of the other tenant.
var ErrExists = errors.New("taken by another tenant")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrExists} }

const (
	defaultPeriod     = 4 * time.Hour
	defaultMinAge     = 2 * time.Hour
	defaultTruncate   = time.Hour
	defaultMinRecords = 1000
	defaultPadding    = 100
	defaultLanguage   = "en"
	defaultCountry    = "US"
	// spare is what a bad day may take of the codes of a usual one.
	spare = 2.0
)

func (s Spec) withDefaults() Spec {
	if s.ExportPeriod == 0 {
		s.ExportPeriod = defaultPeriod
	}
	if s.ExportMinAge < 0 {
		s.ExportMinAge = defaultMinAge
	}
	if s.Truncate == 0 {
		s.Truncate = defaultTruncate
	}
	if s.MinRecords == 0 {
		s.MinRecords = defaultMinRecords
	}
	if s.PaddingRange == 0 {
		s.PaddingRange = defaultPadding
	}
	s.Kind = cmp.Or(s.Kind, tenant.Production)
	s.Language = cmp.Or(s.Language, defaultLanguage)
	s.SMSCountry = cmp.Or(s.SMSCountry, defaultCountry)
	return s
}

// Create makes the tenant, as of now. db is a handle under the operator's role.
// [ErrExists] if a name is taken, [tenant.ErrSlug] if the slug is none; other bad values are
// refused by the schema.
func Create(ctx context.Context, db *tenant.DB, root signing.Custody, spec Spec, now time.Time) (tenant.ID, error) {
	id := tenant.NewID()
	err := db.In(ctx, id, func(tx *tenant.Tx) error { return Make(ctx, tx, id, root, spec, system, now) })
	if err != nil {
		return tenant.ID{}, err
	}
	return id, nil
}

// Make is [Create] within tx, which is bound to the new tenant: whatever else tx does
// happens with it or not at all. by is who makes the tenant, for the audit log.
func Make(ctx context.Context, tx *tenant.Tx, id tenant.ID, root signing.Custody, spec Spec, by authz.Subject, now time.Time) error {
	slug, err := tenant.ParseSlug(spec.Slug)
	if err != nil {
		return fmt.Errorf("%q: %w", spec.Slug, err)
	}
	spec = spec.withDefaults()
	err = insert(ctx, tx, id, spec, now)
	if err == nil {
		err = key.Provision(ctx, tx, id, slug, root, spec.ExportKeyID)
	}
	if err == nil {
		err = audit.Record(ctx, tx, now, by, "tenant:create", string(slug), nil)
	}
	if what := taken(err); what != "" {
		return fmt.Errorf("%s %w", what, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("create tenant: %w", err)
	}
	return nil
}

var system = authz.Subject{Kind: authz.System, ID: "onboarding", Name: "Carillon"}

// taken says which name of a tenant another one has, if that is what err means.
func taken(err error) string {
	switch {
	case tenant.Violates(err, "tenant_directory_slug_key"):
		return "slug"
	case tenant.Violates(err, "tenant_directory_region_key"):
		return "region"
	case tenant.Violates(err, "tenant_directory_health_authority_id_key"):
		return "health authority ID"
	default:
		return ""
	}
}

const (
	insertDirectorySQL = `
insert into tenant_directory (tenant, slug, name, region, health_authority_id, kind)
values ($1, $2, $3, $4, $5, $6)`

	insertSettingSQL = `
insert into tenant_setting
       (tenant_id, issuer, audience, sms_enabled, truncate_seconds, release_same_day, language, sms_country,
        quota_enforced, quota_factor, email_enabled)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

	insertConfigSQL = `
insert into export_config
       (tenant_id, config_id, region, period_seconds, min_age_seconds, min_records, padding_range, active_from)
values (current_tenant(), gen_random_uuid(), $1, $2, $3, $4, $5, $6)`

	insertHorizonSQL = `
insert into export_horizon (tenant_id, settled_until)
values (current_tenant(), to_timestamp(0))`
)

func insert(ctx context.Context, tx *tenant.Tx, id tenant.ID, s Spec, now time.Time) error {
	_, err := tx.Exec(ctx, insertDirectorySQL, id, s.Slug, s.Name, s.Region, strings.ToLower(s.HealthAuthorityID), string(s.Kind))
	if err != nil {
		return err
	}
	factor := 1.0
	if s.Limited {
		factor = spare
	}
	_, err = tx.Exec(ctx, insertSettingSQL, s.Issuer, s.Audience, s.SMSEnabled, whole(s.Truncate), s.ReleaseSameDay,
		s.Language, s.SMSCountry, s.Limited, factor, s.EmailEnabled)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertConfigSQL, s.Region, whole(s.ExportPeriod), whole(s.ExportMinAge), s.MinRecords, s.PaddingRange, now)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertHorizonSQL)
	return err
}

func whole(d time.Duration) int { return int(d / time.Second) }

const (
	retimeConfigSQL  = `update export_config set period_seconds = $1, min_age_seconds = $2`
	retimeSettingSQL = `update tenant_setting set truncate_seconds = $1`
)

// Retime changes how often a tenant's files are cut, and with it the window to
// which arrival times are cut. db is a handle under the operator's role.
func Retime(ctx context.Context, db *tenant.DB, id tenant.ID, period, minAge, truncate time.Duration, now time.Time) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, retimeConfigSQL, whole(period), whole(minAge)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, retimeSettingSQL, whole(truncate)); err != nil {
			return err
		}
		return audit.Record(ctx, tx, now, system, "tenant:retime", "", map[string]string{"period": period.String()})
	})
	if err != nil {
		return fmt.Errorf("retime exports: %w", err)
	}
	return nil
}

const everyoneSQL = `
  select tenant, slug
    from tenant_directory
order by tenant`

// CompleteKeys gives every tenant, suspended ones included, the first key of each
// purpose that was added to Carillon after the tenant was made. It runs after an
// upgrade of the schema; once is enough, and more do no harm. db is a handle under
// the operator's role.
func CompleteKeys(ctx context.Context, db *tenant.DB, root signing.Custody, now time.Time) error {
	var all []struct {
		Tenant tenant.ID
		Slug   tenant.Slug
	}
	if err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &all, everyoneSQL) }); err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	for _, t := range all {
		err := db.In(ctx, t.Tenant, func(tx *tenant.Tx) error {
			made, err := key.Complete(ctx, tx, t.Tenant, t.Slug, root)
			if err != nil || len(made) == 0 {
				return err
			}
			return audit.Record(ctx, tx, now, system, "tenant:complete-keys", "", map[string]string{"purposes": fmt.Sprint(made)})
		})
		if err != nil {
			return fmt.Errorf("keys of %s: %w", t.Slug, err)
		}
	}
	return nil
}
