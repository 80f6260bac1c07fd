package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"carillon/tenant/export"
)

// copiesIn is the store of copies of published files, which all backups of a folder share.
func copiesIn(folder string) (export.Store, error) {
	return export.NewFileStore(filepath.Join(folder, "files"))
}

// maxFile bounds a published file, in bytes; one of 750,000 keys has 30 MB.
const maxFile = 256 << 20

const listedFilesSQL = `
  select c.path || f.name, f.size, f.sha256
    from export_file f
    join export_config c using (tenant_id, config_id)
   where f.tenant_id = $1
     and f.state = 'published'
order by 1`

// listed is a published file that the database knows.
type listed struct {
	name string // in the store
	size int64
	sum  Sum
}

func listedFiles(ctx context.Context, q queryer, o owner) (all []listed, err error) {
	rows, err := q.QueryContext(ctx, listedFilesSQL, o.id)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var f listed
		var sum sql.RawBytes
		if err := rows.Scan(&f.name, &f.size, &sum); err != nil {
			return nil, fmt.Errorf("list files: %w", err)
		}
		f.name = o.slug + "/" + f.name
		copy(f.sum[:], sum)
		all = append(all, f)
	}
	return all, rows.Err()
}

var errOtherContent = errors.New("the file has other content than the database says")

// fetch reads a listed file: [export.ErrNotFound] if the store has none.
func (f listed) fetch(ctx context.Context, from export.Store) ([]byte, error) {
	body, err := fetch(ctx, from, f.name)
	if err == nil && sha256.Sum256(body) != f.sum {
		err = errOtherContent
	}
	return body, err
}

func fetch(ctx context.Context, from export.Store, name string) ([]byte, error) {
	object, err := from.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if object.Size() > maxFile {
		return nil, errors.Join(errOtherContent, object.Close())
	}
	body, err := io.ReadAll(object)
	return body, errors.Join(err, object.Close())
}

// copyFiles copies those of a tenant's published files that no backup has copied before.
func (w *writing) copyFiles(ctx context.Context, o owner) error {
	if w.Exports == nil {
		return nil
	}
	files, err := listedFiles(ctx, w.tx, o)
	if err != nil {
		return err
	}
	for _, f := range files {
		w.manifest.Files.Count++
		w.manifest.Files.Bytes += f.size
		if _, err := f.fetch(ctx, w.copies); err == nil {
			continue
		}
		body, err := f.fetch(ctx, w.Exports)
		if errors.Is(err, export.ErrNotFound) || errors.Is(err, errOtherContent) {
			w.manifest.Files.Missing = append(w.manifest.Files.Missing, f.name)
			continue
		}
		if err == nil {
			err = w.copies.Replace(ctx, f.name, body)
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", f.name, err)
		}
	}
	return nil
}

const unlistSQL = `
update export_file f
   set state = 'unlisted'
  from export_config c
 where f.tenant_id = $1
   and c.tenant_id = f.tenant_id
   and c.config_id = f.config_id
   and f.state = 'published'
   and $2 = c.path || f.name`

// bringBack puts the files that the rows name into the store, if it has lost them. What no
// copy has either is lost: it is taken out of the index, which must never name what is not
// there.
func bringBack(ctx context.Context, tx *sql.Tx, o owner, copies, exports export.Store) (restored int, lost []string, err error) {
	files, err := listedFiles(ctx, tx, o)
	if err != nil {
		return 0, nil, err
	}
	for _, f := range files {
		_, err := f.fetch(ctx, exports)
		if err == nil {
			continue
		}
		if !errors.Is(err, export.ErrNotFound) {
			return restored, lost, fmt.Errorf("%s in the store: %w", f.name, err)
		}
		body, err := f.fetch(ctx, copies)
		if errors.Is(err, export.ErrNotFound) || errors.Is(err, errOtherContent) {
			lost = append(lost, f.name)
			if _, err := tx.ExecContext(ctx, unlistSQL, o.id, f.name[len(o.slug)+1:]); err != nil {
				return restored, lost, fmt.Errorf("unlist %s: %w", f.name, err)
			}
			continue
		}
		if err == nil {
			err = exports.PutIfAbsent(ctx, f.name, body)
		}
		if err != nil {
			return restored, lost, fmt.Errorf("bring back %s: %w", f.name, err)
		}
		restored++
	}
	return restored, lost, nil
}

// indexed are the names that a store's index has, oldest first; none if there is no index.
func indexed(ctx context.Context, exports export.Store, prefix string) ([]string, error) {
	body, err := fetch(ctx, exports, prefix+export.IndexName)
	if errors.Is(err, export.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	var names []string
	for _, line := range bytes.Split(body, []byte("\n")) {
		if len(line) > 0 {
			names = append(names, string(line))
		}
	}
	return names, nil
}
