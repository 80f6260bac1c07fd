package adminui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/mail"
	"carillon/tenant/member"
)

// Approvals is where staff see what waits for a second person, and decide. The promises and
// errors are those of [approval.Desk].
type Approvals interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (approval.Board, error)
	Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id approval.ID) (approval.Waiting, error)
	Count(ctx context.Context, t *tenant.Tenant, by authz.Subject, policy *authz.Policy) (int, error)
	Approve(ctx context.Context, t *tenant.Tenant, by authz.Subject, id approval.ID) (done bool, err error)
	Refuse(ctx context.Context, t *tenant.Tenant, by authz.Subject, id approval.ID, reason string) error
	Withdraw(ctx context.Context, t *tenant.Tenant, by authz.Subject, id approval.ID) error
}

// dealsWithApprovals reports whether the page of approvals can have anything for somebody.
func (s *Server) dealsWithApprovals(v *visit) bool {
	return s.config.Approvals != nil && v.policy != nil &&
		slices.ContainsFunc(approval.Kinds(), func(k approval.Kind) bool { return approval.Deals(v.policy, v.by, k) })
}

// waitingFor is how many requests somebody may decide. A page is worth more than a number
// in its navigation: if it cannot be had, it is missing.
func (s *Server) waitingFor(v *visit) int {
	if v.tenant.State != tenant.Active || !s.dealsWithApprovals(v) {
		return 0
	}
	n, err := s.config.Approvals.Count(v.r.Context(), v.tenant, v.by, v.policy)
	if err != nil {
		s.config.Log.WarnContext(v.r.Context(), "requests not counted", slog.String("request", v.id), slog.Any("error", err))
	}
	return n
}

// approvalsPage lists what waits, and what came of what waited.
type approvalsPage struct{ Waiting, Over []requestView }

type requestView struct {
	Path, What, Who, Why, State string
	Asked, Until                moment
}

func (s *Server) requestView(v *visit, r approval.Request) requestView {
	what, _ := s.words.act(r, v.tenant)
	now := s.now(v)
	return requestView{
		Path: requestPath(v, r.ID, ""), What: what, Who: r.Requester, Why: r.Reason, State: s.words.outcome(r, r.Open(now)),
		Asked: s.words.moment(r.RequestedAt, now), Until: s.words.moment(r.ExpiresAt, now),
	}
}

func requestPath(v *visit, id approval.ID, rest string) string {
	return v.path("/approvals/" + id.String() + rest)
}

func (s *Server) showApprovals(v *visit) (answer, error) {
	board, err := s.config.Approvals.Board(v.r.Context(), v.tenant, v.by)
	if err != nil {
		return answer{}, err
	}
	var p approvalsPage
	for _, w := range board.Waiting {
		p.Waiting = append(p.Waiting, s.requestView(v, w.Request))
	}
	for _, r := range board.Over {
		p.Over = append(p.Over, s.requestView(v, r))
	}
	return answer{page: "approvals", heading: s.words.text("approvals.heading"), data: p}, nil
}

// approvalPage shows one request with all that somebody needs to decide.
type approvalPage struct {
	requestView
	Facts   []fact // what makes it this act, in the program's own words
	Effects []string
	// Approve, Refuse and Withdraw are the paths to doing so, if she may.
	Approve, Refuse, Withdraw string
	Reason                    field
	Alone                     string // what to do if nobody can decide
	Back                      string
}

func (s *Server) findRequest(v *visit) (approval.Waiting, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return approval.Waiting{}, approval.ErrNoRequest
	}
	return s.config.Approvals.Find(v.r.Context(), v.tenant, v.by, id)
}

func (s *Server) showRequest(v *visit) (answer, error) {
	w, err := s.findRequest(v)
	if err != nil {
		return answer{}, err
	}
	return s.requestAnswer(v, w, known{}), nil
}

func (s *Server) requestAnswer(v *visit, w approval.Waiting, k known) answer {
	p := approvalPage{requestView: s.requestView(v, w.Request), Back: v.path("/approvals"), Reason: s.whyField(v, "approvals.refuse.reason", k)}
	what, effects := s.words.act(w.Request, v.tenant)
	p.Effects = effects
	if w.Kind != approval.OwnerChange { // whose words say everything
		for _, name := range slices.Sorted(maps.Keys(w.Detail)) {
			p.Facts = append(p.Facts, fact{name, w.Detail[name]})
		}
	}
	if w.MayDecide {
		p.Approve, p.Refuse = requestPath(v, w.ID, "/approve"), requestPath(v, w.ID, "/refuse")
	}
	if w.MayWithdraw {
		p.Withdraw = requestPath(v, w.ID, "/withdraw")
	}
	if w.Deciders == 0 && w.State == approval.Pending {
		p.Alone = s.words.text("approvals.alone")
	}
	a := answer{page: "approval", heading: what, data: p, status: k.status}
	if k.field != "" {
		a.problems = []problem{{Field: fieldReason, Text: p.Reason.Error}}
	}
	return a
}

// whyField is where somebody says why.
func (s *Server) whyField(v *visit, label string, k known) field {
	f := field{
		ID: fieldReason, Label: s.words.text(label), Hint: s.words.text("approvals.reason.hint"),
		Type: "text", Value: v.r.PostForm.Get(fieldReason), Autocomplete: "off",
	}
	if k.field == fieldReason {
		f.Error = s.words.text(k.message)
	}
	return f
}

func (s *Server) approveRequest(v *visit) (answer, error) {
	w, err := s.findRequest(v)
	if err != nil {
		return answer{}, err
	}
	done, err := s.config.Approvals.Approve(v.r.Context(), v.tenant, v.by, w.ID)
	switch {
	case done && (errors.Is(err, mail.ErrRecipient) || errors.Is(err, mail.ErrUnavailable)):
		return s.platformDone(v, "approvals.done.unsent", v.path("/approvals"))
	case err != nil:
		return answer{}, err
	case done:
		return s.platformDone(v, "approvals.done", v.path("/approvals"))
	}
	return s.platformDone(v, "approvals.approved", v.path("/approvals"))
}

func (s *Server) refuseRequest(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	w, err := s.findRequest(v)
	if err != nil {
		return answer{}, err
	}
	err = s.config.Approvals.Refuse(v.r.Context(), v.tenant, v.by, w.ID, v.r.PostForm.Get(fieldReason))
	if errors.Is(err, approval.ErrReason) {
		k, _ := lookUp(err)
		if !w.MayDecide { // any more: the page has no field to put right, and says how it stands
			k = known{status: http.StatusConflict}
		}
		return s.requestAnswer(v, w, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, "approvals.refused", v.path("/approvals"))
}

func (s *Server) withdrawRequest(v *visit) (answer, error) {
	w, err := s.findRequest(v)
	if err == nil {
		err = s.config.Approvals.Withdraw(v.r.Context(), v.tenant, v.by, w.ID)
	}
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, "approvals.withdrawn", v.path("/approvals"))
}

// act says in words what a request would do, and what follows from it. Every kind has some.
func (c *catalogue) act(r approval.Request, t *tenant.Tenant) (what string, effects []string) {
	switch r.Kind {
	case approval.KeyActivate:
		return c.text("approvals.key", "key", r.Target), []string{c.text("approvals.key.effect.signs"), c.text("approvals.key.effect.phones")}
	case approval.TenantErase:
		return c.text("approvals.erase", "authority", t.Name), []string{c.text("approvals.erase.effect.begins"), c.text("approvals.erase.effect.lost")}
	case approval.OwnerChange:
		return c.ownerChange(r)
	}
	return string(r.Kind), nil
}

func (c *catalogue) ownerChange(r approval.Request) (what string, effects []string) {
	name, email := r.Detail["name"], r.Detail["email"]
	switch r.Detail["change"] {
	case member.OwnerTake:
		return c.text("owner.take", "name", name), []string{c.text("owner.take.effect", "name", name, "email", email)}
	case member.OwnerInvite:
		return c.text("owner.invite", "name", name), []string{c.text("owner.invite.effect", "email", email), c.text("owner.effect.all")}
	}
	return c.text("owner.grant", "name", name), []string{c.text("owner.grant.effect", "name", name, "email", email), c.text("owner.effect.all")}
}

// outcome says how far a request has come.
func (c *catalogue) outcome(r approval.Request, open bool) string {
	switch {
	case r.State == approval.Pending && open:
		return c.text("approvals.state.pending")
	case r.State == approval.Approved && open:
		return c.text("approvals.state.approved", "name", r.Decider)
	case r.State == approval.Refused:
		return c.text("approvals.state.refused", "name", r.Decider, "reason", r.DecidedReason)
	case r.State == approval.Withdrawn:
		return c.text("approvals.state.withdrawn", "name", r.EndedBy)
	case r.State == approval.Spent:
		return c.text("approvals.state.spent", "name", r.Decider)
	}
	return c.text("approvals.state.expired")
}

// ownerStep asks why somebody is to become an owner, or to be one no longer.
type ownerStep struct {
	Name, Email, Change string
	Roles, Effects      []string
	Reason              field
	Action, Back        string
}

const fieldChange = "change"

func (s *Server) askOwner(v *visit) (answer, error) {
	m, err := s.findPerson(v)
	if err != nil {
		return answer{}, err
	}
	return s.ownerAnswer(v, m, !slices.Contains(m.Roles, authz.Owner), known{}), nil
}

func (s *Server) ownerAnswer(v *visit, m member.Person, owner bool, k known) answer {
	r := approval.Request{Want: approval.Want{Kind: approval.OwnerChange, Detail: map[string]string{
		"name": m.Name, "email": m.Email, "change": member.OwnerTake,
	}}}
	if owner {
		r.Detail["change"] = member.OwnerGrant
	}
	what, effects := s.words.ownerChange(r)
	effects = append(effects, s.words.text("owner.effect.second"))
	if owner {
		effects = append(effects, s.words.text("owner.effect.first"))
	}
	p := ownerStep{
		Name: m.Name, Email: m.Email, Change: r.Detail["change"], Roles: s.words.roles(m.Roles), Effects: effects,
		Reason: s.whyField(v, "approvals.why", k), Action: personPath(v, m.ID, "/owner"), Back: personPath(v, m.ID, ""),
	}
	a := answer{page: "owner_step", heading: what, data: p, status: k.status}
	if k.field != "" {
		a.problems = []problem{{Field: fieldReason, Text: p.Reason.Error}}
	}
	return a
}

func (s *Server) changeOwner(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	m, err := s.findPerson(v)
	if err != nil {
		return answer{}, err
	}
	change := v.r.PostForm.Get(fieldChange)
	if change != member.OwnerGrant && change != member.OwnerTake {
		return answer{}, fmt.Errorf("%w: which change", errForm)
	}
	asked, err := s.config.Members.ChangeOwner(v.r.Context(), v.tenant, v.by, m.ID, change == member.OwnerGrant, v.r.PostForm.Get(fieldReason))
	if errors.Is(err, approval.ErrReason) {
		k, _ := lookUp(err)
		return s.ownerAnswer(v, m, change == member.OwnerGrant, k), nil
	}
	if err != nil {
		return answer{}, err
	}
	if asked {
		return s.platformDone(v, "approvals.asked", v.path("/approvals"))
	}
	return s.staffDone(v, s.words.text("owner.done", "name", m.Name))
}
