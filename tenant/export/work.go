package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

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
              for no key update skip locked)
returning b.config_id, b.starts_at, b.ends_at, b.fence,` + planColumns

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
	if err := s.make(ctx, t, b); err != nil {
		return err
	}
	return s.step("staged")
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
