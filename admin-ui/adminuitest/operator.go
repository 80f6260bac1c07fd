package adminuitest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/platform"
	"carillon/tenant/signup"
	"carillon/tenant/support"
)

// Operators is a stand-in for the platform and those who run it.
type Operators struct {
	// Roles are theirs, by e-mail address.
	Roles map[string]authz.Role
	// Sheets are the tenants, by slug in order.
	Sheets []*platform.Sheet
	// Log is the platform's, the newest first.
	Log []platform.Act
	// Invitations are those of everybody.
	Invitations []support.Place
}

// Authenticate makes a subject of somebody who has a role.
func (o *Operators) Authenticate(_ context.Context, who oidc.Identity) (authz.Subject, error) {
	role, found := o.Roles[who.Email]
	if !found {
		return authz.Subject{}, platform.ErrNotOperator
	}
	return authz.Subject{Kind: authz.Person, ID: who.Subject, Name: who.Name, Roles: []authz.Role{role}}, nil
}

// Register lists the lines of Sheets.
func (o *Operators) Register(_ context.Context, f platform.Filter, limit int) (list []platform.Line, err error) {
	for _, s := range o.Sheets {
		if (f.State == "" || s.State == f.State) && (f.Kind == "" || s.Kind == f.Kind) && strings.Contains(string(s.Slug), f.Text) &&
			string(s.Slug) > f.After && len(list) < limit {
			list = append(list, s.Line)
		}
	}
	return list, nil
}

// Find returns one of Sheets.
func (o *Operators) Find(_ context.Context, slug string) (*platform.Sheet, error) {
	for _, s := range o.Sheets {
		if string(s.Slug) == slug {
			return s, nil
		}
	}
	return nil, tenant.ErrUnknown
}

// Suspend changes a sheet.
func (o *Operators) Suspend(ctx context.Context, by authz.Subject, slug, why string) error {
	return o.change(ctx, by, slug, why, tenant.Active, tenant.Suspended)
}

// Resume changes a sheet.
func (o *Operators) Resume(ctx context.Context, by authz.Subject, slug, why string) error {
	return o.change(ctx, by, slug, why, tenant.Suspended, tenant.Active)
}

func (o *Operators) change(ctx context.Context, by authz.Subject, slug, why string, from, to tenant.State) error {
	s, err := o.Find(ctx, slug)
	switch {
	case err != nil:
		return err
	case why == "":
		return platform.ErrReason
	case s.State != from:
		return platform.ErrState
	}
	s.State, s.Reason = to, why
	o.Log = slices.Insert(o.Log, 0, platform.Act{No: int64(len(o.Log) + 1), By: by.Name, Action: "tenant:" + string(to), Target: slug, Reason: why})
	return nil
}

// Acts lists Log.
func (o *Operators) Acts(_ context.Context, target string, before int64, limit int) (list []platform.Act, err error) {
	for _, a := range o.Log {
		if (target == "" || a.Target == target) && (before == 0 || a.No < before) && len(list) < limit {
			list = append(list, a)
		}
	}
	return list, nil
}

// Places lists Invitations.
func (o *Operators) Places(context.Context, oidc.Identity) ([]support.Place, error) {
	return o.Invitations, nil
}

// Desk is a stand-in for the queue of applications.
type Desk struct {
	Reviews []*signup.Review
	// Silent has no letter be sent.
	Silent bool
}

// List lists Reviews.
func (d *Desk) List(_ context.Context, states ...signup.State) (list []*signup.Application, err error) {
	for _, r := range d.Reviews {
		if slices.Contains(states, r.State) {
			list = append(list, r.Application)
		}
	}
	return list, nil
}

// Read returns one of Reviews.
func (d *Desk) Read(_ context.Context, id uuid.UUID) (*signup.Review, error) {
	for _, r := range d.Reviews {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, signup.ErrNone
}

// Approve decides; the slug "taken" is.
func (d *Desk) Approve(ctx context.Context, _ authz.Subject, id uuid.UUID, terms signup.Terms) (*signup.Application, error) {
	switch terms.Slug {
	case "taken":
		return nil, signup.ErrTaken
	case "No Slug":
		return nil, tenant.ErrSlug
	}
	return d.decide(ctx, id, signup.Approved, "approved")
}

// Ask asks back.
func (d *Desk) Ask(ctx context.Context, _ authz.Subject, id uuid.UUID, question string) (*signup.Application, error) {
	return d.decide(ctx, id, signup.Asked, question)
}

// Refuse decides.
func (d *Desk) Refuse(ctx context.Context, _ authz.Subject, id uuid.UUID, reason string) (*signup.Application, error) {
	return d.decide(ctx, id, signup.Refused, reason)
}

func (d *Desk) decide(ctx context.Context, id uuid.UUID, state signup.State, words string) (*signup.Application, error) {
	r, err := d.Read(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case words == "":
		return nil, signup.ErrReason
	case r.State != signup.Waiting && r.State != signup.Asked:
		return nil, signup.ErrState
	}
	r.State, r.Message, r.Told = state, words, !d.Silent
	return r.Application, nil
}

// Tell sends the letter.
func (d *Desk) Tell(ctx context.Context, id uuid.UUID) (*signup.Application, error) {
	r, err := d.Read(ctx, id)
	if err != nil {
		return nil, err
	}
	r.Told = !d.Silent
	return r.Application, nil
}

// Support is a stand-in for invitations of support.
type Support struct {
	Now    func() time.Time
	Grants []support.Grant
}

// List lists Grants.
func (s *Support) List(context.Context, *tenant.Tenant, authz.Subject) ([]support.Grant, error) {
	return s.Grants, nil
}

// Invite adds to Grants.
func (s *Support) Invite(_ context.Context, _ *tenant.Tenant, by authz.Subject, email string, role authz.Role, hours int) error {
	switch {
	case !strings.Contains(email, "@"):
		return support.ErrEmail
	case !slices.Contains(support.Roles(), role):
		return support.ErrRole
	case hours < 1 || hours > support.MaxHours:
		return support.ErrTime
	}
	s.Grants = append(s.Grants, support.Grant{
		ID: uuid.New(), Email: email, Role: role, By: by.Name, GrantedAt: s.Now(), ExpiresAt: s.Now().Add(time.Duration(hours) * time.Hour),
	})
	return nil
}

// Revoke ends one of Grants.
func (s *Support) Revoke(_ context.Context, _ *tenant.Tenant, _ authz.Subject, id uuid.UUID) error {
	for i, g := range s.Grants {
		if g.ID == id && g.Open(s.Now()) {
			now := s.Now()
			s.Grants[i].RevokedAt = &now
			return nil
		}
	}
	return support.ErrNoGrant
}
