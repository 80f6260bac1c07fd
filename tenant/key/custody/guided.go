package custody

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/member"
)

// Party is who must have the public half of a key before it is used.
type Party string

// The parties.
const (
	Apple  Party = "apple"
	Google Party = "google"
)

const handedSQL = `
   update key_rotation
      set handed_over_at = $2, handed_over_by = $3
    where rotation_id = $1
      and step = 'made'
      and purpose in ('export', 'sms')
returning purpose`

// HandOver notes that Apple and Google were sent the public half, in another way than by a
// pack whose hand-over is noted: see [Give]. [ErrStep].
// It asks for [authz.KeyRequestRotation].
func (s *Staff) HandOver(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
		return s.change(ctx, tx, by, authz.KeyRequestRotation, id, map[string]string{"step": "handed over"}, now, handedSQL, now, short(by.Name))
	})
}

const (
	appleSQL = `
   update key_rotation
      set apple_at = $2, apple_contact = $3, apple_noted_by = $4
    where rotation_id = $1
      and step = 'made'
      and purpose in ('export', 'sms')
returning purpose`

	googleSQL = `
   update key_rotation
      set google_at = $2, google_contact = $3, google_noted_by = $4
    where rotation_id = $1
      and step = 'made'
      and purpose in ('export', 'sms')
returning purpose`
)

// Confirm notes who confirmed for a party that phones know the key, and when: [ErrContact],
// [ErrStep]. It asks for [authz.KeyRequestRotation].
func (s *Staff) Confirm(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, from Party, contact string) error {
	contact, err := line(contact, maxContact, ErrContact)
	if err != nil {
		return err
	}
	query := appleSQL
	if from == Google {
		query = googleSQL
	}
	return s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
		what := map[string]string{"step": "confirmed", "party": string(from), "contact": contact}
		return s.change(ctx, tx, by, authz.KeyRequestRotation, id, what, now, query, now, contact, short(by.Name))
	})
}

const (
	rehearsedSQL = `
   update key_rotation
      set rehearsed_at = $2, rehearsed_in = $3
    where rotation_id = $1
      and step = 'made'
      and purpose in ('export', 'sms')
returning purpose`

	lastDoneSQL = `
select max(ended_at)
  from key_rotation
 where purpose = $1
   and step = 'done'`
)

// RehearsalLife is how long a rehearsal counts.
const RehearsalLife = 365 * 24 * time.Hour

// Rehearse looks whether a sandbox to which the person belongs has been through all steps,
// and notes it: [ErrNotRehearsed], [ErrStep]. It asks for [authz.KeyRequestRotation].
func (s *Staff) Rehearse(ctx context.Context, t *tenant.Tenant, by authz.Subject, who oidc.Identity, sandboxes []*tenant.Tenant, id uuid.UUID) error {
	book, err := s.Book(ctx, t, by)
	if err != nil {
		return err
	}
	r, err := book.Rotation(id)
	if err != nil {
		return err
	}
	for _, box := range sandboxes {
		if box.Kind != tenant.Sandbox || box.ID == t.ID {
			continue
		}
		done, err := s.doneIn(ctx, box, who, r.Purpose)
		if err != nil {
			return err
		}
		if done == nil || s.now().Sub(*done) > RehearsalLife {
			continue
		}
		return s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
			what := map[string]string{"step": "rehearsed", "sandbox": string(box.Slug)}
			return s.change(ctx, tx, by, authz.KeyRequestRotation, id, what, now, rehearsedSQL, *done, string(box.Slug))
		})
	}
	return ErrNotRehearsed
}

// doneIn is when a rotation of the purpose was last done in a sandbox, nil if never, or if
// the person may not know.
func (s *Staff) doneIn(ctx context.Context, box *tenant.Tenant, who oidc.Identity, p signing.Purpose) (done *time.Time, err error) {
	there, err := member.Authenticate(ctx, s.db, box, who)
	if errors.Is(err, member.ErrNotMember) || errors.Is(err, member.ErrSuspended) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = s.policies.Check(ctx, box.ID.String(), there, authz.KeyRead)
	if errors.Is(err, authz.ErrForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = s.db.In(ctx, box.ID, func(tx *tenant.Tx) error { return tx.Get(ctx, &done, lastDoneSQL, string(p)) })
	return done, err
}

// CheckName names one of the checks before a key is put to use.
type CheckName string

// The checks. Without the first two no key is put to use; without the others it needs a
// reason.
const (
	Tested     CheckName = "tested"
	Room       CheckName = "room"
	HandedOver CheckName = "handed_over"
	ByApple    CheckName = "apple"
	ByGoogle   CheckName = "google"
	Rehearsed  CheckName = "rehearsed"
)

// Check is one of them.
type Check struct {
	Name CheckName
	OK   bool
	// Needed: there is no reason good enough to do without.
	Needed bool
}

// maxSignatures of a file (key server protocol §6.1).
const maxSignatures = 10

// Preflight checks whether a guided rotation's version may be put to use. There is no check
// whether another rotation is on its way: the schema lets only one be. sandbox says that
// the tenant is one: then this is the rehearsal.
func (b *Book) Preflight(r Rotation, sandbox bool) []Check {
	room := 0
	for _, v := range b.Versions[r.Purpose] {
		if v.State == key.Active {
			room++
		}
	}
	v := b.ofRotation(r)
	return []Check{
		{Tested, v != nil && v.State == key.Next && (r.TestedAt != nil || r.Purpose != signing.Export), true},
		{Room, !key.Rule(r.Purpose).Together || room < maxSignatures, true},
		{HandedOver, r.HandedOverAt != nil, false},
		{ByApple, r.AppleAt != nil, false},
		{ByGoogle, r.GoogleAt != nil, false},
		{Rehearsed, r.RehearsedAt != nil || sandbox, false},
	}
}

// ofRotation is the version that a rotation brings, nil if it is not made.
func (b *Book) ofRotation(r Rotation) *key.Version {
	if r.Version == nil {
		return nil
	}
	return b.Find(r.Purpose, *r.Version)
}

// missing lists what fails: [ErrUnready] if one of it is needed.
func missing(checks []Check) (names []string, err error) {
	for _, c := range checks {
		if c.OK {
			continue
		}
		if c.Needed {
			return nil, ErrUnready
		}
		names = append(names, string(c.Name))
	}
	slices.Sort(names)
	return names, nil
}

const (
	retiringSQL = `
   update key_rotation
      set step = 'retiring'
    where rotation_id = $1
      and step = 'active'
returning purpose`

	cancelSQL = `
   update key_rotation
      set step = 'cancelled', ended_at = $2
    where rotation_id = $1
      and step in ('requested', 'made')
      and purpose in ('export', 'sms')
returning purpose`
)

// Retire asks that the versions before a rotation's sign no more: [ErrStep]. It asks for
// [authz.KeyApproveRotation].
func (s *Staff) Retire(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	return s.act(ctx, t, by, authz.KeyApproveRotation, func(tx *tenant.Tx, now time.Time) error {
		if err := job.Hasten(ctx, tx, Job, now, now); err != nil {
			return err
		}
		return s.change(ctx, tx, by, authz.KeyApproveRotation, id, map[string]string{"step": "retire"}, now, retiringSQL)
	})
}

// Cancel ends a guided rotation whose version is not in use; the version is destroyed, and
// nobody is asked any more to agree to its use: [ErrStep]. It asks for
// [authz.KeyRequestRotation].
func (s *Staff) Cancel(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	book, err := s.Book(ctx, t, by)
	if err != nil {
		return err
	}
	r, err := book.Rotation(id)
	if err != nil {
		return err
	}
	return s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
		if err := job.Hasten(ctx, tx, Job, now, now); err != nil {
			return err
		}
		if err := s.change(ctx, tx, by, authz.KeyRequestRotation, id, map[string]string{"step": "cancel"}, now, cancelSQL, now); err != nil {
			return err
		}
		return withdraw(ctx, tx, by, book.ofRotation(r), now)
	})
}

// withdraw ends what waits for a second person of a version's use; the version is nil if it
// was not made.
func withdraw(ctx context.Context, tx *tenant.Tx, by authz.Subject, v *key.Version, now time.Time) error {
	if v == nil {
		return nil
	}
	asked, found, err := approval.OpenOf(ctx, tx, approval.KeyActivate, v.Target(), now)
	if err == nil && found {
		_, err = approval.Withdraw(ctx, tx, by, asked.ID, now)
	}
	return err
}
