package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/tenant/verification"
)

// issueInput is the form for a new code as it was sent.
type issueInput struct {
	// ID is made with the form and becomes the code's, so that a form that is sent
	// twice makes one code.
	ID          string
	TestType    string
	SymptomDate string
	TestDate    string
	Phone       string
	// Text names the message: language/label; empty is the usual one.
	Text string
	// Offset is the browser's distance from UTC in minutes, east positive; without
	// scripts the authority's own.
	Offset float64
}

func readIssue(r *http.Request) (issueInput, error) {
	if err := r.ParseForm(); err != nil {
		return issueInput{}, fmt.Errorf("%w: %w", errForm, err)
	}
	value := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	in := issueInput{
		ID: value("code_id"), TestType: value(fieldTestType), SymptomDate: value(fieldSymptom),
		TestDate: value(fieldTest), Phone: value(fieldPhone), Text: value(fieldMessage),
	}
	if _, err := uuid.Parse(in.ID); err != nil {
		return issueInput{}, fmt.Errorf("%w: code's ID", errForm)
	}
	if offset, err := strconv.ParseFloat(value("tz_offset"), 64); err == nil {
		in.Offset = offset
	}
	return in, nil
}

func (in issueInput) request() verification.IssueRequest {
	language, label, _ := strings.Cut(in.Text, "/")
	return verification.IssueRequest{
		Language: language, SMSTemplateLabel: label,
		UUID: in.ID, TestType: in.TestType, SymptomDate: in.SymptomDate, TestDate: in.TestDate,
		Phone: in.Phone, TZOffset: in.Offset,
		KeepWhenUnsent: true, // the caseworker can read the code out
	}
}

// issuePage shows the form.
type issuePage struct {
	Action      string
	ID          string
	Welcome     string // what the authority tells those who issue codes
	TestTypes   radios
	Window      string // the days that a date may be
	SymptomDate field
	TestDate    field
	Phone       *field // nil if the authority sends no messages
	Texts       textChoice
	Offset      float64 // minutes from UTC, for browsers without scripts
}

func (s *Server) newCode(v *visit) (answer, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return answer{}, fmt.Errorf("code's ID: %w", err)
	}
	return s.issueForm(v, issueInput{ID: id.String(), Offset: s.ownOffset(v)}, nil)
}

// ownOffset is the authority's distance from UTC now, in minutes.
func (s *Server) ownOffset(v *visit) float64 {
	_, seconds := s.now(v).Zone()
	return float64(seconds) / 60
}

func (s *Server) issueCode(v *visit) (answer, error) {
	in, err := readIssue(v.r)
	if err != nil {
		return answer{}, err
	}
	issued, err := s.config.Codes.Issue(v.r.Context(), v.tenant, v.by, in.request())
	k, _ := lookUp(err)
	switch {
	case errors.Is(err, verification.ErrUUIDExists):
		return s.repeated(v, in, k), nil
	case k.field != "":
		a, err := s.issueForm(v, in, s.issueProblems(v, in, problem{Field: k.field, Text: s.words.text(k.message)}))
		a.status = k.status
		return a, err
	case err != nil:
		return answer{}, err
	}
	return answer{page: "issued", heading: s.words.text("issued.heading"), data: s.issuedPage(v, in, issued)}, nil
}

// issueProblems are what was refused, which is the first thing that is wrong, and what else
// was left out, in the order of the page.
func (s *Server) issueProblems(v *visit, in issueInput, refused problem) []problem {
	refused.Field = in.blame(refused.Field, s.dateWindow(in.Offset))
	found := []problem{refused}
	if in.TestType == "" && refused.Field != fieldTestType {
		found = append(found, problem{Field: fieldTestType, Text: s.words.text("issue.error.test_type")})
	}
	dateless := v.tenant.Settings.RequireDate && in.SymptomDate == "" && in.TestDate == ""
	if dateless && refused.Field != fieldSymptom {
		found = append(found, problem{Field: fieldSymptom, Text: s.words.text("issue.error.no_date")})
	}
	order := []string{fieldTestType, fieldSymptom, fieldTest, fieldPhone}
	slices.SortFunc(found, func(a, b problem) int {
		return slices.Index(order, a.Field) - slices.Index(order, b.Field)
	})
	return found
}

// blame finds which of the two dates an error about dates means.
func (in issueInput) blame(field string, w dateWindow) string {
	if field == fieldSymptom && w.holds(in.SymptomDate) && !w.holds(in.TestDate) {
		return fieldTest
	}
	return field
}

func (s *Server) issueForm(v *visit, in issueInput, found []problem) (answer, error) {
	texts, err := s.config.Codes.Texts(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	w := s.dateWindow(in.Offset)
	day := func(id, label, hint, value string) field {
		return field{
			ID: id, Label: label, Hint: hint, Type: "date", Value: value,
			Min: w.first.Format(time.DateOnly), Max: w.last.Format(time.DateOnly), Autocomplete: "off",
		}
	}
	page := issuePage{
		Welcome: v.tenant.Settings.Welcome,
		Action:  v.path("/codes/new"), ID: in.ID, Offset: in.Offset, Texts: s.textChoice(texts, in.Text),
		TestTypes: s.testTypes(v, in.TestType), Window: s.windowHint(v, w),
		SymptomDate: day(fieldSymptom, s.words.text("issue.symptom_date"), s.words.text("issue.symptom_date.hint"), in.SymptomDate),
		TestDate:    day(fieldTest, s.words.text("issue.test_date"), s.words.text("issue.test_date.hint"), in.TestDate),
	}
	if v.tenant.Settings.SMSEnabled {
		page.Phone = s.phoneField(v, in.Phone, s.words.text("issue.phone.hint"))
	}
	a := answer{page: "issue", heading: s.words.text("issue.heading"), data: &page, problems: found}
	for _, p := range found {
		page.mark(p)
	}
	return a, nil
}

// phoneField asks for a number, which whoever issues a code need not give.
func (s *Server) phoneField(v *visit, value, hint string) *field {
	return &field{
		ID: fieldPhone, Label: s.words.text("issue.phone"), Type: "tel", Value: value, Autocomplete: "off",
		Hint:     hint + " " + s.words.text("issue.phone.country", "country", s.words.country(v.tenant.Settings.SMSCountry)),
		Optional: s.words.text("form.optional"),
	}
}

// windowHint says which days a date may be, and whether there must be one.
func (s *Server) windowHint(v *visit, w dateWindow) string {
	first, last := s.words.date(w.first), s.words.date(w.last)
	if v.tenant.Settings.RequireDate {
		return s.words.text("issue.dates.required", "first", first, "last", last)
	}
	return s.words.text("issue.dates.optional", "first", first, "last", last)
}

// mark shows a problem at its field.
func (p *issuePage) mark(found problem) {
	switch found.Field {
	case fieldTestType:
		p.TestTypes.Error = found.Text
	case fieldSymptom:
		p.SymptomDate.Error = found.Text
	case fieldTest:
		p.TestDate.Error = found.Text
	case fieldPhone:
		if p.Phone != nil {
			p.Phone.Error = found.Text
		}
	}
}

func (s *Server) testTypes(v *visit, chosen string) radios {
	r := radios{ID: fieldTestType + "_group", Name: fieldTestType, Label: s.words.text("issue.test_type")}
	for _, t := range s.words.testTypes() {
		if !v.tenant.Settings.Allows(t.value) {
			continue
		}
		r.Choices = append(r.Choices, choice{
			ID: fieldTestType + "_" + t.value, Value: t.value, Label: t.label, Hint: t.hint, Chosen: t.value == chosen,
		})
	}
	if len(r.Choices) == 1 {
		r.Choices[0].Chosen = true
	}
	if len(r.Choices) > 0 { // the error summary leads to the first of them
		r.Choices[0].ID = fieldTestType
	}
	return r
}

// dateWindow is the days that a date may be, for hints: the rule itself is the
// domain's (verification protocol §4.2).
type dateWindow struct{ first, last time.Time }

const (
	pastDays     = 28
	maxEastHours = 14
)

func (s *Server) dateWindow(offset float64) dateWindow {
	today := s.config.Now().UTC()
	w := dateWindow{first: today.AddDate(0, 0, -pastDays), last: today}
	switch {
	case offset < 0:
		w.first = w.first.AddDate(0, 0, -1)
	case offset > 0:
		w.last = today.Add(time.Duration(min(offset, maxEastHours*60)) * time.Minute)
	}
	return w
}

// holds reports whether a date is empty or inside.
func (w dateWindow) holds(text string) bool {
	if text == "" {
		return true
	}
	day, err := time.Parse(time.DateOnly, text)
	return err == nil && day.Format(time.DateOnly) >= w.first.Format(time.DateOnly) && day.Format(time.DateOnly) <= w.last.Format(time.DateOnly)
}

// repeatedPage explains a form that was sent twice.
type repeatedPage struct {
	Text, ID, Expire, Another string
	MayExpire                 bool
}

// repeated answers a form that has already made its code. That code cannot be shown
// again, so the way on is to end it and make another.
func (s *Server) repeated(v *visit, in issueInput, k known) answer {
	return answer{
		status: k.status, page: "repeated", heading: s.words.text(k.message),
		data: repeatedPage{
			Text: s.words.text(k.advice), ID: in.ID, Another: v.path("/codes/new"),
			Expire: v.path("/codes/" + in.ID + "/expire"), MayExpire: v.may(expireAction),
		},
	}
}
