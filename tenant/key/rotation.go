package key

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Version is a version of a tenant's export key, for those who manage it.
type Version struct {
	// No counts from 1; KeyID and Label are what files name it by.
	No    int    `db:"version"`
	KeyID string `db:"key_id"`
	Label string
	State State
	// DER is the public half as DER-encoded SPKI, for those who configure phones.
	DER       []byte     `db:"public_der"`
	Created   time.Time  `db:"created_at"`
	Activated *time.Time `db:"activated_at"`
	Retired   *time.Time `db:"retired_at"`
}

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
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrNoKey, ErrNoVersion, ErrLastKey, ErrTooManyKeys, ErrUnconfirmed, ErrRootRetired, ErrRootInUse}
}

const exportKeysSQL = `
  select version, key_id, label, state, public_der, created_at, activated_at, retired_at
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
	lastExportKeySQL = `
  select version, key_id, label, state, public_der, created_at, activated_at, retired_at
    from signing_key
   where purpose = 'export'
order by version desc
   limit 1`

	nextExportKeySQL = `
insert into signing_key (tenant_id, purpose, version, key_id, label, state, provider, sealed, public_der)
values (current_tenant(), 'export', $1, $2, $3, 'next', $4, $5, $6)`
)

// AddExport makes the next version of the tenant's export key (key server protocol §11).
// It signs nothing yet: its public half goes to Apple and Google first. Its key ID is
// that of the version before, its label the next one: no pair of them is ever used for
// two keys. tx is under the operator's role.
func AddExport(ctx context.Context, tx *tenant.Tx, id tenant.ID, root signing.Custody, by authz.Subject, now time.Time) (Version, error) {
	var last Version
	var wrapped []byte
	err := tx.Get(ctx, &last, lastExportKeySQL)
	if err == nil {
		err = tx.Get(ctx, &wrapped, wrappedSQL)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return Version{}, noKey(signing.Export)
	}
	if err != nil {
		return Version{}, fmt.Errorf("read export key: %w", err)
	}
	dk, err := signing.OpenDataKey(ctx, root, id.String(), wrapped)
	if err != nil {
		return Version{}, err
	}
	v := Version{No: last.No + 1, KeyID: last.KeyID, Label: "v" + strconv.Itoa(last.No+1), State: Next, Created: now}
	k, err := generate(ctx, root.Providers, dk, binding(id, signing.Export, v.KeyID, v.Label))
	if err != nil {
		return Version{}, err
	}
	v.DER = k.PublicDER
	if _, err := tx.Exec(ctx, nextExportKeySQL, v.No, v.KeyID, v.Label, k.Provider, k.Sealed, k.PublicDER); err != nil {
		return Version{}, fmt.Errorf("store export key: %w", err)
	}
	return v, audit.Record(ctx, tx, now, by, string(authz.KeyRequestRotation), v.target(), nil)
}

func (v Version) target() string { return "export " + v.KeyID + " " + v.Label }

// rotation is the lock of those who change which keys are active.
const rotation = `select pg_advisory_xact_lock(hashtextextended('key rotation ' || current_tenant()::text, 0))`

const (
	moveSQL = `
   update signing_key
      set state        = $3,
          activated_at = case when $3 = 'active' then $4 else activated_at end,
          retired_at   = case when $3 = 'verify-only' then $4 else retired_at end
    where purpose = 'export'
      and version = $1
      and state = $2
returning version, key_id, label, state, public_der, created_at, activated_at, retired_at`

	activeExportKeysSQL = `
select count(*)
  from signing_key
 where purpose = 'export'
   and state = 'active'`

	maxSignatures = 10 // of a file (§6.1)
)

// ActivateExport lets a version that is next sign every file that is made from now on,
// beside those that sign already. confirmation says who confirmed that phones have its
// public half, and is kept in the audit log: a phone that does not know the newest key
// of its region may refuse all files. [ErrUnconfirmed] if it is empty, [ErrNoVersion],
// [ErrTooManyKeys].
func ActivateExport(ctx context.Context, tx *tenant.Tx, by authz.Subject, version int, confirmation string, now time.Time) error {
	if confirmation == "" {
		return ErrUnconfirmed
	}
	return move(ctx, tx, by, version, Next, Active, map[string]string{"confirmed": confirmation}, now)
}

// RetireExport ends an active version's signing. Files that it has signed stay as they
// are. [ErrLastKey] if no other is active, [ErrNoVersion].
func RetireExport(ctx context.Context, tx *tenant.Tx, by authz.Subject, version int, now time.Time) error {
	return move(ctx, tx, by, version, Active, VerifyOnly, nil, now)
}

func move(ctx context.Context, tx *tenant.Tx, by authz.Subject, version int, from, to State, detail map[string]string, now time.Time) error {
	if _, err := tx.Exec(ctx, rotation); err != nil {
		return fmt.Errorf("wait for other rotations: %w", err)
	}
	var v Version
	err := tx.Get(ctx, &v, moveSQL, version, string(from), string(to), now)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s version %d: %w", from, version, ErrNoVersion)
	}
	if err != nil {
		return fmt.Errorf("change export key: %w", err)
	}
	var active int
	if err := tx.Get(ctx, &active, activeExportKeysSQL); err != nil {
		return fmt.Errorf("count export keys: %w", err)
	}
	switch {
	case active == 0:
		return ErrLastKey
	case active > maxSignatures:
		return ErrTooManyKeys
	}
	action := authz.KeyApproveRotation
	return audit.Record(ctx, tx, now, by, string(action), v.target(), with(detail, "state", string(to)))
}

func with(detail map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for k, v := range detail {
		all[k] = v
	}
	return all
}
