package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

const (
	askSQL = `
insert into tenant_archive (tenant_id, archive_id, recipient, asked_by, asked_at)
values (current_tenant(), $1, $2, $3, $4)
    on conflict (tenant_id, shelved) where state = 'asked' do nothing`

	askedSQL = `select archive_id from tenant_archive where state = 'asked' and not shelved`

	endSQL = `
update tenant_archive
   set state = $2, ended_at = $3, size = $4, sha256 = $5
 where archive_id = $1
   and state = 'asked'`
)

// Ask lets an archive of the transaction's tenant be made, and enters it in the audit log;
// tx is under the operators' role. Until [End], what belongs into it can be read by
// [Maker.Write], and not otherwise. One that was asked for before and not made is gone on
// with.
func Ask(ctx context.Context, tx *tenant.Tx, by authz.Subject, recipient string, now time.Time) (id uuid.UUID, err error) {
	if err := CheckRecipient(recipient); err != nil {
		return id, err
	}
	now = now.UTC().Truncate(time.Second)
	if _, err := tx.Exec(ctx, askSQL, uuid.New(), recipient, by.ID, now); err != nil {
		return id, fmt.Errorf("ask for archive: %w", err)
	}
	if err := tx.Get(ctx, &id, askedSQL); err != nil {
		return id, fmt.Errorf("ask for archive: %w", err)
	}
	return id, audit.Record(ctx, tx, now, by, string(authz.TenantArchive), id.String(), Detail(recipient))
}

// CheckRecipient is nil for an age public key, and for an empty text, which stands for an
// archive without keys: [ErrRecipient] otherwise.
func CheckRecipient(text string) error {
	_, err := parseRecipient(text)
	return err
}

// Detail is what the audit log says of an archive for a recipient.
func Detail(recipient string) map[string]string {
	if recipient == "" {
		return map[string]string{"keys": "left out"}
	}
	return map[string]string{"keys": "sealed to " + recipient}
}

// End notes what came of an archive: its size and SHA-256, or that it failed if sum is nil.
// tx is under the role carillon_jobs. Nothing more of the tenant can be read for it.
func End(ctx context.Context, tx *tenant.Tx, id uuid.UUID, size int64, sum []byte, now time.Time) error {
	state, bytes := "made", &size
	if sum == nil {
		state, bytes = "failed", nil
	}
	if _, err := tx.Exec(ctx, endSQL, id, state, now.UTC().Truncate(time.Second), bytes, sum); err != nil {
		return fmt.Errorf("note archive: %w", err)
	}
	return nil
}
