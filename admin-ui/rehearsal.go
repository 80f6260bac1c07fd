package adminui

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/rehearsal"
)

// Rehearsals is where the staff of a sandbox play a case with simulated phones. The
// promises and errors are those of [rehearsal.Desk].
type Rehearsals interface {
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject) (*rehearsal.Rehearsal, error)
	Begin(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error
	Issue(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error
	Redeem(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int, code string) error
	Publish(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error
	Look(ctx context.Context, t *tenant.Tenant, by authz.Subject, at int) error
}

// rehearsalRoutes are not those of a production authority, for which each of them is no
// such page.
func (s *Server) rehearsalRoutes() []route {
	const open = "all staff of a sandbox may rehearse"
	return []route{
		anyMember("GET /portal/:tenant/rehearsal", open, s.showRehearsal),
		anyMember("GET /portal/:tenant/rehearsal/again", open, s.askRehearsalAgain),
		anyMember("POST /portal/:tenant/rehearsal/begin", open, s.beginRehearsal),
		anyMember("POST /portal/:tenant/rehearsal/issue", open, s.rehearseIssue),
		anyMember("POST /portal/:tenant/rehearsal/redeem", open, s.rehearseRedeem),
		anyMember("POST /portal/:tenant/rehearsal/publish", open, s.rehearsePublish),
		anyMember("POST /portal/:tenant/rehearsal/look", open, s.rehearseLook),
	}
}

const (
	fieldStep = "step"
	fieldCode = "code"
)

// rehearsalPage is a card for each step of the case.
type rehearsalPage struct {
	// Begin is the path to the first step, and to the same again; Again leads to the
	// question whether to.
	Begin, Again string
	// Step is what forms send, so that each is good for one step.
	Step                           int
	Running, Busy                  bool
	Ends                           moment
	Issue, Redeem, Publish, Notify rehearsalCard

	// Code is the one that was issued, in groups, and Expires until when it is good;
	// Expired says that it is not any more.
	Code    []string
	Expires moment
	Expired bool
	Typed   field
	// Told is what phone A was told of the code.
	Told string
	Keys string
	// Next is when the next file is due, and Now the server's clock; Next is nil if that
	// is over. Read is what phone B has compared; empty before it has looked.
	Next *moment
	Now  time.Time
	Read string
	// Sighting is what phone B says; empty before it does.
	Sighting string
}

// rehearsalCard is a step: Action is the path of its form, empty if it cannot be taken now.
type rehearsalCard struct{ Action, State, StateText string }

func (s *Server) showRehearsal(v *visit) (answer, error) { return s.rehearsalAnswer(v, "", "") }

// rehearsalAnswer shows how the person's rehearsal stands. what is wrong, if anything, is
// beside the field of the code if one was typed.
func (s *Server) rehearsalAnswer(v *visit, what, typed string) (answer, error) {
	r, err := s.config.Rehearsals.Find(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	p := rehearsalPage{Begin: v.path("/rehearsal/begin"), Again: v.path("/rehearsal/again"), Now: s.now(v)}
	if r != nil {
		s.fillRehearsal(v, &p, r)
	}
	a := answer{page: "rehearsal", heading: s.words.text("rehearsal.heading")}
	if what != "" {
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{{Text: what}}
	}
	if p.Redeem.Action != "" && (typed != "" || strings.HasSuffix(v.route.Path, "/redeem")) {
		p.Typed.Value, p.Typed.Error = typed, what
		a.problems = []problem{{Field: fieldCode, Text: what}}
	}
	a.data = p
	return a, nil
}

func (s *Server) fillRehearsal(v *visit, p *rehearsalPage, r *rehearsal.Rehearsal) {
	p.Running, p.Busy, p.Step, p.Ends = true, r.Busy, r.Step, s.words.moment(r.ExpiresAt, p.Now)
	early := r.Stage == rehearsal.Met || r.Stage == rehearsal.Issued
	p.Issue = s.rehearsalCard(v, "issue", early, !early || r.Stage == rehearsal.Issued)
	p.Redeem = s.rehearsalCard(v, "redeem", early, !early)
	p.Publish = s.rehearsalCard(v, "publish", r.Stage == rehearsal.Redeemed, r.Stage == rehearsal.Published || r.Stage == rehearsal.Notified)
	p.Notify = s.rehearsalCard(v, "look", r.Stage == rehearsal.Published, r.Stage == rehearsal.Notified)
	p.Typed = field{
		ID: fieldCode, Label: s.words.text("rehearsal.redeem.code"), Hint: s.words.text("rehearsal.redeem.code.hint"), Type: "text",
		Value: r.Code, Autocomplete: "off",
	}
	if r.Code != "" {
		p.Code, p.Expires, p.Expired = groups(r.Code), s.words.moment(r.CodeExpires, p.Now), !p.Now.Before(r.CodeExpires)
	}
	p.Told = s.told(r.Diagnosis)
	p.Keys = s.words.number(r.Keys)
	if r.NextFile.After(p.Now) {
		m := s.words.moment(r.NextFile, p.Now)
		p.Next = &m
	}
	if r.Looks > 0 {
		p.Read = s.words.text("rehearsal.look.read", "keys", s.words.number(r.Seen.Keys), "files", s.words.number(r.Seen.Files))
	}
	if r.Seen.Found {
		p.Sighting = s.words.text("rehearsal.look.found", "day", s.words.date(r.Seen.Day), "minutes", s.words.number(r.Seen.Minutes))
	}
}

// rehearsalCard is a step that can be taken now, or has been.
func (s *Server) rehearsalCard(v *visit, step string, open, done bool) rehearsalCard {
	c := rehearsalCard{State: "later", StateText: s.words.text("rehearsal.state.later")}
	if open {
		c = rehearsalCard{Action: v.path("/rehearsal/" + step), State: "now", StateText: s.words.text("rehearsal.state.now")}
	}
	if done {
		c.State, c.StateText = "done", s.words.text("rehearsal.state.done")
	}
	return c
}

// told puts what phone A was told into words; empty before it was told anything.
func (s *Server) told(d rehearsal.Diagnosis) string {
	label := d.TestType
	for _, t := range s.words.testTypes() {
		if t.value == d.TestType {
			label = t.label
		}
	}
	for _, date := range []struct{ key, text string }{
		{"rehearsal.redeem.symptoms", d.SymptomDate}, {"rehearsal.redeem.tested", d.TestDate},
	} {
		if day, err := time.Parse(time.DateOnly, date.text); err == nil {
			label = s.words.text(date.key, "type", label, "date", s.words.date(day))
			break
		}
	}
	return label
}

// againPage asks before phones are deleted.
type againPage struct {
	Action, Back string
	Step         int
}

func (s *Server) askRehearsalAgain(v *visit) (answer, error) {
	r, err := s.config.Rehearsals.Find(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	if r == nil {
		return redirect(v.path("/rehearsal"))
	}
	p := againPage{Action: v.path("/rehearsal/begin"), Back: v.path("/rehearsal"), Step: r.Step}
	return answer{page: "rehearsal_again", heading: s.words.text("rehearsal.again.heading"), data: p}, nil
}

// stepOf is the step that a form was made for; nonsense is none.
func stepOf(v *visit) int {
	n, _ := strconv.ParseInt(v.r.PostForm.Get(fieldStep), 10, 32) // no rehearsal is at step 0
	return int(n)
}

func (s *Server) beginRehearsal(v *visit) (answer, error) {
	return s.rehearsed(v, s.config.Rehearsals.Begin(v.r.Context(), v.tenant, v.by, stepOf(v)), "rehearsal.done.begin", "")
}

func (s *Server) rehearseIssue(v *visit) (answer, error) {
	return s.rehearsed(v, s.config.Rehearsals.Issue(v.r.Context(), v.tenant, v.by, stepOf(v)), "rehearsal.done.issue", "")
}

func (s *Server) rehearseRedeem(v *visit) (answer, error) {
	typed := v.r.PostForm.Get(fieldCode)
	code := strings.Join(strings.Fields(typed), "")
	if code == "" {
		return s.rehearsalAnswer(v, s.words.text("rehearsal.redeem.empty"), typed)
	}
	return s.rehearsed(v, s.config.Rehearsals.Redeem(v.r.Context(), v.tenant, v.by, stepOf(v), code), "rehearsal.done.redeem", typed)
}

func (s *Server) rehearsePublish(v *visit) (answer, error) {
	return s.rehearsed(v, s.config.Rehearsals.Publish(v.r.Context(), v.tenant, v.by, stepOf(v)), "rehearsal.done.publish", "")
}

func (s *Server) rehearseLook(v *visit) (answer, error) {
	return s.rehearsed(v, s.config.Rehearsals.Look(v.r.Context(), v.tenant, v.by, stepOf(v)), "rehearsal.done.look", "")
}

// rehearsed answers for a step. One that was taken before, or is being taken, is no error
// of hers: she sees how the rehearsal stands.
func (s *Server) rehearsed(v *visit, err error, notice, typed string) (answer, error) {
	var refused *rehearsal.Refusal
	switch {
	case errors.Is(err, rehearsal.ErrOver):
		notice = "rehearsal.over"
	case errors.Is(err, rehearsal.ErrBusy):
		notice = "rehearsal.busy"
	case errors.As(err, &refused):
		s.config.Log.LogAttrs(v.r.Context(), slog.LevelInfo, "a step of a rehearsal was refused",
			slog.String("tenant", string(v.tenant.Slug)), slog.String("reason", string(refused.Reason)), slog.Any("cause", refused.Cause))
		return s.rehearsalAnswer(v, s.words.rehearsalReason(refused.Reason), typed)
	case err != nil:
		return answer{}, err
	}
	return s.platformDone(v, notice, v.path("/rehearsal"))
}

// rehearsalReason says why a step was refused, and what to do.
func (c *catalogue) rehearsalReason(r rehearsal.Reason) string {
	switch r {
	case rehearsal.CodeInvalid:
		return c.text("rehearsal.reason.code_invalid")
	case rehearsal.CodeExpired:
		return c.text("rehearsal.reason.code_expired")
	case rehearsal.Negative:
		return c.text("rehearsal.reason.negative")
	case rehearsal.Quota:
		return c.text("rehearsal.reason.quota")
	case rehearsal.Closed:
		return c.text("rehearsal.reason.closed")
	case rehearsal.NoKey:
		return c.text("rehearsal.reason.no_key")
	case rehearsal.Unreachable:
		return c.text("rehearsal.reason.unreachable")
	case rehearsal.Untrusted:
		return c.text("rehearsal.reason.untrusted")
	case rehearsal.Failed:
	}
	return c.text("rehearsal.reason.failed")
}
