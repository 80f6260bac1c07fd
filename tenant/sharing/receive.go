package sharing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/exposure"
)

// inForce is a share of which a tenant is the recipient.
type inForce struct {
	Donor   tenant.ID
	OfferID uuid.UUID `db:"offer_id"`
	// CrossedUntil: what is dated before it has been fetched.
	CrossedUntil time.Time `db:"crossed_until"`
}

const inForceSQL = `
  select donor, offer_id, crossed_until
    from share_in_force
order by donor
   limit 1000`

// Hide pads a donor's keys that are dated from one time to another.
type Hide func(ctx context.Context, donor *tenant.Tenant, from, until time.Time) error

// Receive fetches the keys that other tenants share with t and that have not been
// fetched before. What fails for one donor keeps no other's keys from coming.
//
// A key is fetched when the donor's horizon has passed its date: then no other key
// will be dated before it, so that each share has one mark up to which everything has
// crossed, and no clock decides. Keys come into the recipient's table the way those of
// its phones do: under its [exposure.Arrivals] lock, dated no earlier than its own
// horizon and never before they arrived at the donor. So they are in exactly one file
// of each configuration, whatever the windows of either side are. A key that the
// recipient knows already stays as it is. Before keys cross, hide pads those of the donor
// that are dated in a span, and copies cross with their originals: what the files of both
// tenants have in common would otherwise be the real keys. Copies are not counted.
//
// db is a handle under the role carillon_jobs. Any number of processes may do this at
// once, and may die at any moment.
func Receive(ctx context.Context, db *tenant.DB, directory *tenant.Directory, t *tenant.Tenant, hide Hide, now time.Time) error {
	var shares []inForce
	err := db.InSharing(ctx, t.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &shares, inForceSQL)
	})
	if err != nil {
		return fmt.Errorf("read shares: %w", err)
	}
	var errs []error
	for _, s := range shares {
		if err := fetch(ctx, db, directory, t, s, hide, now); err != nil {
			errs = append(errs, fmt.Errorf("fetch shared keys: %w", err))
		}
	}
	return errors.Join(errs...)
}

func fetch(ctx context.Context, db *tenant.DB, directory *tenant.Directory, t *tenant.Tenant, s inForce, hide Hide, now time.Time) error {
	donor, err := directory.ByID(ctx, s.Donor)
	if err != nil {
		return fmt.Errorf("find donor: %w", err)
	}
	horizon := now.UTC().Truncate(donor.Settings.Truncate)
	if donor.State != tenant.Active || !horizon.After(s.CrossedUntil) {
		return nil
	}
	until, err := settle(ctx, db, donor, s.OfferID, horizon)
	if err != nil {
		return fmt.Errorf("settle donor: %w", err)
	}
	if err := hide(ctx, donor, s.CrossedUntil, until); err != nil {
		return fmt.Errorf("pad donor's keys: %w", err)
	}
	return cross(ctx, db, t, s, until)
}

// settleTimeout bounds how long the donor's publishers may have to wait behind a
// process that waits for others of them.
const settleTimeout = 10 * time.Second

const (
	// Arrivals after the beginning of the present window are dated no earlier than that
	// anyhow: to move the horizon there changes no key's date.
	horizonSQL = `
insert into export_horizon (tenant_id, settled_until)
values (current_tenant(), $1)
    on conflict on constraint export_horizon_pkey
    do update set settled_until = greatest(export_horizon.settled_until, excluded.settled_until)
returning settled_until`

	settledSQL = `
update share_offer
   set settled_until = $2
 where tenant_id = current_tenant()
   and offer_id = $1
   and withdrawn_at is null`
)

// settle moves the donor's horizon and returns it, in a transaction of the donor's own.
func settle(ctx context.Context, db *tenant.DB, donor *tenant.Tenant, offer uuid.UUID, horizon time.Time) (settled time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err = db.InExclusive(ctx, donor.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &settled, horizonSQL, horizon); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, settledSQL, offer, settled)
		return err
	})
	return settled, err
}

const (
	// Whoever moves the mark fetches what it passes.
	advanceSQL = `
update share_answer
   set crossed_until = $4
 where tenant_id = current_tenant()
   and donor = $1
   and offer_id = $2
   and crossed_until = $3`

	// The policy through_a_share admits what the donor shares and nothing else. A shared
	// key is for the recipient's region too, by which its configurations choose.
	crossSQL = `
with crossed as (
insert into exposure
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
        traveler, region, other_regions, created_at, shared_by, generated, copy_of)
  select current_tenant(), e.tek, e.rolling_start, e.rolling_period, e.transmission_risk, e.report_type, e.days_since_onset,
         e.traveler, e.region,
         (select array_agg(distinct r order by r)
            from unnest(e.other_regions || (select d.region from tenant_directory d where d.tenant = current_tenant())) as u (r)),
         greatest(e.created_at, (select h.settled_until from export_horizon h where h.tenant_id = current_tenant())), e.tenant_id,
         e.generated, e.copy_of
    from exposure e
   where e.tenant_id = $1
     and e.created_at >= $2
     and e.created_at < $3
order by e.tek
      on conflict (tenant_id, tek) do nothing
returning generated)
select count(*) from crossed where not generated`

	// Only a key that came from this donor is revised by it.
	reviseSQL = `
with crossed as (
update exposure k
   set revised_type  = e.revised_type,
       revised_at    = greatest(e.revised_at, k.created_at, (select h.settled_until from export_horizon h where h.tenant_id = current_tenant())),
       revised_days  = e.revised_days,
       revised_risk  = e.revised_risk,
       other_regions = (select array_agg(distinct r order by r) from unnest(k.other_regions || e.other_regions) as u (r))
  from exposure e
 where e.tenant_id = $1
   and e.revised_at >= $2
   and e.revised_at < $3
   and k.tenant_id = current_tenant()
   and k.tek = e.tek
   and k.shared_by = e.tenant_id
   and k.revised_at is null
returning k.generated)
select count(*) from crossed where not generated`

	crossingSQL = `
insert into share_crossing (tenant_id, donor, from_at, until_at, key_count, revised_count)
values (current_tenant(), $1, $2, $3, $4, $5)`
)

// cross brings what is dated between the share's mark and until, and moves the mark, all
// or nothing.
func cross(ctx context.Context, db *tenant.DB, t *tenant.Tenant, s inForce, until time.Time) error {
	return db.InSharing(ctx, t.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		moved, err := tx.Exec(ctx, advanceSQL, s.Donor, s.OfferID, s.CrossedUntil, until)
		if err != nil || moved == 0 {
			return err // another process was faster
		}
		var keys, revised int
		if err := tx.Get(ctx, &keys, crossSQL, s.Donor, s.CrossedUntil, until); err != nil {
			return err
		}
		if err := tx.Get(ctx, &revised, reviseSQL, s.Donor, s.CrossedUntil, until); err != nil || keys+revised == 0 {
			return err
		}
		_, err = tx.Exec(ctx, crossingSQL, s.Donor, s.CrossedUntil, until, keys, revised)
		return err
	})
}

const (
	// crossingRetention is how long counts are kept: a little longer than keys.
	crossingRetention = 15 * 24 * time.Hour

	cleanupSQL = `
delete from share_crossing
 where tenant_id = current_tenant()
   and until_at < $1`
)

// Cleanup forgets how many keys came to a tenant when those keys are gone. db is a handle
// under the role carillon_jobs.
func Cleanup(ctx context.Context, db *tenant.DB, id tenant.ID, now time.Time) error {
	err := db.In(ctx, id, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, cleanupSQL, now.UTC().Add(-crossingRetention))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget counts of shared keys: %w", err)
	}
	return nil
}
