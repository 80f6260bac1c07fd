package verification

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
	"carillon/tenant/message/delivery"
)

// Status is what became of a code.
type Status struct {
	ID      uuid.UUID
	Claimed bool
	// ExpiresAt and LongExpiresAt end the short and the long code.
	ExpiresAt, LongExpiresAt time.Time
	// Refused is the last time that a phone was refused the code; nil if none was.
	Refused *Refusal
}

const statusSQL = `
select claimed_at is not null as claimed, expires_at, long_expires_at,
       coalesce(refused_as, '') as refused_as, coalesce(refused_at, 'epoch') as refused_at
  from verification_code
 where code_id = $1`

// Status tells what became of a code (verification protocol §4.5). It sees every
// claim that was answered before. [ErrCodeNotFound] if the tenant has no such
// code, which includes texts that are no UUID.
func (s *Service) Status(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (Status, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeRead); err != nil {
		return Status{}, err
	}
	code, err := parseUUID(trimUUID(id))
	if err != nil {
		return Status{}, codeNotFound()
	}
	var status Status
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		status, err = statusOf(ctx, tx, code)
		return err
	})
	return status, err
}

func statusOf(ctx context.Context, tx *tenant.Tx, code uuid.UUID) (Status, error) {
	var row struct {
		Claimed       bool
		ExpiresAt     time.Time `db:"expires_at"`
		LongExpiresAt time.Time `db:"long_expires_at"`
		RefusedAs     Cause     `db:"refused_as"`
		RefusedAt     time.Time `db:"refused_at"`
	}
	err := tx.Get(ctx, &row, statusSQL, code.String())
	if errors.Is(err, sql.ErrNoRows) {
		return Status{}, codeNotFound()
	}
	if err != nil {
		return Status{}, fmt.Errorf("read code: %w", err)
	}
	status := Status{ID: code, Claimed: row.Claimed, ExpiresAt: row.ExpiresAt.UTC(), LongExpiresAt: row.LongExpiresAt.UTC()}
	if row.RefusedAs != "" {
		status.Refused = &Refusal{Cause: row.RefusedAs, At: row.RefusedAt.UTC()}
	}
	return status, nil
}

func codeNotFound() error {
	return refuse(ErrCodeNotFound, "code not found, it may have expired and been removed")
}

// Progress is what became of a code and of its message.
type Progress struct {
	Status
	// Message is what is known of the code's last message; nil if it had none.
	Message *delivery.Report
}

// Progress is [Service.Status] and what [Service.Delivery] tells, as of one moment.
func (s *Service) Progress(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (Progress, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeRead); err != nil {
		return Progress{}, err
	}
	code, err := parseUUID(trimUUID(id))
	if err != nil {
		return Progress{}, codeNotFound()
	}
	var p Progress
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		if p.Status, err = statusOf(ctx, tx, code); err != nil {
			return err
		}
		r, err := delivery.Of(ctx, tx, code)
		if errors.Is(err, delivery.ErrNone) {
			return nil
		}
		p.Message = &r
		return err
	})
	return p, err
}

// A code is expired when its longer-lived form is. The short form may have ended
// before; it keeps that time.
const expireSQL = `
with found as (
  select code_id, claimed_at, expires_at, long_expires_at, long_expires_at <= $2 as expired
    from verification_code
   where code_id = $1
     for update
), ended as (
  update verification_code c
     set expires_at = least(c.expires_at, $2), long_expires_at = $2
    from found f
   where c.code_id = f.code_id
     and not f.expired
     and f.claimed_at is null
  returning c.code_id, c.expires_at, c.long_expires_at
)
select f.claimed_at is not null as claimed,
       e.code_id is not null as ended,
       f.expired,
       coalesce(e.expires_at, f.expires_at) as expires_at,
       coalesce(e.long_expires_at, f.long_expires_at) as long_expires_at
  from found f
  left join ended e on e.code_id = f.code_id`

type expired struct {
	Claimed, Ended, Expired bool
	ExpiresAt               time.Time `db:"expires_at"`
	LongExpiresAt           time.Time `db:"long_expires_at"`
}

// Expire ends a code now (verification protocol §4.6) and audits it. A code that
// has ended keeps its times and is no error; a claimed one is
// [ErrAlreadyClaimed], an unknown one [ErrCodeNotFound].
func (s *Service) Expire(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (Status, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeExpire); err != nil {
		return Status{}, err
	}
	code, err := parseUUID(trimUUID(id))
	if err != nil {
		return Status{}, codeNotFound()
	}
	now := s.clock()
	var row expired
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if err := tx.Get(ctx, &row, expireSQL, code.String(), now); err != nil {
			return err
		}
		if !row.Ended {
			return nil
		}
		return audit.Record(ctx, tx, now, by, string(authz.CodeExpire), code.String(), nil)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Status{}, codeNotFound()
	case err != nil:
		return Status{}, fmt.Errorf("expire code: %w", err)
	case row.Claimed && !row.Expired:
		return Status{}, refuse(ErrAlreadyClaimed, "bad request")
	}
	return Status{ID: code, Claimed: row.Claimed, ExpiresAt: row.ExpiresAt.UTC(), LongExpiresAt: row.LongExpiresAt.UTC()}, nil
}

// Delivery tells what became of a code's last message: [delivery.ErrNone] becomes
// [ErrCodeNotFound], as does a code that the tenant does not have.
func (s *Service) Delivery(ctx context.Context, t *tenant.Tenant, by authz.Subject, id string) (delivery.Report, error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.CodeRead); err != nil {
		return delivery.Report{}, err
	}
	code, err := parseUUID(trimUUID(id))
	if err != nil {
		return delivery.Report{}, codeNotFound()
	}
	var r delivery.Report
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		r, err = delivery.Of(ctx, tx, code)
		return err
	})
	if errors.Is(err, delivery.ErrNone) {
		return delivery.Report{}, refuse(ErrCodeNotFound, "no message of this code is known")
	}
	return r, err
}
