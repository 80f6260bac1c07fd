package tenant

import (
	"context"
	"fmt"
)

// ClosedForIssue reports whether codes may not be issued or asked for: the platform or
// this tenant is in maintenance (verification protocol §0.4).
func (t *Tenant) ClosedForIssue() bool { return t.Maintenance || t.Settings.Maintenance }

// ClosedForVerify reports whether codes may not be verified: the platform is in
// maintenance. A tenant's own switch leaves the codes good that are out.
func (t *Tenant) ClosedForVerify() bool { return t.Maintenance }

// ClosedForPublish reports whether keys may not be published: the platform is in
// maintenance (key server protocol §1.1). A tenant's own switch is about codes, and
// leaves the certificates good that are out.
func (t *Tenant) ClosedForPublish() bool { return t.Maintenance }

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

const setMaintenanceSQL = `update platform set maintenance = $1`

// SetMaintenance switches the whole platform to maintenance or back. db is a handle
// under the role carillon_operator; every process follows within [DirectoryAge].
func SetMaintenance(ctx context.Context, db *DB, on bool) error {
	err := db.Platform(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, setMaintenanceSQL, on)
		return err
	})
	if err != nil {
		return fmt.Errorf("switch maintenance: %w", err)
	}
	return nil
}
