package adminui

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/support"
)

// Support is where staff let those in who support the platform. The promises and errors
// are those of [support.Desk].
type Support interface {
	List(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]support.Grant, error)
	Invite(ctx context.Context, t *tenant.Tenant, by authz.Subject, email string, role authz.Role, hours int) error
	Revoke(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
}

// supportPage lists invitations, the newest first.
type supportPage struct {
	New    string // the path to a new invitation, if she may make one
	Grants []grantView
}

type grantView struct {
	ID, Email, Role, By, State string
	Until                      moment
	Used                       *moment
	Open                       bool
	Revoke                     string // the path to ending it, if she may
}

func (s *Server) showSupport(v *visit) (answer, error) {
	list, err := s.config.Support.List(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	var p supportPage
	if v.may(authz.MemberWrite) {
		p.New = v.path("/support/new")
	}
	now := s.now(v)
	for _, g := range list {
		w := grantView{
			ID: g.ID.String(), Email: g.Email, Role: s.words.role(g.Role), By: g.By, Open: g.Open(now),
			Until: s.words.moment(g.ExpiresAt, now), Used: s.momentOf(v, g.UsedAt), State: s.words.text("support.state.over"),
		}
		switch {
		case w.Open:
			w.State = s.words.text("support.state.open")
			if v.may(authz.MemberWrite) {
				w.Revoke = v.path("/support/" + w.ID + "/revoke")
			}
		case g.RevokedAt != nil:
			w.State = s.words.text("support.state.revoked")
		}
		p.Grants = append(p.Grants, w)
	}
	return answer{page: "support", heading: s.words.text("support.heading"), data: p}, nil
}

// fieldHours is for how long support is invited.
const fieldHours = "hours"

// supportInvitation is the form for an invitation of support.
type supportInvitation struct {
	Action, Back string
	Email, Hours field
	Role         radios
}

func (s *Server) newSupport(v *visit) (answer, error) { return s.supportForm(v, known{}), nil }

func (s *Server) supportForm(v *visit, k known) answer {
	typed := v.r.PostForm
	hours := typed.Get(fieldHours)
	if typed == nil {
		hours = "4"
	}
	form := &supportInvitation{
		Action: v.path("/support/new"), Back: v.path("/support"),
		Email: field{
			ID: fieldEmail, Label: s.words.text("support.email"), Hint: s.words.text("support.email.hint"),
			Type: "email", Value: typed.Get(fieldEmail), Autocomplete: "off", Wide: true,
		},
		Hours: field{
			ID: fieldHours, Label: s.words.text("support.hours"), Hint: s.words.text("support.hours.hint"),
			Type: "number", Value: hours, Min: "1", Max: strconv.Itoa(support.MaxHours), Autocomplete: "off",
		},
		Role: radios{ID: fieldRole + "_group", Name: fieldRole, Label: s.words.text("support.role")},
	}
	for i, role := range support.Roles() {
		id := fieldRole
		if i > 0 {
			id += "_" + string(role)
		}
		chosen := typed.Get(fieldRole)
		form.Role.Choices = append(form.Role.Choices, choice{
			ID: id, Value: string(role), Label: s.words.role(role), Hint: s.words.supportRole(role), Chosen: chosen == string(role) || chosen == "" && i == 0,
		})
	}
	a := answer{page: "invite_support", heading: s.words.text("support.new"), data: form, status: k.status}
	if k.field != "" {
		text := s.words.text(k.message)
		switch k.field {
		case fieldEmail:
			form.Email.Error = text
		case fieldHours:
			form.Hours.Error = text
		case fieldRole:
			form.Role.Error = text
		}
		a.problems = []problem{{Field: k.field, Text: text}}
	}
	return a
}

// supportRole says what a role lets support do.
func (c *catalogue) supportRole(r authz.Role) string {
	if r == authz.Analyst {
		return c.text("support.role.analyst")
	}
	return c.text("support.role.auditor")
}

func (s *Server) inviteSupport(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	form := v.r.PostForm
	hours, err := strconv.Atoi(strings.TrimSpace(form.Get(fieldHours)))
	if err != nil {
		hours = 0
	}
	err = s.config.Support.Invite(v.r.Context(), v.tenant, v.by, form.Get(fieldEmail), authz.Role(form.Get(fieldRole)), hours)
	for _, wrong := range []error{support.ErrEmail, support.ErrRole, support.ErrTime} {
		if errors.Is(err, wrong) {
			k, _ := lookUp(err)
			return s.supportForm(v, k), nil
		}
	}
	if err != nil {
		return answer{}, err
	}
	return s.supportDone(v, "support.invited")
}

func (s *Server) revokeSupport(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, support.ErrNoGrant
	}
	if err := s.config.Support.Revoke(v.r.Context(), v.tenant, v.by, id); err != nil {
		return answer{}, err
	}
	return s.supportDone(v, "support.revoked")
}

func (s *Server) supportDone(v *visit, notice string) (answer, error) {
	return s.platformDone(v, notice, v.path("/support"))
}
