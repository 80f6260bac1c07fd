package adminui

import (
	"errors"
	"net/http"
	"strings"

	"carillon/tenant/verification"
)

// resendPage asks to which number a code's message shall go, and in which words.
type resendPage struct {
	Action, Back, ID string
	Phone            *field
	Texts            textChoice
}

func (s *Server) askResend(v *visit) (answer, error) {
	code, err := s.config.Codes.Status(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return s.noSuchCode(v, err)
	}
	id := code.ID.String()
	if stateOf(code, s.config.Now()) != stateUnused || !v.tenant.Settings.SMSEnabled {
		return redirect(v.codePath(id)) // nothing is left to send
	}
	return s.resendForm(v, id, issueInput{}, nil)
}

func (s *Server) resendForm(v *visit, id string, in issueInput, p *problem) (answer, error) {
	texts, err := s.config.Codes.Texts(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	page := resendPage{
		ID: id, Action: v.path("/codes/" + id + "/send"), Back: v.codePath(id),
		Phone: s.phoneField(v, in.Phone, s.words.text("resend.phone.hint")), Texts: s.textChoice(texts, in.Text),
	}
	a := answer{page: "resend", heading: s.words.text("resend.heading"), data: &page}
	if p != nil {
		page.Phone.Error = p.Text
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{*p}
	}
	return a, nil
}

// resend has a message sent again. If that took new digits, their page is shown, as when
// the code was issued.
func (s *Server) resend(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, errors.Join(errForm, err)
	}
	id := v.params.ByName("id")
	in := issueInput{ID: id, Phone: strings.TrimSpace(v.r.PostForm.Get(fieldPhone)), Text: v.r.PostForm.Get(fieldMessage)}
	language, label, _ := strings.Cut(in.Text, "/")
	issued, err := s.config.Codes.Resend(v.r.Context(), v.tenant, v.by, verification.ResendRequest{
		UUID: id, Phone: in.Phone, Language: language, SMSTemplateLabel: label,
	})
	switch key := resendProblem(err); {
	case errors.Is(err, verification.ErrCodeNotFound):
		return s.noSuchCode(v, err)
	case key != "":
		return s.resendForm(v, id, in, &problem{Field: fieldPhone, Text: s.words.text(key)})
	case err != nil:
		return answer{}, err
	case issued.Code == "":
		s.sessions.Put(v.r.Context(), noticeKey, s.words.text("resend.done"))
		return redirect(v.codePath(id))
	}
	return answer{page: "issued", heading: s.words.text("resend.new"), data: s.issuedPage(v, in, issued)}, nil
}

// resendProblem names the message that says why nothing was sent, and what to do;
// empty if she can do nothing about it.
func resendProblem(err error) string {
	for _, k := range []struct {
		err error
		key string
	}{
		{verification.ErrMissingPhone, "resend.error.no_phone"},
		{verification.ErrPhoneInvalid, "issue.error.phone"},
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
