// Package rootkey replaces the platform's root key while everything runs: it wraps every
// tenant's data key anew, and retires root keys that nothing is wrapped by any more.
package rootkey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

// What is refused about root keys.
var (
	// ErrRetired means that nothing may be wrapped by the root key any more.
	ErrRetired = errors.New("the root key is retired")
	// ErrInUse means that data keys are still wrapped by the root key.
	ErrInUse = errors.New("data keys are still wrapped by the root key: wrap them anew first")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrRetired, ErrInUse} }

const (
	rootUseSQL = `
  select tenant
    from tenant_directory
order by tenant`

	wrappedBySQL = `
select root, wrapped
  from data_key
 where wrapped <> ''`

	// What was wrapped anew in the meantime, or erased, stays as it is.
	rewrapSQL = `
update data_key
   set wrapped = $2
 where wrapped = $1`
)

// wrapping is how a tenant's data key is stored.
type wrapping struct {
	Root    string
	Wrapped []byte
}

// Use counts the tenants by the root key that wrapped their data key; the empty name
// stands for files that were used before root keys had names. db is a handle under the
// operator's role, as for all of this file.
func Use(ctx context.Context, db *tenant.DB) (map[string]int, error) {
	use := map[string]int{}
	err := eachWrapping(ctx, db, func(_ tenant.ID, w wrapping) error {
		use[w.Root]++
		return nil
	})
	return use, err
}

// Rewrap has every tenant's data key wrapped by the root key that wraps now, and returns
// how many were not. Each tenant's is a transaction of its own, and is readable before and after
// by whoever has both root keys: it may end anywhere, and be begun again. A tenant whose data
// key was erased is left alone. told hears of each tenant that is done; it may be nil.
func Rewrap(ctx context.Context, db *tenant.DB, roots *signing.Roots, by authz.Subject, now func() time.Time, told func(done int)) (int, error) {
	done := 0
	err := eachWrapping(ctx, db, func(id tenant.ID, w wrapping) error {
		if w.Root == roots.Name() {
			return nil
		}
		changed, err := rewrap(ctx, db, roots, by, id, w, now())
		if err == nil && changed {
			if done++; told != nil {
				told(done)
			}
		}
		return err
	})
	return done, err
}

func rewrap(ctx context.Context, db *tenant.DB, roots *signing.Roots, by authz.Subject, id tenant.ID, w wrapping, now time.Time) (bool, error) {
	again, err := roots.Rewrap(ctx, id.String(), w.Wrapped)
	if err != nil {
		return false, err
	}
	changed := false
	err = db.In(ctx, id, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, rewrapSQL, w.Wrapped, again)
		if err != nil {
			return fmt.Errorf("store data key: %w", err)
		}
		if n == 0 {
			return nil
		}
		changed = true
		return audit.Record(ctx, tx, now, by, "root:rewrap", "data key", map[string]string{"from": w.Root, "to": roots.Name()})
	})
	return changed, retired(err)
}

// retired recognises what the schema says of a root key that is retired.
func retired(err error) error {
	if tenant.Violates(err, "data_key_root_not_retired") {
		return ErrRetired
	}
	return err
}

func eachWrapping(ctx context.Context, db *tenant.DB, fn func(tenant.ID, wrapping) error) error {
	var all []tenant.ID
	if err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &all, rootUseSQL) }); err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	for _, id := range all {
		var w wrapping
		err := db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Get(ctx, &w, wrappedBySQL) })
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read data key of %s: %w", id, err)
		}
		if err := fn(id, w); err != nil {
			return fmt.Errorf("data key of %s: %w", id, err)
		}
	}
	return nil
}

const (
	// Whoever stores a data key holds the same lock, shared.
	retireLockSQL = `select pg_advisory_xact_lock(hashtextextended('retired root', 0))`

	retireSQL = `
insert into retired_root (root, retired_at)
values ($1, $2)
    on conflict do nothing`

	isRetiredSQL = `select exists (select from retired_root where root = $1)`
)

// Retire lets nothing be wrapped by a root key any more, for good: [ErrInUse] if
// something is. Only then is it safe to destroy the key.
func Retire(ctx context.Context, db *tenant.DB, by authz.Subject, root string, now time.Time) error {
	if root == "" {
		return errors.New("a root key without a name cannot be retired: wrap data keys anew first")
	}
	if err := unused(ctx, db, root); err != nil {
		return err
	}
	err := db.Platform(ctx, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, retireLockSQL); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, retireSQL, root, now)
		if err != nil || n == 0 {
			return err
		}
		return platform.Record(ctx, tx, by, platform.Entry{At: now, Action: "root:retire", Target: root})
	})
	if err != nil {
		return fmt.Errorf("retire root key: %w", err)
	}
	return unused(ctx, db, root) // a tenant may have been made at the last moment
}

func unused(ctx context.Context, db *tenant.DB, root string) error {
	use, err := Use(ctx, db)
	if err != nil {
		return err
	}
	count := use[root]
	if strings.HasPrefix(root, "file:") {
		count += use[""]
	}
	if count > 0 {
		return fmt.Errorf("%s: %d of them: %w", root, count, ErrInUse)
	}
	return nil
}

// Check returns [ErrRetired] if nothing may be wrapped by root any more. A process
// that was given it to wrap by does not start.
func Check(ctx context.Context, db *tenant.DB, root string) error {
	var is bool
	if err := db.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &is, isRetiredSQL, root) }); err != nil {
		return fmt.Errorf("look for retired root keys: %w", err)
	}
	if is {
		return fmt.Errorf("%s: %w", root, ErrRetired)
	}
	return nil
}
