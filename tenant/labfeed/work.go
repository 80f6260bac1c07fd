package labfeed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/sweep"
	"carillon/tenant/verification"
)

// leased is a result that a worker has for a while.
type leased struct {
	ID         uuid.UUID              `db:"result_id"`
	Submission uuid.UUID              `db:"submission_id"`
	Accession  []byte                 `db:"accession_digest"`
	TestType   certificate.ReportType `db:"test_type"`
	Sealed     []byte
	Fence      int64
	Attempts   int
	Key        uuid.UUID `db:"api_key_id"`
	KeyName    string    `db:"name"`
	KeyEnabled bool      `db:"enabled"`
}

// submitter is on whose behalf the code is issued: whoever handed in the document.
func (l leased) submitter() authz.Subject {
	return authz.Subject{Kind: authz.APIKey, ID: l.Key.String(), Name: l.KeyName, Roles: []authz.Role{authz.KeyAdmin}}
}

// errFenced means that a result is another worker's by now, or was replaced.
var errFenced = errors.New("result was leased to another worker")

const leaseSQL = `
with due as (
     update lab_result r
        set fence        = r.fence + 1,
            attempts     = r.attempts + 1,
            leased_until = $2
      where r.result_id in
            (select o.result_id
               from lab_result o
              where o.state = 'waiting'
                and o.due_at <= $1
                and (o.leased_until is null or o.leased_until <= $1)
           order by o.due_at
              limit $3
                for update skip locked)
  returning r.tenant_id, r.result_id, r.submission_id, r.accession_digest, r.test_type, r.sealed, r.fence, r.attempts
)
select due.result_id, due.submission_id, due.accession_digest, due.test_type, due.sealed, due.fence, due.attempts,
       s.api_key_id, k.name, k.disabled_at is null as enabled
  from due
  join lab_submission s on s.tenant_id = due.tenant_id and s.submission_id = due.submission_id
  join api_key k        on k.tenant_id = due.tenant_id and k.api_key_id = s.api_key_id`

// Turn issues codes for a tenant's waiting results, up to a bound. What fails for one
// result does not keep the others from theirs.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	if t.ClosedForIssue() {
		return nil
	}
	for range batchesPerTurn {
		n, err := s.batch(ctx, t)
		if err != nil || n < atOnce {
			return err
		}
	}
	s.nudge(id) // there may be more
	return nil
}

// batch leases some results and issues their codes. It returns how many there were.
func (s *Service) batch(ctx context.Context, t *tenant.Tenant) (int, error) {
	var results []leased
	now := s.clock()
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &results, leaseSQL, now, now.Add(lease), atOnce)
	})
	if err != nil {
		return 0, fmt.Errorf("lease results: %w", err)
	}
	var errs []error
	for _, l := range results {
		if err := s.step("leased"); err != nil {
			return len(results), err
		}
		if err := s.work(ctx, t, l); err != nil {
			errs = append(errs, fmt.Errorf("result %s: %w", l.ID, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return len(results), errors.Join(errs...)
}

// work issues the code of one result, or decides what becomes of it instead.
func (s *Service) work(ctx context.Context, t *tenant.Tenant, l leased) error {
	if !l.KeyEnabled {
		return s.bury(ctx, t, l, SubmitterDisabled)
	}
	err := s.issue(ctx, t, l)
	switch {
	case err == nil, errors.Is(err, errFenced):
		return nil // whoever has the result now sees to it
	case ctx.Err() != nil:
		return ctx.Err() // the lease ends by itself
	case !passing(err):
		return s.bury(ctx, t, l, reasonFor(err))
	case l.Attempts >= maxAttempts:
		return s.bury(ctx, t, l, GaveUp)
	}
	s.log.WarnContext(ctx, "lab result is tried again later", slog.String("tenant", string(t.Slug)),
		slog.String("result", l.ID.String()), slog.Int("attempt", l.Attempts), slog.Any("error", err))
	return s.postpone(ctx, t, l)
}

const issuedSQL = `
update lab_result
   set state        = 'issued',
       sealed       = null,
       code_id      = $3,
       leased_until = null,
       settled_at   = $4
 where result_id = $1
   and fence = $2
   and state = 'waiting'`

// issue makes the code and closes the row in one transaction.
func (s *Service) issue(ctx context.Context, t *tenant.Tenant, l leased) error {
	keys, err := s.secrets.Get(ctx, t.ID)
	if err != nil {
		return err
	}
	x, err := keys.open(l.ID, l.Sealed)
	if err != nil {
		return err
	}
	r := s.request(t, x, l.TestType)
	code := keys.id("code", string(l.Accession), string(l.TestType))
	r.UUID = code.String()
	r.Also = func(ctx context.Context, tx *tenant.Tx, _ *verification.Issued) error {
		if err := s.step("issuing"); err != nil {
			return err
		}
		return fenced(tx.Exec(ctx, issuedSQL, l.ID, l.Fence, code, s.clock()))
	}
	if _, err := s.codes.Issue(ctx, t, l.submitter(), r); err != nil {
		return err
	}
	return s.step("issued")
}

// fenced turns a change of no row into [errFenced].
func fenced(rows int64, err error) error {
	if err == nil && rows == 0 {
		return errFenced
	}
	return err
}

const (
	burySQL = `
update lab_result
   set state        = 'dead',
       reason       = $3,
       leased_until = null,
       settled_at   = $4
 where result_id = $1
   and fence = $2
   and state = 'waiting'`

	postponeSQL = `
update lab_result
   set due_at       = $3,
       leased_until = null
 where result_id = $1
   and fence = $2
   and state = 'waiting'`
)

// bury makes a result a dead letter.
func (s *Service) bury(ctx context.Context, t *tenant.Tenant, l leased, reason Reason) error {
	return s.settle(ctx, t, burySQL, l.ID, l.Fence, string(reason), s.clock())
}

// postpone lets a result be tried again after a while that grows with each attempt.
func (s *Service) postpone(ctx context.Context, t *tenant.Tenant, l leased) error {
	const doublings = 6
	wait := min(time.Minute<<min(l.Attempts, doublings), maxBackoff)
	return s.settle(ctx, t, postponeSQL, l.ID, l.Fence, s.clock().Add(wait))
}

func (s *Service) settle(ctx context.Context, t *tenant.Tenant, query string, args ...any) error {
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return fenced(tx.Exec(ctx, query, args...)) })
	if errors.Is(err, errFenced) {
		return nil
	}
	return err
}

// Retention, in steps that each stand for themselves.
const (
	eraseSQL = `
update lab_result
   set sealed = null
 where result_id in (select result_id
                       from lab_result
                      where state = 'dead'
                        and sealed is not null
                        and settled_at < $1
                      limit $2)`

	giveUpSQL = `
update lab_result
   set state        = 'dead',
       reason       = '` + string(GaveUp) + `',
       leased_until = null,
       settled_at   = received_at
 where result_id in (select result_id
                       from lab_result
                      where state = 'waiting'
                        and received_at < $1
                        and (leased_until is null or leased_until < $1)
                      limit $2)`

	deleteResultsSQL = `
delete from lab_result
 where result_id in (select result_id
                       from lab_result
                      where received_at < $1
                        and state <> 'waiting'
                      limit $2)`

	deleteSubmissionsSQL = `
delete from lab_submission
 where submission_id in (select s.submission_id
                           from lab_submission s
                          where s.received_at < $1
                            and not exists (select from lab_result r where r.submission_id = s.submission_id)
                          limit $2)`
)

// Clean erases and deletes what is past its time. Running it twice does no harm.
func (s *Service) Clean(ctx context.Context, id tenant.ID) error {
	now := s.clock()
	for _, step := range []struct {
		what, sql string
		before    time.Time
	}{
		{"give results up", giveUpSQL, now.Add(-KeepSealed)},
		{"erase dead letters", eraseSQL, now.Add(-KeepSealed)},
		{"delete results", deleteResultsSQL, now.Add(-KeepDigests)},
		{"delete submissions", deleteSubmissionsSQL, now.Add(-KeepDigests)},
	} {
		if err := sweep.Run(ctx, s.db, id, step.sql, step.before); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}
