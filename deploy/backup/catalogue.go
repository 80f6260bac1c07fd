package backup

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/lib/pq"

	"carillon/tenant"
)

// leftOut are the tables of which a backup has no rows, and why. All others are in it, also
// those that a later release makes.
var leftOut = map[string]string{
	"data_key":         "wrapped data keys are in the key store, so that erasure reaches them",
	"login_session":    "every sign-in ends with a restore",
	"spent_logout":     "belongs to sign-ins",
	"signup_link":      "links that were sent end with a restore",
	"job_run":          "the schedule begins anew",
	"rehearsal_pass":   "the rehearsal that was under way has ended",
	"rehearsal_code":   "of a rehearsal",
	"rehearsal_token":  "of a rehearsal",
	"rehearsal_key":    "of a rehearsal",
	"goose_db_version": "the schema is made by the program that restores",
}

// notOfOneTenant are left out of the backup of a single tenant as well: agreements with
// tenants that are not in it.
var notOfOneTenant = map[string]bool{"share_answer": true, "share_crossing": true}

// table is one of the database's, as its catalogue has it.
type table struct {
	Name string
	// tenant is the column that says whose a row is; empty if no column does.
	tenant string
	// sorted are the columns of the primary key.
	sorted []string
	// after are tables that its rows refer to.
	after []string
}

// tenantTable reports whether each row is one tenant's alone.
func (t table) tenantTable() bool { return t.tenant == "tenant_id" }

const tablesSQL = `
  select c.relname,
         coalesce((select a.attname
                     from pg_attribute a
                    where a.attrelid = c.oid
                      and a.attname in ('tenant_id', 'tenant')
                      and not a.attisdropped
                 order by a.attname desc
                    limit 1), ''),
         array(select a.attname::text
                 from pg_index i
                cross join unnest(i.indkey) with ordinality as k (attnum, place)
                 join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                where i.indrelid = c.oid
                  and i.indisprimary
             order by k.place),
         array(select distinct f.confrelid::regclass::text
                 from pg_constraint f
                where f.conrelid = c.oid
                  and f.contype = 'f'
                  and f.confrelid <> c.oid)
    from pg_class c
   where c.relnamespace = 'public'::regnamespace
     and c.relkind in ('r', 'p')
order by c.relname`

// queryer is what a catalogue is read through.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// catalogue lists the tables that a backup has, each after those that it refers to.
func catalogue(ctx context.Context, q queryer) ([]table, error) {
	rows, err := q.QueryContext(ctx, tablesSQL)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	defer rows.Close()
	var tables []table
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.Name, &t.tenant, pq.Array(&t.sorted), pq.Array(&t.after)); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		if leftOut[t.Name] == "" {
			tables = append(tables, t)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return inOrder(tables)
}

// inOrder puts each table after those it refers to; what is left out is there before.
func inOrder(tables []table) (ordered []table, err error) {
	placed := map[string]bool{}
	known := func(name string) bool {
		return slices.ContainsFunc(tables, func(t table) bool { return t.Name == name })
	}
	for len(ordered) < len(tables) {
		before := len(ordered)
		for _, t := range tables {
			waits := slices.ContainsFunc(t.after, func(name string) bool { return known(name) && !placed[name] })
			if !placed[t.Name] && !waits {
				placed[t.Name] = true
				ordered = append(ordered, t)
			}
		}
		if len(ordered) == before {
			return nil, fmt.Errorf("tables refer to each other in a circle: %d of %d can be ordered", before, len(tables))
		}
	}
	return ordered, nil
}

// rowsSQL reads a table's rows as JSON objects, in the order of the primary key, so that
// the same rows give the same bytes. $1, if of one tenant, is whose.
func (t table) rowsSQL(ofOne bool) string {
	where := ""
	if ofOne {
		where = " where " + pq.QuoteIdentifier(t.tenant) + " = $1"
	}
	quoted := make([]string, len(t.sorted))
	for i, column := range t.sorted {
		quoted[i] = pq.QuoteIdentifier(column)
	}
	return "select row_to_json(t)::text from (select * from " + pq.QuoteIdentifier(t.Name) + where +
		" order by " + strings.Join(quoted, ", ") + ") t"
}

// insertSQL writes rows that rowsSQL has read: $1 is a JSON array of them.
func (t table) insertSQL() string {
	name := pq.QuoteIdentifier(t.Name)
	return "insert into " + name + " overriding system value select * from json_populate_recordset(null::" + name + ", $1::json)"
}

// each calls visit with every row of a table: those of one tenant, or all if id is nil.
// What visit gets is gone afterwards.
func (t table) each(ctx context.Context, q queryer, id *tenant.ID, visit func(row []byte) error) error {
	var args []any
	if id != nil {
		args = append(args, *id)
	}
	rows, err := q.QueryContext(ctx, t.rowsSQL(id != nil), args...)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var row sql.RawBytes
		if err := rows.Scan(&row); err != nil {
			return fmt.Errorf("read %s: %w", t.Name, err)
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	return nil
}
