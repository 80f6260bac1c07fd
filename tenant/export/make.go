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
   set state         = $4,
       leased_until  = null,
       published_at  = $5,
       padding_keys  = $6,
       received_keys = $7
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
// Another transaction reads meanwhile. Keys go from it through the encoder into the file
// that is being made; what is in memory is that file and no keys. The lease is looked at
// first, to do nothing in vain, and taken hold of last: who has lost it meanwhile
// commits nothing, and nobody waits for it until then.
func (s *Service) stage(ctx context.Context, t *tenant.Tenant, b batch, signers []exportfile.Signer, padded bool) error {
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var leased int
		if err := tx.Get(ctx, &leased, leasedSQL, b.ConfigID, b.Start, b.Fence); err != nil {
			return fmt.Errorf("look at lease: %w", err)
		}
		if leased == 0 {
			return errFenced
		}
		f := &filling{
			batch: b, signers: signers, step: s.step,
			store: func(f file, body []byte) error { return storeBody(ctx, tx, b, f, body) },
		}
		err := s.db.In(ctx, t.ID, func(reading *tenant.Tx) error { return f.all(ctx, reading, padded) })
		if err != nil {
			return err
		}
		return s.commit(ctx, tx, b, f)
	})
}

// filling makes the files of a batch one after the other.
type filling struct {
	batch   batch
	signers []exportfile.Signer
	store   func(file, []byte) error
	step    func(string) error

	shares []share // of all files
	done   []file
	fresh  count // of the new keys
	// The file in the making.
	writer *exportfile.Writer
	body   bytes.Buffer
	part   share
}

// all fills files with all keys of the batch.
func (f *filling) all(ctx context.Context, tx *tenant.Tx, padded bool) error {
	if _, err := tx.Exec(ctx, snapshotSQL); err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	keys, revised, err := f.batch.count(ctx, tx)
	if err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	f.shares, f.fresh = divide(share{keys.Keys, revised.Keys}, f.batch.MaxRecords), keys
	if lack := short(f.shares, f.batch); lack > 0 && !padded {
		return shortError{lack}
	}
	return f.fill(ctx, tx, keys, revised)
}

// fill puts the keys of the batch, which were counted, into its files.
func (f *filling) fill(ctx context.Context, tx *tenant.Tx, keys, revised count) error {
	if err := f.batch.each(ctx, tx, newSQL, keys.packing(), f.add); err != nil {
		return fmt.Errorf("new keys: %w", err)
	}
	if err := f.batch.each(ctx, tx, revisedSQL, revised.packing(), f.addRevised); err != nil {
		return fmt.Errorf("revised keys: %w", err)
	}
	if len(f.done) < len(f.shares) {
		return errCount
	}
	return nil
}

// errCount means that there are not as many keys as were counted.
var errCount = errors.New("the database counts its keys otherwise")

func (f *filling) add(k exportfile.Key) error {
	return f.put(func() error {
		f.part.keys++
		return f.writer.Add(k)
	})
}

func (f *filling) addRevised(k exportfile.Key) error {
	return f.put(func() error {
		f.part.revised++
		return f.writer.AddRevised(k)
	})
}

// put puts one key into a file, begins the file before its first key and ends it after
// its last.
func (f *filling) put(key func() error) error {
	if len(f.done) == len(f.shares) {
		return errCount
	}
	want := f.shares[len(f.done)]
	if f.writer == nil {
		if err := f.begin(want); err != nil {
			return err
		}
	}
	if err := key(); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if f.part == want {
		return f.end()
	}
	return nil
}

// perKey is what a key takes in a file at most, as a rule, in bytes; perFile the rest.
const (
	perKey  = 24
	perFile = 4 << 10
)

func (f *filling) begin(want share) (err error) {
	f.body.Reset()
	f.body.Grow(min(maxFile, perFile+perKey*(want.keys+want.revised)))
	f.part = share{}
	f.writer, err = exportfile.NewWriter(bounded{&f.body}, f.batch.frame(len(f.done), len(f.shares)), f.signers)
	return err
}

// end believes a file's bytes only after reading them as a phone would, and stores them.
func (f *filling) end() error {
	err := f.writer.Close()
	f.writer = nil
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	body := f.body.Bytes()
	keys, revised, err := exportfile.Check(body, f.signers)
	if err == nil && (share{keys, revised}) != f.part {
		err = errCount
	}
	if err != nil {
		return fmt.Errorf("verify own output: %w", err)
	}
	number := len(f.done) + 1
	made := file{share: f.part, number: number, name: fileName(f.batch, number), size: len(body), sha256: sha256.Sum256(body)}
	if err := f.store(made, body); err != nil {
		return fmt.Errorf("store file: %w", err)
	}
	f.done = append(f.done, made)
	return f.step("encoded")
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
func (s *Service) commit(ctx context.Context, tx *tenant.Tx, b batch, made *filling) error {
	state, published := "staged", (*time.Time)(nil)
	if len(made.done) == 0 {
		now := s.now()
		state, published = "published", &now
	}
	rows, err := tx.Exec(ctx, stageSQL, b.ConfigID, b.Start, b.Fence, state, published, made.fresh.Padding, made.fresh.Received)
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if rows == 0 {
		return errFenced
	}
	for _, f := range made.done {
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
