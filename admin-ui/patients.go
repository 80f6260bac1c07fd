package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/reportpage"
)

// Patients is what the pages look like and say that patients see. The promises and errors
// are those of [reportpage.Staff].
type Patients interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (reportpage.Branding, error)
	SetLook(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, l reportpage.Look) error
	SetText(ctx context.Context, t *tenant.Tenant, by authz.Subject, seen, text reportpage.Text) error
}

// phrase is one thing that an authority may say or choose, with its words: a line of a page
// and a field of a form.
type phrase struct {
	field       reportpage.Field
	label, hint string
	// long ones have several lines.
	long  bool
	value *string
}

func lookParts(l *reportpage.Look) []phrase {
	return []phrase{
		{reportpage.Color, "patients.color", "patients.color.hint", false, &l.Color},
		{reportpage.Image, "patients.image", "patients.image.hint", false, &l.ImageURL},
		{reportpage.LearnMore, "patients.more", "patients.more.hint", false, &l.LearnMoreURL},
		{reportpage.ContactPhone, "patients.phone", "patients.phone.hint", false, &l.ContactPhone},
		{reportpage.ContactEmail, "patients.email", "patients.email.hint", false, &l.ContactEmail},
	}
}

func textParts(t *reportpage.Text) []phrase {
	return []phrase{
		{reportpage.Agency, "patients.agency", "patients.agency.hint", false, &t.Agency},
		{reportpage.LinkText, "patients.link", "patients.link.hint", true, &t.Link},
		{reportpage.Intro, "patients.intro", "patients.intro.hint", true, &t.Intro},
		{reportpage.Date, "patients.date", "patients.date.hint", false, &t.Date},
		{reportpage.Phone, "patients.number", "patients.number.hint", false, &t.Phone},
		{reportpage.Success, "patients.success", "patients.success.hint", true, &t.Success},
	}
}

// patientsPage shows the pages' look and words.
type patientsPage struct {
	Agency, Color string
	Dark          bool
	Look          []fact
	ChangeLook    string // empty for who may not
	Add           string
	Texts         []patientText
}

type patientText struct {
	ID, Name, Tag, Change string
	Facts                 []fact
}

func (s *Server) showPatients(v *visit) (answer, error) {
	b, err := s.config.Patients.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := patientsPage{Agency: v.tenant.Name, Color: b.Look.Color, Dark: reportpage.Dark(b.Look.Color), Look: s.factsOf(lookParts(&b.Look))}
	if v.may(authz.SettingsWrite) {
		p.ChangeLook, p.Add = v.path("/patients/look"), v.path("/patients/text")
	}
	for i := range b.Texts {
		text := &b.Texts[i]
		view := patientText{ID: "text_" + text.Language, Name: s.words.language(text.Language), Tag: text.Language, Facts: s.factsOf(textParts(text))}
		if v.may(authz.SettingsWrite) {
			view.Change = v.path("/patients/text?" + url.Values{fieldLanguage: {text.Language}}.Encode())
		}
		p.Texts = append(p.Texts, view)
	}
	return answer{page: "patients", heading: s.words.text("patients.heading"), data: p}, nil
}

// factsOf are the parts that say something; what is empty is Carillon's own.
func (s *Server) factsOf(parts []phrase) []fact {
	var facts []fact
	for _, p := range parts {
		if *p.value != "" {
			facts = append(facts, fact{s.words.text(p.label), *p.value})
		}
	}
	return facts
}

// patientsForm is the form for a look or for a text.
type patientsForm struct {
	Action, Back, Lead string
	Fields             []patientsField
	Hidden             []hiddenField
}

type patientsField struct {
	field
	Long bool
}

func (s *Server) editLook(v *visit) (answer, error) {
	b, err := s.config.Patients.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	return s.lookForm(v, b.Look, b.Look, nil)
}

func (s *Server) saveLook(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	var seen, typed reportpage.Look
	readParts(v.r.PostForm, lookParts(&seen), lookParts(&typed))
	err := s.config.Patients.SetLook(v.r.Context(), v.tenant, v.by, seen, typed)
	if errors.Is(err, reportpage.ErrValue) || errors.Is(err, reportpage.ErrChanged) {
		return s.lookForm(v, seen, typed, err)
	}
	return s.patientsSaved(v, err)
}

func (s *Server) patientsSaved(v *visit, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("patients.saved"))
	return redirect(v.path("/patients"))
}

func (s *Server) lookForm(v *visit, seen, typed reportpage.Look, err error) (answer, error) {
	if errors.Is(err, reportpage.ErrChanged) { // so that she can decide with what is there now
		b, failed := s.config.Patients.Board(v.r.Context(), v.tenant, v.by)
		if failed != nil {
			return answer{}, failed
		}
		seen = b.Look
	}
	form := patientsForm{Action: v.path("/patients/look"), Back: v.path("/patients"), Lead: s.words.text("patients.look.lead")}
	return s.partsForm(form, s.words.text("patients.look"), lookParts(&seen), lookParts(&typed), err), nil
}

// editPatientText shows the form for the language that the query names, or for a new one.
func (s *Server) editPatientText(v *visit) (answer, error) {
	b, err := s.config.Patients.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	text := b.Text(v.r.URL.Query().Get(fieldLanguage))
	return s.patientTextForm(v, text, text, nil)
}

func (s *Server) savePatientText(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	typed := reportpage.Text{Language: strings.TrimSpace(v.r.PostForm.Get(fieldLanguage))}
	var seen reportpage.Text
	readParts(v.r.PostForm, textParts(&seen), textParts(&typed))
	err := s.config.Patients.SetText(v.r.Context(), v.tenant, v.by, seen, typed)
	if errors.Is(err, reportpage.ErrValue) || errors.Is(err, reportpage.ErrChanged) {
		return s.patientTextForm(v, seen, typed, err)
	}
	return s.patientsSaved(v, err)
}

func (s *Server) patientTextForm(v *visit, seen, typed reportpage.Text, err error) (answer, error) {
	if errors.Is(err, reportpage.ErrChanged) {
		b, failed := s.config.Patients.Board(v.r.Context(), v.tenant, v.by)
		if failed != nil {
			return answer{}, failed
		}
		seen = b.Text(typed.Language)
	}
	form := patientsForm{Action: v.path("/patients/text"), Back: v.path("/patients"), Lead: s.words.text("patients.text.lead")}
	language := phrase{reportpage.Language, "patients.language", "patients.language.hint", false, &typed.Language}
	return s.partsForm(form, s.words.text("patients.text"), textParts(&seen), append([]phrase{language}, textParts(&typed)...), err), nil
}

// readParts reads what was typed, and what the form had shown.
func readParts(form url.Values, seen, typed []phrase) {
	for i, p := range typed {
		*p.value = strings.TrimSpace(strings.ReplaceAll(form.Get(string(p.field)), "\r\n", "\n"))
		*seen[i].value = strings.ReplaceAll(form.Get(seenPrefix+string(p.field)), "\r\n", "\n")
	}
}

const seenPrefix = "seen_"

// partsForm shows the form, with what is wrong in it.
func (s *Server) partsForm(form patientsForm, heading string, seen, typed []phrase, err error) answer {
	a := answer{page: "patients_form", heading: heading}
	faults := reportpage.Faults(err)
	for _, p := range typed {
		f := patientsField{Long: p.long, field: field{
			ID: string(p.field), Label: s.words.text(p.label), Hint: s.words.text(p.hint), Type: "text", Value: *p.value, Autocomplete: "off", Wide: !p.long,
		}}
		if slices.Contains(faults, p.field) {
			f.Error = s.words.text("patients.error.value")
			a.problems = append(a.problems, problem{Field: f.ID, Text: f.Label + ": " + f.Error})
		}
		form.Fields = append(form.Fields, f)
	}
	for _, p := range seen {
		form.Hidden = append(form.Hidden, hiddenField{seenPrefix + string(p.field), *p.value})
	}
	if len(a.problems) > 0 {
		a.status = http.StatusUnprocessableEntity
	}
	if errors.Is(err, reportpage.ErrChanged) {
		a.problems = []problem{{Field: form.Fields[0].ID, Text: s.words.text("patients.error.changed")}}
		a.status = http.StatusConflict
	}
	a.data = form
	return a
}
