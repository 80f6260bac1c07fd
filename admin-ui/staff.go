package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/mail"
	"carillon/tenant/member"
)

// staffPage shows who works for the authority, and who is invited.
type staffPage struct {
	// Invite, Import and Unsent are the paths to doing so, if she may.
	Invite, Import string
	Unsent         string // there are letters that did not go
	People         []personView
	Invitations    []invitationView
	Groups         []groupView
	// First and Next lead to other people of the staff; empty if there are none.
	First, Next string
}

type personView struct {
	Name, Email, State string
	Working            bool
	Roles, GroupRoles  []string
	Seen               *moment // nil for never
	SignsIn            string  // where she signs in
	Own                bool    // not with a Carillon account
	Change, ChangeText string  // the path to changing her; empty if she may not
}

type invitationView struct {
	Name, Email, State string
	Roles              []string
	Until              moment
	Expired            bool
	Resend, ResendText string
	Revoke, RevokeText string
}

type groupView struct {
	Name, Role, Members string
	Change, ChangeText  string
}

func (s *Server) showStaff(v *visit) (answer, error) {
	after, _ := uuid.Parse(v.r.URL.Query().Get("after")) // anything else is the first page
	board, next, err := s.config.Members.Page(v.r.Context(), v.tenant, v.by, after)
	if err != nil {
		return answer{}, err
	}
	var p staffPage
	if after != uuid.Nil {
		p.First = v.path("/staff")
	}
	if next != uuid.Nil {
		p.Next = v.path("/staff?after=" + next.String())
	}
	if v.may(authz.MemberWrite) {
		p.Invite, p.Import = v.path("/staff/invite"), v.path("/staff/import")
	}
	for _, m := range board.People {
		p.People = append(p.People, s.personView(v, m))
	}
	for _, i := range board.Invitations {
		w := s.invitationView(v, i)
		if !i.Sent && w.Resend != "" {
			p.Unsent = v.path("/staff/unsent")
		}
		p.Invitations = append(p.Invitations, w)
	}
	for _, g := range board.Groups {
		w := groupView{Name: g.Name, Role: s.words.text("staff.group.none"), Members: s.words.number(g.Members)}
		if g.Role != "" {
			w.Role = s.words.role(g.Role)
		}
		if member.MayMap(v.policy, v.by, g) {
			w.Change, w.ChangeText = v.path("/staff/groups/"+g.ID.String()), s.words.text("staff.group.link", "name", g.Name)
		}
		p.Groups = append(p.Groups, w)
	}
	return answer{page: "staff", heading: s.words.text("staff.heading"), data: p}, nil
}

func (s *Server) personView(v *visit, m member.Person) personView {
	w := personView{
		Name: m.Name, Email: m.Email, State: s.words.memberState(m), Working: m.State == member.Active,
		Roles: s.words.roles(m.Roles), GroupRoles: s.words.roles(m.GroupRoles), SignsIn: s.signsIn(m), Own: m.Own,
	}
	if m.LastSeen != nil {
		seen := s.words.moment(*m.LastSeen, s.now(v))
		w.Seen = &seen
	}
	if member.MayChange(v.policy, v.by, m) {
		w.Change, w.ChangeText = v.path("/staff/people/"+m.ID.String()), s.words.text("staff.change.link", "name", m.Name)
	}
	return w
}

func (s *Server) invitationView(v *visit, i member.Invitation) invitationView {
	now := s.now(v)
	w := invitationView{
		Name: i.Name, Email: i.Email, Roles: s.words.roles(i.Roles), State: s.words.text("staff.invitation.waiting"),
		Until: s.words.moment(i.ExpiresAt, now), Expired: !now.Before(i.ExpiresAt),
	}
	switch {
	case w.Expired:
		w.State = s.words.text("staff.invitation.expired")
	case !i.Sent:
		w.State = s.words.text("staff.invitation.unsent")
	}
	if member.MayChangeInvitation(v.policy, v.by, i) {
		path := v.path("/staff/invitations/" + i.ID.String())
		w.Resend, w.ResendText = path+"/resend", s.words.text("staff.resend.link", "name", i.Name)
		w.Revoke, w.RevokeText = path+"/revoke", s.words.text("staff.revoke.link", "name", i.Name)
	}
	return w
}

// invitePage is the form for an invitation.
type invitePage struct {
	Action, Back string
	Name, Email  field
	Roles        checks
	Why          *field // for an owner; nil for whoever may not ask for one
}

func (s *Server) newInvitation(v *visit) (answer, error) {
	return s.inviteAnswer(v, member.Invitee{}, known{}), nil
}

func (s *Server) invite(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	who := member.Invitee{
		Name: v.r.PostForm.Get(fieldName), Email: v.r.PostForm.Get(fieldEmail), Roles: rolesOf(v.r.PostForm[fieldRoles]),
	}
	var asked bool
	var err error
	if slices.Contains(who.Roles, authz.Owner) {
		asked, err = s.config.Members.InviteOwner(v.r.Context(), v.tenant, v.by, who, v.r.PostForm.Get(fieldReason))
	} else {
		err = s.config.Members.Invite(v.r.Context(), v.tenant, v.by, who)
	}
	if k, found := lookUp(err); found && slices.Contains([]string{fieldName, fieldEmail, fieldRoles, fieldReason}, k.field) {
		return s.inviteAnswer(v, who, k), nil
	}
	if err == nil && asked {
		return s.platformDone(v, "approvals.asked", v.path("/approvals"))
	}
	return s.lettersDone(v, err)
}

// lettersDone leads back to the list after somebody was invited, whether or not her letter
// went out.
func (s *Server) lettersDone(v *visit, err error) (answer, error) {
	switch {
	case err == nil:
		return s.staffDone(v, s.words.text("staff.invited"))
	case errors.Is(err, mail.ErrRecipient):
		return s.staffDone(v, s.words.text("staff.invited.recipient"))
	case errors.Is(err, mail.ErrUnavailable):
		return s.staffDone(v, s.words.text("staff.invited.unsent"))
	}
	return answer{}, err
}

func rolesOf(values []string) []authz.Role {
	var list []authz.Role
	for _, value := range values {
		if !slices.Contains(list, authz.Role(value)) {
			list = append(list, authz.Role(value))
		}
	}
	return list
}

// inviteAnswer shows the form, with what was entered and what is wrong with it.
func (s *Server) inviteAnswer(v *visit, who member.Invitee, k known) answer {
	p := invitePage{
		Action: v.path("/staff/invite"), Back: v.path("/staff"),
		Name: field{
			ID: fieldName, Label: s.words.text("staff.name"), Hint: s.words.text("staff.name.hint"),
			Type: "text", Value: who.Name, Autocomplete: "off", Wide: true,
		},
		Email: field{
			ID: fieldEmail, Label: s.words.text("staff.email"), Hint: s.words.text("staff.email.hint"),
			Type: "email", Value: who.Email, Autocomplete: "off", Wide: true,
		},
		Roles: s.roleChecks(member.Grantable(v.policy, v.by), who.Roles),
	}
	if v.may(authz.OwnerRequest) {
		p.Why = &field{
			ID: fieldReason, Label: s.words.text("staff.invite.why"), Hint: s.words.text("staff.invite.why.hint"), Optional: s.words.text("form.optional"),
			Type: "text", Value: v.r.PostForm.Get(fieldReason), Autocomplete: "off",
		}
	}
	a := answer{page: "staff_invite", heading: s.words.text("staff.invite.heading"), data: &p}
	if k.field != "" {
		text := s.words.text(k.message)
		switch k.field {
		case fieldName:
			p.Name.Error = text
		case fieldEmail:
			p.Email.Error = text
		case fieldRoles:
			p.Roles.Error = text
		case fieldReason:
			p.Why.Error = text
		}
		a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	}
	return a
}

// roleChecks offers roles that she may give. Those that somebody has, but nobody can
// give any more, are not offered.
func (s *Server) roleChecks(offered, chosen []authz.Role) checks {
	c := checks{ID: fieldRoles, Name: fieldRoles, Label: s.words.text("staff.roles"), Hint: s.words.text("staff.roles.hint")}
	for i, r := range offered {
		id := fieldRoles
		if i > 0 {
			id += "_" + string(r)
		}
		c.Choices = append(c.Choices, choice{ID: id, Value: string(r), Label: s.words.role(r), Chosen: slices.Contains(chosen, r)})
	}
	return c
}

// staffStep asks before something is done that somebody will notice.
type staffStep struct {
	Name, Email  string
	Roles        []string
	Effects      []string
	Action, Back string
	Button       string
}

func (s *Server) resendInvitation(v *visit) (answer, error) {
	id, err := staffID(v, member.ErrNoInvitation)
	if err == nil {
		err = s.config.Members.Resend(v.r.Context(), v.tenant, v.by, id)
	}
	return s.lettersDone(v, err)
}

func (s *Server) sendUnsent(v *visit) (answer, error) {
	sent, left, err := s.config.Members.SendUnsent(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	return s.staffDone(v, s.words.text("staff.unsent.done", "sent", s.words.number(sent), "left", s.words.number(left)))
}

func (s *Server) askRevocation(v *visit) (answer, error) {
	board, err := s.config.Members.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	for _, i := range board.Invitations {
		if i.ID.String() == v.params.ByName("id") && member.MayChangeInvitation(v.policy, v.by, i) {
			return answer{page: "staff_step", heading: s.words.text("staff.revoke.heading", "name", i.Name), data: staffStep{
				Name: i.Name, Email: i.Email, Roles: s.words.roles(i.Roles), Effects: []string{s.words.text("staff.revoke.effect")},
				Action: v.path("/staff/invitations/" + i.ID.String() + "/revoke"), Button: s.words.text("staff.revoke.button"), Back: v.path("/staff"),
			}}, nil
		}
	}
	return answer{}, member.ErrNoInvitation
}

func (s *Server) revokeInvitation(v *visit) (answer, error) {
	id, err := staffID(v, member.ErrNoInvitation)
	if err == nil {
		err = s.config.Members.Revoke(v.r.Context(), v.tenant, v.by, id)
	}
	if err != nil {
		return answer{}, err
	}
	return s.staffDone(v, s.words.text("staff.revoked"))
}

// staffID is the ID in the URL; anything else is missing.
func staffID(v *visit, missing error) (uuid.UUID, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return uuid.Nil, missing
	}
	return id, nil
}

// staffDone leads back to the list, with what was done.
func (s *Server) staffDone(v *visit, notice string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, notice)
	return answer{status: http.StatusSeeOther, redirect: v.path("/staff")}, nil
}
