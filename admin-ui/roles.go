package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/role"
)

// rolesPage lists the roles, and what each allows.
type rolesPage struct {
	New, Explain string // paths; New is empty for whoever may not change roles
	Roles        []roleView
	Rows         []matrixRow
}

// roleView is a role in words.
type roleView struct {
	Name, Description string
	Own               bool // made by the authority
	Changed           bool // built in, and changed by the authority
	Edit, Delete      string
}

// matrixRow is what each role says of one action.
type matrixRow struct {
	Action, ID string
	Cells      []string
}

func (s *Server) showRoles(v *visit) (answer, error) {
	board, err := s.config.Roles.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := rolesPage{Explain: v.path("/roles/explain")}
	if v.may(authz.RoleWrite) {
		p.New = v.path("/roles/new")
	}
	for _, r := range board.Roles {
		p.Roles = append(p.Roles, s.roleView(v, r))
	}
	for _, a := range authz.StaffActions() {
		row := matrixRow{Action: s.words.action(a), ID: string(a)}
		for _, r := range board.Roles {
			row.Cells = append(row.Cells, s.words.ruling(board.Policy.Says(r.Name, a)))
		}
		p.Rows = append(p.Rows, row)
	}
	return answer{page: "roles", heading: s.words.text("roles.heading"), data: p}, nil
}

func (s *Server) roleView(v *visit, r role.Role) roleView {
	w := roleView{Name: s.words.role(r.Name), Description: r.Description, Own: !r.BuiltIn, Changed: r.BuiltIn && r.Version != uuid.Nil}
	if r.BuiltIn {
		w.Description = s.words.roleMeaning(r.Name)
	}
	if v.may(authz.RoleWrite) && r.Name != authz.Owner {
		w.Edit = v.path("/roles/" + string(r.Name) + "/edit")
		if w.Own {
			w.Delete = v.path("/roles/" + string(r.Name) + "/delete")
		}
	}
	return w
}

// The fields of the form for a role. An action's own is called after it.
const (
	fieldRole        = "role"
	fieldDescription = "description"
	fieldVersion     = "version"
	fieldRules       = "rules"
	fieldConfirm     = "confirm"
	fieldAgain       = "again"
	yes              = "yes"
)

// ruleField is the ID of the choice for an action, and its fields' name.
func ruleField(a authz.Action) string {
	return "rule_" + strings.NewReplacer(":", "_", "-", "_").Replace(string(a))
}

// roleForm is the form for a role.
type roleForm struct {
	Action, Back      string
	Name, Description *field // what can be entered
	Version           string
	Rules             []radios
}

// draft is the role that a form describes.
func (s *Server) draft(v *visit, name authz.Role) (role.Role, error) {
	if err := v.r.ParseForm(); err != nil {
		return role.Role{}, fmt.Errorf("%w: %w", errForm, err)
	}
	form := v.r.PostForm
	r := role.Role{Name: name, Description: form.Get(fieldDescription)}
	if name == "" {
		r.Name = authz.Role(strings.TrimSpace(form.Get(fieldRole)))
	} else {
		r.BuiltIn = slices.Contains(authz.TenantRoles(), name)
		var err error
		if r.Version, err = uuid.Parse(form.Get(fieldVersion)); err != nil {
			return r, fmt.Errorf("%w: which version", errForm)
		}
		if !r.BuiltIn && r.Version == uuid.Nil {
			return r, role.ErrUnknown // roles are made elsewhere
		}
	}
	for _, a := range authz.RuleActions() {
		switch authz.Effect(form.Get(ruleField(a))) {
		case authz.Allowed:
			r.Allowed = append(r.Allowed, a)
		case authz.Denied:
			r.Denied = append(r.Denied, a)
		case "":
		default:
			return r, fmt.Errorf("%w: neither allowed nor denied", errForm)
		}
	}
	return r, nil
}

func (s *Server) newRole(v *visit) (answer, error) {
	return s.roleFormAnswer(v, role.Role{}), nil
}

func (s *Server) editRole(v *visit) (answer, error) {
	board, err := s.config.Roles.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(board.Roles, func(r role.Role) bool { return string(r.Name) == v.params.ByName("role") })
	if at < 0 || board.Roles[at].Name == authz.Owner {
		return answer{}, role.ErrUnknown
	}
	return s.roleFormAnswer(v, board.Roles[at]), nil
}

// saveRole shows what a change would do, and makes it when that was confirmed.
func (s *Server) saveRole(v *visit) (answer, error) {
	r, err := s.draft(v, authz.Role(v.params.ByName("role")))
	if err != nil {
		return answer{}, err
	}
	if v.r.PostForm.Get(fieldAgain) == yes {
		return s.roleFormAnswer(v, r), nil
	}
	if v.r.PostForm.Get(fieldConfirm) == yes {
		if err = s.config.Roles.Save(v.r.Context(), v.tenant, v.by, r); err == nil {
			return s.rolesDone(v, "roles.saved", r.Name)
		}
		if k, found := lookUp(err); !found || k.field == "" {
			return answer{}, err
		}
	}
	p, planErr := s.config.Roles.Plan(v.r.Context(), v.tenant, v.by, r)
	if planErr == nil {
		planErr = planned(p, r)
	}
	if planErr != nil {
		return s.wrongRole(v, r, p, planErr)
	}
	return s.rolePlanAnswer(v, r, p), nil
}

// planned reports why a plan cannot be carried out.
func planned(p role.Plan, r role.Role) error {
	switch {
	case p.Before.Version != r.Version:
		return role.ErrChanged
	case len(p.Lacking) > 0:
		return role.ErrLacking
	case !p.Changes():
		return errNoChange
	}
	return nil
}

// wrongRole shows the form again, with what is wrong. Who was overtaken by somebody else
// goes on from there, and sees the difference next.
func (s *Server) wrongRole(v *visit, r role.Role, p role.Plan, err error) (answer, error) {
	k, found := lookUp(err)
	if !found || k.field == "" {
		return answer{}, err
	}
	text, at := s.words.text(k.message), k.field
	if at == fieldRules {
		r.Version, at = p.Before.Version, ruleField(authz.RuleActions()[0])
		if len(p.Lacking) > 0 {
			text, at = text+": "+s.words.actions(p.Lacking), ruleField(p.Lacking[0])
		}
	}
	a := s.roleFormAnswer(v, r)
	form := a.data.(*roleForm) //nolint:forcetypeassert // made one line above
	switch {
	case at == fieldRole && form.Name != nil:
		form.Name.Error = text
	case at == fieldDescription && form.Description != nil:
		form.Description.Error = text
	}
	a.status, a.problems = k.status, []problem{{Field: at, Text: text}}
	return a, nil
}

// roleFormAnswer shows the form with what a role says, or what was entered.
func (s *Server) roleFormAnswer(v *visit, r role.Role) answer {
	isNew := v.params.ByName("role") == ""
	form := &roleForm{Back: v.path("/roles"), Action: v.r.URL.Path}
	heading := s.words.text("roles.new.heading")
	if isNew {
		form.Name = &field{
			ID: fieldRole, Label: s.words.text("roles.name"), Hint: s.words.text("roles.name.hint"),
			Type: "text", Value: string(r.Name), Autocomplete: "off", Wide: true,
		}
	} else {
		form.Version = r.Version.String()
		heading = s.words.text("roles.edit.heading", "role", s.words.role(r.Name))
	}
	if !r.BuiltIn {
		form.Description = &field{
			ID: fieldDescription, Label: s.words.text("roles.description"), Hint: s.words.text("roles.description.hint"),
			Type: "text", Value: r.Description, Autocomplete: "off", Optional: s.words.text("form.optional"),
		}
	}
	builtIn, err := authz.NewPolicy(nil)
	for _, a := range authz.RuleActions() {
		nothing := s.words.text("roles.rule.nothing")
		if r.BuiltIn && err == nil {
			effect, _ := builtIn.Says(r.Name, a)
			nothing = s.words.text("roles.rule.built_in", "ruling", s.words.ruling(effect, false))
		}
		form.Rules = append(form.Rules, s.ruleChoice(r, a, nothing))
	}
	return answer{page: "role", heading: heading, data: form}
}

func (s *Server) ruleChoice(r role.Role, a authz.Action, nothing string) radios {
	id := ruleField(a)
	chosen := authz.Effect("")
	switch {
	case slices.Contains(r.Denied, a):
		chosen = authz.Denied
	case slices.Contains(r.Allowed, a):
		chosen = authz.Allowed
	}
	return radios{ID: id + "_group", Name: id, Label: s.words.action(a), Choices: []choice{
		{ID: id, Value: "", Label: nothing, Chosen: chosen == ""},
		{ID: id + "_allow", Value: string(authz.Allowed), Label: s.words.text("roles.rule.allow"), Chosen: chosen == authz.Allowed},
		{ID: id + "_deny", Value: string(authz.Denied), Label: s.words.text("roles.rule.deny"), Chosen: chosen == authz.Denied},
	}}
}

// rolePlan asks before a role is changed or deleted: what is different, and for whom.
type rolePlan struct {
	Action, Back string
	Hidden       []hidden // what was entered
	Again        bool     // whether it can be changed once more
	Deletes      bool
	Blocked      bool // somebody still has what is to be deleted, or may come to have it
	Differences  []differenceView
	Description  string // if it is new
	Effects      []effectView
	MoreEffects  int
	Holders      []string
	MoreHolders  int
	Uses         []string // by what others may come to have it
}

type hidden struct{ Name, Value string }

type differenceView struct{ Action, Before, After string }

type effectView struct{ Name, Gains, Loses string }

// peopleShown is how many people a plan names.
const peopleShown = 100

func (s *Server) planView(v *visit, p role.Plan) rolePlan {
	w := rolePlan{Action: v.r.URL.Path, Back: v.path("/roles"), Deletes: p.Deletes()}
	for _, d := range p.Differences {
		w.Differences = append(w.Differences, differenceView{s.words.action(d.Action), s.words.ownRule(d.Before), s.words.ownRule(d.After)})
	}
	if p.Before.Description != p.After.Description {
		w.Description = p.After.Description
	}
	for _, e := range p.Effects[:min(len(p.Effects), peopleShown)] {
		w.Effects = append(w.Effects, effectView{e.Member.Name, s.words.actions(e.Gains), s.words.actions(e.Loses)})
	}
	for _, m := range p.Holders[:min(len(p.Holders), peopleShown)] {
		w.Holders = append(w.Holders, m.Name)
	}
	for _, u := range p.Uses[:min(len(p.Uses), peopleShown)] {
		w.Uses = append(w.Uses, s.words.roleUse(u))
	}
	w.MoreEffects, w.MoreHolders = len(p.Effects)-len(w.Effects), len(p.Holders)-len(w.Holders)
	return w
}

func (s *Server) rolePlanAnswer(v *visit, r role.Role, p role.Plan) answer {
	w := s.planView(v, p)
	w.Again = true
	keep := func(name, value string) { w.Hidden = append(w.Hidden, hidden{name, value}) }
	keep(fieldRole, string(r.Name))
	keep(fieldDescription, r.Description)
	keep(fieldVersion, r.Version.String())
	for _, a := range r.Allowed {
		keep(ruleField(a), string(authz.Allowed))
	}
	for _, a := range r.Denied {
		keep(ruleField(a), string(authz.Denied))
	}
	return answer{page: "role_plan", heading: s.words.text("roles.plan.heading", "role", s.words.role(r.Name)), data: w}
}

func (s *Server) askRoleDeletion(v *visit) (answer, error) {
	p, err := s.config.Roles.PlanDeletion(v.r.Context(), v.tenant, v.by, authz.Role(v.params.ByName("role")))
	if err != nil {
		return answer{}, err
	}
	if len(p.Lacking) > 0 {
		return answer{}, role.ErrLacking
	}
	w := s.planView(v, p)
	w.Blocked = len(p.Holders)+len(p.Uses) > 0
	w.Hidden = []hidden{{fieldVersion, p.Before.Version.String()}}
	return answer{page: "role_plan", heading: s.words.text("roles.delete.heading", "role", s.words.role(p.Before.Name)), data: w}, nil
}

func (s *Server) deleteRole(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	version, err := uuid.Parse(v.r.PostForm.Get(fieldVersion))
	if err != nil {
		return answer{}, fmt.Errorf("%w: which version", errForm)
	}
	name := authz.Role(v.params.ByName("role"))
	err = s.config.Roles.Delete(v.r.Context(), v.tenant, v.by, name, version)
	if errors.Is(err, role.ErrChanged) {
		return redirect(v.r.URL.Path) // to be asked about what there is now
	}
	if err != nil {
		return answer{}, err
	}
	return s.rolesDone(v, "roles.deleted", name)
}

func (s *Server) rolesDone(v *visit, notice string, name authz.Role) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice, "role", s.words.role(name)))
	return answer{status: http.StatusSeeOther, redirect: v.path("/roles")}, nil
}

// explainPage says why somebody may do something, or may not.
type explainPage struct {
	Action, Back string
	Who, What    selection
	Asked        bool
	Verdict      string
	Because      string // as the audit log has it
	Roles        []sayingView
}

// selection is a choice of one in a list.
type selection struct {
	ID, Label, Error string
	Choices          []choice
}

// DescribedBy is as for a field.
func (s selection) DescribedBy() string { return describedBy(s.ID, "", s.Error) }

// sayingView is what one role says of an action.
type sayingView struct{ Role, Says string }

func (s *Server) explain(v *visit) (answer, error) {
	cast, err := s.config.Roles.Cast(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	query := v.r.URL.Query()
	p := explainPage{
		Action: v.path("/roles/explain"), Back: v.path("/roles"),
		Who:  selection{ID: fieldWho, Label: s.words.text("explain.who")},
		What: selection{ID: fieldAction, Label: s.words.text("explain.what")},
	}
	var who *authz.Subject
	for i, by := range cast.Subjects {
		chosen := by.ID == query.Get(fieldWho)
		if chosen {
			who = &cast.Subjects[i]
		}
		name := by.Name
		if by.Kind == authz.APIKey {
			name = s.words.text("explain.key", "name", by.Name)
		}
		p.Who.Choices = append(p.Who.Choices, choice{Value: by.ID, Label: name, Chosen: chosen})
	}
	what := authz.Action(query.Get(fieldAction))
	for _, a := range authz.Actions() {
		p.What.Choices = append(p.What.Choices, choice{Value: string(a), Label: s.words.action(a), Chosen: a == what})
	}
	if who != nil && what.Known() {
		s.explainTo(&p, cast.Policy, *who, what)
	}
	return answer{page: "explain", heading: s.words.text("explain.heading"), data: p}, nil
}

func (s *Server) explainTo(p *explainPage, policy *authz.Policy, who authz.Subject, what authz.Action) {
	allowed, because := policy.Explain(who, what)
	verdict := "explain.no"
	if allowed {
		verdict = "explain.yes"
	}
	p.Asked, p.Because = true, because
	p.Verdict = s.words.text(verdict, "name", who.Name, "action", s.words.action(what))
	for _, r := range who.Roles {
		p.Roles = append(p.Roles, sayingView{s.words.role(r), s.words.ruling(policy.Says(r, what))})
	}
}
