package labfeed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/verification"
)

// Progress is where a document's results stand.
type Progress struct {
	Receipt
	Format string
	// States counts results that have a row by where they stand: waiting, issued,
	// superseded, dead, discarded.
	States map[string]int
}

const (
	progressSQL = `
select submission_id, received_at, format, queued, duplicates, corrections, ignored, dead_letters
  from lab_submission
 where submission_id = $1`

	statesSQL = `
  select state, count(*) as number
    from lab_result
   where submission_id = $1
group by state`
)

// Progress tells where a document's results stand: [ErrNotFound] if the tenant had no
// such document in the last 90 days.
func (s *Service) Progress(ctx context.Context, t *tenant.Tenant, by authz.Subject, submission string) (*Progress, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabSubmit); err != nil {
		return nil, err
	}
	id, err := uuid.Parse(submission)
	if err != nil {
		return nil, ErrNotFound
	}
	p := &Progress{States: map[string]int{}}
	var row struct {
		Receipt
		Format string
	}
	var states []struct {
		State  string
		Number int
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &row, progressSQL, id); err != nil {
			return err
		}
		return tx.Select(ctx, &states, statesSQL, id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read submission: %w", err)
	}
	p.Receipt, p.Format = row.Receipt, row.Format
	for _, st := range states {
		p.States[st.State] = st.Number
	}
	return p, nil
}

// DeadLetter is a result that could not be used, without anything of the person.
type DeadLetter struct {
	ID         uuid.UUID `db:"result_id"`
	Submission uuid.UUID `db:"submission_id"`
	Reason     Reason
	// TestType is empty if the outcome was not understood.
	TestType string `db:"test_type"`
	// EarlierCode is the code that the accession has already, if that is the trouble.
	EarlierCode *uuid.UUID `db:"code_id"`
	ReceivedAt  time.Time  `db:"received_at"`
	SettledAt   time.Time  `db:"settled_at"`
	// Retryable says that its contents are not erased yet.
	Retryable bool
}

// RetryUntil is when its contents are erased.
func (d DeadLetter) RetryUntil() time.Time { return d.SettledAt.Add(KeepSealed) }

// PageSize is how many dead letters are listed at once.
const PageSize = 100

const deadLettersSQL = `
  select result_id, submission_id, reason, coalesce(test_type, '') as test_type, code_id, received_at, settled_at,
         sealed is not null as retryable
    from lab_result
   where state = 'dead'
     and ($1::uuid is null
          or (received_at, result_id) > (select l.received_at, l.result_id from lab_result l where l.result_id = $1))
order by received_at, result_id
   limit $2`

// DeadLetters lists results that people must look at, the oldest first, at most
// [PageSize]. after is the last one of the page before, whatever has become of it, or
// empty: [ErrNotFound] if it is no ID.
func (s *Service) DeadLetters(ctx context.Context, t *tenant.Tenant, by authz.Subject, after string) ([]DeadLetter, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabSubmit); err != nil {
		return nil, err
	}
	var from *uuid.UUID
	if after != "" {
		id, err := uuid.Parse(after)
		if err != nil {
			return nil, ErrNotFound
		}
		from = &id
	}
	var letters []DeadLetter
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &letters, deadLettersSQL, from, PageSize)
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return letters, nil
}

const (
	lockDeadSQL = `
select result_id, accession_digest, essence_digest, state, coalesce(test_type, '') as test_type, code_id, sealed
  from lab_result
 where result_id = $1
   and state = 'dead'
   for update`

	reviveSQL = `
update lab_result
   set state          = 'waiting',
       test_type      = $2,
       essence_digest = $3,
       reason         = '',
       code_id        = null,
       attempts       = 0,
       due_at         = $4,
       settled_at     = null
 where result_id = $1`

	reasonSQL = `
update lab_result
   set reason = $2
 where result_id = $1`

	discardSQL = `
update lab_result
   set state      = 'discarded',
       sealed     = null,
       settled_at = $2
 where result_id = $1
   and state = 'dead'`
)

// What the audit log calls decisions about dead letters.
const (
	auditRetry   = "lab:retry"
	auditDiscard = "lab:discard"
)

// Retry judges a dead letter again, by the mapping and the settings of now, and
// queues it if it can be used. Otherwise it stays, and the reason is returned: an
// empty one means queued. [ErrNotFound] if there is no such dead letter, [ErrErased]
// if its contents are gone, [verification.ErrMaintenance] in maintenance.
func (s *Service) Retry(ctx context.Context, t *tenant.Tenant, by authz.Subject, letter string) (Reason, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabSubmit); err != nil {
		return "", err
	}
	if t.ClosedForIssue() {
		return "", verification.ErrMaintenance
	}
	id, err := uuid.Parse(letter)
	if err != nil {
		return "", ErrNotFound
	}
	keys, err := s.secrets.Get(ctx, t.ID)
	if err != nil {
		return "", err
	}
	var reason Reason
	err = s.db.InExclusive(ctx, t.ID, submissionLock, func(tx *tenant.Tx) (err error) {
		reason, err = s.retry(ctx, tx, t, by, keys, id)
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx, s.clock(), by, auditRetry, id.String(), map[string]string{"reason": string(reason)})
	})
	if err == nil && reason == "" {
		s.nudge(t.ID)
	}
	return reason, err
}

func (s *Service) retry(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, keys secrets, id uuid.UUID) (Reason, error) {
	var found struct {
		row
		Sealed []byte
	}
	err := tx.Get(ctx, &found, lockDeadSQL, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", ErrNotFound
	case err != nil:
		return "", fmt.Errorf("read dead letter: %w", err)
	case found.Sealed == nil:
		return "", ErrErased
	}
	x, err := keys.open(id, found.Sealed)
	if err != nil {
		return "", fmt.Errorf("open dead letter: %w", err)
	}
	m, err := ReadMapping(ctx, tx)
	if err != nil {
		return "", err
	}
	v := s.examine(t, by, m.rules(), x)
	reason, err := s.objection(ctx, tx, found.row, v)
	if err != nil {
		return "", err
	}
	if reason != "" {
		_, err = tx.Exec(ctx, reasonSQL, id, string(reason))
		return reason, err
	}
	_, err = tx.Exec(ctx, reviveSQL, id, string(v.testType), keys.essence(t, found.Accession, v, x), s.clock())
	return "", err
}

// objection is why a dead letter stays one.
func (s *Service) objection(ctx context.Context, tx *tenant.Tx, letter row, v verdict) (Reason, error) {
	switch {
	case letter.Accession == nil:
		return AccessionMissing, nil
	case v.meaning == bury:
		return v.reason, nil
	case v.meaning != issue:
		return ResultUnknown, nil // it says nothing that a code could be issued for
	}
	in := intake{arrivals: []arrival{{row: letter}}}
	p, err := in.plan(ctx, tx, lockKnownSQL)
	if err != nil {
		return "", err
	}
	if earlier := p.issued(string(letter.Accession)); earlier != nil && grave(v.testType) <= grave(earlier.TestType) {
		return CorrectedAfterIssue, nil
	}
	return "", nil
}

// Discard closes a dead letter and erases its contents: [ErrNotFound] if there is
// none.
func (s *Service) Discard(ctx context.Context, t *tenant.Tenant, by authz.Subject, letter string) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabSubmit); err != nil {
		return err
	}
	id, err := uuid.Parse(letter)
	if err != nil {
		return ErrNotFound
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, discardSQL, id, s.clock())
		if err != nil {
			return fmt.Errorf("discard dead letter: %w", err)
		}
		if rows == 0 {
			return ErrNotFound
		}
		return audit.Record(ctx, tx, s.clock(), by, auditDiscard, id.String(), nil)
	})
}

// Mapping returns the mapping in force.
func (s *Service) Mapping(ctx context.Context, t *tenant.Tenant, by authz.Subject) (m Mapping, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabMap); err != nil {
		return Mapping{}, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		m, err = ReadMapping(ctx, tx)
		return err
	})
	return m, err
}

// SetMapping is [ChangeMapping] for who may do it.
func (s *Service) SetMapping(ctx context.Context, t *tenant.Tenant, by authz.Subject, m Mapping) (version int, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.LabMap); err != nil {
		return 0, err
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		version, err = ChangeMapping(ctx, tx, by, m, s.clock())
		return err
	})
	return version, err
}
