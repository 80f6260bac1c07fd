package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"carillon/tenant/pack"
	"carillon/tenant/pack/enx"
)

// stepPage is a step of the wizard.
type stepPage struct {
	Steps   []stepView
	Lead    string
	Action  string
	Version int
	Lang    string // of the texts; empty elsewhere
	Entries []entryView
	Preset  *selection
	Preview *previewView
	Days    string // what the map of infectiousness says
	Facts   []factView
	Next    string
	Back    string
	Saved   string // by whom
}

// entryView is a value to be entered.
type entryView struct {
	ID, Label, Key, Hint, Error string
	// Input is the type of a field of one line; Rows those of one with several.
	Input    string
	Rows     int
	Choices  []choice
	Value    string
	Optional string
	// Limit and Length count characters, if there is a limit.
	Limit, Length int
	// Heading stands before the entry: that of a class.
	Heading string
}

// DescribedBy lists the IDs of what is read out with the field.
func (e entryView) DescribedBy() string {
	ids := describedBy(e.ID, e.Hint, e.Error)
	if e.Limit > 0 {
		ids = strings.TrimSpace(ids + " " + e.ID + "_count")
	}
	return ids
}

// previewView shows a header in its colors.
type previewView struct{ Ground, Text, Name, Verdict string }

func (c *catalogue) packStep(step enx.Step) string {
	switch step {
	case enx.Region:
		return c.text("pack.step.region")
	case enx.Texts:
		return c.text("pack.step.texts")
	case enx.Branding:
		return c.text("pack.step.branding")
	case enx.Risk:
		return c.text("pack.step.risk")
	case enx.Classes:
		return c.text("pack.step.classes")
	case enx.Links:
		return c.text("pack.step.links")
	case enx.Android:
		return c.text("pack.step.android")
	case enx.Filled:
	}
	return string(step)
}

func (c *catalogue) stepLead(step enx.Step) string {
	switch step {
	case enx.Region:
		return c.text("pack.step.region.lead")
	case enx.Texts:
		return c.text("pack.step.texts.lead")
	case enx.Branding:
		return c.text("pack.step.branding.lead")
	case enx.Risk:
		return c.text("pack.step.risk.lead")
	case enx.Classes:
		return c.text("pack.step.classes.lead")
	case enx.Links:
		return c.text("pack.step.links.lead")
	case enx.Android:
		return c.text("pack.step.android.lead")
	case enx.Filled:
	}
	return ""
}

func (c *catalogue) section(s pack.Section) string {
	if s.Step == enx.Texts {
		return c.text("pack.step.texts.of", "language", s.Language)
	}
	return c.packStep(s.Step)
}

func sectionPath(v *visit, s pack.Section) string {
	path := v.path("/pack/" + string(s.Step))
	if s.Step == enx.Texts {
		path += "?" + url.Values{fieldLanguage: {s.Language}}.Encode()
	}
	return path
}

// stepViews lists the steps with how far each is.
func (s *Server) stepViews(v *visit, b pack.Board, current pack.Section) []stepView {
	var list []stepView
	for _, sec := range b.Draft.Sections() {
		saved := b.Draft.Saved(sec)
		left := slices.DeleteFunc(b.Of(sec), func(p enx.Problem) bool { return p.Advice })
		w := stepView{Path: sectionPath(v, sec), Name: s.words.section(sec), Current: sec == current}
		switch {
		case saved.Version == 0:
			w.State = s.words.text("pack.step.new")
		case len(left) > 0:
			w.State = s.words.counted("pack.step.left.one", "pack.step.left.other", len(left))
		default:
			w.State, w.Good = s.words.text("pack.step.good"), true
		}
		if saved.Version > 0 {
			w.Saved = s.words.text("pack.step.saved", "name", saved.ChangedBy, "day", s.words.date(saved.ChangedAt))
		}
		list = append(list, w)
	}
	return list
}

// sectionOf is the section that a request is about: [pack.ErrStep] if there is none.
func sectionOf(v *visit, b pack.Board, step enx.Step) (pack.Section, error) {
	sec := pack.Section{Step: step}
	if step == enx.Texts {
		sec.Language = v.r.URL.Query().Get(fieldLanguage)
		if sec.Language == "" {
			sec.Language = b.Draft.Config.Default()
		}
	}
	if !slices.Contains(b.Draft.Sections(), sec) {
		return sec, pack.ErrStep
	}
	return sec, nil
}

func (s *Server) showStep(v *visit, step enx.Step) (answer, error) {
	b, err := s.config.Packs.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	sec, err := sectionOf(v, b, step)
	if err != nil {
		return answer{}, err
	}
	var problems []enx.Problem
	if b.Draft.Saved(sec).Version > 0 { // nothing is wrong with what nobody has begun
		problems = b.Of(sec)
	}
	return s.stepAnswer(v, b, sec, entered(b, sec), problems), nil
}

// entered are the values of a section as they were saved, with what is known without it.
func entered(b pack.Board, sec pack.Section) map[string]string {
	values := map[string]string{}
	for _, slot := range sec.Slots() {
		values[slot.ID()] = b.Draft.Config.Value(slot, sec.Language)
		if slot.Minutes {
			values[slot.ID()] = b.Draft.Config.Values[slot.ID()]
		}
	}
	values[fieldLanguages] = strings.Join(b.Draft.Config.Languages, ", ")
	return values
}

// sent are the values that a form has.
func sent(v *visit, sec pack.Section) map[string]string {
	values := map[string]string{}
	for id := range v.r.PostForm {
		values[id] = v.r.PostForm.Get(id)
	}
	for _, slot := range sec.Slots() {
		if slot.Kind == enx.Days {
			if text, given := values[slot.ID()]; given {
				values[slot.ID()] = strings.Replace(strings.ToUpper(strings.TrimSpace(text)), "0X", "0x", 1)
			}
		}
	}
	return values
}

func (s *Server) saveStep(v *visit, step enx.Step) (answer, error) {
	b, err := s.config.Packs.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	sec, err := sectionOf(v, b, step)
	if err != nil {
		return answer{}, err
	}
	version, err := strconv.Atoi(v.r.PostForm.Get(fieldVersion))
	if err != nil || version < 0 {
		return answer{}, fmt.Errorf("%w: which version", errForm)
	}
	values := sent(v, sec)
	if preset := v.r.PostForm.Get(fieldPreset); step == enx.Risk && preset != "" {
		if !enx.Apply(preset, values) {
			return answer{}, fmt.Errorf("%w: no such preset", errForm)
		}
		return s.stepAnswer(v, b, sec, values, nil), nil // to be looked at and saved
	}
	err = s.config.Packs.Save(v.r.Context(), v.tenant, v.by, sec, version, values)
	switch {
	case errors.Is(err, pack.ErrChanged):
		return s.stepOvertaken(v, b, sec, values), nil
	case errors.Is(err, enx.ErrLanguage):
		problem := enx.Problem{Step: step, Slot: fieldLanguages, Text: err.Error()}
		return refusedStep(s.stepAnswer(v, b, sec, values, []enx.Problem{problem}), http.StatusUnprocessableEntity), nil
	case err != nil:
		return answer{}, err
	}
	return s.stepSaved(v, sec)
}

// stepSaved leads on, or shows what is still to be put right.
func (s *Server) stepSaved(v *visit, sec pack.Section) (answer, error) {
	b, err := s.config.Packs.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	problems := b.Of(sec)
	if enx.Ready(problems) {
		s.sessions.Put(v.r.Context(), noticeKey, s.words.text("pack.saved"))
		return redirect(nextPath(v, b, sec))
	}
	return refusedStep(s.stepAnswer(v, b, sec, entered(b, sec), problems), http.StatusUnprocessableEntity), nil
}

func refusedStep(a answer, status int) answer {
	a.status = status
	return a
}

// stepOvertaken shows what was typed, and beside it what somebody else has saved
// meanwhile, where that is something else. Saved once more, the form takes its place.
func (s *Server) stepOvertaken(v *visit, b pack.Board, sec pack.Section, values map[string]string) answer {
	theirs := entered(b, sec)
	by := b.Draft.Saved(sec).ChangedBy
	var problems []enx.Problem
	tell := func(id string) {
		mine, typed := values[id]
		if typed && strings.TrimSpace(strings.ReplaceAll(mine, "\r\n", "\n")) != theirs[id] {
			text := s.words.text("pack.overtaken", "name", by, "value", theirs[id])
			problems = append(problems, enx.Problem{Step: sec.Step, Slot: id, Language: sec.Language, Text: text})
		}
	}
	for _, slot := range sec.Slots() {
		tell(slot.ID())
	}
	if sec.Step == enx.Region {
		tell(fieldLanguages)
	}
	if len(problems) == 0 {
		problems = []enx.Problem{{Slot: firstField(sec), Text: s.words.text("pack.overtaken.same", "name", by)}}
	}
	return refusedStep(s.stepAnswer(v, b, sec, values, problems), http.StatusConflict)
}

func firstField(sec pack.Section) string {
	if sec.Step == enx.Region {
		return fieldLanguages
	}
	return sec.Slots()[0].ID()
}

// nextPath is the section after one, or the review.
func nextPath(v *visit, b pack.Board, sec pack.Section) string {
	all := b.Draft.Sections()
	if at := slices.Index(all, sec); at >= 0 && at+1 < len(all) {
		return sectionPath(v, all[at+1])
	}
	return v.path("/pack/review")
}

// stepAnswer shows a section's form with values, and what is wrong with them.
func (s *Server) stepAnswer(v *visit, b pack.Board, sec pack.Section, values map[string]string, problems []enx.Problem) answer {
	saved := b.Draft.Saved(sec)
	p := stepPage{
		Steps: s.stepViews(v, b, sec), Lead: s.words.stepLead(sec.Step), Action: sectionPath(v, sec), Version: saved.Version, Lang: sec.Language,
		Next: nextPath(v, b, sec), Back: v.path("/pack"),
	}
	if saved.Version > 0 {
		p.Saved = s.words.text("pack.step.saved", "name", saved.ChangedBy, "day", s.words.date(saved.ChangedAt))
	}
	faults := map[string]string{}
	a := answer{page: "pack_step", heading: s.words.section(sec)}
	for _, problem := range problems {
		faults[problem.Slot] = strings.TrimSpace(faults[problem.Slot] + " " + problem.Text)
		a.problems = append(a.problems, problemAt(problem.Slot, s.problemPlace(problem)+": "+problem.Text))
	}
	p.Entries = s.entries(b, sec, values, faults)
	s.illustrate(v, &p, sec, values)
	a.data = p
	return a
}

func problemAt(id, text string) problem { return problem{Field: id, Text: text} }

// illustrate adds what helps with a step beside its fields.
func (s *Server) illustrate(v *visit, p *stepPage, sec pack.Section, values map[string]string) {
	switch sec.Step {
	case enx.Region:
		p.Facts = []factView{
			{s.words.text("pack.region"), v.tenant.Region},
			{s.words.text("pack.authority_id"), v.tenant.HealthAuthorityID},
		}
	case enx.Branding:
		p.Preview = s.preview(v, values)
	case enx.Risk:
		p.Preset = &selection{ID: fieldPreset, Label: s.words.text("pack.preset"), Choices: []choice{{Value: "", Label: s.words.text("pack.preset.none")}}}
		for _, preset := range enx.Presets() {
			p.Preset.Choices = append(p.Preset.Choices, choice{Value: preset.ID, Label: preset.Label})
		}
		if days, err := enx.ParseDays(values["symptomOnsetToInfectiousnessMap"]); err == nil {
			p.Days = s.words.text("pack.days", "days", days.String())
		}
	case enx.Texts, enx.Classes, enx.Links, enx.Android, enx.Filled:
	}
}

func (s *Server) preview(v *visit, values map[string]string) *previewView {
	ground, text := values["agencyColor"], values["agencyHeaderTextColor"]
	a, errA := enx.ParseColor(ground)
	b, errB := enx.ParseColor(text)
	if errA != nil || errB != nil {
		return nil
	}
	ratio := strconv.FormatFloat(enx.Contrast(a, b), 'f', 1, 64)
	return &previewView{Ground: ground, Text: text, Name: v.tenant.Name, Verdict: s.words.text("pack.contrast", "ratio", ratio)}
}

// slotLabel names a value for people.
func (s *Server) slotLabel(slot enx.Slot) string {
	if slot.No == 0 {
		return slot.Label
	}
	return s.words.text("pack.of_class", "label", slot.Label, "n", s.words.number(slot.No))
}

func (s *Server) entries(b pack.Board, sec pack.Section, values, faults map[string]string) []entryView {
	var list []entryView
	if sec.Step == enx.Region {
		list = append(list, entryView{
			ID: fieldLanguages, Label: s.words.text("pack.languages"), Hint: s.words.text("pack.languages.hint"), Input: "text",
			Value: values[fieldLanguages], Error: faults[fieldLanguages],
		})
	}
	last := 0
	for _, slot := range sec.Slots() {
		if slot.No > max(1, b.Draft.Config.ClassCount()) {
			continue
		}
		e := s.entry(slot, values[slot.ID()], faults[slot.ID()])
		if slot.No > 0 && slot.No != last {
			e.Heading = s.words.text("pack.class", "n", s.words.number(slot.No))
		}
		last = slot.No
		list = append(list, e)
	}
	return list
}

func (s *Server) entry(slot enx.Slot, value, fault string) entryView {
	e := entryView{ID: slot.ID(), Label: s.slotLabel(slot), Key: slot.ID(), Hint: slot.Meaning, Error: fault, Value: value, Input: "text", Limit: slot.Limit}
	if !slot.Required && slot.Default == "" {
		e.Optional = s.words.text("form.optional")
	}
	if slot.Limit > 0 {
		e.Length = enx.Length(value)
	}
	switch slot.Kind {
	case enx.Text:
		const oneLine, fewLines = 100, 600
		switch {
		case slot.Step != enx.Texts && slot.Limit <= 300:
		case slot.Limit > fewLines:
			e.Rows = 8
		case slot.Limit > oneLine:
			e.Rows = 3
		}
	case enx.URL:
		e.Input, e.Limit = "url", 0
	case enx.Number:
		e.Choices = s.numberChoices(slot, value)
		e.Input = "number"
	case enx.Flag:
		e.Choices = []choice{{Value: "yes", Label: s.words.text("pack.yes"), Chosen: value == "yes"}, {Value: "no", Label: s.words.text("pack.no"), Chosen: value == "no"}}
	case enx.Date:
		e.Input = "date"
	case enx.Color, enx.Days:
	}
	return e
}

// numberChoices are those of a number of which only some are possible; none for others.
func (s *Server) numberChoices(slot enx.Slot, value string) []choice {
	var possible []int
	switch slot.Name {
	case "tekPublishInterval":
		possible = enx.Intervals()
	case "classes":
		for n := 1; n <= enx.MaxClasses; n++ {
			possible = append(possible, n)
		}
	default:
		return nil
	}
	list := []choice{}
	if value == "" {
		list = append(list, choice{Value: "", Label: s.words.text("pack.choose"), Chosen: true})
	}
	for _, n := range possible {
		text := s.words.number(n)
		list = append(list, choice{Value: text, Label: text, Chosen: text == value})
	}
	return list
}
