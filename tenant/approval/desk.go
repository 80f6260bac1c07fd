package approval

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
)

// Act does what a request says, in the transaction in which it is approved: it spends the
// approval with [Use], in whose name by approves. If it fails, nothing was approved. What
// it returns beside is done after the commit, and may be nil.
type Act func(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, r Request) (after func(context.Context) error, err error)

// DeskConfig is what a [Desk] works with.
type DeskConfig struct {
	// DB is a handle under the role carillon_portal.
	DB       *tenant.DB
	Policies *authz.Policies
	// Acts are those that are done as soon as they are approved. Others are done by whoever
	// asked, or by a job, who spend the approval.
	Acts map[Kind]Act
	Now  func() time.Time
}

// Desk is where staff see what waits for a second person, and decide. It is safe for
// concurrent use.
type Desk struct{ c DeskConfig }

// NewDesk returns what works with c.
func NewDesk(c DeskConfig) *Desk { return &Desk{c: c} }

// Waiting is an open request as somebody sees it.
type Waiting struct {
	Request
	// MayDecide tells that she can approve or refuse it; MayWithdraw, that she can end it.
	MayDecide, MayWithdraw bool
	// Own tells that she asked for it.
	Own bool
	// Deciders is how many people may decide it, as far as their roles are known.
	Deciders int
}

// Board is what the page of approvals shows.
type Board struct {
	Waiting []Waiting // the oldest first
	Over    []Request // the newest first
}

// Deals reports whether a subject has anything to do with requests of a kind.
func Deals(p *authz.Policy, by authz.Subject, kind Kind) bool {
	return p.Allow(by, kind.Rule().Request) || p.Allow(by, kind.Rule().Approve)
}

// Board lists the requests with which by has to do, which may be none.
func (d *Desk) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (b Board, err error) {
	policy, err := d.c.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return b, err
	}
	foreign := func(r Request) bool { return !Deals(policy, by, r.Kind) }
	err = d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		open, err := Open(ctx, tx, d.c.Now())
		if err != nil {
			return err
		}
		for _, r := range slices.DeleteFunc(open, foreign) {
			w, err := d.waiting(ctx, tx, policy, by, r)
			if err != nil {
				return err
			}
			b.Waiting = append(b.Waiting, w)
		}
		b.Over, err = Over(ctx, tx, d.c.Now())
		b.Over = slices.DeleteFunc(b.Over, foreign)
		return err
	})
	return b, err
}

func (d *Desk) waiting(ctx context.Context, tx *tenant.Tx, policy *authz.Policy, by authz.Subject, r Request) (Waiting, error) {
	who, err := deciders(ctx, tx, r.Kind, r.RequestedBy)
	own := r.RequestedBy.String() == by.ID
	return Waiting{
		Request: r, Own: own, Deciders: len(who),
		MayDecide:   r.State == Pending && !own && policy.Allow(by, r.Kind.Rule().Approve),
		MayWithdraw: policy.Allow(by, r.Kind.Rule().Request),
	}, err
}

// Find returns an open request as [Desk.Board] has it: [ErrNoRequest] if there is none.
func (d *Desk) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id ID) (Waiting, error) {
	b, err := d.Board(ctx, t, by)
	if err != nil {
		return Waiting{}, err
	}
	for _, w := range b.Waiting {
		if w.ID == id {
			return w, nil
		}
	}
	for _, r := range b.Over {
		if r.ID == id {
			return Waiting{Request: r}, over(r)
		}
	}
	return Waiting{}, ErrNoRequest
}

func over(r Request) error {
	if r.State == Expired || r.State == Pending || r.State == Approved {
		return ErrExpired
	}
	return ErrDecided
}

const countSQL = `
select count(*)
  from approval
 where state = 'pending'
   and kind = any ($1::text[])
   and requested_by <> $2::uuid
   and expires_at > $3`

// Count is how many requests wait for by, of those with which she has to do.
func (d *Desk) Count(ctx context.Context, t *tenant.Tenant, by authz.Subject, policy *authz.Policy) (n int, err error) {
	var kinds pq.StringArray
	for _, k := range Kinds() {
		if policy.Allow(by, k.Rule().Approve) {
			kinds = append(kinds, string(k))
		}
	}
	who, err := uuid.Parse(by.ID)
	if len(kinds) == 0 || err != nil {
		return 0, nil //nolint:nilerr // whoever is no member decides nothing
	}
	count := tenant.Statement{SQL: countSQL, Args: []any{kinds, who.String(), d.c.Now().UTC()}}
	var found int64
	err = d.c.DB.Do(ctx, t.ID, count, func(r tenant.Row) error { return r.Scan(&found) })
	if err != nil {
		return 0, fmt.Errorf("count requests: %w", err)
	}
	return int(found), nil
}

// Approve is the package's [Approve], followed in one transaction by the kind's [Act] if it
// has one, whose errors it returns: then nothing has happened. done tells that the act is
// done. An error beside done is of what was to follow, such as a letter.
func (d *Desk) Approve(ctx context.Context, t *tenant.Tenant, by authz.Subject, id ID) (done bool, err error) {
	var after func(context.Context) error
	err = d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		r, err := Approve(ctx, tx, by, id, d.c.Now())
		act := d.c.Acts[r.Kind]
		if err != nil || act == nil {
			return err
		}
		done = true
		after, err = act(ctx, tx, t, by, r)
		return err
	})
	if err != nil {
		return false, err
	}
	if after != nil {
		return done, after(ctx)
	}
	return done, nil
}

// Refuse is the package's [Refuse].
func (d *Desk) Refuse(ctx context.Context, t *tenant.Tenant, by authz.Subject, id ID, reason string) error {
	return d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := Refuse(ctx, tx, by, id, reason, d.c.Now())
		return err
	})
}

// Withdraw is the package's [Withdraw].
func (d *Desk) Withdraw(ctx context.Context, t *tenant.Tenant, by authz.Subject, id ID) error {
	return d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := Withdraw(ctx, tx, by, id, d.c.Now())
		return err
	})
}
