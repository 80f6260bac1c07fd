// Package sweep changes or deletes many rows, a few at a time.
package sweep

import (
	"context"

	"carillon/tenant"
)

// Size is about how many rows a statement of [Run] changes: as few as lock nobody out for
// long.
const Size = 1000

// Run repeats a statement about a tenant's rows, each time in a transaction of its own,
// until it finds fewer than [Size] of them, which is its last parameter. So a sweep
// may be broken off anywhere. For rows of no tenant the ID is the zero one.
func Run(ctx context.Context, db *tenant.DB, id tenant.ID, statement string, args ...any) error {
	args = append(args, Size)
	for {
		var rows int64
		err := db.In(ctx, id, func(tx *tenant.Tx) (err error) {
			rows, err = tx.Exec(ctx, statement, args...)
			return err
		})
		if err != nil || rows < Size {
			return err
		}
	}
}
