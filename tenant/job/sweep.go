package job

import (
	"context"

	"carillon/tenant"
)

// SweepSize is about how many rows a statement of [Sweep] changes: as few as lock nobody
// out for long.
const SweepSize = 1000

// Sweep repeats a statement about a tenant's rows, each time in a transaction of its own,
// until it finds fewer than [SweepSize] of them, which is its last parameter. So a sweep
// may be broken off anywhere. For rows of no tenant the ID is [Platform].
func Sweep(ctx context.Context, db *tenant.DB, id tenant.ID, statement string, args ...any) error {
	args = append(args, SweepSize)
	for {
		var rows int64
		err := db.In(ctx, id, func(tx *tenant.Tx) (err error) {
			rows, err = tx.Exec(ctx, statement, args...)
			return err
		})
		if err != nil || rows < SweepSize {
			return err
		}
	}
}
