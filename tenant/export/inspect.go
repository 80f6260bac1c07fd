package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

const (
	// inspectEvery is how often a file that was sound is read again.
	inspectEvery = 24 * time.Hour
	// inspectAtOnce bounds what one turn reads, up to 16 MB each.
	inspectAtOnce = 50

	inspectSQL = `
  select f.config_id, f.starts_at, f.file_no, f.name, f.sha256, f.finding, f.remake, c.path
    from export_file f
    join export_config c using (tenant_id, config_id)
   where f.state = 'published'
     and (f.checked_at is null or f.finding <> 'sound' or f.checked_at < $1)
order by f.remake = 'asked' desc, f.checked_at nulls first, f.starts_at
   limit $2`

	foundSQL = `
update export_file
   set finding    = $4,
       checked_at = $5,
       remake     = $6
 where config_id = $1
   and starts_at = $2
   and file_no = $3
   and state = 'published'
   and remake in ($7, $6)`
)

// published is a file that phones find in the index.
type published struct {
	ConfigID uuid.UUID     `db:"config_id"`
	Start    time.Time     `db:"starts_at"`
	Number   int           `db:"file_no"`
	Name     string        `db:"name"`
	SHA256   []byte        `db:"sha256"`
	Finding  shelf.Finding `db:"finding"`
	Remake   shelf.Remake  `db:"remake"`
	Path     string        `db:"path"`
}

// Inspect reads files that phones find in the index, as they are in the store, and notes
// whether they are the bytes that were published, with signatures of keys that are. Each is
// read once a day, one that is not sound each time. What is missing or altered is written
// again if staff have asked for that, and only the very same bytes: see [Service.remake].
func (s *Service) Inspect(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	var files []published
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &files, inspectSQL, s.now().Add(-inspectEvery), inspectAtOnce)
	})
	if err != nil {
		return fmt.Errorf("find files to look at: %w", err)
	}
	if len(files) == 0 {
		return nil
	}
	trusted, err := s.trusted(ctx, t)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if err := s.inspect(ctx, t, f, trusted); err != nil {
			errs = append(errs, fmt.Errorf("look at %s: %w", f.Name, err))
		}
	}
	return errors.Join(errs...)
}

// trusted are the public halves of all export keys that the tenant ever had.
func (s *Service) trusted(ctx context.Context, t *tenant.Tenant) ([]exportfile.TrustedKey, error) {
	public, err := s.keys.Public(ctx, t.ID, signing.Export)
	if err != nil {
		return nil, fmt.Errorf("export keys: %w", err)
	}
	var keys []exportfile.TrustedKey
	for _, k := range public {
		keys = append(keys, exportfile.TrustedKey{KeyID: k.KeyID, KeyVersion: k.Label, Key: k.Key})
	}
	return keys, nil
}

func (s *Service) inspect(ctx context.Context, t *tenant.Tenant, f published, trusted []exportfile.TrustedKey) error {
	name := Prefix(t) + f.Path + f.Name
	found, err := s.find(ctx, name, f.SHA256, trusted)
	if err != nil {
		return err
	}
	remake := f.Remake
	if remake == shelf.Asked && found.Remakable() {
		if found, remake, err = s.restore(ctx, t, f, found, trusted); err != nil {
			return err
		}
	}
	if found == shelf.Sound {
		remake = ""
	}
	if found != shelf.Sound && found != f.Finding {
		s.log.ErrorContext(ctx, "export file is not as it was published", slog.String("tenant", string(t.Slug)),
			slog.String("name", name), slog.String("finding", string(found)))
	}
	_, err = s.update(ctx, t, foundSQL, f.ConfigID, f.Start, f.Number, string(found), s.now(), string(remake), string(f.Remake))
	return err
}

// find says how an object is; an error is about the store.
func (s *Service) find(ctx context.Context, name string, want []byte, trusted []exportfile.TrustedKey) (shelf.Finding, error) {
	o, err := s.store.Open(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return shelf.Missing, nil
	}
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(o, maxFile+1))
	if err := errors.Join(err, o.Close()); err != nil {
		return "", fmt.Errorf("read object: %w", err)
	}
	if sum := sha256.Sum256(body); string(sum[:]) != string(want) {
		return shelf.Altered, nil
	}
	err = exportfile.CheckPublished(body, trusted)
	switch {
	case errors.Is(err, exportfile.ErrSignature), errors.Is(err, exportfile.ErrMalformed):
		return shelf.Unsigned, nil
	case err != nil:
		return "", fmt.Errorf("verify signatures: %w", err)
	}
	return shelf.Sound, nil
}

// restore writes a file again and looks at it once more. That it cannot be made again is
// noted and no failure: nobody gains by trying for ever.
func (s *Service) restore(ctx context.Context, t *tenant.Tenant, f published, found shelf.Finding, trusted []exportfile.TrustedKey) (shelf.Finding, shelf.Remake, error) {
	body, err := s.remake(ctx, t, f)
	switch {
	case errors.Is(err, errOther), errors.Is(err, errCount):
		s.log.ErrorContext(ctx, "export file cannot be made again", slog.String("tenant", string(t.Slug)), slog.String("name", f.Name))
		return found, shelf.Refused, nil
	case err != nil:
		return found, f.Remake, fmt.Errorf("make again: %w", err)
	}
	name := Prefix(t) + f.Path + f.Name
	if err := s.store.Replace(ctx, name, body); err != nil {
		return found, f.Remake, fmt.Errorf("put again: %w", err)
	}
	if err := s.step("restored"); err != nil {
		return found, f.Remake, err
	}
	s.log.InfoContext(ctx, "export file written again", slog.String("tenant", string(t.Slug)), slog.String("name", f.Name))
	found, err = s.find(ctx, name, f.SHA256, trusted)
	return found, "", err
}

// errOther means that other bytes came of making a file again.
var errOther = errors.New("the file made again differs from the one that was published")

const (
	batchSQL = `
  select b.config_id, b.starts_at, b.ends_at, b.fence,` + planColumns + `
    from export_batch b
    join export_config c using (tenant_id, config_id)
   where b.config_id = $1
     and b.starts_at = $2`

	sharesSQL = `
  select key_count as keys, revised_count as revised
    from export_file
   where config_id = $1
     and starts_at = $2
order by file_no`
)

// remake makes a batch again from the keys that are stored, by the record of how its files
// were divided, and returns the bytes of one of them: [errOther] if these are not those of
// the record. They are the same as long as the export key signs alike and no key of the
// window has come or gone: signatures of keys that Carillon keeps have no chance in them,
// and padding is stored like other keys.
func (s *Service) remake(ctx context.Context, t *tenant.Tenant, want published) ([]byte, error) {
	signers, err := s.signers(ctx, t)
	if err != nil {
		return nil, err
	}
	var body []byte
	f := &filling{signers: signers, step: s.step, store: func(made file, b []byte) error {
		if made.number == want.Number && made.name == want.Name && string(made.sha256[:]) == string(want.SHA256) {
			body = append([]byte(nil), b...)
		}
		return nil
	}}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, snapshotSQL); err != nil {
			return err
		}
		if err := tx.Get(ctx, &f.batch, batchSQL, want.ConfigID, want.Start); err != nil {
			return err
		}
		var files []struct{ Keys, Revised int }
		if err := tx.Select(ctx, &files, sharesSQL, want.ConfigID, want.Start); err != nil {
			return err
		}
		for _, one := range files {
			f.shares = append(f.shares, share{one.Keys, one.Revised})
		}
		return f.again(ctx, tx)
	})
	if err == nil && body == nil {
		err = errOther
	}
	return body, err
}

// again fills the files of a batch that was made before.
func (f *filling) again(ctx context.Context, tx *tenant.Tx) error {
	keys, revised, err := f.batch.count(ctx, tx)
	if err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	var were share
	for _, one := range f.shares {
		were.keys, were.revised = were.keys+one.keys, were.revised+one.revised
	}
	if were != (share{keys.Keys, revised.Keys}) {
		return errCount
	}
	return f.fill(ctx, tx, keys, revised)
}
