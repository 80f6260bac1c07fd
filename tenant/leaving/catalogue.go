package leaving

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"carillon/tenant"
)

// tables are those of the schema, as the catalogue has them at this moment.
type tables struct {
	// tenants are those with tenants' rows, in an order in which they can be emptied: each
	// before those to which it refers.
	tenants []string
	// sealing are those among them without which nothing that was sealed opens: the data
	// key, and what refers to it.
	sealing []string
	// platform are the others.
	platform []string
}

const (
	tablesSQL = `
  select c.relname as name,
         exists (select from pg_attribute a
                  where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped) as tenants
    from pg_class c
   where c.relnamespace = 'public'::regnamespace
     and c.relkind in ('r', 'p')
order by c.relname`

	referencesSQL = `
  select distinct source.relname as "from", target.relname as "to"
    from pg_constraint con
    join pg_class source on source.oid = con.conrelid
    join pg_class target on target.oid = con.confrelid
   where con.contype = 'f'
     and con.conrelid <> con.confrelid
     and source.relnamespace = 'public'::regnamespace`
)

type reference struct{ From, To string }

const dataKeyTable = "data_key"

// readTables reads the catalogue, so that a table which is new cannot be forgotten.
func readTables(ctx context.Context, db *tenant.DB) (all tables, err error) {
	var found []struct {
		Name    string
		Tenants bool
	}
	var references []reference
	err = db.Platform(ctx, func(tx *tenant.Tx) error {
		if err := tx.Select(ctx, &found, tablesSQL); err != nil {
			return err
		}
		return tx.Select(ctx, &references, referencesSQL)
	})
	if err != nil {
		return all, fmt.Errorf("read catalogue: %w", err)
	}
	var names []string
	for _, f := range found {
		if f.Tenants {
			names = append(names, f.Name)
		} else {
			all.platform = append(all.platform, f.Name)
		}
	}
	if all.tenants, err = order(names, references); err != nil {
		return all, err
	}
	for _, name := range slices.Backward(all.tenants) {
		refers := slices.ContainsFunc(references, func(r reference) bool { return r.From == name && slices.Contains(all.sealing, r.To) })
		if name == dataKeyTable || refers {
			all.sealing = append(all.sealing, name)
		}
	}
	slices.Reverse(all.sealing)
	return all, nil
}

var errCircle = errors.New("tables refer to each other in a circle")

// order sorts tables so that each comes before those to which it refers.
func order(names []string, references []reference) ([]string, error) {
	var sorted []string
	for len(names) > 0 {
		referred := func(name string) bool {
			return slices.ContainsFunc(references, func(r reference) bool { return r.To == name && slices.Contains(names, r.From) })
		}
		var later []string
		for _, name := range names {
			if referred(name) {
				later = append(later, name)
			} else {
				sorted = append(sorted, name)
			}
		}
		if len(later) == len(names) {
			return nil, fmt.Errorf("%w: %v", errCircle, names)
		}
		names = later
	}
	return sorted, nil
}

// quote makes a name of the catalogue part of a statement.
func quote(name string) string { return pq.QuoteIdentifier(name) }
