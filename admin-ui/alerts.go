package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/alert"
)

// Alerts tell people when figures are beyond bounds. The promises and errors are those of
// [alert.Staff].
type Alerts interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) ([]alert.Rule, []alert.Notice, error)
	Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, terms alert.Terms) error
	Remove(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error
}

// The IDs of the form's fields.
const (
	fieldFigure    = "figure"
	fieldThreshold = "threshold"
	fieldEmails    = "emails"
	fieldWebhook   = "webhook"
	fieldHookKey   = "webhook_secret"
)

// alertsPage lists the rules and what was beyond them.
type alertsPage struct {
	New     string // empty for who may not
	Rules   []alertView
	Notices []noticeView
}

type alertView struct{ Text, Told, Remove string }

type noticeView struct{ Day, Text, Channel, State string }

func (s *Server) showAlerts(v *visit) (answer, error) {
	rules, notices, err := s.config.Alerts.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	var p alertsPage
	if v.may(authz.SettingsWrite) {
		p.New = v.path("/alerts/new")
	}
	for _, r := range rules {
		view := s.alertView(r)
		if p.New != "" {
			view.Remove = v.path("/alerts/" + r.ID.String() + "/remove")
		}
		p.Rules = append(p.Rules, view)
	}
	for _, n := range notices {
		state := "alerts.state.given_up"
		switch {
		case n.Delivered != nil:
			state = "alerts.state.delivered"
		case n.Due != nil:
			state = "alerts.state.trying"
		}
		line := noticeView{Day: s.words.date(n.Day), Text: s.words.beyond(n), Channel: n.Channel, State: s.words.text(state)}
		if n.Channel == alert.WebhookChannel {
			line.Channel = s.words.text("alerts.webhook")
		}
		p.Notices = append(p.Notices, line)
	}
	return answer{page: "alerts", heading: s.words.text("alerts.heading"), data: p}, nil
}

func (s *Server) alertView(r alert.Rule) alertView {
	told := slices.Clone(r.Emails)
	if r.Webhook != "" {
		told = append(told, r.Webhook)
	}
	return alertView{Text: s.words.figure(r.Figure, s.words.number(r.Threshold)), Told: strings.Join(told, ", ")}
}

// figure says what a rule waits for.
func (c *catalogue) figure(f alert.Figure, threshold string) string {
	switch f {
	case alert.IssuedAbove:
		return c.text("alerts.issued_above", "n", threshold)
	case alert.IssuedBelow:
		return c.text("alerts.issued_below", "n", threshold)
	case alert.ClaimedBelow:
		return c.text("alerts.claimed_below", "n", threshold)
	case alert.ClaimedStrange:
		return c.text("alerts.claimed_unusual")
	case alert.InvalidAbove:
		return c.text("alerts.invalid_above", "n", threshold)
	}
	return string(f)
}

// beyond says what was beyond a bound.
func (c *catalogue) beyond(n alert.Notice) string {
	return c.text("alerts.beyond", "rule", c.figure(n.Figure, c.number(n.Threshold)), "value", c.number(n.Value))
}

// alertForm is the form for a rule.
type alertForm struct {
	Action, Back                       string
	Figure                             radios
	Threshold, Emails, Webhook, Secret field
}

func (s *Server) newAlert(v *visit) (answer, error) {
	return s.alertForm(v, alert.Terms{Figure: alert.ClaimedStrange}, "", nil), nil
}

func (s *Server) addAlert(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	form := v.r.PostForm
	terms := alert.Terms{
		Figure: alert.Figure(form.Get(fieldFigure)), Webhook: strings.TrimSpace(form.Get(fieldWebhook)), Secret: strings.TrimSpace(form.Get(fieldHookKey)),
		Emails: strings.FieldsFunc(form.Get(fieldEmails), func(r rune) bool { return strings.ContainsRune(", ;\r\n\t", r) }),
	}
	typed := strings.TrimSpace(form.Get(fieldThreshold))
	terms.Threshold = -1
	if n, err := strconv.Atoi(typed); err == nil {
		terms.Threshold = n
	}
	if terms.Figure == alert.ClaimedStrange {
		terms.Threshold = 0
	}
	err := s.config.Alerts.Add(v.r.Context(), v.tenant, v.by, terms)
	if k, found := lookUp(err); found && k.field != "" {
		return s.alertForm(v, terms, typed, err), nil
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("alerts.added"))
	return redirect(v.path("/alerts"))
}

// alertForm shows the form, with all that is wrong. A secret is not sent back.
func (s *Server) alertForm(v *visit, terms alert.Terms, threshold string, err error) answer {
	input := func(id, label, hint, value string) field {
		return field{ID: id, Label: s.words.text(label), Hint: s.words.text(hint), Type: "text", Value: value, Autocomplete: "off", Wide: true}
	}
	form := alertForm{
		Action: v.path("/alerts/new"), Back: v.path("/alerts"),
		Figure:    radios{ID: fieldFigure + "_group", Name: fieldFigure, Label: s.words.text("alerts.figure")},
		Threshold: input(fieldThreshold, "alerts.threshold", "alerts.threshold.hint", threshold),
		Emails:    input(fieldEmails, "alerts.emails", "alerts.emails.hint", v.r.PostForm.Get(fieldEmails)),
		Webhook:   input(fieldWebhook, "alerts.webhook.address", "alerts.webhook.hint", terms.Webhook),
		Secret:    input(fieldHookKey, "alerts.secret", "alerts.secret.hint", ""),
	}
	form.Secret.Type, form.Secret.Autocomplete = "password", "new-password"
	form.Webhook.Optional, form.Secret.Optional = s.words.text("form.optional"), s.words.text("form.optional")
	for i, f := range alert.Figures() {
		form.Figure.Choices = append(form.Figure.Choices, choice{
			ID: fieldFigure + suffix(i), Value: string(f), Label: s.words.figure(f, s.words.text("alerts.bound")), Chosen: f == terms.Figure,
		})
	}
	a := answer{page: "alerts_form", heading: s.words.text("alerts.new")}
	errorOf := map[string]*string{
		fieldFigure: &form.Figure.Error, fieldThreshold: &form.Threshold.Error, fieldEmails: &form.Emails.Error,
		fieldWebhook: &form.Webhook.Error, fieldHookKey: &form.Secret.Error,
	}
	for _, k := range knownErrors() {
		place := errorOf[k.field]
		if place == nil || !slices.Contains(alert.Sentinels(), k.cause) || !errors.Is(err, k.cause) {
			continue
		}
		*place = s.words.text(k.message)
		a.problems = append(a.problems, problem{Field: k.field, Text: *place})
		a.status = http.StatusUnprocessableEntity
	}
	a.data = form
	return a
}

// alertStep asks before a rule is removed.
type alertStep struct {
	alertView
	Action, Back string
}

func (s *Server) askAlertRemoval(v *visit) (answer, error) {
	rules, _, err := s.config.Alerts.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	for _, r := range rules {
		if r.ID.String() == v.params.ByName("id") {
			return answer{page: "alerts_step", heading: s.words.text("alerts.remove.heading"), data: alertStep{
				alertView: s.alertView(r), Action: v.r.URL.Path, Back: v.path("/alerts"),
			}}, nil
		}
	}
	return answer{}, alert.ErrUnknown
}

func (s *Server) removeAlert(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, alert.ErrUnknown
	}
	if err := s.config.Alerts.Remove(v.r.Context(), v.tenant, v.by, id); err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("alerts.removed"))
	return redirect(v.path("/alerts"))
}
