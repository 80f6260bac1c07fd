package adminui

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/member"
)

// personPage shows one member and what can be done about her.
type personPage struct {
	personView
	Action, Back    string
	Checks          checks
	Suspend, Resume string // the paths to either
	Remove          string
	// Owner is the path to asking for her to become an owner or to be one no longer, if she
	// who looks may; IsOwner tells which.
	Owner     string
	IsOwner   bool
	BringBack string // the path to giving her the account that she had before
}

// findPerson is the member that the URL names, if she may be changed by who asks.
func (s *Server) findPerson(v *visit) (member.Person, error) {
	board, err := s.config.Members.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return member.Person{}, err
	}
	for _, p := range board.People {
		if p.ID.String() != v.params.ByName("id") {
			continue
		}
		if !member.MayChange(v.policy, v.by, p) {
			return member.Person{}, authz.ErrForbidden
		}
		return p, nil
	}
	return member.Person{}, member.ErrNoSuchMember
}

func personPath(v *visit, id uuid.UUID, rest string) string {
	return v.path("/staff/people/" + id.String() + rest)
}

func (s *Server) showPerson(v *visit) (answer, error) {
	m, err := s.findPerson(v)
	if err != nil {
		return answer{}, err
	}
	return s.personAnswer(v, m, m.Roles, known{}), nil
}

func (s *Server) personAnswer(v *visit, m member.Person, chosen []authz.Role, k known) answer {
	p := personPage{
		personView: s.personView(v, m), Action: personPath(v, m.ID, ""), Back: v.path("/staff"),
		Checks: s.roleChecks(member.Assignable(v.policy, v.by), chosen), Remove: personPath(v, m.ID, "/remove"),
	}
	if p.IsOwner = slices.Contains(m.Roles, authz.Owner); p.IsOwner {
		p.Remove = "" // not before two people have taken the role from her
	}
	if v.may(authz.OwnerRequest) {
		p.Owner = personPath(v, m.ID, "/owner")
	}
	if m.Moved {
		p.BringBack = personPath(v, m.ID, "/bring-back")
	}
	if m.State == member.Active {
		p.Suspend = personPath(v, m.ID, "/suspend")
	} else {
		p.Resume = personPath(v, m.ID, "/resume")
	}
	a := answer{page: "staff_person", heading: m.Name}
	if k.field != "" {
		p.Checks.Error = s.words.text(k.message)
		a.status, a.problems = k.status, []problem{{Field: k.field, Text: p.Checks.Error}}
	}
	a.data = p
	return a
}

func (s *Server) changeRoles(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	m, err := s.findPerson(v)
	if err != nil {
		return answer{}, err
	}
	to := rolesOf(v.r.PostForm[fieldRoles])
	if slices.Contains(m.Roles, authz.Owner) && !slices.Contains(to, authz.Owner) {
		to = append(to, authz.Owner) // which is not among those offered
	}
	err = s.config.Members.ChangeRoles(v.r.Context(), v.tenant, v.by, m.ID, to)
	if k, found := lookUp(err); found && k.field == fieldRoles {
		return s.personAnswer(v, m, to, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.staffDone(v, s.words.text("staff.changed", "name", m.Name))
}

// personStep is the first of two steps.
func (s *Server) personStep(v *visit, heading, rest, button string, effects ...string) (answer, error) {
	m, err := s.findPerson(v)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "staff_step", heading: s.words.text(heading, "name", m.Name), data: staffStep{
		Name: m.Name, Email: m.Email, Roles: s.words.roles(m.Roles), Effects: effects,
		Action: personPath(v, m.ID, rest), Button: s.words.text(button), Back: personPath(v, m.ID, ""),
	}}, nil
}

func (s *Server) askSuspension(v *visit) (answer, error) {
	return s.personStep(v, "staff.suspend.heading", "/suspend", "staff.suspend.button",
		s.words.text("staff.suspend.effect.now"), s.words.text("staff.effect.invitations"), s.words.text("staff.suspend.effect.back"))
}

func (s *Server) askRemoval(v *visit) (answer, error) {
	return s.personStep(v, "staff.remove.heading", "/remove", "staff.remove.button",
		s.words.text("staff.remove.effect.now"), s.words.text("staff.effect.invitations"), s.words.text("staff.remove.effect.back"), s.words.text("staff.remove.effect.log"))
}

func (s *Server) askBringBack(v *visit) (answer, error) {
	return s.personStep(v, "account.bring_back.heading", "/bring-back", "account.bring_back.button",
		s.words.text("account.bring_back.effect.now"), s.words.text("account.bring_back.effect.account"), s.words.text("account.bring_back.effect.keeps"))
}

func (s *Server) bringBack(v *visit) (answer, error) {
	return s.actOnPerson(v, "account.brought_back", func(id uuid.UUID) error {
		return s.config.Members.BringBack(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) suspend(v *visit) (answer, error) {
	return s.actOnPerson(v, "staff.suspended", func(id uuid.UUID) error {
		return s.config.Members.Suspend(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) resume(v *visit) (answer, error) {
	return s.actOnPerson(v, "staff.resumed", func(id uuid.UUID) error {
		return s.config.Members.Resume(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) remove(v *visit) (answer, error) {
	return s.actOnPerson(v, "staff.removed", func(id uuid.UUID) error {
		return s.config.Members.Remove(v.r.Context(), v.tenant, v.by, id)
	})
}

func (s *Server) actOnPerson(v *visit, notice string, act func(uuid.UUID) error) (answer, error) {
	id, err := staffID(v, member.ErrNoSuchMember)
	if err == nil {
		err = act(id)
	}
	if err != nil {
		return answer{}, err
	}
	return s.staffDone(v, s.words.text(notice))
}

// groupPage asks for the role of a group.
type groupPage struct {
	Action, Back string
	Roles        radios
}

const (
	fieldGroupRole = "role"
	noRole         = "none"
)

func (s *Server) findGroup(v *visit) (member.Group, error) {
	board, err := s.config.Members.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return member.Group{}, err
	}
	for _, g := range board.Groups {
		if g.ID.String() == v.params.ByName("id") {
			return g, nil
		}
	}
	return member.Group{}, member.ErrNoSuchGroup
}

func (s *Server) showGroup(v *visit) (answer, error) {
	g, err := s.findGroup(v)
	if err != nil {
		return answer{}, err
	}
	if !member.MayMap(v.policy, v.by, g) {
		return answer{}, authz.ErrForbidden
	}
	choices := []choice{{ID: fieldGroupRole, Value: noRole, Label: s.words.text("staff.group.none"), Hint: s.words.text("staff.group.none.hint"), Chosen: g.Role == ""}}
	for _, r := range member.Grantable(v.policy, v.by) {
		if r != authz.Owner {
			choices = append(choices, choice{ID: fieldGroupRole + "_" + string(r), Value: string(r), Label: s.words.role(r), Chosen: g.Role == r})
		}
	}
	return answer{page: "staff_group", heading: s.words.text("staff.group.heading", "name", g.Name), data: groupPage{
		Action: v.path("/staff/groups/" + g.ID.String()), Back: v.path("/staff"),
		Roles: radios{ID: fieldGroupRole + "_group", Name: fieldGroupRole, Label: s.words.text("staff.group.role"), Choices: choices},
	}}, nil
}

func (s *Server) mapGroup(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	id, err := staffID(v, member.ErrNoSuchGroup)
	if err != nil {
		return answer{}, err
	}
	role := v.r.PostForm.Get(fieldGroupRole)
	switch role {
	case "":
		return answer{}, fmt.Errorf("%w: which role", errForm)
	case noRole:
		role = ""
	}
	if err := s.config.Members.MapGroup(v.r.Context(), v.tenant, v.by, id, authz.Role(role)); err != nil {
		return answer{}, err
	}
	return s.staffDone(v, s.words.text("staff.group.done"))
}
