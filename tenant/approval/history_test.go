package approval_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
)

// colleague is somebody of whom the test knows everything.
type colleague struct {
	subject authz.Subject
	person  string // one person may have two memberships
	active  bool
}

func (c *colleague) may() bool { return slices.Contains(c.subject.Roles, authz.KeyCustodian) }

// asked is a request as the test remembers it.
type asked struct {
	id           approval.ID
	want         approval.Want
	at           time.Time
	asker, voter *colleague
	over         bool
}

// history is what happened, told apart from the database.
type history struct {
	*fixture
	t     *testing.T
	staff []*colleague
	asked []*asked
	acts  int
}

// wants differ from each other in one thing.
func wants() []approval.Want {
	return []approval.Want{
		activate,
		{Kind: approval.KeyActivate, Target: "export 2", Detail: map[string]string{"confirmed": "apple"}},
		{Kind: approval.KeyActivate, Target: "export 3", Detail: activate.Detail},
	}
}

// Whatever people do in whatever order: an act is done exactly if one who may has asked for
// exactly it, another person who may has approved it, both work here, and it is neither
// too late nor done already.
func TestHistories(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	done := 0
	rapid.Check(t, func(r *rapid.T) {
		h := newHistory(t, f)
		r.Repeat(map[string]func(*rapid.T){
			"ask": h.askFor, "approve": h.vote, "act": h.act, "withdraw": h.withdraw,
			"put out or in": h.putOut, "change role": h.changeRole,
			"wait": func(r *rapid.T) { f.Advance(time.Duration(rapid.IntRange(1, 40).Draw(r, "hours")) * time.Hour) },
		})
		done += h.acts
	})
	if done == 0 {
		t.Error("no history had an act: the test shows nothing")
	}
}

func newHistory(t *testing.T, f *fixture) *history {
	t.Helper()
	for _, sql := range []string{`delete from approval`, `delete from member`} {
		if err := f.exec(t, sql); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{fixture: f, t: t}
	for i, name := range []string{"ada", "bea", "cid", "ada"} {
		s := f.hire(t, fmt.Sprintf("https://login%d.example", i), name, authz.KeyCustodian)
		h.staff = append(h.staff, &colleague{subject: s, person: name, active: true})
	}
	return h
}

func (h *history) somebody(r *rapid.T) *colleague { return rapid.SampledFrom(h.staff).Draw(r, "who") }

func (h *history) open(a *asked) bool { return !a.over && h.Now().Before(a.at.Add(approval.Life)) }

func (h *history) any(r *rapid.T) *asked {
	if len(h.asked) == 0 {
		r.Skip("nothing was asked for")
	}
	return rapid.SampledFrom(h.asked).Draw(r, "request")
}

func expect(r *rapid.T, what string, err error, want bool) {
	if (err == nil) != want {
		r.Fatalf("%s: error %v, want it done: %v", what, err, want)
	}
}

func (h *history) askFor(r *rapid.T) {
	who, w := h.somebody(r), rapid.SampledFrom(wants()).Draw(r, "want")
	taken := slices.ContainsFunc(h.asked, func(a *asked) bool { return h.open(a) && a.want.Target == w.Target })
	req, err := h.ask(h.t, who.subject, w)
	expect(r, "ask", err, who.active && who.may() && !taken)
	if err == nil {
		h.asked = append(h.asked, &asked{id: req.ID, want: w, at: req.RequestedAt, asker: who})
	}
}

func (h *history) vote(r *rapid.T) {
	a, who := h.any(r), h.somebody(r)
	err := h.approve(h.t, who.subject, a.id)
	expect(r, "approve", err, who.active && who.may() && h.open(a) && a.voter == nil && a.asker.active && who.person != a.asker.person)
	if err == nil {
		a.voter = who
	}
}

func (h *history) act(r *rapid.T) {
	w := rapid.SampledFrom(wants()).Draw(r, "act")
	at := slices.IndexFunc(h.asked, func(a *asked) bool {
		return h.open(a) && a.want.Target == w.Target && a.want.Detail["confirmed"] == w.Detail["confirmed"] &&
			a.voter != nil && a.asker.active && a.voter.active
	})
	err := h.use(h.t.Context(), h.Jobs, w)
	if err != nil && !errors.Is(err, approval.ErrNotApproved) {
		r.Fatal(err)
	}
	expect(r, "act", err, at >= 0)
	if at >= 0 {
		h.asked[at].over = true
		h.acts++
	}
}

func (h *history) withdraw(r *rapid.T) {
	a, who := h.any(r), h.somebody(r)
	_, err := in(h.t, h.fixture, func(tx *tenant.Tx) (approval.Request, error) {
		return approval.Withdraw(h.t.Context(), tx, who.subject, a.id, h.Now())
	})
	expect(r, "withdraw", err, who.active && who.may() && h.open(a))
	if err == nil {
		a.over = true
	}
}

func (h *history) putOut(r *rapid.T) {
	who := h.somebody(r)
	who.active = !who.active
	state := map[bool]string{true: "active", false: "suspended"}[who.active]
	if err := h.exec(h.t, `update member set state = $2 where member_id = $1`, who.subject.ID, state); err != nil {
		r.Fatal(err)
	}
}

func (h *history) changeRole(r *rapid.T) {
	h.somebody(r).subject.Roles = []authz.Role{rapid.SampledFrom([]authz.Role{authz.KeyCustodian, authz.Analyst}).Draw(r, "role")}
}
