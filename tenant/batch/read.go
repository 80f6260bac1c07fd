package batch

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
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
	// Failures are the first rows that failed, a few of them, and Retryable is how many
	// rows can be tried again.
	Failures  []Row
	Retryable int
}

// maxFailures is how many rows that failed are told with the progress.
const maxFailures = 20

// MaxList bounds a page of the list of batches.
const MaxList = 100

const listSQL = `
  select ` + batchColumns + `
    from batch
   where state <> 'receiving'
     and ($1::uuid is null or (created_at, batch_id) < (select created_at, batch_id from batch where batch_id = $1))
order by created_at desc, batch_id desc
   limit $2`

// List returns up to limit batches, at most [MaxList], the newest first: all, or those
// before the one with an ID. Before one that there is not are none.
func (s *Service) List(ctx context.Context, t *tenant.Tenant, by authz.Subject, before uuid.NullUUID, limit int) ([]Batch, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return nil, err
	}
	list := []Batch{}
	err := s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &list, listSQL, before, min(max(limit, 1), MaxList))
	})
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

// ByKey returns the batch that has an idempotency key: [ErrNotFound] if there is none.
func (s *Service) ByKey(ctx context.Context, t *tenant.Tenant, by authz.Subject, key string) (*Batch, error) {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return nil, err
	}
	var found *stored
	err := s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		found, err = find(ctx, tx, key)
		return err
	})
	if err == nil && found == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &found.Batch, nil
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
  select state, count(*) as n, count(*) filter (where done_at > $2) as late,
         count(*) filter (where state = 'failed' and sealed_order is not null) as retryable
    from batch_row
   where batch_id = $1
group by state`

const failuresSQL = `
  select row_number, code_id as id, state, 0 as duplicate_of, sealed_result, expires_at
    from batch_row
   where batch_id = $1
     and state = 'failed'
order by row_number
   limit $2`

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
	dk, err := s.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	var counts []stateCount
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if p.Batch, err = get(ctx, tx, batch); err != nil {
			return err
		}
		if err := tx.Select(ctx, &counts, countsSQL, batch.String(), now.Add(-paceWindow)); err != nil {
			return fmt.Errorf("count rows: %w", err)
		}
		p.count(counts, now)
		if p.Counts[Failed] > 0 {
			p.Failures, err = s.reader(t, dk, p.Batch, by).read(ctx, tx, failuresSQL, batch.String(), maxFailures)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// stateCount is how many rows are in one state, and how many of them came there of late.
type stateCount struct {
	State              State
	N, Late, Retryable int
}

func (p *Progress) count(counts []stateCount, now time.Time) {
	p.Counts = map[State]int{Pending: 0, Issued: 0, Failed: 0, Duplicate: 0, Cancelled: 0}
	late := 0
	for _, c := range counts {
		p.Counts[c.State] = c.N
		p.Retryable += c.Retryable
		if c.State == Issued || c.State == Failed {
			late += c.Late
		}
	}
	p.pace(late, now)
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
	// the asker is who ordered it, or both are programs.
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

const pageSQL = `
  select row_number, code_id as id, state, coalesce(duplicate_of, 0) as duplicate_of, sealed_result, expires_at
    from batch_row
   where batch_id = $1
     and row_number > $2
order by row_number
   limit $3`

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
	var rows []Row
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		b, err := get(ctx, tx, batch)
		if err == nil {
			rows, err = s.reader(t, dk, b, by).read(ctx, tx, pageSQL, batch.String(), after, min(max(limit, 1), MaxPage))
		}
		return err
	})
	return rows, err
}

// reader lets somebody read the rows of b.
func (s *Service) reader(t *tenant.Tenant, dk *signing.DataKey, b Batch, by authz.Subject) reader {
	programs := by.Kind == authz.APIKey && b.IssuerKind == authz.APIKey
	return reader{safe: vault{dk, t.ID, b.ID}, codes: programs || b.OrderedBy(by), now: clock(s.c.Now)}
}

// read runs a query of stored rows and opens what it finds.
func (r reader) read(ctx context.Context, tx *tenant.Tx, query string, args ...any) ([]Row, error) {
	var page []storedRow
	if err := tx.Select(ctx, &page, query, args...); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	rows := make([]Row, len(page))
	for i, from := range page {
		var err error
		if rows[i], err = r.row(from); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Results tells the rows of a batch to the person who ordered it, in their order, with the
// codes that no message carries: [ErrOthers] for anybody else. The audit log has an entry
// before the first row is told. An error of tell ends it.
func (s *Service) Results(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string, tell func(Row) error) error {
	if err := s.c.Policies.Check(ctx, t.ID.String(), by, authz.CodeBulkIssue); err != nil {
		return err
	}
	batch, err := parseID(id)
	if err != nil {
		return err
	}
	dk, err := s.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return err
	}
	var b Batch
	err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if b, err = get(ctx, tx, batch); err != nil {
			return err
		}
		if !b.OrderedBy(by) {
			return ErrOthers
		}
		return audit.Record(ctx, tx, clock(s.c.Now), by, "batch:results", id, nil)
	})
	if err != nil {
		return err
	}
	r := s.reader(t, dk, b, by)
	for after := 0; after < b.Rows; after += MaxPage {
		var rows []Row
		err = s.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
			rows, err = r.read(ctx, tx, pageSQL, batch.String(), after, MaxPage)
			return err
		})
		for i := 0; err == nil && i < len(rows); i++ {
			err = tell(rows[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
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
