package adminui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/limit"
	"carillon/tenant/setting"
)

// Options is what a health authority chooses for itself. The promises and errors are
// those of [setting.Staff].
type Options interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (setting.Board, error)
	Plan(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, values map[string]string) ([]setting.Difference, error)
	Change(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, values map[string]string) error
}

// errShutOut means that whoever changes the networks of staff would be outside of them.
var errShutOut = errors.New("networks of staff without the person's own address")

// fieldOptions is the form as a whole, for problems that no field has alone.
const (
	fieldOptions = "options"
)

// optionsPage shows every setting, in groups.
type optionsPage struct {
	// Fixed is what those who run the platform have agreed with the authority.
	Fixed  []fact
	Groups []optionGroupView
}

type optionGroupView struct {
	ID, Name, Lead string
	Change         string // the path to change them; empty for who may not
	Options        []optionView
}

// optionView is a setting in words.
type optionView struct {
	Name, Meaning, Value, Default string
	// By is empty if the setting was never changed.
	By string
	At moment
}

func (s *Server) showOptions(v *visit) (answer, error) {
	board, err := s.config.Options.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	defaults := map[string]string{}
	for _, o := range setting.List() {
		defaults[o.Name] = o.Default
	}
	p := optionsPage{Fixed: s.fixedFacts(v.tenant)}
	for _, g := range optionGroups() {
		view := optionGroupView{ID: g.id, Name: s.words.text(g.name), Lead: s.words.text(g.lead)}
		if v.may(authz.SettingsWrite) && !g.fixed {
			view.Change = v.path("/settings/" + g.id)
		}
		for _, o := range g.options {
			view.Options = append(view.Options, s.optionView(v, o, board, defaults[o.name]))
		}
		p.Groups = append(p.Groups, view)
	}
	return answer{page: "options", heading: s.words.text("options.heading"), data: p}, nil
}

// fixedFacts are what nobody here changes: other servers, phones, Apple and Google know
// the authority by it.
func (s *Server) fixedFacts(t *tenant.Tenant) []fact {
	return []fact{
		{s.words.text("options.fixed.name"), t.Name},
		{s.words.text("options.fixed.region"), t.Region},
		{s.words.text("options.fixed.authority"), t.HealthAuthorityID},
		{s.words.text("options.fixed.issuer"), t.Settings.Issuer},
		{s.words.text("options.fixed.audience"), t.Settings.Audience},
	}
}

func (s *Server) optionView(v *visit, o option, b setting.Board, usual string) optionView {
	w := optionView{
		Name: s.words.text(o.label), Meaning: s.words.text(o.meaning),
		Value: s.words.option(o, b.Values[o.name]), Default: s.words.option(o, usual),
	}
	if last, changed := b.Last[o.name]; changed {
		w.By, w.At = last.By, s.words.moment(last.At, s.now(v))
	}
	return w
}

// optionsForm is the form for a group of settings.
type optionsForm struct {
	ID, Action, Back, Lead string
	Inputs                 []optionInput
	Hidden                 []hiddenField
}

// optionInput is one setting's place in the form: one of a field, boxes and a choice.
type optionInput struct {
	Field  *field
	Area   *field
	Checks *checks
	Radios *radios
	// Note says what a new authority has, and what follows from a change.
	Note string
}

type hiddenField struct{ Name, Value string }

func (s *Server) editOptions(v *visit, g optionGroup) (answer, error) {
	board, err := s.config.Options.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	return s.optionsForm(v, g, g.untouched(board.Values), nil), nil
}

// optionsInput is a form as it was sent, by the names of settings.
type optionsInput struct {
	// sent is what stands in the fields, typed the settings' own form of it, or what was
	// typed if that makes no sense.
	sent  map[string][]string
	typed map[string]string
	// seen is what the settings were when the form was made.
	seen map[string]string
}

// untouched is the form of a group before anybody types.
func (g optionGroup) untouched(values map[string]string) optionsInput {
	in := optionsInput{sent: map[string][]string{}, typed: map[string]string{}, seen: map[string]string{}}
	for _, o := range g.options {
		value := values[o.name]
		in.sent[o.name], in.typed[o.name], in.seen[o.name] = o.sent(value), value, value
	}
	return in
}

func (g optionGroup) read(r *http.Request) (optionsInput, error) {
	if err := r.ParseForm(); err != nil {
		return optionsInput{}, fmt.Errorf("%w: %w", errForm, err)
	}
	in := g.untouched(nil)
	for _, o := range g.options {
		in.sent[o.name] = r.PostForm[o.field()]
		in.typed[o.name], in.seen[o.name] = o.read(in.sent[o.name]), strings.ReplaceAll(r.PostForm.Get("seen_"+o.field()), "\r\n", "\n")
	}
	return in, nil
}

// changes are the settings that are other than they were shown.
func (in optionsInput) changes() map[string]string {
	changed := maps.Clone(in.typed)
	maps.DeleteFunc(changed, func(name, value string) bool { return in.seen[name] == value })
	return changed
}

// caughtUp is the form as it would be if it had shown what is there now: what she has
// changed stays, and what she left alone is not set back.
func (g optionGroup) caughtUp(in optionsInput, now map[string]string) optionsInput {
	fresh := g.untouched(now)
	for name, value := range in.changes() {
		fresh.sent[name], fresh.typed[name] = in.sent[name], value
	}
	return fresh
}

// changeOptions shows what a change would do to phones and people before it is made.
func (s *Server) changeOptions(v *visit, g optionGroup) (answer, error) {
	in, err := g.read(v.r)
	if err != nil {
		return answer{}, err
	}
	if v.r.PostForm.Get(fieldAgain) == yes {
		return s.optionsForm(v, g, in, nil), nil
	}
	changes := in.changes()
	if s.shutsOut(v, changes) {
		return s.wrongOptions(v, g, in, errShutOut)
	}
	plan, err := s.config.Options.Plan(v.r.Context(), v.tenant, v.by, in.seen, changes)
	if err == nil && (v.r.PostForm.Get(fieldConfirm) == yes || !affects(plan)) {
		if err = s.config.Options.Change(v.r.Context(), v.tenant, v.by, in.seen, changes); err == nil {
			s.sessions.Put(v.r.Context(), noticeKey, s.words.counted("options.saved.one", "options.saved.other", len(plan)))
			return redirect(v.path("/settings"))
		}
	}
	if err != nil {
		return s.wrongOptions(v, g, in, err)
	}
	return s.optionsPlan(v, g, in, plan), nil
}

// shutsOut reports whether the person's own address would be refused from then on.
func (s *Server) shutsOut(v *visit, changes map[string]string) bool {
	text, given := changes["portal-networks"]
	if !given {
		return false
	}
	networks, err := setting.ParseNetworks(text)
	return err == nil && !limit.Admits(networks, s.address(v.r))
}

// affects reports whether a change is felt outside of the portal.
func affects(plan []setting.Difference) bool {
	return slices.ContainsFunc(plan, func(d setting.Difference) bool { return findOption(d.Name).effect != "" })
}

// wrongOptions shows the form again, with what was typed and what is wrong with it.
func (s *Server) wrongOptions(v *visit, g optionGroup, in optionsInput, err error) (answer, error) {
	k, found := lookUp(err)
	if !found || k.field == "" {
		return answer{}, err
	}
	if errors.Is(err, setting.ErrChanged) { // so that she can decide with what is there now
		board, err := s.config.Options.Board(v.r.Context(), v.tenant, v.by)
		if err != nil {
			return answer{}, err
		}
		in = g.caughtUp(in, board.Values)
	}
	a := s.optionsForm(v, g, in, err)
	a.status = k.status
	return a, nil
}

func (s *Server) optionsForm(v *visit, g optionGroup, in optionsInput, err error) answer {
	form := optionsForm{ID: fieldOptions, Action: v.path("/settings/" + g.id), Back: v.path("/settings"), Lead: s.words.text(g.lead)}
	a := answer{page: "options_form", heading: s.words.text("options.change", "group", s.words.text(g.name))}
	faults := setting.Faults(err)
	for _, o := range g.options {
		wrong := ""
		switch {
		case slices.Contains(faults, o.name):
			wrong = s.words.text("options.error.value", "bounds", s.words.text(o.bounds))
		case errors.Is(err, errShutOut) && o.name == "portal-networks":
			wrong = s.words.text("options.error.shut_out", "address", s.address(v.r).String())
		}
		input := s.optionInput(o, in, wrong)
		form.Inputs = append(form.Inputs, input)
		form.Hidden = append(form.Hidden, hiddenField{"seen_" + o.field(), in.seen[o.name]})
		if wrong != "" {
			a.problems = append(a.problems, problem{Field: input.focus(), Text: s.words.text(o.label) + ": " + wrong})
		}
	}
	if k, found := lookUp(err); found && len(a.problems) == 0 {
		a.problems = []problem{{Field: fieldOptions, Text: s.words.text(k.message)}}
	}
	a.data = form
	return a
}

// focus is the ID of what a problem leads to.
func (i optionInput) focus() string {
	switch {
	case i.Checks != nil:
		return i.Checks.Choices[0].ID
	case i.Radios != nil:
		return i.Radios.Choices[0].ID
	case i.Area != nil:
		return i.Area.ID
	}
	return i.Field.ID
}

func (s *Server) optionInput(o option, in optionsInput, wrong string) optionInput {
	label, hint := s.words.text(o.label), s.words.text(o.meaning)
	if o.bounds != "" {
		hint = s.words.text("options.hint", "meaning", hint, "bounds", s.words.text(o.bounds))
	}
	input := optionInput{}
	if o.effect != "" {
		input.Note = s.words.text(o.effect)
	}
	choices := o.choices(s.words, in.typed[o.name])
	switch o.kind {
	case flagOption, typesOption:
		input.Checks = &checks{ID: o.field(), Name: o.field(), Label: label, Hint: hint, Error: wrong, Choices: choices}
	case signingOption:
		input.Radios = &radios{ID: o.field() + "_group", Name: o.field(), Label: label, Error: wrong, Choices: choices}
	case proseOption:
		input.Area = &field{ID: o.field(), Label: label, Hint: hint, Error: wrong, Value: strings.Join(in.sent[o.name], "")}
	case textOption, networksOption, addressesOption, spanOption:
		input.Field = &field{
			ID: o.field(), Label: label, Hint: hint, Error: wrong, Type: "text", Value: strings.Join(in.sent[o.name], ","), Autocomplete: "off",
			Wide: o.kind == networksOption || o.kind == addressesOption,
		}
	}
	return input
}

// optionsPlan shows what would be different, and what follows from it.
type optionsPlanPage struct {
	Action, Back string
	Differences  []optionDifference
	Hidden       []hiddenField
}

type optionDifference struct{ Name, Before, After, Effect string }

func (s *Server) optionsPlan(v *visit, g optionGroup, in optionsInput, plan []setting.Difference) answer {
	p := optionsPlanPage{Action: v.path("/settings/" + g.id), Back: v.path("/settings")}
	for _, d := range plan {
		o := findOption(d.Name)
		line := optionDifference{Name: s.words.text(o.label), Before: s.words.option(o, d.Before), After: s.words.option(o, d.After)}
		if o.effect != "" {
			line.Effect = s.words.text(o.effect)
		}
		p.Differences = append(p.Differences, line)
	}
	for _, o := range g.options {
		for _, value := range in.sent[o.name] {
			p.Hidden = append(p.Hidden, hiddenField{o.field(), value})
		}
		p.Hidden = append(p.Hidden, hiddenField{"seen_" + o.field(), in.seen[o.name]})
	}
	return answer{page: "options_plan", heading: s.words.text("options.plan.heading"), data: p}
}

// networksOf is a list of networks as people read it.
func networksOf(value string) string { return strings.ReplaceAll(value, ",", ", ") }
