package batch

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
)

// Progress is how far a batch is.
type Progress struct {
	Batch
	// Counts are the rows in each state.
	Counts map[State]int
	// PerMinute is how many rows a minute were worked on of late, and EndsAt when the
	// last would be at that pace: nil if that cannot be told.
	PerMinute float64
	EndsAt    *time.Time
}

// maxList bounds the list of batches.
const maxList = 100

const listSQL = `
  select ` + batchColumns + `
    from batch
   where state <> 'receiving'
order by created_at desc, batch_id
   limit $1`

// List returns the newest hundred batches, the newest first.
func (s *Service) List(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]Batch, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return nil, err
	}
	list := []Batch{}
	err := s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, listSQL, maxList) })
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	return list, nil
}

const getSQL = `
select ` + batchColumns + `
  from batch
 where batch_id = $1
   and state <> 'receiving'`

// get returns a batch: [ErrNotFound] if the tenant has none of this ID.
func get(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (Batch, error) {
	var b Batch
	err := tx.Get(ctx, &b, getSQL, id.String())
	if errors.Is(err, sql.ErrNoRows) {
		return b, ErrNotFound
	}
	if err != nil {
		return b, fmt.Errorf("read batch: %w", err)
	}
	return b, nil
}

func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, ErrNotFound
	}
	return id, nil
}

// paceWindow is how far back the pace is measured.
const paceWindow = time.Minute

const countsSQL = `
  select state, count(*) as n, count(*) filter (where done_at > $2) as late
    from batch_row
   where batch_id = $1
group by state`

// Get tells how far a batch is: [ErrNotFound] if the tenant has none of this ID.
func (s *Service) Get(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (*Progress, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return nil, err
	}
	batch, err := parseID(id)
	if err != nil {
		return nil, err
	}
	now := clock(s.c.Now)
	var p Progress
	var counts []struct {
		State   State
		N, Late int
	}
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if p.Batch, err = get(ctx, tx, batch); err != nil {
			return err
		}
		if err := tx.Select(ctx, &counts, countsSQL, batch.String(), now.Add(-paceWindow)); err != nil {
			return fmt.Errorf("count rows: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.Counts = map[State]int{Pending: 0, Issued: 0, Failed: 0, Duplicate: 0, Cancelled: 0}
	late := 0
	for _, c := range counts {
		p.Counts[c.State] = c.N
		if c.State == Issued || c.State == Failed {
			late += c.Late
		}
	}
	p.pace(late, now)
	return &p, nil
}

// pace estimates the end from how many rows were worked on within the window.
func (p *Progress) pace(late int, now time.Time) {
	window := min(paceWindow, max(now.Sub(p.CreatedAt), time.Second))
	p.PerMinute = float64(late) / window.Minutes()
	if late == 0 || p.State != Running || p.Counts[Pending] == 0 {
		return
	}
	from := now
	if p.HeldUntil != nil && p.HeldUntil.After(now) {
		from = *p.HeldUntil
	}
	ends := from.Add(time.Duration(float64(p.Counts[Pending]) / p.PerMinute * float64(time.Minute))).Truncate(time.Second)
	p.EndsAt = &ends
}

// Row is what became of one row of a batch. It prints and logs as a fixed word.
type Row struct {
	// Number is the row's, from 1; ID its code's.
	Number int
	ID     uuid.UUID
	State  State
	// DuplicateOf is the earlier row with the same telephone number, or 0.
	DuplicateOf int
	// Err is why there is no code: a [verification.Problem], or [ErrUnworkable].
	Err error
	// Code is the code in the clear, if no message carries it, it has not expired, and
	// the asker is of the kind that ordered it.
	Code string
	// ExpiresAt ends the code; nil if there is none.
	ExpiresAt *time.Time
}

type storedRow struct {
	Number      int `db:"row_number"`
	ID          uuid.UUID
	State       State
	DuplicateOf int        `db:"duplicate_of"`
	Result      []byte     `db:"sealed_result"`
	ExpiresAt   *time.Time `db:"expires_at"`
}

const (
	ordererSQL = `select issuer_kind from batch where batch_id = $1 and state <> 'receiving'`

	pageSQL = `
  select row_number, code_id as id, state, coalesce(duplicate_of, 0) as duplicate_of, sealed_result, expires_at
    from batch_row
   where batch_id = $1
     and row_number > $2
order by row_number
   limit $3`
)

// Rows returns up to limit rows, at most [MaxPage], that come after a row's number, in
// their order: [ErrNotFound] if the tenant has no batch of this ID.
func (s *Service) Rows(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, after, limit int) ([]Row, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return nil, err
	}
	batch, err := parseID(id)
	if err != nil {
		return nil, err
	}
	dk, err := s.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	var orderer authz.Kind
	var page []storedRow
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &orderer, ordererSQL, batch.String()); err != nil {
			return err
		}
		return tx.Select(ctx, &page, pageSQL, batch.String(), after, min(max(limit, 1), MaxPage))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	r := reader{safe: vault{dk, t.ID, batch}, codes: by.Kind == orderer, now: clock(s.c.Now)}
	rows := make([]Row, len(page))
	for i, from := range page {
		if rows[i], err = r.row(from); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// reader opens what one asker may see.
type reader struct {
	safe  vault
	codes bool
	now   time.Time
}

func (r reader) row(from storedRow) (Row, error) {
	row := Row{Number: from.Number, ID: from.ID, State: from.State, DuplicateOf: from.DuplicateOf, ExpiresAt: from.ExpiresAt}
	var o outcome
	if from.Result != nil {
		if err := r.safe.open(sealedResult, from.Number, from.Result, &o); err != nil {
			return row, err
		}
	}
	if from.State == Failed {
		row.Err = o.err()
	}
	if r.codes && from.ExpiresAt != nil && r.now.Before(*from.ExpiresAt) {
		row.Code = o.Code
	}
	return row, nil
}
