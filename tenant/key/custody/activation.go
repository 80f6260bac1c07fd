package custody

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/job"
)

// without is the detail of an approval that says which checks it does without.
const without = "without"

// activation is the act of putting a rotation's version to use, as two people agree to it:
// [ErrUnready] if it may not be.
func (b *Book) activation(r Rotation, sandbox bool) (approval.Want, error) {
	v := b.ofRotation(r)
	if v == nil {
		return approval.Want{}, ErrUnready
	}
	lacks, err := missing(b.Preflight(r, sandbox))
	if err != nil {
		return approval.Want{}, err
	}
	return approval.Want{
		Kind: approval.KeyActivate, Target: v.Target(),
		Detail: map[string]string{"rotation": r.ID.String(), without: strings.Join(lacks, " ")},
	}, nil
}

// guided reads a guided rotation that is at the step of waiting for people.
func (s *Staff) guided(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (approval.Want, error) {
	book, err := s.Book(ctx, t, by)
	if err != nil {
		return approval.Want{}, err
	}
	r, err := book.Rotation(id)
	if err != nil {
		return approval.Want{}, err
	}
	if r.Step != Made {
		return approval.Want{}, ErrStep
	}
	return book.activation(r, t.Kind == tenant.Sandbox)
}

// AskActivation asks a second person to agree that a rotation's version is put to use, and
// says why; what the checks find missing is part of what she agrees to. Those who may agree
// get a letter. [ErrUnready],
// [ErrStep], [ErrReason], [approval.ErrAsked]. It asks for
// [authz.KeyRequestRotation].
func (s *Staff) AskActivation(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, reason string) error {
	reason, err := Reason(reason)
	if err != nil {
		return err
	}
	want, err := s.guided(ctx, t, by, id)
	if err != nil {
		return err
	}
	var asked approval.Request
	err = s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) (err error) {
		asked, err = approval.Ask(ctx, tx, by, want, reason, now)
		return err
	})
	if err == nil {
		s.post.Tell(ctx, t, asked)
	}
	return err
}

const activatingSQL = `
   update key_rotation
      set step = 'activating'
    where rotation_id = $1
      and step = 'made'
      and purpose in ('export', 'sms')
returning purpose`

// Activate puts a rotation's version to use, as a second person has agreed: the jobs
// process tries it once more and does so. [approval.ErrNotApproved] if she has not, or if
// something is missing now that was not then; [ErrUnready], [ErrStep]. It asks for
// [authz.KeyRequestRotation].
func (s *Staff) Activate(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	want, err := s.guided(ctx, t, by, id)
	if err != nil {
		return err
	}
	return s.act(ctx, t, by, authz.KeyRequestRotation, func(tx *tenant.Tx, now time.Time) error {
		asked, found, err := approval.OpenOf(ctx, tx, want.Kind, want.Target, now)
		if err != nil {
			return err
		}
		if !found || !covers(asked.Detail[without], want.Detail[without]) {
			return approval.ErrNotApproved
		}
		if _, err := approval.Use(ctx, tx, by, asked.Want, now); err != nil {
			return err
		}
		if err := job.Hasten(ctx, tx, Job, now, now); err != nil {
			return err
		}
		return s.change(ctx, tx, by, authz.KeyRequestRotation, id, map[string]string{"step": "activate"}, now, activatingSQL)
	})
}

// covers reports whether all that is missing was agreed to be missing.
func covers(agreed, missing string) bool {
	for _, name := range strings.Fields(missing) {
		if !slices.Contains(strings.Fields(agreed), name) {
			return false
		}
	}
	return true
}

// Asked is the open request to put a rotation's version to use, if there is one. It asks
// for [authz.KeyRead].
func (s *Staff) Asked(ctx context.Context, t *tenant.Tenant, by authz.Subject, b *Book, r Rotation) (asked approval.Request, found bool, err error) {
	v := b.ofRotation(r)
	if v == nil {
		return asked, false, nil
	}
	err = s.act(ctx, t, by, authz.KeyRead, func(tx *tenant.Tx, now time.Time) error {
		asked, found, err = approval.OpenOf(ctx, tx, approval.KeyActivate, v.Target(), now)
		return err
	})
	return asked, found, err
}
