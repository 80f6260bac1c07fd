package export

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
)

// batch is a leased batch.
type batch struct {
	ConfigID uuid.UUID `db:"config_id"`
	Start    time.Time `db:"starts_at"`
	End      time.Time `db:"ends_at"`
	Fence    int64     `db:"fence"`
}

// file is a finished file of a batch.
type file struct {
	number        int
	name          string
	keys, revised int
	body          []byte
}

const leaseSQL = `
   update export_batch b
      set fence        = b.fence + 1,
          leased_until = $2
    where (b.config_id, b.starts_at) =
          (select o.config_id, o.starts_at
             from export_batch o
            where o.state = 'open'
              and o.ends_at <= $1
              and (o.leased_until is null or o.leased_until <= $1)
         order by o.ends_at, o.config_id
            limit 1
              for update skip locked)
returning b.config_id, b.starts_at, b.ends_at, b.fence`

// Work makes the files of the oldest open batch of a tenant and stages them. It
// reports whether there was one.
func (s *Service) Work(ctx context.Context, t *tenant.Tenant) (bool, error) {
	var b batch
	now := s.now()
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Get(ctx, &b, leaseSQL, now, now.Add(lease))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lease batch: %w", err)
	}
	if err := s.step("leased"); err != nil {
		return false, err
	}
	made, err := s.choose(ctx, t, b)
	if err != nil {
		return false, err
	}
	files, err := s.encode(ctx, t, b, made)
	if err != nil {
		return false, err
	}
	if err := s.step("encoded"); err != nil {
		return false, err
	}
	return true, s.stage(ctx, t, b, files, made.generated)
}

// content is what goes into the files of a batch.
type content struct {
	region string
	files  []exportfile.File
	// generated are the padding among them.
	generated []generatedKey
}

const (
	configSQL = `
select config_id, path, region, input_regions, exclude_regions, travelers, period_seconds,
       min_age_seconds, min_records, padding_range, max_records, active_from, active_thru
  from export_config
 where config_id = $1`

	// matching is true intersection of regions, for any number of them (§5.1).
	matching = `
   and ((regions && $3 and ($5 <> 'exclude' or not traveler)) or ($5 = 'include' and traveler))
   and not regions && $4`

	newSQL = `
  select tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset,
         traveler, regions, created_at
    from exposure
   where created_at >= $1
     and created_at < $2` + matching + `
order by tek`

	revisedSQL = `
  select tek, rolling_start, rolling_period, revised_risk as transmission_risk,
         revised_type as report_type, revised_days as days_since_onset, traveler, regions, created_at
    from exposure
   where revised_at >= $1
     and revised_at < $2` + matching + `
order by tek`
)

// choose reads the keys of a batch's window and divides them into files.
func (s *Service) choose(ctx context.Context, t *tenant.Tenant, b batch) (*content, error) {
	var c config
	var fresh, revised []stored
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &c, configSQL, b.ConfigID); err != nil {
			return err
		}
		inputs := c.InputRegions
		if len(inputs) == 0 {
			inputs = pq.StringArray{c.Region}
		}
		args := []any{b.Start, b.End, inputs, c.ExcludeRegions, c.Travelers}
		if err := tx.Select(ctx, &fresh, newSQL, args...); err != nil {
			return err
		}
		return tx.Select(ctx, &revised, revisedSQL, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return divide(fresh, revised, c, b, s.random)
}

// encode makes the files' bytes, and believes them only after verifying them as a
// phone would.
func (s *Service) encode(ctx context.Context, t *tenant.Tenant, b batch, made *content) ([]file, error) {
	if len(made.files) == 0 {
		return nil, nil
	}
	signer, err := s.keys.Signer(ctx, t.ID, signing.Export)
	if err != nil {
		return nil, fmt.Errorf("export key: %w", err)
	}
	public, ok := signer.Key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("export key is not an ECDSA key")
	}
	signers := []exportfile.Signer{{KeyID: signer.KeyID, KeyVersion: signer.Label, Key: signer.Key}}
	files := make([]file, 0, len(made.files))
	for i, f := range made.files {
		body, err := exportfile.Encode(f, signers)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		if _, err := exportfile.Verify(body, signer.KeyID, signer.Label, public); err != nil {
			return nil, fmt.Errorf("verify own output: %w", err)
		}
		files = append(files, file{
			number: i + 1, name: fileName(b, i+1), keys: len(f.Keys), revised: len(f.Revised), body: body,
		})
	}
	return files, nil
}

// fileName is unique for ever (§5.5).
func fileName(b batch, number int) string {
	return fmt.Sprintf("%d-%d-%05d.zip", b.Start.Unix(), b.End.Unix(), number)
}

const (
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
       (tenant_id, config_id, starts_at, file_no, name, key_count, revised_count, size, sha256, body)
values (current_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9)`
)

// stage is the commit point: after it the batch's files are these bytes, whatever
// happens. A batch without keys has no files and is done.
func (s *Service) stage(ctx context.Context, t *tenant.Tenant, b batch, files []file, generated []generatedKey) error {
	if err := s.step("staging"); err != nil {
		return err
	}
	state, published := "staged", (*time.Time)(nil)
	if len(files) == 0 {
		now := s.now()
		state, published = "published", &now
	}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, stageSQL, b.ConfigID, b.Start, b.Fence, state, published)
		if err != nil {
			return err
		}
		if rows == 0 {
			return errFenced
		}
		for _, f := range files {
			sum := sha256.Sum256(f.body)
			_, err := tx.Exec(ctx, stageFileSQL, b.ConfigID, b.Start, f.number, f.name, f.keys, f.revised, len(f.body), sum[:], f.body)
			if err != nil {
				return err
			}
		}
		return storeGenerated(ctx, tx, generated)
	})
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	return s.step("staged")
}
