package key

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Why a rotation is refused.
var (
	// ErrNoVersion means that there is no such version in the state that the step
	// begins with.
	ErrNoVersion = errors.New("no such version in that state")
	// ErrLastKey means that no key would be left to sign with.
	ErrLastKey = errors.New("it is the only active key: activate its successor first")
	// ErrTooManyKeys means that files cannot carry another signature.
	ErrTooManyKeys = errors.New("files carry at most ten signatures: retire a key first")
	// ErrUnconfirmed means that nobody is named who confirmed that phones know the key.
	ErrUnconfirmed = errors.New("say who confirmed that phones have the key")
	// ErrRotating means that the key is being rotated already.
	ErrRotating = errors.New("this key is being rotated already")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrNoKey, ErrNoVersion, ErrLastKey, ErrTooManyKeys, ErrUnconfirmed, ErrRotating}
}

const versionColumns = `purpose, version, key_id, label, state, public_der, created_at, activate_at, activated_at, retired_at, destroy_at, destroyed_at`

const versionsOfAllSQL = `
  select ` + versionColumns + `
    from signing_key
order by purpose, version`

// Versions lists the versions of all the tenant's keys, of each purpose the oldest first,
// as far as the transaction's role may see them: see [tenant.DB.InKeyList].
func Versions(ctx context.Context, tx *tenant.Tx) (map[signing.Purpose][]Version, error) {
	var all []Version
	if err := tx.Select(ctx, &all, versionsOfAllSQL); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	of := map[signing.Purpose][]Version{}
	for _, v := range all {
		of[v.Purpose] = append(of[v.Purpose], v)
	}
	return of, nil
}

const exportKeysSQL = `
  select ` + versionColumns + `
    from signing_key
   where purpose = 'export'
order by version`

// ExportVersions lists the versions of the tenant's export key, the oldest first.
func ExportVersions(ctx context.Context, tx *tenant.Tx) ([]Version, error) {
	var list []Version
	if err := tx.Select(ctx, &list, exportKeysSQL); err != nil {
		return nil, fmt.Errorf("list export keys: %w", err)
	}
	return list, nil
}

const (
	nextExportKeySQL = `
insert into signing_key (tenant_id, purpose, version, key_id, label, state, provider, sealed, public_der, created_at)
values (current_tenant(), 'export', $1, $2, $3, 'next', $4, $5, $6, $7)`

	madeRotationSQL = `
insert into key_rotation (tenant_id, rotation_id, purpose, step, version, requested_at, requested_by)
values (current_tenant(), $1, 'export', 'made', $2, $3, $4)`

	oneBegun = "key_rotation_one_begun"
)

// AddExport makes the next version of the tenant's export key (key server protocol §11),
// with which a guided rotation begins: [ErrRotating] if there is one. The version signs
// nothing yet: its public half goes to Apple and Google first. tx is under the operator's
// role. A key that a provider has made outside is destroyed there if what follows fails; it
// stays if the transaction fails afterwards.
func AddExport(ctx context.Context, tx *tenant.Tx, id tenant.ID, root signing.Custody, by authz.Subject, now time.Time) (_ Version, err error) {
	list, err := ExportVersions(ctx, tx)
	if err != nil {
		return Version{}, err
	}
	if len(list) == 0 {
		return Version{}, noKey(signing.Export)
	}
	dk, err := dataKeyOf(ctx, tx, id, root)
	if err != nil {
		return Version{}, err
	}
	last := list[len(list)-1]
	v := Version{Purpose: signing.Export, No: last.No + 1, State: Next, Created: now}
	v.KeyID, v.Label = NextName(last)
	_, err = tx.Exec(ctx, madeRotationSQL, uuid.New(), v.No, now, by.Name)
	if tenant.Violates(err, oneBegun) {
		return Version{}, ErrRotating
	}
	if err != nil {
		return Version{}, fmt.Errorf("begin rotation: %w", err)
	}
	names := binding(id, signing.Export, v.KeyID, v.Label)
	k, err := generate(ctx, root.Providers, dk, names)
	if err != nil {
		return Version{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Providers.Destroy(context.WithoutCancel(ctx), dk, names, k))
		}
	}()
	v.DER = k.PublicDER
	if _, err := tx.Exec(ctx, nextExportKeySQL, v.No, v.KeyID, v.Label, k.Provider, k.Sealed, k.PublicDER, now); err != nil {
		return Version{}, fmt.Errorf("store export key: %w", err)
	}
	return v, audit.Record(ctx, tx, now, by, string(authz.KeyRequestRotation), v.Target(), nil)
}

func dataKeyOf(ctx context.Context, tx *tenant.Tx, id tenant.ID, root signing.Custody) (*signing.DataKey, error) {
	var wrapped []byte
	if err := tx.Get(ctx, &wrapped, wrappedSQL); err != nil {
		return nil, dataKeyError(err)
	}
	return signing.OpenDataKey(ctx, root, id.String(), wrapped)
}

const (
	// rotation is the lock of those who change which keys are active.
	rotation = `select pg_advisory_xact_lock(hashtextextended('key rotation ' || current_tenant()::text, 0))`

	activateKeySQL = `
   update signing_key
      set state = 'active', activated_at = $3, activate_at = null
    where purpose = $1
      and version = $2
      and state = 'next'
returning ` + versionColumns

	retireKeySQL = `
   update signing_key
      set state = 'verify-only', retired_at = $3, destroy_at = $4
    where purpose = $1
      and version = $2
      and state = 'active'
returning ` + versionColumns

	activeSQL = `
select version
  from signing_key
 where purpose = $1
   and state = 'active'`

	maxSignatures = 10 // of a file (§6.1)
)

// Rotating is the lock that [tenant.DB.InKeeping] takes.
const Rotating tenant.Lock = "key rotation"

// Begin puts a version that is next to use: [ErrNoVersion]. Of a purpose whose versions
// are not used together, the one before is retired. Audited as by's; why says more.
func Begin(ctx context.Context, tx *tenant.Tx, by authz.Subject, p signing.Purpose, no int, why map[string]string, now time.Time) (Version, error) {
	if _, err := tx.Exec(ctx, rotation); err != nil {
		return Version{}, fmt.Errorf("wait for other rotations: %w", err)
	}
	var before []int
	if err := tx.Select(ctx, &before, activeSQL, string(p)); err != nil {
		return Version{}, fmt.Errorf("read active keys: %w", err)
	}
	if Rule(p).Together && len(before) >= maxSignatures {
		return Version{}, ErrTooManyKeys
	}
	if !Rule(p).Together {
		for _, old := range before {
			if _, err := move(ctx, tx, retireKeySQL, p, old, now, now.Add(Rule(p).Overlap)); err != nil {
				return Version{}, err
			}
		}
	}
	v, err := move(ctx, tx, activateKeySQL, p, no, now)
	if err != nil {
		return Version{}, err
	}
	return v, audit.Record(ctx, tx, now, by, string(authz.KeyApproveRotation), v.Target(), with(why, "state", string(Active)))
}

// End retires an active version: [ErrNoVersion], [ErrLastKey] if no other is active. It
// stays verify-only for its rule's overlap.
func End(ctx context.Context, tx *tenant.Tx, by authz.Subject, p signing.Purpose, no int, now time.Time) (Version, error) {
	if _, err := tx.Exec(ctx, rotation); err != nil {
		return Version{}, fmt.Errorf("wait for other rotations: %w", err)
	}
	v, err := move(ctx, tx, retireKeySQL, p, no, now, now.Add(Rule(p).Overlap))
	if err != nil {
		return Version{}, err
	}
	var left []int
	if err := tx.Select(ctx, &left, activeSQL, string(p)); err != nil {
		return Version{}, fmt.Errorf("read active keys: %w", err)
	}
	if len(left) == 0 {
		return Version{}, ErrLastKey
	}
	return v, audit.Record(ctx, tx, now, by, string(authz.KeyApproveRotation), v.Target(), map[string]string{"state": string(VerifyOnly)})
}

func move(ctx context.Context, tx *tenant.Tx, query string, p signing.Purpose, no int, times ...any) (Version, error) {
	var v Version
	err := tx.Get(ctx, &v, query, append([]any{string(p), no}, times...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return Version{}, fmt.Errorf("%s version %d: %w", p, no, ErrNoVersion)
	}
	if err != nil {
		return Version{}, fmt.Errorf("change %s key: %w", p, err)
	}
	return v, nil
}

const (
	confirmedSQL = `
update key_rotation
   set step = 'active', activated_at = $2,
       apple_at = $2, apple_contact = left($3, 200), apple_noted_by = $4,
       google_at = $2, google_contact = left($3, 200), google_noted_by = $4
 where purpose = 'export'
   and version = $1
   and step = 'made'`

	// What retires the last of the older versions ends the rotation.
	retiredSQL = `
update key_rotation r
   set step = 'done', ended_at = $1
 where purpose = 'export'
   and step in ('active', 'retiring')
   and not exists (select
                     from signing_key k
                    where k.tenant_id = r.tenant_id
                      and k.purpose = r.purpose
                      and k.version < r.version
                      and k.state = 'active')`
)

// ActivateExport lets a version that is next sign every file that is made from now on,
// beside those that sign already. confirmation says who confirmed that phones have its
// public half, and is kept in the audit log: a phone that does not know the newest key
// of its region may refuse all files. [ErrUnconfirmed] if it is empty, [ErrNoVersion],
// [ErrTooManyKeys]. It is the operator's, by command; staff do it in two steps and by two
// people.
func ActivateExport(ctx context.Context, tx *tenant.Tx, by authz.Subject, version int, confirmation string, now time.Time) error {
	if confirmation == "" {
		return ErrUnconfirmed
	}
	if _, err := Begin(ctx, tx, by, signing.Export, version, map[string]string{"confirmed": confirmation}, now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, confirmedSQL, version, now, confirmation, by.Name); err != nil {
		return fmt.Errorf("note rotation: %w", err)
	}
	return nil
}

// RetireExport ends an active version's signing. Files that it has signed stay as they
// are. [ErrLastKey] if no other is active, [ErrNoVersion].
func RetireExport(ctx context.Context, tx *tenant.Tx, by authz.Subject, version int, now time.Time) error {
	if _, err := End(ctx, tx, by, signing.Export, version, now); err != nil {
		return err
	}
	return EndRotations(ctx, tx, now)
}

// EndRotations notes which rotations of the export key are done: those after which no
// older version signs.
func EndRotations(ctx context.Context, tx *tenant.Tx, now time.Time) error {
	if _, err := tx.Exec(ctx, retiredSQL, now); err != nil {
		return fmt.Errorf("end rotation: %w", err)
	}
	return nil
}

func with(detail map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for k, v := range detail {
		all[k] = v
	}
	return all
}
