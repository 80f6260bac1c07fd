package signup

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// mineSQL prefers the application that is not decided; there is one at most.
const mineSQL = `
  select` + columns + `
   where a.email = $1
order by a.state in ('approved', 'refused'), a.created_at desc
   limit 1`

// Mine returns the application of who that is not decided, or else the last one that was:
// [ErrNone] if she has made none.
func (s *Service) Mine(ctx context.Context, who Applicant) (*Application, error) {
	var r row
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &r, mineSQL, strings.ToLower(who.Email)) })
	return found(r, err)
}

func found(r row, err error) (*Application, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("read application: %w", err)
	}
	return r.application()
}

const (
	openSQL = `
select application_id, state, domain, proven_at
  from application
 where email = $1
   and state not in ('approved', 'refused')
   for update`

	beginSQL = `
insert into application (application_id, email, confirmed_by, challenge, created_at, changed_at)
values ($1, $2, $3, $4, $5, $5)`

	todaySQL = `select count(*) from application where created_at > $1`

	saveSQL = `
update application
   set form = $2::jsonb, confirmed_by = $3, changed_at = $4,
       state = case state when 'proving' then 'draft' else state end
 where application_id = $1`

	submitSQL = `
update application
   set form = $2::jsonb, confirmed_by = $3, changed_at = $4, reply = $5,
       state = case state when 'asked' then 'waiting' else 'proving' end,
       authority_name = $6, region = $7, domain = $8, contact_name = $9, contact_email = $10, contact_phone = $11,
       languages = $12, codes_per_day = $13
 where application_id = $1`
)

// open is an application that can be worked on, locked.
type open struct {
	ID       uuid.UUID `db:"application_id"`
	State    State
	Domain   *string
	ProvenAt *time.Time `db:"proven_at"`
}

// begin returns the applicant's open application, or begins one.
func (s *Service) begin(ctx context.Context, tx *tenant.Tx, who Applicant, now time.Time) (open, error) {
	// Two tabs of one person would both begin; and the day's count is everybody's.
	if err := lockSignup(ctx, tx); err != nil {
		return open{}, err
	}
	var o open
	err := tx.Get(ctx, &o, openSQL, who.Email)
	if !errors.Is(err, sql.ErrNoRows) {
		return o, err
	}
	var today int
	if err := tx.Get(ctx, &today, todaySQL, now.Add(-day)); err != nil {
		return o, err
	}
	if today >= s.Limits.ApplicationsADay {
		return o, ErrBusy
	}
	o = open{ID: uuid.New(), State: Draft}
	_, err = tx.Exec(ctx, beginSQL, o.ID, who.Email, string(who.Confirmed), rand.Text(), now)
	return o, err
}

const day = 24 * time.Hour

// lockSignup has what counts everybody's sign-ups done one after the other.
func lockSignup(ctx context.Context, tx *tenant.Tx) error {
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('signup'))`)
	return err
}

// Save keeps what was typed, whether or not it is right: [ErrState] while an operator has
// the application, a [*FormError] if something is too long to be kept.
func (s *Service) Save(ctx context.Context, who Applicant, f Form) error {
	if !f.fits() {
		return f.tooLong()
	}
	return s.edit(ctx, who, f, nil)
}

// tooLong lists what is too long to be kept.
func (f Form) tooLong() error {
	var e FormError
	_, err := f.parse()
	var all *FormError
	if errors.As(err, &all) {
		for _, p := range all.Problems {
			if p.Fault == Long {
				e.Problems = append(e.Problems, p)
			}
		}
	}
	if len(e.Problems) == 0 { // too long for a kind that has no length
		e.Problems = f.longest()
	}
	return &e
}

func (f Form) longest() []Problem {
	var list []Problem
	for _, field := range []struct {
		name Field
		text string
	}{{FieldRegion, f.Region}, {FieldDomain, f.Domain}, {FieldContactEmail, f.ContactEmail}, {FieldLanguages, f.Languages}, {FieldCodes, f.Codes}} {
		if len(field.text) > maxTyped {
			list = append(list, Problem{field.name, Long})
		}
	}
	return list
}

// Submit keeps what was typed and, if it is complete and right, goes on: to proof, or
// back to the operator who asked. A [*FormError] says what is not right; the draft is
// kept then, too, unless it is too long. [ErrState] while an operator has the application.
func (s *Service) Submit(ctx context.Context, who Applicant, f Form) error {
	details, wrong := f.parse()
	if wrong != nil && !f.fits() {
		return wrong
	}
	if err := s.edit(ctx, who, f, details); err != nil {
		return err
	}
	return wrong
}

// edit keeps a form, and its details if it has any.
func (s *Service) edit(ctx context.Context, who Applicant, f Form, d *Details) error {
	who.Email = strings.ToLower(who.Email)
	now := s.now()
	form, err := json.Marshal(f.storable())
	if err != nil {
		return fmt.Errorf("application form: %w", err)
	}
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		o, err := s.begin(ctx, tx, who, now)
		switch {
		case err != nil:
			return err
		case o.State == Waiting:
			return ErrState
		case d == nil:
			_, err = tx.Exec(ctx, saveSQL, o.ID, string(form), string(who.Confirmed), now)
			return err
		case o.ProvenAt != nil && text(o.Domain) != d.Domain:
			return &FormError{[]Problem{{FieldDomain, Fixed}}}
		}
		reply := ""
		if o.State == Asked {
			reply = strings.TrimSpace(f.storable().Reply)
		}
		_, err = tx.Exec(ctx, submitSQL, o.ID, string(form), string(who.Confirmed), now, reply,
			d.Name, d.Region, d.Domain, d.ContactName, d.ContactEmail, d.ContactPhone, pq.StringArray(d.Languages), d.CodesPerDay)
		return err
	})
	var wrong *FormError
	if err != nil && !errors.Is(err, ErrState) && !errors.Is(err, ErrBusy) && !errors.As(err, &wrong) {
		return fmt.Errorf("save application: %w", err)
	}
	return err
}

// now is the time of a step, as the database keeps it.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Second) }
