package adminui

import (
	"strconv"
	"strings"
	"time"

	"carillon/signing"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
)

func (s *Server) periodForm(v *visit, p signing.Purpose, value string) (answer, *keyForm) {
	rule := key.Rule(p)
	path := v.path("/keys/" + string(p))
	lead := s.words.text("keys.period.lead")
	if rule.Guided {
		lead = s.words.text("keys.period.lead.guided")
	}
	form := &keyForm{
		Lead: lead, Action: path + "/period", Button: s.words.text("keys.period.button"), Back: path,
		Period: &field{
			ID: fieldPeriod, Label: s.words.text("keys.period"), Type: "number", Value: value, Autocomplete: "off",
			Hint: s.words.text("keys.period.hint", "least", hours(rule.MinPeriod), "most", hours(rule.MaxPeriod), "usual", hours(rule.Period)),
			Min:  hours(rule.MinPeriod), Max: hours(rule.MaxPeriod), Optional: s.words.text("form.optional"),
		},
	}
	return answer{page: "key_form", heading: s.words.text("keys.period.heading", "key", s.words.keyName(p)), data: form}, form
}

func hours(d time.Duration) string { return strconv.Itoa(int(d / time.Hour)) }

func (s *Server) askPeriod(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	b, err := s.config.Keys.Book(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	a, _ := s.periodForm(v, p, hours(b.Period(p)))
	return a, nil
}

func (s *Server) setPeriod(v *visit) (answer, error) {
	p, err := findPurpose(v)
	if err != nil {
		return answer{}, err
	}
	text := strings.TrimSpace(v.r.PostForm.Get(fieldPeriod))
	period, err := readHours(text)
	if err == nil {
		err = s.config.Keys.SetPeriod(v.r.Context(), v.tenant, v.by, p, period)
	}
	if err != nil {
		a, form := s.periodForm(v, p, text)
		return s.mendKey(a, form, err)
	}
	return s.keyDone(v, v.path("/keys/"+string(p)), "keys.period.done")
}

// maxHours bounds what is read; the rule's own bounds are narrower.
const maxHours = 100_000

// readHours reads a number of hours; nothing is the usual period.
func readHours(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxHours {
		return 0, custody.ErrPeriod
	}
	return time.Duration(n) * time.Hour, nil
}
