package adminui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
)

// Wording is the texts of messages. The promises and errors are those of [template.Staff].
type Wording interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]template.Entry, error)
	Draft(ctx context.Context, t *tenant.Tenant, by authz.Subject, text template.Text) (template.Draft, error)
	Set(ctx context.Context, t *tenant.Tenant, by authz.Subject, text template.Text, seen string) error
	Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, label, language, seen string) error
	Test(ctx context.Context, t *tenant.Tenant, by authz.Subject, label, language, phone string) error
}

// The IDs of the form's fields.
const (
	fieldLabel = "label"
	fieldBody  = "body"
)

// wordingPage lists the texts that messages use.
type wordingPage struct {
	Texts     []wordingView
	New, Test string // paths; empty for who may not change anything
}

type wordingView struct {
	Label, Language, Tag, Body, Size, Origin string
	Change, Remove                           string
}

func (s *Server) showWording(v *visit) (answer, error) {
	entries, err := s.config.Wording.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	var p wordingPage
	if v.may(authz.SettingsWrite) {
		p.New, p.Test = v.path("/texts/edit"), v.path("/texts/test")
	}
	for _, e := range entries {
		view := wordingView{
			Label: s.words.wordingLabel(e.Label), Language: s.words.language(e.Language), Tag: e.Language, Body: e.Body,
			Size: s.words.measure(e.Measure), Origin: s.words.text("texts.origin.first"),
		}
		if e.Own {
			view.Origin = s.words.text("texts.origin.own", "when", s.words.date(e.ChangedAt))
		}
		if v.may(authz.SettingsWrite) {
			view.Change = v.wordingPath("/texts/edit", e.Label, e.Language)
		}
		if v.may(authz.SettingsWrite) && e.Own {
			view.Remove = v.wordingPath("/texts/remove", e.Label, e.Language)
		}
		p.Texts = append(p.Texts, view)
	}
	return answer{page: "texts", heading: s.words.text("texts.heading"), data: p}, nil
}

func (v *visit) wordingPath(rest, label, language string) string {
	return v.path(rest + "?" + url.Values{fieldLabel: {label}, fieldLanguage: {language}}.Encode())
}

// wordingLabel names a label; one that the authority gave has no other name.
func (c *catalogue) wordingLabel(label string) string {
	switch label {
	case template.MainLabel:
		return c.text("texts.label.main")
	case template.UserReportLabel:
		return c.text("texts.label.report")
	}
	return label
}

// measure says what the longest message of a text costs, signed if messages are signed.
func (c *catalogue) measure(m template.Measure) string {
	key := "texts.size.gsm"
	if m.Signed.Encoding == template.UCS2 {
		key = "texts.size.ucs"
	}
	segments := c.counted("texts.segments.one", "texts.segments.other", m.Signed.Segments)
	return c.text(key, "segments", segments, "units", c.number(m.Signed.Units), "bytes", c.number(m.Bytes))
}

// wordingForm is the form for a text.
type wordingForm struct {
	Action, Back, Measure string
	Seen                  string
	Label, Language       field
	Body                  field
	Variables             []fact
	Size                  string
	Failed                string // what scripts say if the length cannot be had
}

// typedText is the form as it was sent.
func typedText(r *http.Request) (template.Text, error) {
	if err := r.ParseForm(); err != nil {
		return template.Text{}, fmt.Errorf("%w: %w", errForm, err)
	}
	return template.Text{
		Label: strings.TrimSpace(r.PostForm.Get(fieldLabel)), Language: strings.TrimSpace(r.PostForm.Get(fieldLanguage)),
		Body: r.PostForm.Get(fieldBody),
	}, nil
}

// editText shows the form for a new text, or for the one that the query names.
func (s *Server) editText(v *visit) (answer, error) {
	query := v.r.URL.Query()
	text := template.Text{Label: query.Get(fieldLabel), Language: query.Get(fieldLanguage)}
	if text == (template.Text{}) {
		return s.wordingForm(v, text, "", nil)
	}
	e, err := s.findText(v, text.Label, text.Language)
	if err != nil {
		return answer{}, err
	}
	seen := ""
	if e.Own {
		seen = e.Body
	}
	return s.wordingForm(v, e.Text, seen, nil)
}

func (s *Server) findText(v *visit, label, language string) (template.Entry, error) {
	entries, err := s.config.Wording.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return template.Entry{}, err
	}
	at := slices.IndexFunc(entries, func(e template.Entry) bool { return e.Label == label && e.Language == language })
	if at < 0 {
		return template.Entry{}, template.ErrUnknown
	}
	return entries[at], nil
}

// saveText shows how phones would show a text before it is used.
func (s *Server) saveText(v *visit) (answer, error) {
	text, err := typedText(v.r)
	if err != nil {
		return answer{}, err
	}
	seen := v.r.PostForm.Get("seen")
	if v.r.PostForm.Get(fieldAgain) == yes {
		return s.wordingForm(v, text, seen, nil)
	}
	d, err := s.config.Wording.Draft(v.r.Context(), v.tenant, v.by, text)
	if err == nil && v.r.PostForm.Get(fieldConfirm) == yes {
		if err = s.config.Wording.Set(v.r.Context(), v.tenant, v.by, text, seen); err == nil {
			s.sessions.Put(v.r.Context(), noticeKey, s.words.text("texts.saved"))
			return redirect(v.path("/texts"))
		}
	}
	if errors.Is(err, template.ErrRules) || errors.Is(err, template.ErrChanged) {
		return s.wordingForm(v, text, seen, err)
	}
	if err != nil {
		return answer{}, err
	}
	return s.wordingPlan(v, d, seen), nil
}

func (s *Server) wordingForm(v *visit, text template.Text, seen string, err error) (answer, error) {
	if errors.Is(err, template.ErrChanged) { // so that she can decide with what is there now
		seen = ""
		if e, failed := s.findText(v, text.Label, strings.ToLower(text.Language)); failed == nil && e.Own {
			seen = e.Body
		}
	}
	d, failed := s.config.Wording.Draft(v.r.Context(), v.tenant, v.by, text)
	if failed != nil && !errors.Is(failed, template.ErrRules) {
		return answer{}, failed
	}
	form := wordingForm{
		Action: v.path("/texts/edit"), Back: v.path("/texts"), Measure: v.path("/texts/measure"), Seen: seen,
		Label:    field{ID: fieldLabel, Label: s.words.text("texts.label"), Hint: s.words.text("texts.label.hint", "main", template.MainLabel, "report", template.UserReportLabel), Type: "text", Value: text.Label, Autocomplete: "off", Wide: true},
		Language: field{ID: fieldLanguage, Label: s.words.text("texts.language"), Hint: s.words.text("texts.language.hint", "language", v.tenant.Settings.Language), Type: "text", Value: text.Language, Autocomplete: "off"},
		Body:     field{ID: fieldBody, Label: s.words.text("texts.body"), Hint: s.words.text("texts.body.hint"), Value: text.Body},
		Size:     s.words.measure(d.Measure), Failed: s.words.text("texts.size.failed"), Variables: s.variables(v.tenant),
	}
	a := answer{page: "texts_form", heading: s.words.text("texts.edit")}
	for _, r := range template.Broken(err) {
		f := &form.Body
		switch r { //nolint:exhaustive // the others are about the body
		case template.LabelForm:
			f = &form.Label
		case template.LanguageForm:
			f = &form.Language
		}
		f.Error = strings.TrimSpace(f.Error + " " + s.words.rule(r))
		a.problems = append(a.problems, problem{Field: f.ID, Text: s.words.rule(r)})
	}
	if errors.Is(err, template.ErrChanged) {
		form.Body.Error = s.words.text("texts.error.changed")
		a.problems = []problem{{Field: fieldBody, Text: form.Body.Error}}
	}
	if err != nil {
		k, _ := lookUp(err)
		a.status = k.status
	}
	a.data = &form
	return a, nil
}

// variables are what a text may speak of.
func (s *Server) variables(t *tenant.Tenant) []fact {
	if t.Settings.ENX {
		return []fact{
			{"[enslink]", s.words.text("texts.variable.link")},
			{"[longexpires]", s.words.text("texts.variable.long_expires")},
			{"[code]", s.words.text("texts.variable.code")},
			{"[expires]", s.words.text("texts.variable.expires")},
		}
	}
	return []fact{
		{"[longcode]", s.words.text("texts.variable.long_code")},
		{"[longexpires]", s.words.text("texts.variable.long_expires")},
		{"[code]", s.words.text("texts.variable.code")},
		{"[expires]", s.words.text("texts.variable.expires")},
		{"[region]", s.words.text("texts.variable.region")},
	}
}

// rule says which rule a text breaks, and what to do.
func (c *catalogue) rule(r template.Rule) string {
	switch r {
	case template.Empty:
		return c.text("texts.rule.empty")
	case template.Length:
		return c.text("texts.rule.length", "max", c.number(template.MaxTemplate))
	case template.Unprintable:
		return c.text("texts.rule.unprintable")
	case template.LinkMissing:
		return c.text("texts.rule.link_missing")
	case template.PartOfLink:
		return c.text("texts.rule.part_of_link")
	case template.OneCode:
		return c.text("texts.rule.one_code")
	case template.LinkWithoutENX:
		return c.text("texts.rule.link_without_enx")
	case template.LongLife:
		return c.text("texts.rule.long_life")
	case template.MessageLength:
		return c.text("texts.rule.message_length", "max", c.number(template.MaxBody))
	case template.LabelForm:
		return c.text("texts.rule.label")
	case template.LanguageForm:
		return c.text("texts.rule.language")
	case template.Number:
		return c.text("texts.rule.number")
	}
	return string(r)
}

// wordingPlan shows a text as phones would, and what follows from it.
type wordingPlanPage struct {
	Action, Back              string
	Label, Language, Tag      string
	Sample, Size, Unknown     string
	TypedLabel, TypedLanguage string
	Body, Seen                string
}

func (s *Server) wordingPlan(v *visit, d template.Draft, seen string) answer {
	p := wordingPlanPage{
		Action: v.path("/texts/edit"), Back: v.path("/texts"), Label: s.words.wordingLabel(d.Label), Language: s.words.language(d.Language), Tag: d.Language,
		Sample: d.Sample, Size: s.words.measure(d.Measure), TypedLabel: d.Label, TypedLanguage: d.Language, Body: d.Body, Seen: seen,
	}
	if len(d.Unknown) > 0 {
		p.Unknown = s.words.text("texts.unknown", "words", strings.Join(d.Unknown, ", "))
	}
	return answer{page: "texts_plan", heading: s.words.text("texts.plan"), data: p}
}

// measured is what scripts show while somebody types.
type measured struct {
	Size   string   `json:"size"`
	Sample string   `json:"sample"`
	Faults []string `json:"faults"`
}

func (s *Server) measureText(v *visit) (answer, error) {
	text, err := typedText(v.r)
	if err != nil {
		return answer{}, err
	}
	d, err := s.config.Wording.Draft(v.r.Context(), v.tenant, v.by, text)
	if err != nil && !errors.Is(err, template.ErrRules) {
		return answer{}, err
	}
	m := measured{Size: s.words.measure(d.Measure), Sample: d.Sample, Faults: []string{}}
	for _, r := range template.Broken(err) {
		m.Faults = append(m.Faults, s.words.rule(r))
	}
	if len(d.Unknown) > 0 {
		m.Faults = append(m.Faults, s.words.text("texts.unknown", "words", strings.Join(d.Unknown, ", ")))
	}
	body, err := json.Marshal(m)
	if err != nil {
		return answer{}, fmt.Errorf("measure of a text: %w", err)
	}
	return answer{json: string(body)}, nil
}

// wordingStep asks before a text is removed.
type wordingStep struct {
	Action, Back                  string
	Label, Language, Tag          string
	Body, TypedLabel, Consequence string
}

func (s *Server) askTextRemoval(v *visit) (answer, error) {
	query := v.r.URL.Query()
	e, err := s.findText(v, query.Get(fieldLabel), query.Get(fieldLanguage))
	if err == nil && !e.Own {
		err = template.ErrUnknown
	}
	if err != nil {
		return answer{}, err
	}
	consequence := "texts.remove.other"
	if e.Language == strings.ToLower(v.tenant.Settings.Language) && (e.Label == template.MainLabel || e.Label == template.UserReportLabel) {
		consequence = "texts.remove.first"
	}
	return answer{page: "texts_step", heading: s.words.text("texts.remove.heading"), data: wordingStep{
		Action: v.path("/texts/remove"), Back: v.path("/texts"), Label: s.words.wordingLabel(e.Label), Language: s.words.language(e.Language),
		Tag: e.Language, Body: e.Body, TypedLabel: e.Label, Consequence: s.words.text(consequence),
	}}, nil
}

func (s *Server) removeText(v *visit) (answer, error) {
	text, err := typedText(v.r)
	if err != nil {
		return answer{}, err
	}
	if err := s.config.Wording.Remove(v.r.Context(), v.tenant, v.by, text.Label, text.Language, text.Body); err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("texts.removed"))
	return redirect(v.path("/texts"))
}

// wordingTest is the form for a test message.
type wordingTest struct {
	Action, Back string
	Texts        radios
	Phone        *field
	Bound        string
}

func (s *Server) askTest(v *visit) (answer, error) { return s.testForm(v, "", "", nil) }

func (s *Server) testForm(v *visit, chosen, phone string, err error) (answer, error) {
	entries, failed := s.config.Wording.Board(v.r.Context(), v.tenant, v.by)
	if failed != nil {
		return answer{}, failed
	}
	p := wordingTest{
		Action: v.path("/texts/test"), Back: v.path("/texts"), Phone: s.phoneField(v, phone, s.words.text("texts.test.phone.hint")),
		Texts: radios{ID: fieldMessage + "_group", Name: fieldMessage, Label: s.words.text("texts.test.which")},
		Bound: s.words.text("texts.test.bound", "n", s.words.number(template.TestsAnHour)),
	}
	p.Phone.Optional = ""
	for i, e := range entries {
		value := e.Language + "/" + e.Label
		p.Texts.Choices = append(p.Texts.Choices, choice{
			ID: fieldMessage + suffix(i), Value: value, Hint: s.words.measure(e.Measure), Chosen: value == chosen || chosen == "" && i == 0,
			Label: s.words.text("texts.test.one", "label", s.words.wordingLabel(e.Label), "language", s.words.language(e.Language)),
		})
	}
	a := answer{page: "texts_test", heading: s.words.text("texts.test.heading")}
	if k, found := lookUp(err); found {
		p.Phone.Error = s.words.text(k.message)
		a.status, a.problems = k.status, []problem{{Field: fieldPhone, Text: p.Phone.Error}}
		if attempted(err) {
			a.status = http.StatusOK // what was asked for was done, and has its entry
		}
	}
	a.data = &p
	return a, nil
}

// attempted reports whether a message was given to a provider, which did not take it.
func attempted(err error) bool {
	return errors.Is(err, message.ErrFailed) || errors.Is(err, message.ErrQueueFull) || errors.Is(err, message.ErrNoProvider)
}

func (s *Server) testText(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	chosen, phone := v.r.PostForm.Get(fieldMessage), strings.TrimSpace(v.r.PostForm.Get(fieldPhone))
	language, label, _ := strings.Cut(chosen, "/")
	err := s.config.Wording.Test(v.r.Context(), v.tenant, v.by, label, language, phone)
	if k, found := lookUp(err); found && k.field == fieldPhone {
		return s.testForm(v, chosen, phone, err)
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("texts.test.done"))
	return redirect(v.path("/texts"))
}
