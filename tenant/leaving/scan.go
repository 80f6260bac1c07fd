package leaving

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"carillon/tenant"
)

// byDesign are the tables without tenants' rows that a scan does not look through, and why.
var byDesign = map[string]string{
	"tenant_directory":  "its slug and health authority ID, so that no other authority is ever taken for it",
	"erasure":           "this certificate",
	"platform_entry":    "the platform's own log, which says that it came and left",
	"login_session":     "sessions belong to people, not to the authority, and end within 12 hours",
	"platform_operator": "those who run the platform",
	"platform_key":      "the platform's own keys",
	"goose_db_version":  "the version of the schema",
}

// remains is what a certificate says is left.
var remains = []string{
	"Slug and health authority ID in the directory, so that no other authority is ever taken for it; nothing else of it is there.",
	"The platform's own log says that it came, began to leave and was erased; the platform keeps this certificate.",
	"Audit logs of other authorities, with which it shared keys, name it, and what they agreed on.",
	"Exposure keys that other authorities had from it by agreement are theirs, and go 14 days after they arrived there.",
	"Backups made before hold its rows until they are deleted as the platform's rules say. What was sealed in them, such as signing keys, waiting messages and laboratory results, cannot be opened again.",
	"Copies of published files that were downloaded, by phones or by caches.",
}

const (
	leftSQL = `select exists (select from %s where tenant_id = current_tenant())`

	columnsSQL = `
  select c.relname as "table", a.attname as "column"
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
   where c.relnamespace = 'public'::regnamespace
     and c.relkind in ('r', 'p')
     and format_type(a.atttypid, null) in ('uuid', 'uuid[]', 'text', 'text[]', 'json', 'jsonb')
order by c.relname, a.attnum`

	identitySQL = `select slug, health_authority_id from tenant_directory where tenant = current_tenant()`
)

// scan looks for the tenant in every table of the catalogue and in the store. It returns
// the tables that it looked through, or an error that says where something is left.
func (s *Service) scan(ctx context.Context, all tables, e departure) (scanned []string, err error) {
	var left []string
	err = s.DB.InRole(ctx, e.Tenant, tenant.Eraser, func(tx *tenant.Tx) error {
		for _, table := range all.tenants {
			var found bool
			if err := tx.Get(ctx, &found, fmt.Sprintf(leftSQL, quote(table))); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
			if found {
				left = append(left, table)
			}
		}
		named, err := scanPlatform(ctx, tx, all.platform, e)
		left = append(left, named...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	for _, prefix := range Prefixes(e.Slug) {
		names, err := s.Files.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("scan files: %w", err)
		}
		left = append(left, names...)
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("%w: %s", errRemains, strings.Join(left, ", "))
	}
	for _, table := range append(slices.Clone(all.tenants), all.platform...) {
		if byDesign[table] == "" {
			scanned = append(scanned, table)
		}
	}
	slices.Sort(scanned)
	return scanned, nil
}

// scanPlatform looks for the tenant's ID, slug and health authority ID in every column of
// the tables without tenants' rows that could hold one.
func scanPlatform(ctx context.Context, tx *tenant.Tx, platform []string, e departure) (left []string, err error) {
	var who struct {
		Slug string
		ID   string `db:"health_authority_id"`
	}
	if err := tx.Get(ctx, &who, identitySQL); err != nil {
		return nil, err
	}
	var columns []struct{ Table, Column string }
	if err := tx.Select(ctx, &columns, columnsSQL); err != nil {
		return nil, err
	}
	for _, c := range columns {
		if byDesign[c.Table] != "" || !slices.Contains(platform, c.Table) {
			continue
		}
		column := quote(c.Column) + "::text"
		query := `select exists (select from ` + quote(c.Table) + ` where ` + column + ` in ($2, $3) or position($1 in ` + column + `) > 0)`
		if c.Table == "application" && c.Column == "sandbox" {
			query += ` and $1 not in (select sandbox::text from application where production is not null and sandbox is not null)`
		}
		var found bool
		if err := tx.Get(ctx, &found, query, e.Tenant.String(), who.Slug, who.ID); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Table, err)
		}
		if found {
			left = append(left, c.Table+"."+c.Column)
		}
	}
	return left, nil
}
