package verification

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/message"
)

// reportPurged is the audit log's word for a telephone number that was freed. The
// entry names the code, never the number.
const reportPurged = "report:purge-phone"

const (
	// The code is locked first, as a phone that verifies it does.
	lockReportedSQL = `
select c.code_id
  from verification_code c
  join user_report r on r.code_id = c.code_id
 where r.phone_mac = any($1)
   for update of c`

	purgeSQL = `
with freed as (
  delete from user_report
   where phone_mac = any($1)
  returning code_id
), ended as (
  update verification_code c
     set expires_at = least(c.expires_at, $2), long_expires_at = least(c.long_expires_at, $2)
    from freed f
   where c.code_id = f.code_id
     and c.claimed_at is null
)
select code_id
  from freed`
)

// Purge forgets that a telephone number has reported, so that it may report again,
// and ends the code of that report if nobody has claimed it (verification protocol
// §5.1). It is audited, whether or not there was a report, and reports which. db is a
// handle under the operator's role, keys the tenants' keys as that sees them. A text
// that is no telephone number is [ErrPhoneInvalid].
func Purge(ctx context.Context, db *tenant.DB, keys *key.Ring, t *tenant.Tenant, by authz.Subject, phone string, now time.Time) (found bool, err error) {
	number, err := message.ParsePhone(phone, t.Settings.SMSCountry)
	if err != nil {
		return false, refuse(ErrPhoneInvalid, "invalid phone number: %v", err)
	}
	live, err := keys.Secrets(ctx, t.ID, signing.PhoneMAC)
	if err != nil {
		return false, fmt.Errorf("keys of telephone numbers: %w", err)
	}
	numbers, at := pq.ByteaArray(macs(live, number)), now.UTC().Truncate(time.Second)
	err = db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var freed []uuid.UUID
		if err := tx.Select(ctx, &freed, lockReportedSQL, numbers); err != nil {
			return err
		}
		freed = nil
		if err := tx.Select(ctx, &freed, purgeSQL, numbers, at); err != nil {
			return err
		}
		target := ""
		for _, id := range freed { // one, unless keys have just been rotated
			found, target = true, id.String()
		}
		return audit.Record(ctx, tx, at, by, reportPurged, target, nil)
	})
	if err != nil {
		return false, fmt.Errorf("purge telephone number: %w", err)
	}
	return found, nil
}
