// Package leaving lets a health authority go: it stops issuing codes, winds down, can come
// back while it cools down, and is erased in the end, with a certificate that says so.
//
// It begins when a second person has approved what one asked for (package approval). From
// then on no code is issued; those that are out can be used for [WindDown], with files made
// of the keys; files are downloaded to the end. Any owner can undo it until the cool-down
// is over. Then the authority's data key is destroyed, which is the point of no return:
// what was sealed under it cannot be read from then on, here or in any copy of the rows.
// Its rows go after that, and its files, and a walk through the catalogue of the database
// and the store looks for what might be left. What was done is signed and sent to those who
// were its owners.
package leaving

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/platform"
)

const (
	// WindDown is how long codes that are out can be used after the last one was issued: a
	// day until a code has ended, two for its token, and one for the files with the keys.
	WindDown = 4 * 24 * time.Hour
	// CoolDown is how long an authority can come back, unless the platform's operator sets
	// another time, of at least MinCoolDown and at most MaxCoolDown. The protocol asks for two
	// weeks between the last code and the end, so that phones can download what concerns them.
	CoolDown = 30 * 24 * time.Hour
	// MinCoolDown is the lower bound of what an operator may set.
	MinCoolDown = 7 * 24 * time.Hour
	// MaxCoolDown is the upper one.
	MaxCoolDown = 365 * 24 * time.Hour
)

var (
	// ErrNotLeaving means that the authority does not leave.
	ErrNotLeaving = errors.New("the health authority does not leave")
	// ErrState means that the authority cannot begin to leave: it is suspended, leaving or
	// gone.
	ErrState = errors.New("only an active health authority begins to leave")
	// ErrTyped means that what was typed to confirm is not the authority's name in URLs.
	ErrTyped = errors.New("what was typed is not the name of the health authority")
	// errNotDue means that the cool-down is not over.
	errNotDue = errors.New("it is not time to erase the health authority")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrNotLeaving, ErrState, ErrTyped} }

// Leave is how an authority leaves.
type Leave struct {
	// AskedBy and ApprovedBy are the IDs of two members.
	AskedBy    string    `db:"asked_by"`
	ApprovedBy string    `db:"approved_by"`
	Begun      time.Time `db:"begun_at"`
	// Closes is when phones can publish no more, Erases from when on it is erased.
	Closes time.Time `db:"closes_at"`
	Erases time.Time `db:"erase_after"`
	Told   int       `db:"told"`
}

const findSQL = `select asked_by, approved_by, begun_at, closes_at, erase_after, told from tenant_leaving`

// Find returns how the transaction's tenant leaves: [ErrNotLeaving] if it does not.
func Find(ctx context.Context, tx *tenant.Tx) (l Leave, err error) {
	err = tx.Get(ctx, &l, findSQL)
	if errors.Is(err, sql.ErrNoRows) {
		return l, ErrNotLeaving
	}
	if err != nil {
		return l, fmt.Errorf("read departure: %w", err)
	}
	l.Begun, l.Closes, l.Erases = l.Begun.UTC(), l.Closes.UTC(), l.Erases.UTC()
	return l, nil
}

// Want is the act that two people agree on.
func Want(t *tenant.Tenant) approval.Want {
	return approval.Want{Kind: approval.TenantErase, Target: string(t.Slug)}
}

// Desk is where staff have their authority leave and come back. It is safe for concurrent
// use.
type Desk struct {
	db       *tenant.DB
	policies *authz.Policies
	post     *approval.Post
	coolDown time.Duration
	now      func() time.Time
}

// NewDesk returns the desk as reached through db, under the portal's role. post tells those
// who may agree that an authority leaves. A coolDown of
// zero means [CoolDown]; one that is out of bounds is an error.
func NewDesk(db *tenant.DB, policies *authz.Policies, post *approval.Post, coolDown time.Duration, now func() time.Time) (*Desk, error) {
	if coolDown == 0 {
		coolDown = CoolDown
	}
	if coolDown < MinCoolDown || coolDown > MaxCoolDown {
		return nil, fmt.Errorf("health authorities cool down for %v to %v, not %v", MinCoolDown, MaxCoolDown, coolDown)
	}
	return &Desk{db: db, policies: policies, post: post, coolDown: coolDown, now: now}, nil
}

// CoolDown is how long the authorities of this platform can come back.
func (d *Desk) CoolDown() time.Duration { return d.coolDown }

// Standing is what the page about leaving shows.
type Standing struct {
	// Leave is nil for an authority that stays; Request the one that waits or is approved,
	// nil if there is none.
	Leave   *Leave
	Request *approval.Request
}

// Show tells staff who may ask for it, or approve it, how their authority leaves.
func (d *Desk) Show(ctx context.Context, by authz.Subject, t *tenant.Tenant) (s Standing, err error) {
	if err := d.allowed(ctx, t, by, authz.TenantLeave, authz.TenantApproveErasure); err != nil {
		return s, err
	}
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		l, err := Find(ctx, tx)
		if err == nil {
			s.Leave = &l
		} else if !errors.Is(err, ErrNotLeaving) {
			return err
		}
		r, found, err := approval.OpenOf(ctx, tx, approval.TenantErase, string(t.Slug), d.now())
		if found {
			s.Request = &r
		}
		return err
	})
	return s, err
}

// allowed is nil if one of the actions is.
func (d *Desk) allowed(ctx context.Context, t *tenant.Tenant, by authz.Subject, any ...authz.Action) error {
	policy, err := d.policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	for _, a := range any {
		if policy.Allow(by, a) {
			return nil
		}
	}
	return authz.ErrForbidden
}

// Ask asks that the authority leave; somebody else approves, and those who may get a letter.
// typed is the authority's slug,
// as whoever asks has typed it: [ErrTyped] if it is not. Errors are also those of
// [approval.Ask], and [ErrState].
func (d *Desk) Ask(ctx context.Context, by authz.Subject, t *tenant.Tenant, typed, reason string) error {
	if typed != string(t.Slug) {
		return ErrTyped
	}
	if t.State != tenant.Active {
		return ErrState
	}
	var asked approval.Request
	err := d.db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		asked, err = approval.Ask(ctx, tx, by, Want(t), reason, d.now())
		return err
	})
	if err == nil {
		d.post.Tell(ctx, t, asked)
	}
	return err
}

const (
	beginSQL = `
insert into tenant_leaving (tenant_id, asked_by, approved_by, begun_at, closes_at, erase_after)
values (current_tenant(), $1, $2, $3, $4, $5)`

	leaveSQL = `
update tenant_directory
   set state = 'leaving', winding_down = true, state_reason = '', state_since = $2
 where tenant = $1
   and state = 'active'`
)

// Begin has the authority leave, as was asked for and approved: [approval.ErrNotApproved]
// if it was not, [ErrState] if it is not active. Codes are issued no more, at once.
func (d *Desk) Begin(ctx context.Context, by authz.Subject, t *tenant.Tenant) (l Leave, err error) {
	if err := d.allowed(ctx, t, by, authz.TenantLeave, authz.TenantApproveErasure); err != nil {
		return l, err
	}
	now := d.now().UTC().Truncate(time.Second)
	l = Leave{Begun: now, Closes: now.Add(min(WindDown, d.coolDown)), Erases: now.Add(d.coolDown)}
	err = d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		r, err := approval.Use(ctx, tx, by, Want(t), now)
		if err != nil {
			return err
		}
		l.AskedBy, l.ApprovedBy = r.RequestedBy.String(), r.DecidedBy.String()
		if _, err := tx.Exec(ctx, beginSQL, l.AskedBy, l.ApprovedBy, l.Begun, l.Closes, l.Erases); err != nil {
			return err
		}
		if err := change(ctx, tx, leaveSQL, t.ID, now); err != nil {
			return err
		}
		detail := map[string]string{"erases": l.Erases.Format(time.RFC3339), "asked_by": l.AskedBy, "approved_by": l.ApprovedBy}
		return note(ctx, tx, t, by, "tenant:leave", detail, now)
	})
	if tenant.Violates(err, "tenant_leaving_pkey") {
		err = ErrState
	}
	return l, err
}

// change moves the tenant from one state to another: [ErrState] if it is in neither.
func change(ctx context.Context, tx *tenant.Tx, query string, args ...any) error {
	n, err := tx.Exec(ctx, query, args...)
	if err == nil && n == 0 {
		return ErrState
	}
	return err
}

// note enters an act in the authority's log and the platform's.
func note(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, action string, detail map[string]string, at time.Time) error {
	if err := platform.Record(ctx, tx, by, platform.Entry{At: at, Action: action, Target: string(t.Slug), Detail: detail}); err != nil {
		return err
	}
	return audit.Record(ctx, tx, at, by, action, string(t.Slug), detail)
}

const (
	stayRowSQL = `delete from tenant_leaving`

	staySQL = `
update tenant_directory
   set state = 'active', winding_down = false, state_reason = '', state_since = $2
 where tenant = $1
   and state = 'leaving'`
)

// Undo has the authority stay: for whoever may ask that it leave, alone, until it is
// erased. [ErrNotLeaving].
func (d *Desk) Undo(ctx context.Context, by authz.Subject, t *tenant.Tenant) error {
	if err := d.allowed(ctx, t, by, authz.TenantLeave); err != nil {
		return err
	}
	now := d.now().UTC().Truncate(time.Second)
	return d.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		n, err := tx.Exec(ctx, stayRowSQL)
		if err == nil && n == 0 {
			return ErrNotLeaving
		}
		if err != nil {
			return err
		}
		if err := change(ctx, tx, staySQL, t.ID, now); err != nil {
			return err
		}
		return note(ctx, tx, t, by, "tenant:stay", nil, now)
	})
}
