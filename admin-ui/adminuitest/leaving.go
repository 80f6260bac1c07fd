package adminuitest

import (
	"context"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/leaving"
)

// Leaving is a [leaving.Desk] whose authority asks, begins and stays as it is told.
type Leaving struct {
	Now      func() time.Time
	Standing leaving.Standing
}

// CoolDown is 30 days.
func (l *Leaving) CoolDown() time.Duration { return leaving.CoolDown }

// Show shows Standing.
func (l *Leaving) Show(context.Context, authz.Subject, *tenant.Tenant) (leaving.Standing, error) {
	return l.Standing, nil
}

// Ask makes a request that waits.
func (l *Leaving) Ask(_ context.Context, by authz.Subject, t *tenant.Tenant, typed, reason string) error {
	switch {
	case typed != string(t.Slug):
		return leaving.ErrTyped
	case reason == "":
		return approval.ErrReason
	case l.Standing.Request != nil:
		return approval.ErrAsked
	}
	l.Standing.Request = &approval.Request{Want: leaving.Want(t), Requester: by.Name, Reason: reason, RequestedAt: l.Now(), State: approval.Pending}
	return nil
}

// Begin begins what was approved.
func (l *Leaving) Begin(context.Context, authz.Subject, *tenant.Tenant) (leaving.Leave, error) {
	if l.Standing.Request == nil || l.Standing.Request.State != approval.Approved {
		return leaving.Leave{}, approval.ErrNotApproved
	}
	l.Standing = leaving.Standing{Leave: &leaving.Leave{Begun: l.Now(), Closes: l.Now().Add(leaving.WindDown), Erases: l.Now().Add(leaving.CoolDown)}}
	return *l.Standing.Leave, nil
}

// Undo ends the departure.
func (l *Leaving) Undo(context.Context, authz.Subject, *tenant.Tenant) error {
	if l.Standing.Leave == nil {
		return leaving.ErrNotLeaving
	}
	l.Standing = leaving.Standing{}
	return nil
}
