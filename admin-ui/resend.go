package adminui

import (
	"errors"
	"net/http"
	"strings"

	"carillon/tenant"
	"carillon/tenant/verification"
)

// resendPage asks to whom a code's message shall go, and in which words.
type resendPage struct {
	Lead             string
	Action, Back, ID string
	To               *field
	Texts            textChoice
}

// way is how a code's message goes to a person: by text message or by e-mail.
type way struct {
	segment, field string // of the path, and of the form
	heading, lead  string
	offered        func(tenant.Settings) bool
	noRecipient    string // the message for a field that was left empty
}

func byText() way {
	return way{
		segment: "/send", field: fieldPhone, heading: "resend.heading", lead: "resend.lead", noRecipient: "resend.error.no_phone",
		offered: func(s tenant.Settings) bool { return s.SMSEnabled },
	}
}

func byMail() way {
	return way{
		segment: "/mail", field: fieldEmail, heading: "resend.mail.heading", lead: "resend.mail.lead", noRecipient: "resend.error.no_mail",
		offered: func(s tenant.Settings) bool { return s.EmailEnabled },
	}
}

func (s *Server) askText(v *visit) (answer, error) { return s.askResend(v, byText()) }
func (s *Server) askMail(v *visit) (answer, error) { return s.askResend(v, byMail()) }

func (s *Server) sendText(v *visit) (answer, error) { return s.resend(v, byText()) }
func (s *Server) sendMail(v *visit) (answer, error) { return s.resend(v, byMail()) }

func (s *Server) askResend(v *visit, w way) (answer, error) {
	code, err := s.config.Codes.Status(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return s.noSuchCode(v, err)
	}
	id := code.ID.String()
	if stateOf(code, s.config.Now()) != stateUnused || !w.offered(v.tenant.Settings) {
		return redirect(v.codePath(id)) // nothing is left to send
	}
	return s.resendForm(v, w, resendInput{id: id}, nil)
}

// resendInput is the form as it was sent.
type resendInput struct {
	id, to string
	text   string // language/label
}

func (s *Server) resendForm(v *visit, w way, in resendInput, p *problem) (answer, error) {
	texts, err := s.config.Codes.Texts(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	page := resendPage{
		Lead: s.words.text(w.lead), ID: in.id, Action: v.path("/codes/" + in.id + w.segment), Back: v.codePath(in.id),
		To: s.recipientField(v, w, in.to), Texts: s.textChoice(texts, in.text),
	}
	a := answer{page: "resend", heading: s.words.text(w.heading), data: &page}
	if p != nil {
		page.To.Error = p.Text
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{*p}
	}
	return a, nil
}

func (s *Server) recipientField(v *visit, w way, value string) *field {
	if w.field == fieldPhone {
		return s.phoneField(v, value, s.words.text("resend.phone.hint"))
	}
	return &field{
		ID: fieldEmail, Label: s.words.text("resend.mail"), Hint: s.words.text("resend.mail.hint"),
		Type: "email", Value: value, Autocomplete: "off", Wide: true,
	}
}

// resend has a message sent again. If that took new digits, their page is shown, as when
// the code was issued.
func (s *Server) resend(v *visit, w way) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, errors.Join(errForm, err)
	}
	in := resendInput{
		id: v.params.ByName("id"), to: strings.TrimSpace(v.r.PostForm.Get(w.field)), text: v.r.PostForm.Get(fieldMessage),
	}
	if w.field == fieldEmail && in.to == "" {
		return s.resendForm(v, w, in, &problem{Field: w.field, Text: s.words.text(w.noRecipient)})
	}
	issued, err := s.config.Codes.Resend(v.r.Context(), v.tenant, v.by, in.request(w))
	switch key := resendProblem(w, err); {
	case errors.Is(err, verification.ErrCodeNotFound):
		return s.noSuchCode(v, err)
	case key != "":
		return s.resendForm(v, w, in, &problem{Field: w.field, Text: s.words.text(key)})
	case err != nil:
		return answer{}, err
	case issued.Code == "":
		s.sessions.Put(v.r.Context(), noticeKey, s.words.text("resend.done"))
		return redirect(v.codePath(in.id))
	}
	page := s.issuedPage(v, issueInput{Text: in.text, Phone: in.request(w).Phone}, issued)
	if w.field == fieldEmail {
		page.Sent = s.words.text("resend.done")
	}
	return answer{page: "issued", heading: s.words.text("resend.new"), data: page}, nil
}

func (in resendInput) request(w way) verification.ResendRequest {
	language, label, _ := strings.Cut(in.text, "/")
	r := verification.ResendRequest{UUID: in.id, Language: language, SMSTemplateLabel: label}
	if w.field == fieldEmail {
		r.Email = in.to
	} else {
		r.Phone = in.to
	}
	return r
}

// resendProblem names the message that says why nothing was sent, and what to do;
// empty if she can do nothing about it.
func resendProblem(w way, err error) string {
	for _, k := range []struct {
		err error
		key string
	}{
		{verification.ErrMissingPhone, w.noRecipient},
		{verification.ErrPhoneInvalid, "issue.error.phone"},
		{verification.ErrEmailInvalid, "resend.error.mail"},
		{verification.ErrAlreadyClaimed, "resend.error.used"},
		{verification.ErrCodeExpired, "resend.error.expired"},
		{verification.ErrUnsupportedTestType, "resend.error.report"},
		{verification.ErrSMSQueueFull, "resend.error.busy"},
		{verification.ErrSMSFailed, "resend.error.text"},
		{verification.ErrNoProvider, "resend.error.provider"},
	} {
		if errors.Is(err, k.err) {
			return k.key
		}
	}
	return ""
}
