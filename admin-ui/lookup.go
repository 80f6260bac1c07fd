package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/verification"
)

const expireAction = authz.CodeExpire

// lookupPage shows the form that finds a code and, if one was found, what became
// of it.
type lookupPage struct {
	Action string
	ID     field
	Found  *foundCode
}

// state of a code, as people see it. Used after its end it cannot have been, so used
// comes before expired.
type state string

const (
	stateUnused  state = "unused"
	stateUsed    state = "used"
	stateExpired state = "expired"
)

func stateOf(c verification.Status, now time.Time) state {
	switch {
	case c.Claimed:
		return stateUsed
	case !now.Before(c.LongExpiresAt):
		return stateExpired
	}
	return stateUnused
}

type foundCode struct {
	progress

	ID          string
	Expires     moment
	LinkExpires *moment // if the link in a message lives longer
	Send        string  // the path to sending its message again; empty if it cannot be, or not by her
	Mail        string  // the same by e-mail
	Expire      string  // the path to ending it; empty if it cannot be, or not by her
	Another     string  // the path to a new code, if she may issue one
}

func (s *Server) lookUpCode(v *visit) (answer, error) {
	if !v.r.URL.Query().Has(fieldID) {
		return s.lookupForm(v, "", nil), nil
	}
	id := strings.TrimSpace(v.r.URL.Query().Get(fieldID))
	if id == "" {
		return s.lookupProblem(v, id, known{field: fieldID, message: "lookup.error.empty"}), nil
	}
	code, err := s.config.Codes.Progress(v.r.Context(), v.tenant, v.by, id)
	if k, found := lookUp(err); found && k.field == fieldID {
		return s.lookupProblem(v, id, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.lookupForm(v, id, s.found(v, code)), nil
}

// findCode finds a code by its ID or by what somebody reads out, which is why the form
// is posted: a code must not be in a URL.
func (s *Server) findCode(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	text := strings.TrimSpace(v.r.PostForm.Get(fieldID))
	if text == "" {
		return s.lookupProblem(v, text, known{status: http.StatusUnprocessableEntity, field: fieldID, message: "lookup.error.empty"}), nil
	}
	if id, err := uuid.Parse(text); err == nil {
		return redirect(v.codePath(id.String()))
	}
	id, err := s.config.Codes.Find(v.r.Context(), v.tenant, v.by, text)
	if errors.Is(err, verification.ErrCodeNotFound) {
		return s.lookupProblem(v, text, known{status: http.StatusNotFound, field: fieldID, message: "lookup.error.unread"}), nil
	}
	if err != nil {
		return answer{}, err
	}
	return redirect(v.codePath(id.String()))
}

func (s *Server) lookupForm(v *visit, id string, found *foundCode) answer {
	p := lookupPage{
		Action: v.path("/codes"), Found: found,
		ID: field{
			ID: fieldID, Label: s.words.text("lookup.what"), Hint: s.words.text("lookup.what.hint"),
			Type: "text", Value: id, Autocomplete: "off", Wide: true,
		},
	}
	return answer{page: "lookup", heading: s.words.text("lookup.heading"), data: &p}
}

func (s *Server) lookupProblem(v *visit, id string, k known) answer {
	a := s.lookupForm(v, id, nil)
	text := s.words.text(k.message)
	a.data.(*lookupPage).ID.Error = text
	a.status, a.problems = k.status, []problem{{Field: k.field, Text: text}}
	return a
}

func (s *Server) found(v *visit, code verification.Progress) *foundCode {
	now := s.now(v)
	f := &foundCode{progress: s.progressOf(code, now), ID: code.ID.String(), Expires: s.words.moment(code.ExpiresAt, now)}
	if code.LongExpiresAt.After(code.ExpiresAt) {
		m := s.words.moment(code.LongExpiresAt, now)
		f.LinkExpires = &m
	}
	if f.State == stateUnused && v.may(expireAction) {
		f.Expire = v.path("/codes/" + f.ID + "/expire")
	}
	if f.State == stateUnused && v.may(authz.CodeIssue) && v.tenant.Settings.SMSEnabled {
		f.Send = v.path("/codes/" + f.ID + "/send")
	}
	if f.State == stateUnused && v.may(authz.CodeIssue) && v.tenant.Settings.EmailEnabled {
		f.Mail = v.path("/codes/" + f.ID + "/mail")
	}
	if f.State == stateExpired && v.may(authz.CodeIssue) {
		f.Another = v.path("/codes/new")
	}
	return f
}

// confirmPage asks before a code is ended.
type confirmPage struct{ ID, Action, Back string }

// confirmExpiry is the first of two steps.
func (s *Server) confirmExpiry(v *visit) (answer, error) {
	code, err := s.config.Codes.Status(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return s.noSuchCode(v, err)
	}
	id := code.ID.String()
	if stateOf(code, s.config.Now()) != stateUnused {
		return redirect(v.codePath(id)) // nothing is left to end
	}
	return answer{
		page: "confirm", heading: s.words.text("expire.heading"),
		data: confirmPage{ID: id, Action: v.path("/codes/" + id + "/expire"), Back: v.codePath(id)},
	}, nil
}

func (s *Server) expireCode(v *visit) (answer, error) {
	code, err := s.config.Codes.Expire(v.r.Context(), v.tenant, v.by, v.params.ByName("id"))
	if err != nil {
		return s.noSuchCode(v, err)
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text("expire.done"))
	return redirect(v.codePath(code.ID.String()))
}

// noSuchCode shows the form again for an ID that finds nothing.
func (s *Server) noSuchCode(v *visit, err error) (answer, error) {
	if k, found := lookUp(err); found && k.field == fieldID {
		return s.lookupProblem(v, v.params.ByName("id"), k), nil
	}
	return answer{}, fmt.Errorf("code: %w", err)
}
