package exposure

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
)

const cleanupBatch = 1000

const cleanupSQL = `
delete from exposure
 where tek = any (array (
         select tek
           from exposure
          where created_at < $1
       order by created_at
          limit $2))`

const receiptCleanupSQL = `
delete from publish_receipt
 where expires_at <= (select max(old.expires_at)
                        from (select expires_at
                                from publish_receipt
                               where expires_at < $1
                            order by expires_at
                               limit $2) old)`

// Cleanup deletes a tenant's keys that arrived longer than the retention ago (§4), and
// receipts of uploads whose certificate has ended. db is a handle under the role
// carillon_jobs. It works in small transactions, each of which stands for itself; running
// it twice does no harm.
//
// Publishers wait while a step is under way: their rows and the ones deleted here
// would else be locked in different orders.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, l Limits, now time.Time) error {
	if err := sweep.Run(ctx, db, id, receiptCleanupSQL, now.UTC()); err != nil {
		return fmt.Errorf("delete receipts: %w", err)
	}
	for {
		var rows int64
		err := db.InExclusive(ctx, id, Arrivals, func(tx *tenant.Tx) (err error) {
			rows, err = tx.Exec(ctx, cleanupSQL, now.Add(-l.Retention).UTC(), cleanupBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete old keys: %w", err)
		}
		if rows < cleanupBatch {
			return nil
		}
	}
}
