package batch

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
)

// keepUpload is how long a batch may be on its way in; then its sender is gone.
const keepUpload = time.Hour

const oldSQL = `
      (select batch_id
         from batch
        where created_at < $1
           or state = 'receiving' and created_at < $2)`

const (
	forgetCodesSQL = `
update batch_row
   set sealed_result = null
 where (batch_id, row_number) in (
       select batch_id, row_number
         from batch_row
        where state = 'issued'
          and sealed_result is not null
          and expires_at <= $1
        limit $2)`

	forgetOrdersSQL = `
update batch_row
   set sealed_order = null
 where (batch_id, row_number) in (
       select batch_id, row_number
         from batch_row
        where state = 'failed'
          and sealed_order is not null
          and done_at <= $1
        limit $2)`

	deleteRowsSQL = `
delete from batch_row
 where (batch_id, row_number) in (
       select batch_id, row_number
         from batch_row
        where batch_id in` + oldSQL + `
        limit $3)`

	deleteBatchesSQL = `
delete from batch
 where batch_id in (
       select b.batch_id
         from batch b
        where b.batch_id in` + oldSQL + `
          and not exists (select from batch_row r where r.batch_id = b.batch_id)
        limit $3)`
)

// Cleanup forgets the codes of a tenant's batches that have expired, and what rows ordered
// that failed, after [KeepFailed]; and deletes batches
// after [Keep] and uploads that were broken off. db is a handle under the role
// carillon_jobs. It works in small transactions; running it twice does no harm.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	now = now.UTC()
	old, broken := now.Add(-Keep), now.Add(-keepUpload)
	steps := []struct {
		what, sql string
		args      []any
	}{
		{"forget codes", forgetCodesSQL, []any{now}},
		{"forget orders", forgetOrdersSQL, []any{now.Add(-KeepFailed)}},
		{"delete rows of batches", deleteRowsSQL, []any{old, broken}},
		{"delete batches", deleteBatchesSQL, []any{old, broken}},
	}
	for _, s := range steps {
		if err := sweep.Run(ctx, db, id, s.sql, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}
