package tenant

import (
	"context"
	"fmt"
	"time"

	"carillon/authz"
)

// readOnly reports whether the tenant is only read from: the platform is in maintenance,
// or the tenant is suspended or leaving, which to phones and programs is the same. One
// that winds down is not yet.
func (t *Tenant) readOnly() bool { return t.Maintenance || t.State != Active && !t.WindingDown }

// ClosedForIssue reports whether codes may not be issued or asked for: the tenant is only
// read from, leaves, or is in maintenance by its own switch (verification protocol §0.4).
func (t *Tenant) ClosedForIssue() bool {
	return t.readOnly() || t.State == Leaving || t.Settings.Maintenance
}

// ClosedForVerify reports whether codes may not be verified: the tenant is only read from.
// Its own switch leaves the codes good that are out.
func (t *Tenant) ClosedForVerify() bool { return t.readOnly() }

// ClosedForPublish reports whether keys may not be published: the tenant is only read
// from (key server protocol §1.1). Its own switch is about codes, and leaves the
// certificates good that are out.
func (t *Tenant) ClosedForPublish() bool { return t.readOnly() }

// HoldMaintenance makes the platform be in maintenance as this directory sees it,
// whatever the database says, for the directory's life.
func (d *Directory) HoldMaintenance() {
	d.held.Store(true)
	d.byName.Clear()
}

// Maintenance reports whether the platform is in maintenance. Like a tenant, the
// answer may be [DirectoryAge] old.
func (d *Directory) Maintenance(ctx context.Context) (bool, error) {
	if d.held.Load() {
		return true, nil
	}
	return d.platform.Get(ctx, struct{}{})
}

const maintenanceSQL = `select maintenance from platform`

func (d *Directory) loadMaintenance(ctx context.Context, _ struct{}) (on bool, err error) {
	err = d.db.Platform(ctx, func(tx *Tx) error { return tx.Get(ctx, &on, maintenanceSQL) })
	if err != nil {
		return false, fmt.Errorf("read maintenance: %w", err)
	}
	return on, nil
}

// One statement, so there is no switch without its entry.
const setMaintenanceSQL = `
with switched as (
   update platform
      set maintenance = $1
    where maintenance <> $1
returning maintenance
)
insert into platform_entry (at, actor_kind, actor_id, actor_name, action, detail)
select $2, $3, $4, $5, 'platform:maintenance', jsonb_build_object('-maintenance', not maintenance, '+maintenance', maintenance)
  from switched`

// SetMaintenance switches the whole platform to maintenance or back, and enters who did
// so. Switched so already, it stays as it is without an entry. db is a handle under the
// role carillon_operator; every process follows within [DirectoryAge].
func SetMaintenance(ctx context.Context, db *DB, by authz.Subject, on bool, at time.Time) error {
	err := db.Platform(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, setMaintenanceSQL, on, at.UTC().Truncate(time.Second), string(by.Kind), by.ID, by.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("switch maintenance: %w", err)
	}
	return nil
}

// MaintenanceSwitch is one entry of the platform's log.
type MaintenanceSwitch struct {
	At time.Time
	// By is the name of who did it.
	By string `db:"actor_name"`
	// On is what it was switched to.
	On bool `db:"maintenance"`
}

const switchesSQL = `
  select at, actor_name, (detail ->> '+maintenance')::boolean as maintenance
    from platform_entry
   where action = 'platform:maintenance'
order by entry_no desc
   limit $1`

// MaintenanceSwitches are the newest switches of the platform, the newest first. db is a
// handle under the role carillon_operator.
func MaintenanceSwitches(ctx context.Context, db *DB, limit int) (list []MaintenanceSwitch, err error) {
	err = db.Platform(ctx, func(tx *Tx) error { return tx.Select(ctx, &list, switchesSQL, limit) })
	if err != nil {
		return nil, fmt.Errorf("read switches of maintenance: %w", err)
	}
	return list, nil
}
