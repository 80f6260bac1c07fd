package batch

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// change is one way to change a batch's state.
type change struct {
	from   pq.StringArray
	to     State
	action string
}

func pauseChange() change  { return change{pq.StringArray{"running"}, Paused, "batch:pause"} }
func resumeChange() change { return change{pq.StringArray{"paused"}, Running, "batch:resume"} }
func cancelChange() change {
	return change{pq.StringArray{"running", "paused"}, Cancelled, "batch:cancel"}
}

// Pause stops a batch: when it returns, nothing more is issued. A paused batch stays as
// it is; one that has ended is [ErrFinished], an unknown one [ErrNotFound].
func (s *Service) Pause(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*Batch, error) {
	return s.change(ctx, t, by, id, pauseChange())
}

// Resume lets a paused batch go on, with errors as for [Service.Pause].
func (s *Service) Resume(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*Batch, error) {
	b, err := s.change(ctx, t, by, id, resumeChange())
	if err == nil {
		s.c.Wake()
	}
	return b, err
}

// Cancel ends a batch: when it returns, nothing more is issued, and what the remaining
// rows ordered is forgotten. Codes that were issued stay. Errors as for [Service.Pause].
func (s *Service) Cancel(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*Batch, error) {
	return s.change(ctx, t, by, id, cancelChange())
}

func (s *Service) change(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, c change) (*Batch, error) {
	for _, a := range []authz.Action{authz.CodeBulkIssue, authz.CodeIssue} {
		if err := s.c.Policies.Check(ctx, t.ID.String(), by, a); err != nil {
			return nil, err
		}
	}
	batch, err := parseID(id)
	if err != nil {
		return nil, err
	}
	now := clock(s.c.Now)
	var b Batch
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		changed, err := c.apply(ctx, tx, batch, now)
		if err != nil {
			return err
		}
		if changed == nil {
			b, err = get(ctx, tx, batch)
			return err
		}
		b = *changed
		return audit.Record(ctx, tx, now, by, c.action, batch.String(), nil)
	})
	if err == nil && b.State != c.to {
		err = ErrFinished
	}
	if err != nil {
		return nil, err
	}
	return &b, nil
}

// The update waits until the rows that are being worked on are committed: see
// [guardSQL].
const (
	changeSQL = `
   update batch
      set state = $2,
          finished_at = case $2 when 'cancelled' then $3::timestamptz end,
          leased_until = null, held_until = null, held_because = ''
    where batch_id = $1
      and state = any($4)
returning ` + batchColumns

	cancelRowsSQL = `
update batch_row
   set state = 'cancelled', sealed_order = null, done_at = $2
 where batch_id = $1
   and state = 'pending'`

	forgetFailedSQL = `
update batch_row
   set sealed_order = null
 where batch_id = $1
   and state = 'failed'
   and sealed_order is not null`

	// The batch first: see [guardSQL].
	againSQL = `
   update batch
      set state = case state when 'done' then 'running' else state end,
          finished_at = null, held_until = null
    where batch_id = $1
      and state in ('running', 'paused', 'done')
returning ` + batchColumns

	failedAgainSQL = `
update batch_row
   set state = 'pending', sealed_result = null, attempts = 0, done_at = null
 where batch_id = $1
   and state = 'failed'
   and sealed_order is not null`
)

// Retry has the rows that failed in the last day tried again, in the name of whoever
// ordered the batch: [ErrNothingFailed] if there are none, [ErrFinished] if the batch was
// cancelled, [ErrNotFound] if the tenant has no such batch. A batch that is done runs
// again; one that is paused stays so.
func (s *Service) Retry(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*Batch, error) {
	if err := s.c.Codes.CheckBatch(ctx, t, by); err != nil {
		return nil, err
	}
	batch, err := parseID(id)
	if err != nil {
		return nil, err
	}
	now := clock(s.c.Now)
	var b Batch
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		b, err = again(ctx, tx, batch)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, failedAgainSQL, batch.String())
		switch {
		case err != nil:
			return fmt.Errorf("try rows again: %w", err)
		case n == 0:
			return ErrNothingFailed
		}
		return audit.Record(ctx, tx, now, by, "batch:retry", batch.String(), map[string]string{"rows": strconv.FormatInt(n, 10)})
	})
	if err != nil {
		return nil, err
	}
	s.c.Wake()
	return &b, nil
}

// again lets a batch run that may be done.
func again(ctx context.Context, tx *tenant.Tx, batch uuid.UUID) (Batch, error) {
	var changed []Batch
	if err := tx.Select(ctx, &changed, againSQL, batch.String()); err != nil {
		return Batch{}, fmt.Errorf("run batch again: %w", err)
	}
	if len(changed) > 0 {
		return changed[0], nil
	}
	b, err := get(ctx, tx, batch)
	if err == nil {
		err = ErrFinished
	}
	return b, err
}

// apply returns the changed batch, or nil if there was nothing to change.
func (c change) apply(ctx context.Context, tx *tenant.Tx, batch uuid.UUID, now time.Time) (*Batch, error) {
	var changed []Batch
	if err := tx.Select(ctx, &changed, changeSQL, batch.String(), string(c.to), now, c.from); err != nil {
		return nil, fmt.Errorf("change batch: %w", err)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	if c.to == Cancelled {
		if _, err := tx.Exec(ctx, cancelRowsSQL, batch.String(), now); err != nil {
			return nil, fmt.Errorf("cancel rows: %w", err)
		}
		if _, err := tx.Exec(ctx, forgetFailedSQL, batch.String()); err != nil {
			return nil, fmt.Errorf("forget rows: %w", err)
		}
	}
	return &changed[0], nil
}
