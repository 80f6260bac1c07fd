package backup

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant/export"
)

// The store of published files outlives the database, and phones have read its index. What
// was published after the recovery point is adopted: its rows are made from the files, so
// that the index goes on where phones saw it end, and no window that they have is made a
// second time with other content. Objects that the index never named are no phone's: they
// are deleted, and their windows are made again.

var fileForm = regexp.MustCompile(`^(\d{1,12})-(\d{1,12})-(\d{5})\.zip$`)

// published is a file of the store, by its name.
type published struct {
	name       string
	start, end time.Time
	number     int
}

func parseFile(name string) (f published, ok bool) {
	m := fileForm.FindStringSubmatch(name)
	if m == nil {
		return published{}, false
	}
	start, err1 := strconv.ParseInt(m[1], 10, 64)
	end, err2 := strconv.ParseInt(m[2], 10, 64)
	number, err3 := strconv.Atoi(m[3])
	if errors.Join(err1, err2, err3) != nil || start >= end || number == 0 {
		return published{}, false
	}
	return published{name: name, start: time.Unix(start, 0).UTC(), end: time.Unix(end, 0).UTC(), number: number}, true
}

const (
	configsSQL = `
  select c.config_id, c.path,
         array(select name from export_file f where f.tenant_id = c.tenant_id and f.config_id = c.config_id),
         coalesce((select min(b.starts_at)
                     from export_batch b
                    where b.tenant_id = c.tenant_id
                      and b.config_id = c.config_id
                      and b.state = 'open'),
                  (select max(b.ends_at)
                     from export_batch b
                    where b.tenant_id = c.tenant_id
                      and b.config_id = c.config_id))
    from export_config c
   where c.tenant_id = $1`

	publicKeysSQL = `
select public_der
  from signing_key
 where tenant_id = $1
   and purpose = 'export'`

	adoptBatchSQL = `
insert into export_batch (tenant_id, config_id, starts_at, ends_at, state, published_at)
values ($1, $2, $3, $4, 'published', $5)
    on conflict on constraint export_batch_pkey
    do update set state = 'published', published_at = excluded.published_at, leased_until = null`

	adoptFileSQL = `
insert into export_file
       (tenant_id, config_id, starts_at, file_no, name, key_count, revised_count, size, sha256, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'published')`

	dropPartsSQL = `
delete from export_part
 where tenant_id = $1
   and config_id = $2
   and starts_at = $3`

	adoptHorizonSQL = `
insert into export_horizon (tenant_id, settled_until)
values ($1, $2)
    on conflict on constraint export_horizon_pkey
    do update set settled_until = greatest(export_horizon.settled_until, excluded.settled_until)`
)

// lane is one configuration's files.
type lane struct {
	config uuid.UUID
	path   string
	known  pq.StringArray // names that have rows
	// open is the start of the first window of which no file is known.
	open sql.NullTime
}

// adopt makes rows for what a tenant published after the backup, and returns for how many
// files.
func adopt(ctx context.Context, tx *sql.Tx, o owner, exports export.Store) (int, error) {
	lanes, err := lanesOf(ctx, tx, o)
	if err != nil {
		return 0, err
	}
	keys, err := exportKeys(ctx, tx, o)
	if err != nil {
		return 0, err
	}
	adopted := 0
	for _, l := range lanes {
		prefix := o.slug + "/" + l.path
		names, err := indexed(ctx, exports, prefix)
		if err != nil {
			return adopted, err
		}
		for _, name := range names {
			if slices.Contains(l.known, name) {
				continue
			}
			if err := l.adopt(ctx, tx, o, exports, prefix, name, keys); err != nil {
				return adopted, fmt.Errorf("adopt %s%s: %w", prefix, name, err)
			}
			adopted++
		}
		if err := l.sweep(ctx, exports, prefix, names); err != nil {
			return adopted, err
		}
	}
	return adopted, nil
}

func lanesOf(ctx context.Context, tx *sql.Tx, o owner) (lanes []lane, err error) {
	rows, err := tx.QueryContext(ctx, configsSQL, o.id)
	if err != nil {
		return nil, fmt.Errorf("read export configurations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l lane
		if err := rows.Scan(&l.config, &l.path, &l.known, &l.open); err != nil {
			return nil, fmt.Errorf("read export configurations: %w", err)
		}
		lanes = append(lanes, l)
	}
	return lanes, rows.Err()
}

func exportKeys(ctx context.Context, tx *sql.Tx, o owner) (keys []exportfile.TrustedKey, err error) {
	rows, err := tx.QueryContext(ctx, publicKeysSQL, o.id)
	if err != nil {
		return nil, fmt.Errorf("read export keys: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var der []byte
		if err := rows.Scan(&der); err != nil {
			return nil, fmt.Errorf("read export keys: %w", err)
		}
		public, err := signing.ParsePublicDER(der)
		if err != nil {
			return nil, fmt.Errorf("export key: %w", err)
		}
		keys = append(keys, exportfile.TrustedKey{Key: public})
	}
	return keys, rows.Err()
}

// errForeignFile means that a file of the index was not made by this tenant's known keys.
var errForeignFile = errors.New("the index names a file that none of the backup's export keys has signed: a newer key is missing in the backup, or the file is not ours")

func verifiedFile(body []byte, keys []exportfile.TrustedKey) (f exportfile.File, err error) {
	for _, k := range keys {
		if f, err = exportfile.VerifyAny(body, k.Key); err == nil {
			return f, nil
		}
	}
	return exportfile.File{}, errors.Join(errForeignFile, err)
}

func (l lane) adopt(ctx context.Context, tx *sql.Tx, o owner, exports export.Store, prefix, name string, keys []exportfile.TrustedKey) error {
	file, ok := parseFile(name)
	if !ok {
		return errForeignFile
	}
	body, err := fetch(ctx, exports, prefix+name)
	if err != nil {
		return err
	}
	content, err := verifiedFile(body, keys)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	for _, s := range []struct {
		query string
		args  []any
	}{
		{adoptBatchSQL, []any{o.id, l.config, file.start, file.end, file.end}},
		{dropPartsSQL, []any{o.id, l.config, file.start}},
		{adoptFileSQL, []any{o.id, l.config, file.start, file.number, name, len(content.Keys), len(content.Revised), len(body), sum[:]}},
		{adoptHorizonSQL, []any{o.id, file.end}},
	} {
		if _, err := tx.ExecContext(ctx, s.query, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes files that no index has named and no row knows.
func (l lane) sweep(ctx context.Context, exports export.Store, prefix string, names []string) error {
	objects, err := exports.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	for _, object := range objects {
		file, ok := parseFile(strings.TrimPrefix(object, prefix))
		if !ok || slices.Contains(names, file.name) || slices.Contains(l.known, file.name) || l.open.Valid && file.start.Before(l.open.Time) {
			continue
		}
		if err := exports.Delete(ctx, object); err != nil && !errors.Is(err, export.ErrNotFound) {
			return fmt.Errorf("delete %s: %w", object, err)
		}
	}
	return nil
}
