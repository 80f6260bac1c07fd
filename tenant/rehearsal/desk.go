package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/export/shelf"
	"carillon/tenant/key"
	"carillon/tenant/verification"
)

// Issuer issues codes. It is [verification.Service].
type Issuer interface {
	Issue(ctx context.Context, t *tenant.Tenant, by authz.Subject, r verification.IssueRequest) (*verification.Issued, error)
}

// Desk is rehearsals as the staff of sandboxes have them. Each method is for one person,
// who is a member of the tenant, and knows only her own rehearsal. All may be
// [ErrNotSandbox].
type Desk struct {
	db     *tenant.DB
	keys   *key.Ring
	codes  Issuer
	phones Phones
	now    func() time.Time
}

// NewDesk returns it through db, a handle under carillon_portal.
func NewDesk(db *tenant.DB, keys *key.Ring, codes Issuer, phones Phones, now func() time.Time) *Desk {
	return &Desk{db: db, keys: keys, codes: codes, phones: phones, now: now}
}

// player is a person who rehearses. Everybody plays the caseworker, whatever her roles.
func player(by authz.Subject) authz.Subject {
	by.Roles, by.Because = []authz.Role{authz.Caseworker}, "rehearsal"
	return by
}

// Find returns the person's rehearsal; nil if she has none.
func (d *Desk) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject) (*Rehearsal, error) {
	if t.Kind != tenant.Sandbox {
		return nil, ErrNotSandbox
	}
	return d.find(ctx, t, by)
}

// Begin has two new phones meet, in place of the rehearsal that is at step at; 0 if there
// is none. It may be [ErrOver] or a [Refusal].
func (d *Desk) Begin(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error {
	if t.Kind != tenant.Sandbox {
		return ErrNotSandbox
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	apiKey, err := d.appKey(ctx, t)
	if err != nil {
		return err
	}
	memory, err := d.phones.Meet(ctx, Place{Tenant: t, APIKey: apiKey})
	if err != nil {
		return err
	}
	return d.begin(ctx, t, player(by), at, Case{Phones: memory})
}

// Issue issues a code, in the person's name. It may be [ErrOver], [ErrBusy] or a [Refusal],
// as the other steps may.
func (d *Desk) Issue(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error {
	return d.step(ctx, t, by, act{"issue", at, []Stage{Met, Issued}}, func(ctx context.Context, _ Place, c *Case) (Stage, error) {
		issued, err := d.codes.Issue(ctx, t, player(by), d.request(t))
		if err != nil {
			return "", refusedIssue(err)
		}
		c.Code, c.CodeExpires = issued.Code, issued.ExpiresAt
		return Issued, nil
	})
}

// onsetDays is for how many days the person of the case has had symptoms.
const onsetDays = 2

func (d *Desk) request(t *tenant.Tenant) verification.IssueRequest {
	kind := string(certificate.Confirmed)
	if !t.Settings.Allows(kind) {
		kind = string(certificate.Likely)
	}
	onset := d.now().UTC().AddDate(0, 0, -onsetDays).Format(time.DateOnly)
	return verification.IssueRequest{TestType: kind, SymptomDate: onset}
}

func refusedIssue(err error) error {
	var p *verification.Problem
	switch {
	case errors.Is(err, verification.ErrQuota):
		return &Refusal{Quota, err}
	case errors.Is(err, verification.ErrMaintenance):
		return &Refusal{Closed, err}
	case errors.As(err, &p), errors.Is(err, authz.ErrForbidden):
		return &Refusal{Failed, err}
	}
	return err
}

// Redeem has the first phone redeem a code: the one that was issued here, or any other of
// the tenant.
func (d *Desk) Redeem(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int, code string) error {
	return d.step(ctx, t, by, act{"redeem", at, []Stage{Met, Issued}}, func(ctx context.Context, p Place, c *Case) (_ Stage, err error) {
		c.Phones, c.Diagnosis, err = d.phones.Redeem(ctx, p, c.Phones, code)
		if err == nil && c.Diagnosis.TestType == string(certificate.Negative) {
			err = &Refusal{Reason: Negative}
		}
		c.Code = ""
		return Redeemed, err
	})
}

// Publish has the first phone publish its keys.
func (d *Desk) Publish(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error {
	return d.step(ctx, t, by, act{"publish", at, []Stage{Redeemed}}, func(ctx context.Context, p Place, c *Case) (_ Stage, err error) {
		if c.Phones, c.Keys, err = d.phones.Publish(ctx, p, c.Phones); err != nil {
			return "", err
		}
		c.NextFile, err = d.nextFile(ctx, t)
		return Published, err
	})
}

// Look has the second phone look for new files.
func (d *Desk) Look(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error {
	return d.step(ctx, t, by, act{"look", at, []Stage{Published}}, func(ctx context.Context, p Place, c *Case) (_ Stage, err error) {
		var saw Sighting
		if c.Phones, saw, err = d.phones.Look(ctx, p, c.Phones); err != nil {
			return "", err
		}
		c.Looks++
		saw.Files, saw.Keys = saw.Files+c.Seen.Files, saw.Keys+c.Seen.Keys
		c.Seen = saw
		if saw.Found {
			return Notified, nil
		}
		c.NextFile, err = d.nextFile(ctx, t)
		return Published, err
	})
}

// nextFile is when the next file of the tenant's first configuration is due.
func (d *Desk) nextFile(ctx context.Context, t *tenant.Tenant) (due time.Time, err error) {
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		plans, err := shelf.Plans(ctx, tx, d.now())
		if at := slices.IndexFunc(plans, func(p shelf.Plan) bool { return p.Path == "" }); at >= 0 {
			due = plans[at].Due
		}
		return err
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("when the next file is due: %w", err)
	}
	return due, nil
}

const (
	// stepTimeout bounds a step; claimLife, which is longer, how long others wait for a
	// process that died in one.
	stepTimeout = 45 * time.Second
	claimLife   = time.Minute
)

// unhurried outlasts the browser: a step that has begun is finished.
func unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
}

// act is a step that somebody wants to take.
type act struct {
	name string
	at   int
	from []Stage
}

// step takes a step that nobody else can take meanwhile: the row is claimed before, and
// changed after. If the process dies in between, what the servers were told remains told.
func (d *Desk) step(ctx context.Context, t *tenant.Tenant, by authz.Subject, a act, do func(context.Context, Place, *Case) (Stage, error)) error {
	if t.Kind != tenant.Sandbox {
		return ErrNotSandbox
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	held, err := d.claim(ctx, t, by, a)
	if err != nil {
		return err
	}
	stage, err := do(ctx, Place{Tenant: t, APIKey: held.apiKey}, &held.Case)
	if err != nil {
		return errors.Join(err, d.release(ctx, t, by, held))
	}
	return d.finish(ctx, t, player(by), a, held, stage)
}
