package signup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/onboarding"
	"carillon/tenant/platform"
	"carillon/tenant/quota"
)

// listLimit is how many applications a list has at most.
const listLimit = 200

const listSQL = `
  select` + columns + `
   where a.state = any ($1)
order by a.changed_at, a.application_id
   limit $2`

// List returns applications in these states, those that have waited longest first, 200 at
// most. None means those that wait for an operator.
func (s *Service) List(ctx context.Context, states ...State) ([]*Application, error) {
	if len(states) == 0 {
		states = []State{Waiting}
	}
	names := make(pq.StringArray, len(states))
	for i, state := range states {
		names[i] = string(state)
	}
	var rows []row
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Select(ctx, &rows, listSQL, names, listLimit) })
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	list := make([]*Application, len(rows))
	for i, r := range rows {
		if list[i], err = r.application(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Terms are what the production tenant is called. They cannot be changed later.
type Terms struct {
	// Slug names it in URLs, HealthAuthorityID is what its phones send.
	Slug, HealthAuthorityID string
	// ExportKeyID is the key ID in its export files, often a mobile country code.
	ExportKeyID string
}

// Review is an application as an operator sees it.
type Review struct {
	*Application
	// Warnings are what an operator should look at before she approves.
	Warnings []Warning
	// Proposal is what the tenant would be called unless the operator says otherwise.
	Proposal Terms
}

// Read returns an application that an operator may decide on, or has: [ErrNone] if there
// is none, or if it is not proven.
func (s *Service) Read(ctx context.Context, id uuid.UUID) (*Review, error) {
	var r row
	var all known
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) (err error) {
		if err := tx.Get(ctx, &r, claimSQL, id); err != nil {
			return err
		}
		all, err = readKnown(ctx, tx, id)
		return err
	})
	a, err := found(r, err)
	if err != nil {
		return nil, err
	}
	if a.ProvenBy == "" {
		return nil, ErrNone
	}
	review := &Review{Application: a, Proposal: propose(a.Details)}
	if a.State != Approved && a.State != Refused {
		review.Warnings = all.warn(a, review.Proposal)
	}
	return review, nil
}

// propose derives names: the region in lower case, and the domain from its end.
func propose(d *Details) Terms {
	labels := strings.Split(d.Domain, ".")
	slices.Reverse(labels)
	slug := strings.ToLower(d.Region)
	return Terms{Slug: slug, HealthAuthorityID: strings.Join(labels, "."), ExportKeyID: slug}
}

const approvedSQL = `
update application
   set state = 'approved', production = $2, message = '', decided_at = $3, changed_at = $3, told_at = null
 where application_id = $1`

// Approve makes the production tenant of an application that is proven, with the applicant
// as its first owner, and sends the letter about it. What is empty in terms is as
// proposed. [ErrTaken] if another tenant has one of the names or serves the region,
// [tenant.ErrSlug] if the slug is none, [ErrAuthorityID] if the health authority ID is none,
// [ErrState] if the application is refused.
//
// One that is approved stays so, whoever asks again: then only a letter that was not sent
// is sent. Whether it was is in the answer.
func (s *Service) Approve(ctx context.Context, by authz.Subject, id uuid.UUID, terms Terms) (*Application, error) {
	production, now := tenant.NewID(), s.now()
	err := s.DB.In(ctx, production, func(tx *tenant.Tx) error {
		a, err := s.lock(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case a.State == Approved:
			return nil
		case a.State != Waiting && a.State != Asked:
			return ErrState
		}
		spec := productionSpec(a.Details, terms)
		if !authorityIDForm.MatchString(spec.HealthAuthorityID) {
			return ErrAuthorityID
		}
		if err := onboarding.Make(ctx, tx, production, s.Root, spec, by, now); err != nil {
			return err
		}
		if err := quota.Expect(ctx, tx, a.Details.CodesPerDay, now); err != nil {
			return err
		}
		if err := s.addOwner(ctx, tx, a); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, approvedSQL, id, production, now); err != nil {
			return err
		}
		return record(ctx, tx, by, "application:approve", map[string]string{"application": id.String(), "slug": spec.Slug}, now)
	})
	if errors.Is(err, onboarding.ErrExists) {
		what, _, _ := strings.Cut(err.Error(), " "+onboarding.ErrExists.Error())
		return nil, fmt.Errorf("%s %w", what, ErrTaken)
	}
	if err != nil {
		return nil, decisionFailed(err)
	}
	return s.tell(ctx, id)
}

// authorityIDForm is what the names of apps and domains look like (key server protocol §1.2
// allows any text).
var authorityIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,256}$`)

func productionSpec(d *Details, terms Terms) onboarding.Spec {
	p := propose(d)
	for _, name := range []struct{ chosen, proposed *string }{
		{&terms.Slug, &p.Slug}, {&terms.HealthAuthorityID, &p.HealthAuthorityID}, {&terms.ExportKeyID, &p.ExportKeyID},
	} {
		if *name.chosen == "" {
			*name.chosen = *name.proposed
		}
	}
	return onboarding.Spec{
		Slug: terms.Slug, Name: d.Name, Region: d.Region, HealthAuthorityID: terms.HealthAuthorityID,
		Issuer: d.Domain, Audience: audience, ExportKeyID: terms.ExportKeyID, ExportMinAge: -1,
		Language: d.Languages[0], SMSCountry: country(d.Region), Limited: true,
	}
}

// lock reads an application for a decision.
func (s *Service) lock(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (*Application, error) {
	var r row
	err := tx.Get(ctx, &r, lockSQL, id)
	return found(r, err)
}

const (
	askSQL = `
update application
   set state = 'asked', message = $2, changed_at = $3, told_at = null
 where application_id = $1`

	refuseSQL = `
update application
   set state = 'refused', message = $2, decided_at = $3, changed_at = $3, told_at = null
 where application_id = $1`

	closeSandboxSQL = `
   update tenant_directory
      set state = 'suspended', state_reason = $2, state_since = $3
    where tenant = (select sandbox from application where application_id = $1)
      and state = 'active'
returning tenant`
)

// Ask sends a question to the applicant, whose turn it is then: [ErrState] unless the
// application waits for an operator, [ErrReason] if the question is none. Whether the
// letter was sent is in the answer.
func (s *Service) Ask(ctx context.Context, by authz.Subject, id uuid.UUID, question string) (*Application, error) {
	return s.decide(ctx, by, id, question, "application:ask", func(tx *tenant.Tx, a *Application, now time.Time) error {
		if a.State != Waiting {
			return ErrState
		}
		_, err := tx.Exec(ctx, askSQL, id, strings.TrimSpace(question), now)
		return err
	})
}

// Refuse ends an application and closes its sandbox: [ErrState] if it is decided,
// [ErrReason] if the reason is none. Whether the letter was sent is in the answer.
func (s *Service) Refuse(ctx context.Context, by authz.Subject, id uuid.UUID, reason string) (*Application, error) {
	return s.decide(ctx, by, id, reason, "application:refuse", func(tx *tenant.Tx, a *Application, now time.Time) error {
		if a.State != Waiting && a.State != Asked {
			return ErrState
		}
		if _, err := tx.Exec(ctx, refuseSQL, id, strings.TrimSpace(reason), now); err != nil {
			return err
		}
		return closeSandbox(ctx, tx, by, id, now)
	})
}

// refusedApplication is why a sandbox was closed, for its staff; the applicant's letter has
// the operator's words.
const refusedApplication = "The application to become a health authority was refused."

// closeSandbox suspends the sandbox of an application, and binds tx to it.
func closeSandbox(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, now time.Time) error {
	var closed []tenant.ID
	if err := tx.Select(ctx, &closed, closeSandboxSQL, id, refusedApplication, now.UTC().Truncate(time.Second)); err != nil || len(closed) == 0 {
		return err
	}
	if err := tx.Rebind(ctx, closed[0]); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, by, "tenant:suspend", "", map[string]string{"reason": refusedApplication})
}

func (s *Service) decide(ctx context.Context, by authz.Subject, id uuid.UUID, words, action string, change func(*tenant.Tx, *Application, time.Time) error) (*Application, error) {
	if n := utf8.RuneCountInString(strings.TrimSpace(words)); n < 1 || n > maxReply || parseReply(words) != "" {
		return nil, ErrReason
	}
	now := s.now()
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		a, err := s.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := change(tx, a, now); err != nil {
			return err
		}
		return record(ctx, tx, by, action, map[string]string{"application": id.String()}, now)
	})
	if err != nil {
		return nil, decisionFailed(err)
	}
	return s.tell(ctx, id)
}

func decisionFailed(err error) error {
	for _, known := range []error{ErrNone, ErrState, tenant.ErrSlug} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("decide on application: %w", err)
}

// record enters an operator's act in the platform's log.
func record(ctx context.Context, tx *tenant.Tx, by authz.Subject, action string, detail map[string]string, now time.Time) error {
	return platform.Record(ctx, tx, by, platform.Entry{At: now, Action: action, Detail: detail})
}

// Tell sends the letter about the last decision, unless it was sent: [ErrNone] if there is
// no such application. Whether it was sent now is in the answer.
func (s *Service) Tell(ctx context.Context, id uuid.UUID) (*Application, error) {
	return s.tell(ctx, id)
}

const toldSQL = `
update application
   set told_at = $3
 where application_id = $1
   and changed_at = $2`

// tell sends the letter about the last decision, if it is due. That it was sent is noted
// afterwards, so that none is lost; one may be sent twice. The decision stands whatever
// becomes of its letter.
func (s *Service) tell(ctx context.Context, id uuid.UUID) (*Application, error) {
	var r row
	err := s.DB.Platform(ctx, func(tx *tenant.Tx) error { return tx.Get(ctx, &r, claimSQL, id) })
	a, err := found(r, err)
	if err != nil || a.Told || (a.State != Approved && a.State != Asked && a.State != Refused) {
		return a, err
	}
	sending, cancel := context.WithTimeout(ctx, letterTimeout)
	defer cancel()
	if err := s.Mail.Send(sending, s.decisionLetter(a)); err != nil {
		s.Log.WarnContext(ctx, "the letter about a decision was not sent", "application", id, "error", err)
		return a, nil
	}
	a.Told = true
	err = s.DB.Platform(ctx, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, toldSQL, id, a.ChangedAt, s.now())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("note letter: %w", err)
	}
	return a, nil
}
