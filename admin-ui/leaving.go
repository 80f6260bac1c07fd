package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/leaving"
)

// Leaving is where staff have their authority leave the platform, and come back. The
// promises and errors are those of [leaving.Desk].
type Leaving interface {
	CoolDown() time.Duration
	Show(ctx context.Context, by authz.Subject, t *tenant.Tenant) (leaving.Standing, error)
	Ask(ctx context.Context, by authz.Subject, t *tenant.Tenant, typed, reason string) error
	Begin(ctx context.Context, by authz.Subject, t *tenant.Tenant) (leaving.Leave, error)
	Undo(ctx context.Context, by authz.Subject, t *tenant.Tenant) error
}

// leavingRoutes lead out of the platform. Who asks may undo; a second person approves on the
// page for that.
func (s *Server) leavingRoutes() []route {
	return []route{
		whileClosed(staffed("GET /portal/:tenant/leaving", authz.TenantLeave, limitPortal, s.showLeaving)),
		fresh(staffed("GET /portal/:tenant/leaving/new", authz.TenantLeave, limitPortal, s.newLeaving)),
		fresh(staffed("POST /portal/:tenant/leaving/new", authz.TenantLeave, limitPortal, s.askLeaving)),
		fresh(staffed("POST /portal/:tenant/leaving/begin", authz.TenantLeave, limitPortal, s.beginLeaving)),
		whileClosed(fresh(staffed("POST /portal/:tenant/leaving/stay", authz.TenantLeave, limitPortal, s.stay))),
	}
}

// leavingPage says how an authority leaves, or could.
type leavingPage struct {
	Lead string
	// Days is how long it can come back.
	Days string
	// New is the path to the form; Waits who asked and when, while a second person has to
	// approve; Begin and Stay are the paths to what can be done now. Empty for what cannot.
	New, Begin, Stay string
	Waits            *leavingRequest
	// Archive is the path to the authority's data, for those who may take it.
	Archive        string
	Closes, Erases *moment
}

type leavingRequest struct {
	By, Reason string
	At         moment
}

func (s *Server) showLeaving(v *visit) (answer, error) {
	standing, err := s.config.Leaving.Show(v.r.Context(), v.by, v.tenant)
	if err != nil {
		return answer{}, err
	}
	p := leavingPage{Lead: s.words.text("leaving.lead"), Days: strconv.Itoa(int(s.config.Leaving.CoolDown() / (24 * time.Hour)))}
	if s.config.Archives != nil && v.may(authz.TenantArchive) {
		p.Archive = v.path("/archive")
	}
	switch {
	case standing.Leave != nil:
		p.Lead, p.Stay = s.words.text("leaving.under_way"), v.path("/leaving/stay")
		p.Closes, p.Erases = s.momentOf(v, &standing.Leave.Closes), s.momentOf(v, &standing.Leave.Erases)
	case standing.Request != nil:
		r := standing.Request
		p.Waits = &leavingRequest{By: r.Requester, Reason: r.Reason, At: s.words.moment(r.RequestedAt, s.now(v))}
		if p.Lead = s.words.text("leaving.waits"); r.State == approval.Approved {
			p.Lead, p.Begin = s.words.text("leaving.approved"), v.path("/leaving/begin")
		}
	case v.tenant.State == tenant.Active:
		p.New = v.path("/leaving/new")
	}
	return answer{page: "leaving", heading: s.words.text("leaving.heading"), data: p}, nil
}

// fieldTyped is for the authority's name in URLs, which is typed to confirm.
const fieldTyped = "typed"

func (s *Server) newLeaving(v *visit) (answer, error) { return s.leavingForm(v, known{}), nil }

func (s *Server) leavingForm(v *visit, k known) answer {
	typed := field{
		ID: fieldTyped, Label: s.words.text("leaving.typed"), Hint: s.words.text("leaving.typed.hint", "slug", string(v.tenant.Slug)),
		Type: "text", Value: v.r.PostForm.Get(fieldTyped), Autocomplete: "off", Wide: true,
	}
	if k.field == fieldTyped {
		typed.Error = s.words.text(k.message)
	}
	return stepAnswer(s.words.text("leaving.new"), platformStep{
		Name: v.tenant.Name, About: string(v.tenant.Slug),
		Effects: []string{
			s.words.text("leaving.effect.issue"), s.words.text("leaving.effect.phones"), s.words.text("leaving.effect.back"),
			s.words.text("leaving.effect.erased"), s.words.text("leaving.effect.archive"), s.words.text("leaving.effect.names"),
		},
		Action: v.path("/leaving/new"), Button: s.words.text("leaving.ask"), Secondary: true,
		Fields: []field{typed, s.reasonField(v, k, "leaving.reason.hint")}, Back: v.path("/leaving"), BackText: s.words.text("leaving.back"),
	}, k)
}

func (s *Server) askLeaving(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	err := s.config.Leaving.Ask(v.r.Context(), v.by, v.tenant, v.r.PostForm.Get(fieldTyped), v.r.PostForm.Get(fieldReason))
	if errors.Is(err, leaving.ErrTyped) || errors.Is(err, approval.ErrReason) {
		k, _ := lookUp(err)
		return s.leavingForm(v, k), nil
	}
	return s.leavingDone(v, err, "leaving.asked")
}

func (s *Server) beginLeaving(v *visit) (answer, error) {
	_, err := s.config.Leaving.Begin(v.r.Context(), v.by, v.tenant)
	return s.leavingDone(v, err, "leaving.begun")
}

func (s *Server) stay(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	if v.r.PostForm.Get(fieldConfirm) != yes {
		return answer{status: http.StatusSeeOther, redirect: v.path("/leaving")}, nil
	}
	return s.leavingDone(v, s.config.Leaving.Undo(v.r.Context(), v.by, v.tenant), "leaving.stays")
}

// leavingDone leads back to the page, which says how things stand.
func (s *Server) leavingDone(v *visit, err error, notice string) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, notice, v.path("/leaving"))
}
