package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

// file is a finished file of a batch.
type file struct {
	share
	number int
	name   string
	size   int
	sha256 [sha256.Size]byte
}

// maxFile is the most that the platforms take, in bytes (§7).
const maxFile = 16_000_000

// errTooLarge means that a file with so many keys is larger than maxFile.
var errTooLarge = errors.New("file is too large")

// shortError means that the last file lacks so many new keys.
type shortError struct{ keys int }

func (e shortError) Error() string { return fmt.Sprintf("the last file lacks %d keys", e.keys) }

// make makes a batch's files of the keys that are stored, and stages them. It begins
// again when it turns out that the last file is to be padded, and with fewer keys for
// each file when one is too large: 750,000 keys are, if hardly two have anything in
// common.
func (s *Service) make(ctx context.Context, t *tenant.Tenant, b batch) error {
	signers, err := s.signers(ctx, t)
	if err != nil {
		return err
	}
	padded := false
	for {
		err := s.stage(ctx, t, b, signers, padded)
		var lack shortError
		switch {
		case errors.Is(err, errTooLarge):
			b.MaxRecords -= b.MaxRecords / 8
			padded = false
		case errors.As(err, &lack):
			if err := s.padLast(ctx, t, b, lack.keys); err != nil {
				return err
			}
			padded = true
		default:
			return err
		}
	}
}

const (
	leasedSQL = `
select count(*)
  from export_batch
 where config_id = $1
   and starts_at = $2
   and fence = $3
   and state = 'open'`

	stageSQL = `
update export_batch
   set state        = $4,
       leased_until = null,
       published_at = $5
 where config_id = $1
   and starts_at = $2
   and fence = $3
   and state = 'open'`

	stageFileSQL = `
insert into export_file
       (tenant_id, config_id, starts_at, file_no, name, key_count, revised_count, size, sha256)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8)`
)

// stage makes the files and stores their bytes in one transaction, whose commit is the
// commit point: after it the batch's files are these bytes, whatever happens, and
// before it nothing of them is there. A batch without keys has no files and is done.
//
// Keys go from the database through the encoder into the file that is being made; what
// is in memory is that file and no keys. The lease is looked at first, to do nothing in
// vain, and taken hold of last: who has lost it meanwhile commits nothing, and nobody
// waits for it until then.
func (s *Service) stage(ctx context.Context, t *tenant.Tenant, b batch, signers []exportfile.Signer, padded bool) error {
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var leased int
		if err := tx.Get(ctx, &leased, leasedSQL, b.ConfigID, b.Start, b.Fence); err != nil {
			return fmt.Errorf("look at lease: %w", err)
		}
		if leased == 0 {
			return errFenced
		}
		keys, err := openLists(ctx, tx, b)
		if err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
		shares := divide(keys.fresh.count, keys.revised.count, b.MaxRecords)
		if lack := short(shares, b); lack > 0 && !padded {
			return shortError{lack}
		}
		files, err := s.encode(ctx, tx, b, keys, shares, signers)
		if err != nil {
			return err
		}
		return s.commit(ctx, tx, b, files)
	})
}

// encode makes the files one after the other.
func (s *Service) encode(ctx context.Context, tx *tenant.Tx, b batch, keys lists, shares []share, signers []exportfile.Signer) ([]file, error) {
	var files []file
	var body bytes.Buffer
	for i, part := range shares {
		body.Reset()
		if err := encodeFile(ctx, &body, b.frame(i, len(shares)), part, keys, signers); err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		f := file{share: part, number: i + 1, name: fileName(b, i+1), size: body.Len(), sha256: sha256.Sum256(body.Bytes())}
		if err := storeBody(ctx, tx, b, f, body.Bytes()); err != nil {
			return nil, fmt.Errorf("store file: %w", err)
		}
		files = append(files, f)
		if err := s.step("encoded"); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// perKey is what a key takes in a file at most, as a rule, in bytes; perFile the rest.
const (
	perKey  = 24
	perFile = 4 << 10
)

// encodeFile makes a file's bytes, and believes them only after reading them as a phone
// would.
func encodeFile(ctx context.Context, body *bytes.Buffer, frame exportfile.Frame, part share, keys lists, signers []exportfile.Signer) error {
	body.Grow(min(maxFile, perFile+perKey*(part.keys+part.revised)))
	w, err := exportfile.NewWriter(bounded{body}, frame, signers)
	if err != nil {
		return err
	}
	if err := keys.fresh.next(ctx, part.keys, w.Add); err != nil {
		return err
	}
	if err := keys.revised.next(ctx, part.revised, w.AddRevised); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	fresh, revised, err := exportfile.Check(body.Bytes(), signers)
	if err == nil && (share{fresh, revised}) != part {
		err = exportfile.ErrMalformed
	}
	if err != nil {
		return fmt.Errorf("verify own output: %w", err)
	}
	return nil
}

// bounded takes a file that phones take.
type bounded struct{ body *bytes.Buffer }

func (w bounded) Write(p []byte) (int, error) {
	if w.body.Len()+len(p) > maxFile {
		return 0, errTooLarge
	}
	return w.body.Write(p)
}

const (
	// partSize bounds what is sent to the database at once, in bytes.
	partSize = 1 << 20

	storePartSQL = `
insert into export_part (tenant_id, config_id, starts_at, fence, file_no, part_no, body)
values (current_tenant(), $1, $2, $3, $4, $5, $6)`
)

// storeBody stores a file's bytes in parts.
func storeBody(ctx context.Context, tx *tenant.Tx, b batch, f file, body []byte) error {
	number := 0
	for part := range slices.Chunk(body, partSize) {
		number++
		if _, err := tx.Exec(ctx, storePartSQL, b.ConfigID, b.Start, b.Fence, f.number, number, part); err != nil {
			return err
		}
	}
	return nil
}

// commit ends the work on a batch: [errFenced] if somebody else has it now.
func (s *Service) commit(ctx context.Context, tx *tenant.Tx, b batch, files []file) error {
	state, published := "staged", (*time.Time)(nil)
	if len(files) == 0 {
		now := s.now()
		state, published = "published", &now
	}
	rows, err := tx.Exec(ctx, stageSQL, b.ConfigID, b.Start, b.Fence, state, published)
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if rows == 0 {
		return errFenced
	}
	for _, f := range files {
		_, err := tx.Exec(ctx, stageFileSQL, b.ConfigID, b.Start, f.number, f.name, f.keys, f.revised, f.size, f.sha256[:])
		if err != nil {
			return fmt.Errorf("stage: %w", err)
		}
	}
	return nil
}

// fileName is unique for ever (§5.5): no other batch of the configuration has its start.
func fileName(b batch, number int) string {
	return fmt.Sprintf("%d-%d-%05d.zip", b.Start.Unix(), b.End.Unix(), number)
}
