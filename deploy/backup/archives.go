package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"carillon/tenant/export"
)

// dropArchives deletes parts of archives that no row knows any more: staff asked for them
// after the recovery point, and no job would ever delete them.
func (r *restoring) dropArchives(ctx context.Context) error {
	if r.Exports == nil {
		return nil
	}
	db, err := sql.Open("postgres", r.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	for _, t := range r.report.Tenants {
		if err := bind(ctx, tx, t.ID); err != nil {
			return err
		}
		if err := r.dropArchivesOf(ctx, tx, t); err != nil {
			return fmt.Errorf("archives of %s: %w", t.Slug, err)
		}
	}
	return nil
}

const archivesSQL = `select coalesce(string_agg(archive_id::text, ' '), '') from tenant_archive where tenant_id = current_tenant()`

func (r *restoring) dropArchivesOf(ctx context.Context, tx *sql.Tx, t RestoredTenant) error {
	var known string
	if err := tx.QueryRowContext(ctx, archivesSQL).Scan(&known); err != nil {
		return err
	}
	prefix := "archives/" + t.Slug + "/"
	names, err := r.Exports.List(ctx, prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "/")
		if slices.Contains(strings.Fields(known), id) {
			continue
		}
		if err := r.Exports.Delete(ctx, name); err != nil && !errors.Is(err, export.ErrNotFound) {
			return err
		}
	}
	return nil
}
