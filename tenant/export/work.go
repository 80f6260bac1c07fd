package export

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

// batch is a leased batch.
type batch struct {
	ConfigID uuid.UUID `db:"config_id"`
	Start    time.Time `db:"starts_at"`
	End      time.Time `db:"ends_at"`
	Fence    int64     `db:"fence"`
	plan
}

// file is a finished file of a batch.
type file struct {
	number        int
	name          string
	keys, revised int
	body          []byte
}

// errFenced means that another worker was given the batch, or has finished it.
var errFenced = errors.New("batch was leased to another worker")

const leaseSQL = `
   update export_batch b
      set fence        = b.fence + 1,
          leased_until = $2
     from export_config c
    where c.config_id = b.config_id
      and (b.config_id, b.starts_at) =
          (select o.config_id, o.starts_at
             from export_batch o
            where o.state = 'open'
              and (o.leased_until is null or o.leased_until <= $1)
         order by o.ends_at, o.config_id
            limit 1
              for update skip locked)
returning b.config_id, b.starts_at, b.ends_at, b.fence,
          coalesce(b.region, c.region) as region,
          coalesce(b.input_regions, c.input_regions) as input_regions,
          coalesce(b.exclude_regions, c.exclude_regions) as exclude_regions,
          coalesce(b.travelers, c.travelers) as travelers,
          coalesce(b.include_imported, c.include_imported) as include_imported,
          coalesce(b.min_records, c.min_records) as min_records,
          coalesce(b.padding_range, c.padding_range) as padding_range,
          coalesce(b.max_records, c.max_records) as max_records`

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
	held, release := s.hold(ctx, t, b)
	err = s.produce(held, t, b)
	switch lost := context.Cause(held); {
	case err == nil:
		release(nil)
	case errors.Is(err, errFenced) || errors.Is(lost, errFenced):
		release(nil)
		err = nil // whoever has the batch now will finish it
		s.log.WarnContext(ctx, "export batch was taken over", slog.String("tenant", string(t.Slug)), slog.Time("window", b.Start.UTC()))
	default:
		release(err)
		err = fmt.Errorf("batch of %s: %w", b.Start.UTC().Format(time.RFC3339), err)
	}
	return true, err
}

// produce does the work on a leased batch.
func (s *Service) produce(ctx context.Context, t *tenant.Tenant, b batch) error {
	if err := s.step("leased"); err != nil {
		return err
	}
	if err := s.pad(ctx, t, b); err != nil {
		return fmt.Errorf("pad: %w", err)
	}
	if err := s.step("padded"); err != nil {
		return err
	}
	files, err := s.make(ctx, t, b)
	if err == nil && short(files, b) > 0 {
		if err = s.padLast(ctx, t, b, short(files, b)); err == nil {
			files, err = s.make(ctx, t, b)
		}
	}
	if err != nil {
		return err
	}
	if err := s.step("encoded"); err != nil {
		return err
	}
	if err := s.stage(ctx, t, b, files); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	return s.step("staged")
}

// make makes a batch's files of the keys that are stored.
func (s *Service) make(ctx context.Context, t *tenant.Tenant, b batch) ([]file, error) {
	files, err := s.choose(ctx, t, b)
	if err != nil {
		return nil, err
	}
	return s.encode(ctx, t, b, files)
}

const renewSQL = `
update export_batch
   set leased_until = $4
 where config_id = $1
   and starts_at = $2
   and fence = $3
   and state = 'open'`

// renew moves the end of a lease: [errFenced] if it is not ours any more.
func (s *Service) renew(ctx context.Context, t *tenant.Tenant, b batch, until time.Time) error {
	var rows int64
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		rows, err = tx.Exec(ctx, renewSQL, b.ConfigID, b.Start, b.Fence, until)
		return err
	})
	if err == nil && rows == 0 {
		return errFenced
	}
	return err
}

// hold renews the lease until release is called; the context that it returns ends
// when the lease is lost. release of a failed attempt lets it be repeated before long,
// also when the process is being shut down.
func (s *Service) hold(ctx context.Context, t *tenant.Tenant, b batch) (held context.Context, release func(failure error)) {
	held, lose := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(s.renewEvery)
		defer ticker.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-ticker.C:
			}
			if err := s.renew(held, t, b, s.now().Add(lease)); errors.Is(err, errFenced) {
				lose(err)
			}
		}
	}()
	return held, func(failure error) {
		lose(nil)
		<-stopped
		if failure == nil {
			return
		}
		final, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter)
		defer cancel()
		if err := s.renew(final, t, b, s.now().Add(retryAfter)); err != nil {
			s.log.WarnContext(ctx, "export batch keeps its lease", slog.String("tenant", string(t.Slug)), slog.Any("error", err))
		}
	}
}

// encode makes the files' bytes, and believes them only after verifying them as a
// phone would.
func (s *Service) encode(ctx context.Context, t *tenant.Tenant, b batch, made []exportfile.File) ([]file, error) {
	if len(made) == 0 {
		return nil, nil
	}
	signers, err := s.signers(ctx, t)
	if err != nil {
		return nil, err
	}
	files := make([]file, 0, len(made))
	for i, f := range made {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		body, err := exportfile.Encode(f, signers)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		if err := signers.verify(body); err != nil {
			return nil, fmt.Errorf("verify own output: %w", err)
		}
		files = append(files, file{
			number: i + 1, name: fileName(b, i+1), keys: len(f.Keys), revised: len(f.Revised), body: body,
		})
	}
	return files, nil
}

// fileName is unique for ever (§5.5): no other batch of the configuration has its start.
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
func (s *Service) stage(ctx context.Context, t *tenant.Tenant, b batch, files []file) error {
	state, published := "staged", (*time.Time)(nil)
	if len(files) == 0 {
		now := s.now()
		state, published = "published", &now
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
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
		return nil
	})
}
