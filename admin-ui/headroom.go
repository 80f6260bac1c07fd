package adminui

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/limit"
	"carillon/tenant/quota"
)

// Budget is how many codes may be issued in a day. The promises and errors are those of
// [quota.Staff].
type Budget interface {
	Board(ctx context.Context, t *tenant.Tenant, by authz.Subject, factor float64) (quota.Board, error)
	Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, codes int) error
}

// The IDs of the forms' fields.
const (
	fieldFactor = "factor"
	fieldCodes  = "codes"
)

// headroomPage shows what bounds the authority, and how much is left.
type headroomPage struct {
	Path, Change string // Change is empty for who may not
	Enforced     bool
	Facts        []fact
	Factor       field
	Days         []headroomDay
	Verdict      string
	Add          *field // nil for who may not
	Rates        []rateView
}

type headroomDay struct{ Day, Issued, Budget, Beyond string }

type rateView struct{ Name, Meaning, Rate string }

func (s *Server) showHeadroom(v *visit) (answer, error) {
	typed := strings.TrimSpace(v.r.URL.Query().Get(fieldFactor))
	return s.headroom(v, typed, "", nil)
}

// addCodes adds to this day's budget.
func (s *Server) addCodes(v *visit) (answer, error) {
	if err := v.r.ParseForm(); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errForm, err)
	}
	typed := strings.TrimSpace(v.r.PostForm.Get(fieldCodes))
	n, err := strconv.Atoi(typed)
	if err != nil {
		n = 0
	}
	err = s.config.Budget.Add(v.r.Context(), v.tenant, v.by, n)
	if k, found := lookUp(err); found && k.field == fieldCodes {
		return s.headroom(v, "", typed, err)
	}
	if err != nil {
		return answer{}, err
	}
	s.sessions.Put(v.r.Context(), noticeKey, s.words.counted("headroom.added.one", "headroom.added.other", n))
	return redirect(v.path("/limits"))
}

func (s *Server) headroom(v *visit, typedFactor, typedCodes string, err error) (answer, error) {
	factor, wrong := v.tenant.Settings.QuotaFactor, false
	if typedFactor != "" {
		f, unread := strconv.ParseFloat(typedFactor, 64)
		if wrong = unread != nil || !(f >= 0.1 && f <= 100); !wrong {
			factor = f
		}
	}
	b, failed := s.config.Budget.Board(v.r.Context(), v.tenant, v.by, factor)
	if failed != nil {
		return answer{}, failed
	}
	shown := strconv.FormatFloat(factor, 'f', -1, 64)
	if wrong {
		shown = typedFactor
	}
	p := headroomPage{
		Path: v.path("/limits"), Enforced: v.tenant.Settings.QuotaEnforced, Facts: s.headroomFacts(v, b), Verdict: s.verdict(b, factor),
		Factor: field{ID: fieldFactor, Label: s.words.text("headroom.factor"), Hint: s.words.text("headroom.factor.hint"), Type: "text", Value: shown, Autocomplete: "off"},
		Rates:  s.requestRates(),
	}
	for _, d := range b.Days {
		p.Days = append(p.Days, headroomDay{
			Day: s.words.date(d.Day.Day), Issued: s.words.number(d.Issued),
			Budget: s.words.number(quota.Effective(d.Base, factor)), Beyond: s.words.number(d.Beyond(factor)),
		})
	}
	a := answer{page: "headroom", heading: s.words.text("headroom.heading")}
	if wrong {
		p.Factor.Error = s.words.text("headroom.error.factor")
		a.status, a.problems = http.StatusUnprocessableEntity, []problem{{Field: fieldFactor, Text: p.Factor.Error}}
	}
	if v.may(authz.SettingsWrite) {
		p.Change = v.path("/settings/quota")
		p.Add = &field{ID: fieldCodes, Label: s.words.text("headroom.codes"), Hint: s.words.text("headroom.codes.hint"), Type: "text", Value: typedCodes, Autocomplete: "off"}
		if k, found := lookUp(err); found {
			p.Add.Error = s.words.text(k.message)
			a.status, a.problems = k.status, []problem{{Field: fieldCodes, Text: p.Add.Error}}
		}
	}
	a.data = p
	return a, nil
}

func (s *Server) headroomFacts(v *visit, b quota.Board) []fact {
	n := s.words.number
	return []fact{
		{s.words.text("headroom.left"), n(b.Left())},
		{s.words.text("headroom.forecast"), n(b.Base)},
		{s.words.text("headroom.times"), strconv.FormatFloat(v.tenant.Settings.QuotaFactor, 'f', -1, 64)},
		{s.words.text("headroom.effective"), n(b.Effective)},
		{s.words.text("headroom.burst"), n(b.Burst)},
		{s.words.text("headroom.taken"), n(b.Taken)},
	}
}

// verdict says how yesterday would have been.
func (s *Server) verdict(b quota.Board, factor float64) string {
	if len(b.Days) == 0 {
		return s.words.text("headroom.verdict.unknown")
	}
	last := b.Days[0]
	beyond := last.Beyond(factor)
	day, budget := s.words.date(last.Day.Day), s.words.number(quota.Effective(last.Base, factor))
	switch {
	case beyond == 0:
		return s.words.text("headroom.verdict.none", "day", day, "budget", budget, "issued", s.words.number(last.Issued))
	case b.Spent.IsZero():
		return s.words.text("headroom.verdict.some", "day", day, "budget", budget, "n", s.words.number(beyond))
	}
	return s.words.text("headroom.verdict.from", "day", day, "budget", budget, "n", s.words.number(beyond), "time", s.words.moment(b.Spent, b.Spent).Text)
}

// requestRates are the bounds that the platform sets, the same for all.
func (s *Server) requestRates() []rateView {
	r := limit.DefaultRates()
	line := func(name, meaning string, n int) rateView {
		return rateView{s.words.text(name), s.words.text(meaning), s.words.text("headroom.rate", "n", s.words.number(n))}
	}
	return []rateView{
		line("headroom.caller", "headroom.caller.meaning", r.Caller),
		line("headroom.network", "headroom.network.meaning", r.Network),
		line("headroom.key", "headroom.key.meaning", r.Key),
		line("headroom.tenant", "headroom.tenant.meaning", r.Tenant),
		line("headroom.person", "headroom.person.meaning", codesPerMinute),
	}
}
