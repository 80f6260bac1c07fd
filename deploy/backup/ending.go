package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"carillon/tenant"
)

// ending is something that ends with a restore, because it may have been used up or taken
// back after the recovery point, which the backup cannot know.
type ending struct {
	// name counts it in the audit entry.
	name string
	// sql ends it for the tenant that the transaction is bound to; $1 is the instant of the restore.
	sql string
	// unlessKept: the operator may vouch that none was taken back.
	unlessKept bool
}

// A code that nobody had claimed by the recovery point may have been claimed since, and a
// token spent. All that were open expire. Their phones are told "expired", the error on
// which they tell people to ask for a new code; and codes and tokens of after the recovery
// point are unknown, because their rows are gone. Certificates need no ending: a
// certificate holds for the keys whose digest is in it and for no others, so that using it
// again brings back what the crash has lost.
var endings = []ending{
	{name: "codes", sql: `
update verification_code
   set expires_at      = least(expires_at, $1),
       long_expires_at = least(long_expires_at, $1)
 where tenant_id = current_tenant()
   and claimed_at is null
   and long_expires_at > $1`},
	{name: "tokens", sql: `
update verification_token
   set expires_at = $1
 where tenant_id = current_tenant()
   and used_at is null
   and expires_at > $1`},
	// Messages name codes that have just expired, or were sent already.
	{name: "messages", sql: `
with dropped as (
  delete from message_queue
   where tenant_id = current_tenant()
  returning code_id
), told as (
  update message_delivery
     set state = 'failed', changed_at = $1
   where tenant_id = current_tenant()
     and state = 'queued'
)
select code_id from dropped where $1::timestamptz is not null`},
	// Somebody decides whether a batch goes on: part of it may have been issued since.
	{name: "batches", sql: `
update batch
   set state = 'paused', held_because = '', held_until = null, leased_until = null, worked_at = $1
 where tenant_id = current_tenant()
   and state = 'running'`},
	{name: "invitations", sql: `
update staff_invitation
   set state = 'revoked'
 where tenant_id = current_tenant()
   and state = 'waiting'
   and $1::timestamptz is not null`},
	// What was approved may have been done, and what was asked for refused.
	{name: "approvals", sql: `
update approval
   set state = 'expired', ended_at = $1, ended_by = 'carillon restore'
 where tenant_id = current_tenant()
   and state in ('pending', 'approved')`},
	{name: "support", sql: `
update support_grant
   set revoked_at = $1
 where tenant_id = current_tenant()
   and revoked_at is null
   and expires_at > $1`},
	// Whoever asked may have taken the archive; its parts may not be there.
	{name: "archives", sql: `
update tenant_archive
   set state = 'failed', ended_at = greatest(asked_at, $1)
 where tenant_id = current_tenant()
   and state = 'asked'`},
	{name: "api-keys", unlessKept: true, sql: `
update api_key
   set disabled_at = $1
 where tenant_id = current_tenant()
   and kind <> 'device'
   and disabled_at is null`},
}

// A restore cannot end what would shut everybody out: these are listed for people.
const reviewSQL = `
   select 'device-key' as kind, name, 'made ' || to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as detail
     from api_key
    where tenant_id = current_tenant()
      and kind = 'device'
      and disabled_at is null
    union all
   select 'member', email, array_to_string(roles, ', ')
     from member
    where tenant_id = current_tenant()
      and state = 'active'
    union all
   select 'signing-key', purpose || ' ' || key_id || ' ' || label, state
     from signing_key
    where tenant_id = current_tenant()
      and state in ('next', 'verify-only')
 order by 1, 2, 3`

// review lists what may have been taken away after the recovery point.
func (r *restoring) review(ctx context.Context) error {
	for i := range r.report.Tenants {
		t := &r.report.Tenants[i]
		if t.Erased {
			continue
		}
		if err := bind(ctx, r.tx, t.ID); err != nil {
			return err
		}
		if err := r.reviewOf(ctx, t); err != nil {
			return fmt.Errorf("tenant %s: list what to look through: %w", t.Slug, err)
		}
	}
	return nil
}

func (r *restoring) reviewOf(ctx context.Context, t *RestoredTenant) error {
	rows, err := r.tx.QueryContext(ctx, reviewSQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var v Review
		if err := rows.Scan(&v.Kind, &v.Name, &v.Detail); err != nil {
			return err
		}
		t.Review = append(t.Review, v)
	}
	return rows.Err()
}

// restorer is whom the entries about a restore name.
const (
	restorerKind = "system"
	restorerID   = "restore"
	restorerName = "carillon restore"

	// Action is what entries about a restore are called.
	Action = "platform:restore"
)

const (
	restoredSQL = `
insert into audit_entry (tenant_id, at, actor_kind, actor_id, actor_name, action, target, detail)
values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)`

	restoredPlatformSQL = `
insert into platform_entry (at, actor_kind, actor_id, actor_name, action, target, detail)
values ($1, $2, $3, $4, $5, $6, jsonb_build_object('recovery-point', $7::text))`
)

// end ends what must not revive, and says so in every audit log, whose chain goes on.
func (r *restoring) end(ctx context.Context) error {
	for _, t := range r.report.Tenants {
		if t.Erased {
			continue
		}
		if err := r.endOf(ctx, t); err != nil {
			return fmt.Errorf("tenant %s: %w", t.Slug, err)
		}
	}
	_, err := r.tx.ExecContext(ctx, restoredPlatformSQL, r.now, restorerKind, restorerID, restorerName, Action, r.Tenant,
		r.manifest.RecoveryPoint.Format(time.RFC3339))
	if err != nil {
		return fmt.Errorf("entry of the platform: %w", err)
	}
	return nil
}

func (r *restoring) endOf(ctx context.Context, t RestoredTenant) error {
	if err := bind(ctx, r.tx, t.ID); err != nil {
		return err
	}
	detail := map[string]string{"recovery-point": r.manifest.RecoveryPoint.Format(time.RFC3339)}
	for _, e := range endings {
		if e.unlessKept && r.KeepAPIKeys {
			continue
		}
		result, err := r.tx.ExecContext(ctx, e.sql, r.now)
		if err != nil {
			return fmt.Errorf("end %s: %w", e.name, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("end %s: %w", e.name, err)
		}
		detail["ended-"+e.name] = strconv.FormatInt(n, 10)
	}
	return r.record(ctx, t.ID, t.Slug, detail)
}

func (r *restoring) record(ctx context.Context, id tenant.ID, slug string, detail map[string]string) error {
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = r.tx.ExecContext(ctx, restoredSQL, id, r.now, restorerKind, restorerID, restorerName, Action, slug, string(text))
	if err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	return nil
}
