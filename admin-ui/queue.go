package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/signup"
)

// Desk has the applications of those who want to become a health authority here. The
// promises and errors are those of [signup.Service].
type Desk interface {
	List(ctx context.Context, states ...signup.State) ([]*signup.Application, error)
	Read(ctx context.Context, id uuid.UUID) (*signup.Review, error)
	Approve(ctx context.Context, by authz.Subject, id uuid.UUID, terms signup.Terms) (*signup.Application, error)
	Ask(ctx context.Context, by authz.Subject, id uuid.UUID, question string) (*signup.Application, error)
	Refuse(ctx context.Context, by authz.Subject, id uuid.UUID, reason string) (*signup.Application, error)
	Tell(ctx context.Context, id uuid.UUID) (*signup.Application, error)
}

// queuePage lists applications, those first that have waited longest.
type queuePage struct {
	States       []navItem
	Applications []applicationView
}

// applicationView is an application in words.
type applicationView struct {
	Name, Region, Domain, State, Path string
	Changed                           moment
}

// queueStates are those that operators look at: of the others nothing is proven yet.
func queueStates() []signup.State {
	return []signup.State{signup.Waiting, signup.Asked, signup.Approved, signup.Refused}
}

func (s *Server) showQueue(v *visit) (answer, error) {
	chosen := signup.Waiting
	var p queuePage
	for _, state := range queueStates() {
		if v.r.URL.Query().Get(fieldState) == string(state) {
			chosen = state
		}
	}
	for _, state := range queueStates() {
		p.States = append(p.States, navItem{Text: s.words.applicationState(state), Path: "/operator/applications?" + fieldState + "=" + string(state), Current: state == chosen})
	}
	list, err := s.config.Desk.List(v.r.Context(), chosen)
	if err != nil {
		return answer{}, err
	}
	for _, a := range list {
		p.Applications = append(p.Applications, s.applicationView(v, a))
	}
	return answer{page: "queue", heading: s.words.text("operator.queue"), data: p}, nil
}

func (s *Server) applicationView(v *visit, a *signup.Application) applicationView {
	w := applicationView{State: s.words.applicationState(a.State), Path: "/operator/applications/" + a.ID.String(), Changed: s.words.moment(a.ChangedAt, s.now(v))}
	if a.Details != nil {
		w.Name, w.Region, w.Domain = a.Details.Name, a.Details.Region, a.Details.Domain
	}
	return w
}

// reviewPage shows one application, its proof, and what to look at twice.
type reviewPage struct {
	applicationView
	Email, Confirmed             string
	Proof                        string
	Proven                       *moment
	Contact, ContactEmail, Phone string
	Languages, Codes             string
	Sandbox, Production          *lineView
	Message, Reply               string
	Warnings                     []warningView
	Approve, Ask, Refuse         string // paths; empty once it is decided
	Letter                       string // the path to sending a letter that was not sent
	Back                         string
}

type warningView struct{ Text, About string }

func (s *Server) reviewApplication(v *visit) (answer, error) {
	r, err := s.review(v)
	if err != nil {
		return answer{}, err
	}
	w := s.applicationView(v, r.Application)
	p := reviewPage{
		applicationView: w, Email: r.Email, Confirmed: s.words.confirmation(r.Confirmed),
		Proof: s.words.proof(r.ProvenBy, r.ProofAddress), Proven: s.momentOf(v, r.ProvenAt),
		Contact: r.Details.ContactName, ContactEmail: r.Details.ContactEmail, Phone: r.Details.ContactPhone,
		Languages: strings.Join(r.Details.Languages, ", "), Codes: s.words.number(r.Details.CodesPerDay),
		Sandbox: placeLine(r.Sandbox), Production: placeLine(r.Production),
		Message: r.Message, Reply: r.Reply, Back: "/operator/applications",
	}
	for _, warning := range r.Warnings {
		p.Warnings = append(p.Warnings, warningView{Text: s.words.concern(warning.Concern), About: warning.About})
	}
	if r.State == signup.Waiting || r.State == signup.Asked {
		p.Approve, p.Refuse = w.Path+"/approve", w.Path+"/refuse"
	}
	if r.State == signup.Waiting {
		p.Ask = w.Path + "/ask"
	}
	if !r.Told && r.State != signup.Waiting {
		p.Letter = w.Path + "/letter"
	}
	return answer{page: "application", heading: w.Name, data: p}, nil
}

func placeLine(p *signup.Place) *lineView {
	if p == nil {
		return nil
	}
	return &lineView{Slug: string(p.Slug), Name: p.Name, Path: tenantPath(string(p.Slug))}
}

// review is the application in the URL: [signup.ErrNone] if there is none to decide on.
func (s *Server) review(v *visit) (*signup.Review, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return nil, signup.ErrNone
	}
	r, err := s.config.Desk.Read(v.r.Context(), id)
	if err == nil && r.Details == nil {
		err = signup.ErrNone
	}
	return r, err
}

// The fields of an approval.
const (
	fieldSlug      = "slug"
	fieldAuthority = "health_authority_id"
	fieldExportKey = "export_key_id"
)

func (s *Server) askApproval(v *visit) (answer, error) { return s.approvalStep(v, known{}) }
func (s *Server) askBack(v *visit) (answer, error)     { return s.questionStep(v, known{}) }
func (s *Server) askRefusal(v *visit) (answer, error)  { return s.refusalStep(v, known{}) }

// decision is the part that every decision's page has.
func (s *Server) decision(r *signup.Review, what string) platformStep {
	path := "/operator/applications/" + r.ID.String()
	return platformStep{
		Name: r.Details.Name, Action: path + "/" + what, Back: path, BackText: s.words.text("queue.back"),
	}
}

func (s *Server) approvalStep(v *visit, k known) (answer, error) {
	r, err := s.review(v)
	if err != nil {
		return answer{}, err
	}
	p := s.decision(r, "approve")
	p.Button = s.words.text("queue.approve.button")
	p.Effects = []string{s.words.text("queue.approve.effect.tenant"), s.words.text("queue.approve.effect.owner", "email", r.Email), s.words.text("queue.approve.effect.final")}
	add := func(id, label, hint, proposed string) {
		f := field{ID: id, Label: s.words.text(label), Hint: s.words.text(hint), Type: "text", Value: proposed, Autocomplete: "off", Wide: true}
		if v.r.Method == http.MethodPost {
			f.Value = v.r.PostForm.Get(id)
		}
		if k.field == id {
			f.Error = s.words.text(k.message)
		}
		p.Fields = append(p.Fields, f)
	}
	add(fieldSlug, "operator.slug", "queue.slug.hint", r.Proposal.Slug)
	add(fieldAuthority, "queue.authority_id", "queue.authority_id.hint", r.Proposal.HealthAuthorityID)
	add(fieldExportKey, "queue.export_key", "queue.export_key.hint", r.Proposal.ExportKeyID)
	return stepAnswer(s.words.text("queue.approve.heading", "authority", r.Details.Name), p, k), nil
}

func (s *Server) questionStep(v *visit, k known) (answer, error) {
	r, err := s.review(v)
	if err != nil {
		return answer{}, err
	}
	p := s.decision(r, "ask")
	p.Button = s.words.text("queue.ask.button")
	p.Effects = []string{s.words.text("queue.ask.effect.letter", "email", r.Email), s.words.text("queue.ask.effect.turn")}
	f := s.reasonField(v, k, "queue.ask.hint")
	f.Label = s.words.text("queue.ask.label")
	p.Fields = []field{f}
	return stepAnswer(s.words.text("queue.ask.heading", "authority", r.Details.Name), p, k), nil
}

func (s *Server) refusalStep(v *visit, k known) (answer, error) {
	r, err := s.review(v)
	if err != nil {
		return answer{}, err
	}
	p := s.decision(r, "refuse")
	p.Button, p.Secondary = s.words.text("queue.refuse.button"), true
	p.Effects = []string{s.words.text("queue.refuse.effect.letter", "email", r.Email), s.words.text("queue.refuse.effect.sandbox"), s.words.text("queue.refuse.effect.again")}
	p.Fields = []field{s.reasonField(v, k, "queue.refuse.hint")}
	return stepAnswer(s.words.text("queue.refuse.heading", "authority", r.Details.Name), p, k), nil
}

func (s *Server) approve(v *visit) (answer, error) {
	return s.decide(v, s.approvalStep, "queue.approved", func(ctx context.Context, id uuid.UUID) (*signup.Application, error) {
		form := func(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }
		return s.config.Desk.Approve(ctx, v.by, id, signup.Terms{
			Slug: form(fieldSlug), HealthAuthorityID: form(fieldAuthority), ExportKeyID: form(fieldExportKey),
		})
	})
}

func (s *Server) sendQuestion(v *visit) (answer, error) {
	return s.decide(v, s.questionStep, "queue.asked", func(ctx context.Context, id uuid.UUID) (*signup.Application, error) {
		return s.config.Desk.Ask(ctx, v.by, id, v.r.PostForm.Get(fieldReason))
	})
}

func (s *Server) refuse(v *visit) (answer, error) {
	return s.decide(v, s.refusalStep, "queue.refused", func(ctx context.Context, id uuid.UUID) (*signup.Application, error) {
		return s.config.Desk.Refuse(ctx, v.by, id, v.r.PostForm.Get(fieldReason))
	})
}

// decide does what a step was about, or shows it again with what is wrong.
func (s *Server) decide(v *visit, again func(*visit, known) (answer, error), notice string, do func(context.Context, uuid.UUID) (*signup.Application, error)) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, signup.ErrNone
	}
	a, err := do(v.r.Context(), id)
	if k, found := decisionProblem(err); found {
		return again(v, k)
	}
	if err != nil {
		return answer{}, err
	}
	if !a.Told {
		notice = "queue.unsent"
	}
	return s.platformDone(v, notice, "/operator/applications/"+id.String())
}

// decisionProblem is what an operator can put right.
func decisionProblem(err error) (known, bool) {
	switch {
	case errors.Is(err, tenant.ErrSlug):
		return known{err, http.StatusUnprocessableEntity, fieldSlug, "queue.error.slug", ""}, true
	case errors.Is(err, signup.ErrTaken):
		field := fieldSlug
		if strings.HasPrefix(err.Error(), "health authority ID") {
			field = fieldAuthority
		}
		return known{err, http.StatusConflict, field, "queue.error.taken", ""}, true
	case tenant.Violates(err, "signing_key_key_id_form"):
		return known{err, http.StatusUnprocessableEntity, fieldExportKey, "queue.error.export_key", ""}, true
	case errors.Is(err, signup.ErrAuthorityID):
		return known{err, http.StatusUnprocessableEntity, fieldAuthority, "queue.error.authority_id", ""}, true
	case errors.Is(err, signup.ErrReason):
		return known{err, http.StatusUnprocessableEntity, fieldReason, "queue.error.reason", ""}, true
	}
	return known{}, false
}

func (s *Server) sendLetter(v *visit) (answer, error) {
	id, err := uuid.Parse(v.params.ByName("id"))
	if err != nil {
		return answer{}, signup.ErrNone
	}
	a, err := s.config.Desk.Tell(v.r.Context(), id)
	if err != nil {
		return answer{}, err
	}
	notice := "queue.sent"
	if !a.Told {
		notice = "queue.unsent"
	}
	return s.platformDone(v, notice, "/operator/applications/"+id.String())
}

// applicationState names a state of an application.
func (c *catalogue) applicationState(state signup.State) string {
	switch state {
	case signup.Waiting:
		return c.text("queue.state.waiting")
	case signup.Asked:
		return c.text("queue.state.asked")
	case signup.Approved:
		return c.text("queue.state.approved")
	case signup.Refused:
		return c.text("queue.state.refused")
	case signup.Draft, signup.Proving: // nothing for operators
	}
	return string(state)
}

func (c *catalogue) confirmation(how signup.Confirmation) string {
	if how == signup.ByProvider {
		return c.text("queue.confirmed.provider")
	}
	return c.text("queue.confirmed.link")
}

func (c *catalogue) proof(how signup.Proof, address string) string {
	if how == signup.ByDNS {
		return c.text("queue.proof.dns")
	}
	return c.text("queue.proof.mail", "address", address)
}

// concern says why to look twice.
func (c *catalogue) concern(why signup.Concern) string {
	switch why {
	case signup.RegionTaken:
		return c.text("queue.concern.region_taken")
	case signup.SlugTaken:
		return c.text("queue.concern.slug_taken")
	case signup.IDTaken:
		return c.text("queue.concern.id_taken")
	case signup.RegionSought:
		return c.text("queue.concern.region_sought")
	case signup.DomainSought:
		return c.text("queue.concern.domain_sought")
	case signup.NameAlike:
		return c.text("queue.concern.name_alike")
	case signup.MixedScripts:
		return c.text("queue.concern.mixed_scripts")
	case signup.Foreign:
		return c.text("queue.concern.foreign")
	case signup.FreeMail:
		return c.text("queue.concern.free_mail")
	case signup.OtherMail:
		return c.text("queue.concern.other_mail")
	}
	return string(why)
}
