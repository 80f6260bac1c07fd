package verification

import (
	"context"
	"fmt"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
)

// How long codes and tokens are kept after they expire (§6.4).
const (
	// KeepDigests is when a code's digests are blanked; until then its digits stay
	// reserved and answer "expired".
	KeepDigests = 48 * time.Hour
	// KeepStatus is when the rest of a code is deleted.
	KeepStatus = 14 * 24 * time.Hour
	// KeepTokens is when a token's digest is deleted.
	KeepTokens = 24 * time.Hour
)

// Each statement cuts its batch at a time, so that rows which ended in the same
// second go together, though they be a few more than the batch.
const (
	blankSQL = `
update verification_code
   set short_mac = null, long_mac = null
 where short_mac is not null
   and long_expires_at <= (select max(batch.long_expires_at)
                             from (select long_expires_at
                                     from verification_code
                                    where short_mac is not null
                                      and long_expires_at < $1
                                 order by long_expires_at
                                    limit $2) batch)`

	deleteCodesSQL = `
delete from verification_code
 where long_expires_at <= (select max(batch.long_expires_at)
                             from (select long_expires_at
                                     from verification_code
                                    where long_expires_at < $1
                                 order by long_expires_at
                                    limit $2) batch)`

	//nolint:gosec // a statement about tokens, not one of them
	deleteTokensSQL = `
delete from verification_token
 where expires_at <= (select max(batch.expires_at)
                        from (select expires_at
                                from verification_token
                               where expires_at < $1
                            order by expires_at
                               limit $2) batch)`

	// Unclaimed reports end at $1, claimed ones at $2.
	deleteReportsSQL = `
delete from user_report
 where created_at <= case when claimed_at is null then $1::timestamptz else $2::timestamptz end
   and created_at <= (select max(batch.created_at)
                        from (select created_at
                                from user_report
                               where created_at <= case when claimed_at is null then $1::timestamptz else $2::timestamptz end
                            order by created_at
                               limit $3) batch)`
)

// Cleanup forgets what a tenant need not keep any longer (verification protocol
// §6.4; for self-reports §5.1). db is a handle under the role carillon_jobs. It works
// in small transactions, each of which stands for itself; running it twice does no
// harm.
func Cleanup(ctx context.Context, db *tenant.DB, t *tenant.Tenant, now time.Time) error {
	unclaimed, claimed := reportsOver(t.Settings, now.UTC())
	steps := []struct {
		what, sql string
		args      []any
	}{
		{"delete codes", deleteCodesSQL, []any{now.UTC().Add(-KeepStatus)}},
		{"blank codes", blankSQL, []any{now.UTC().Add(-KeepDigests)}},
		{"delete tokens", deleteTokensSQL, []any{now.UTC().Add(-KeepTokens)}},
		{"delete self-reports", deleteReportsSQL, []any{unclaimed, claimed}},
	}
	for _, s := range steps {
		if err := sweep.Run(ctx, db, t.ID, s.sql, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}
