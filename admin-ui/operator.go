package adminui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/platform"
	"carillon/tenant/support"
)

// Operators knows who runs the platform, and does what they ask for. The promises and
// errors are those of package platform; slugs name tenants in any state.
type Operators interface {
	// Authenticate makes somebody a subject with her role on the platform:
	// [platform.ErrNotOperator] if she has none.
	Authenticate(ctx context.Context, who oidc.Identity) (authz.Subject, error)
	Register(ctx context.Context, f platform.Filter, limit int) ([]platform.Line, error)
	Find(ctx context.Context, slug string) (*platform.Sheet, error)
	Suspend(ctx context.Context, by authz.Subject, slug, why string) error
	Resume(ctx context.Context, by authz.Subject, slug, why string) error
	Acts(ctx context.Context, target string, before int64, limit int) ([]platform.Act, error)
	// Places are the tenants that have invited somebody as support.
	Places(ctx context.Context, who oidc.Identity) ([]support.Place, error)
}

// fieldReason is where somebody says why.
const fieldReason = "reason"

// The parts of the register's URL.
const (
	fieldText  = "text"
	fieldState = "state"
	fieldAfter = "after"

	// stateSandbox chooses sandboxes in any state; it is a kind, which people look for like
	// a state.
	stateSandbox = "sandbox"
)

// linesPerPage is how many tenants, or acts, a page shows.
const linesPerPage = 50

// registerPage lists the platform's health authorities.
type registerPage struct {
	Action  string
	Text    field
	State   string // what is chosen, for the form
	States  []navItem
	Lines   []lineView
	All     string // the path to everything; empty if that is shown
	First   string // the path to the beginning; empty if that is shown
	Next    string
	Invited []placeView
}

type lineView struct {
	Slug, Name, Region, State, Path string
	Resting                         bool // not served
}

type placeView struct {
	Name, Path string
	Until      moment
}

func (s *Server) showPlatform(v *visit) (answer, error) {
	q := v.r.URL.Query()
	f := platform.Filter{Text: searched(q.Get(fieldText)), After: searched(q.Get(fieldAfter))}
	state := q.Get(fieldState)
	if state == stateSandbox {
		f.Kind = tenant.Sandbox
	} else if slices.Contains(tenant.States(), tenant.State(state)) {
		f.State = tenant.State(state)
	} else {
		state = ""
	}
	lines, err := s.config.Operators.Register(v.r.Context(), f, linesPerPage+1)
	if err != nil {
		return answer{}, err
	}
	places, err := s.config.Operators.Places(v.r.Context(), *v.who)
	if err != nil {
		return answer{}, err
	}
	p := registerPage{Action: "/operator", State: state, Text: field{
		ID: fieldText, Label: s.words.text("operator.search"), Hint: s.words.text("operator.search.hint"), Type: "search", Value: f.Text, Autocomplete: "off",
	}}
	chosen := url.Values{}
	set(chosen, fieldText, f.Text)
	p.States = s.stateLinks(state, chosen)
	set(chosen, fieldState, state)
	if len(chosen) > 0 {
		p.All = p.Action
	}
	if f.After != "" {
		p.First = withQuery(p.Action, chosen)
	}
	if len(lines) > linesPerPage {
		lines = lines[:linesPerPage]
		set(chosen, fieldAfter, string(lines[linesPerPage-1].Slug))
		p.Next = withQuery(p.Action, chosen)
	}
	for _, l := range lines {
		p.Lines = append(p.Lines, s.lineView(l))
	}
	for _, place := range places {
		p.Invited = append(p.Invited, placeView{Name: place.Name, Path: "/portal/" + string(place.Slug) + "/", Until: s.words.moment(place.Until, s.now(v))})
	}
	return answer{page: "operator", heading: s.words.text("operator.heading"), data: p}, nil
}

// searched is a word to search for, made harmless and short.
func searched(text string) string {
	q := auditQuery{values: url.Values{fieldText: {text}}}
	return q.text(fieldText)
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// stateLinks choose what is listed.
func (s *Server) stateLinks(current string, chosen url.Values) []navItem {
	var items []navItem
	for _, state := range []string{"", string(tenant.Active), stateSandbox, string(tenant.Suspended), string(tenant.Leaving), string(tenant.Erased)} {
		q := url.Values{fieldText: chosen[fieldText]}
		if q.Get(fieldText) == "" {
			q = url.Values{}
		}
		set(q, fieldState, state)
		items = append(items, navItem{Text: s.words.tenantState(state), Path: withQuery("/operator", q), Current: state == current})
	}
	return items
}

func (s *Server) lineView(l platform.Line) lineView {
	w := lineView{
		Slug: string(l.Slug), Name: l.Name, Region: l.Region, State: s.words.tenantState(string(l.State)),
		Path: tenantPath(string(l.Slug)), Resting: l.State != tenant.Active,
	}
	if l.Kind == tenant.Sandbox {
		w.State = s.words.tenantState(stateSandbox)
		if w.Resting {
			w.State = s.words.text("operator.sandbox.state", "state", s.words.tenantState(string(l.State)))
		}
	}
	return w
}

func tenantPath(slug string) string { return "/operator/tenants/" + url.PathEscape(slug) }

// sheetPage shows one health authority to those who run the platform.
type sheetPage struct {
	lineView
	Reason          string
	Since           *moment
	Suspend, Resume string // paths; empty for what cannot be done, or not by her
	Erased          bool
	Quota           quotaView
	Support         string
	Contacts        []string
	LastExport      *moment
	Jobs            []jobView
	Days            []usageDay
	Acts            []actView
	Back            string
}

type quotaView struct{ Limit, Burst, Taken string }

type jobView struct {
	Name, Lag string
	Late      bool
	Failures  string
	Succeeded *moment
}

type usageDay struct{ Day, Codes, Keys, Failures string }

type actView struct {
	At                       moment
	By, Action, Target, Path string
	Reason                   string
}

// exportJob is the job that makes a tenant's files.
const exportJob = "export"

func (s *Server) showTenant(v *visit) (answer, error) {
	ctx, slug := v.r.Context(), v.params.ByName("slug")
	sheet, err := s.config.Operators.Find(ctx, slug)
	if err != nil {
		return answer{}, err
	}
	acts, err := s.config.Operators.Acts(ctx, slug, 0, linesPerPage)
	if err != nil {
		return answer{}, err
	}
	p := sheetPage{
		lineView: s.lineView(sheet.Line), Reason: sheet.Reason, Since: s.momentOf(v, sheet.Since),
		Erased: sheet.State == tenant.Erased, Back: "/operator",
		Quota: quotaView{
			Limit: s.words.number(sheet.Quota.Effective), Burst: s.words.number(sheet.Quota.Burst), Taken: s.words.number(sheet.Quota.Taken),
		},
		Support: s.words.number(sheet.Support), Contacts: sheet.Contacts,
	}
	if v.operates() {
		switch sheet.State {
		case tenant.Active:
			p.Suspend = p.Path + "/suspend"
		case tenant.Suspended:
			p.Resume = p.Path + "/resume"
		case tenant.Leaving, tenant.Erased:
		}
	}
	for _, j := range sheet.Jobs {
		if j.Job == exportJob {
			p.LastExport = s.momentOf(v, j.SucceededAt)
		}
		p.Jobs = append(p.Jobs, jobView{
			Name: j.Job, Lag: s.words.minutes(time.Duration(j.LagSeconds * float64(time.Second))), Late: j.Late,
			Failures: s.words.number(j.Failures), Succeeded: s.momentOf(v, j.SucceededAt),
		})
	}
	for _, d := range sheet.Days {
		p.Days = append(p.Days, usageDay{Day: s.words.date(d.Day), Codes: s.rounded(d.Codes), Keys: s.rounded(d.Keys), Failures: s.rounded(d.Failures)})
	}
	for _, a := range acts {
		p.Acts = append(p.Acts, s.actView(v, a))
	}
	return answer{page: "operator_tenant", heading: sheet.Name, data: p}, nil
}

func (s *Server) momentOf(v *visit, t *time.Time) *moment {
	if t == nil {
		return nil
	}
	m := s.words.moment(*t, s.now(v))
	return &m
}

// rounded is a number of events as operators may see it.
func (s *Server) rounded(c platform.Count) string {
	if c.Few() {
		return s.words.text("operator.few")
	}
	return s.words.number(c.Shown())
}

func (s *Server) actView(v *visit, a platform.Act) actView {
	return actView{At: s.words.moment(a.At, v.anyDay()), By: cmp.Or(a.By, s.words.text("operator.acts.system")), Action: a.Action, Target: a.Target, Reason: a.Reason}
}

// platformStep asks for a reason, before something is done that others will notice.
type platformStep struct {
	Name, About string
	// Effects say in plain words what will happen.
	Effects        []string
	Action, Button string
	Fields         []field
	Secondary      bool // it stops something
	Back, BackText string
}

func (s *Server) reasonField(v *visit, k known, hint string) field {
	f := field{
		ID: fieldReason, Label: s.words.text("operator.reason"), Hint: s.words.text(hint),
		Type: "text", Value: v.r.PostForm.Get(fieldReason), Autocomplete: "off", Wide: true,
	}
	if k.field == fieldReason {
		f.Error = s.words.text(k.message)
	}
	return f
}

func stepAnswer(heading string, p platformStep, k known) answer {
	a := answer{page: "operator_step", heading: heading, data: p, status: k.status}
	for _, f := range p.Fields {
		if f.Error != "" {
			a.problems = append(a.problems, problem{Field: f.ID, Text: f.Error})
		}
	}
	return a
}

func (s *Server) askTenantSuspension(v *visit) (answer, error) { return s.suspensionStep(v, known{}) }

func (s *Server) askTenantResumption(v *visit) (answer, error) { return s.resumptionStep(v, known{}) }

func (s *Server) suspensionStep(v *visit, k known) (answer, error) {
	sheet, err := s.inState(v, tenant.Active)
	if err != nil {
		return answer{}, err
	}
	back := tenantPath(string(sheet.Slug))
	return stepAnswer(s.words.text("operator.suspend.heading", "authority", sheet.Name), platformStep{
		Name: sheet.Name, About: string(sheet.Slug),
		Effects: []string{
			s.words.text("operator.suspend.effect.phones"), s.words.text("operator.suspend.effect.files"),
			s.words.text("operator.suspend.effect.staff"), s.words.text("operator.suspend.effect.jobs"),
		},
		Action: back + "/suspend", Button: s.words.text("operator.suspend.button"), Secondary: true,
		Fields: []field{s.reasonField(v, k, "operator.reason.staff")}, Back: back, BackText: s.words.text("operator.back.tenant"),
	}, k), nil
}

func (s *Server) resumptionStep(v *visit, k known) (answer, error) {
	sheet, err := s.inState(v, tenant.Suspended)
	if err != nil {
		return answer{}, err
	}
	back := tenantPath(string(sheet.Slug))
	return stepAnswer(s.words.text("operator.resume.heading", "authority", sheet.Name), platformStep{
		Name: sheet.Name, About: string(sheet.Slug),
		Effects: []string{s.words.text("operator.resume.effect.now"), s.words.text("operator.resume.effect.jobs")},
		Action:  back + "/resume", Button: s.words.text("operator.resume.button"),
		Fields: []field{s.reasonField(v, k, "operator.reason.staff")}, Back: back, BackText: s.words.text("operator.back.tenant"),
	}, k), nil
}

// inState is the tenant in the URL: [platform.ErrState] unless it is in that state.
func (s *Server) inState(v *visit, state tenant.State) (*platform.Sheet, error) {
	sheet, err := s.config.Operators.Find(v.r.Context(), v.params.ByName("slug"))
	if err == nil && sheet.State != state {
		err = platform.ErrState
	}
	return sheet, err
}

func (s *Server) suspendTenant(v *visit) (answer, error) {
	return s.changeState(v, s.config.Operators.Suspend, s.suspensionStep, "operator.suspended")
}

func (s *Server) resumeTenant(v *visit) (answer, error) {
	return s.changeState(v, s.config.Operators.Resume, s.resumptionStep, "operator.resumed")
}

func (s *Server) changeState(v *visit, change func(context.Context, authz.Subject, string, string) error, again func(*visit, known) (answer, error), notice string) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	slug := v.params.ByName("slug")
	err := change(v.r.Context(), v.by, slug, v.r.PostForm.Get(fieldReason))
	if errors.Is(err, platform.ErrReason) {
		k, _ := lookUp(err)
		return again(v, k)
	}
	if err != nil {
		return answer{}, err
	}
	return s.platformDone(v, notice, tenantPath(slug))
}

// platformDone leads on, with what was done.
func (s *Server) platformDone(v *visit, notice, to string) (answer, error) {
	s.sessions.Put(v.r.Context(), noticeKey, s.words.text(notice))
	return answer{status: http.StatusSeeOther, redirect: to}, nil
}

// actsPage is the platform's log.
type actsPage struct {
	Acts         []actView
	First, Older string
}

func (s *Server) showActs(v *visit) (answer, error) {
	before, _ := strconv.ParseInt(v.r.URL.Query().Get(fieldBefore), 10, 64) // nonsense means the newest
	acts, err := s.config.Operators.Acts(v.r.Context(), "", before, linesPerPage+1)
	if err != nil {
		return answer{}, err
	}
	var p actsPage
	if before > 0 {
		p.First = "/operator/log"
	}
	if len(acts) > linesPerPage {
		acts = acts[:linesPerPage]
		p.Older = withQuery("/operator/log", url.Values{fieldBefore: {strconv.FormatInt(acts[linesPerPage-1].No, 10)}})
	}
	for _, a := range acts {
		p.Acts = append(p.Acts, s.actView(v, a))
	}
	return answer{page: "operator_log", heading: s.words.text("operator.log"), data: p}, nil
}

// operates reports whether the person decides about tenants, not only looks at them.
func (v *visit) operates() bool { return v.platform && slices.Contains(v.by.Roles, authz.Operator) }

// platformNav leads to the pages of those who run the platform.
func (s *Server) platformNav(v *visit) []navItem {
	at := func(path string) bool { return strings.HasPrefix(v.route.Path, path) }
	items := []navItem{{Text: s.words.text("operator.heading"), Path: "/operator", Current: v.route.Path == "/operator" || at("/operator/tenants")}}
	if !v.operates() {
		return items
	}
	if s.config.Desk != nil {
		items = append(items, navItem{Text: s.words.text("operator.queue"), Path: "/operator/applications", Current: at("/operator/applications")})
	}
	return append(items, navItem{Text: s.words.text("operator.log"), Path: "/operator/log", Current: at("/operator/log")})
}
