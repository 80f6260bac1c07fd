package adminui

import (
	"context"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/selftest"
)

// SelfTests is how a tenant's servers tried themselves. The promises and errors are those
// of [selftest.Staff].
type SelfTests interface {
	List(ctx context.Context, t *tenant.Tenant, by authz.Subject, limit int) ([]selftest.Run, error)
	Ask(ctx context.Context, t *tenant.Tenant, by authz.Subject) error
}

// selfTestPage shows the last run step by step, and how those before it ended.
type selfTestPage struct {
	Action string
	Last   *selfTestView // nil before the first
	Runs   []selfTestView
}

type selfTestView struct {
	At     moment
	Passed bool
	Took   string
	// Failed is the step that failed, and Advice what to do, if one has.
	Failed, Why, Advice string
	Steps               []selfTestStep
}

type selfTestStep struct {
	Name, Took, State string
}

const selfTestsShown = 20

func (s *Server) showSelfTest(v *visit) (answer, error) {
	runs, err := s.config.SelfTests.List(v.r.Context(), v.tenant, v.by, selfTestsShown)
	if err != nil {
		return answer{}, err
	}
	p := selfTestPage{Action: v.path("/self-test")}
	for _, r := range runs {
		p.Runs = append(p.Runs, s.selfTestView(v, r))
	}
	if len(p.Runs) > 0 {
		p.Last = &p.Runs[0]
	}
	return answer{page: "selftest", heading: s.words.text("selftest.heading"), data: p}, nil
}

func (s *Server) selfTestView(v *visit, r selftest.Run) selfTestView {
	w := selfTestView{At: s.words.moment(r.StartedAt, s.now(v)), Passed: r.Passed()}
	if !w.Passed {
		w.Failed, w.Why, w.Advice = s.words.step(r.FailedStep), s.words.selfTestReason(r.Reason), s.words.stepAdvice(r.FailedStep)
	}
	took := map[selftest.StepName]int64{}
	var sum int64
	for _, step := range r.Steps {
		took[step.Name] = step.Milliseconds
		sum += step.Milliseconds
	}
	w.Took = s.words.text("selftest.ms", "n", s.words.number(int(sum)))
	for _, name := range selftest.Steps() {
		line := selfTestStep{Name: s.words.step(name), State: s.words.text("selftest.state.not_reached")}
		if ms, done := took[name]; done {
			line.Took, line.State = s.words.text("selftest.ms", "n", s.words.number(int(ms))), s.words.text("selftest.state.passed")
		}
		if name == r.FailedStep {
			line.State = s.words.text("selftest.state.failed")
		}
		w.Steps = append(w.Steps, line)
	}
	return w
}

// step names a step for people.
func (c *catalogue) step(name selftest.StepName) string {
	switch name {
	case selftest.Issue:
		return c.text("selftest.step.issue")
	case selftest.Verify:
		return c.text("selftest.step.verify")
	case selftest.Certificate:
		return c.text("selftest.step.certificate")
	case selftest.Publish:
		return c.text("selftest.step.publish")
	case selftest.Export:
		return c.text("selftest.step.export")
	case selftest.Download:
		return c.text("selftest.step.download")
	case selftest.Signature:
		return c.text("selftest.step.signature")
	}
	return string(name)
}

// stepAdvice says what a failure of a step means for people, and what to do.
func (c *catalogue) stepAdvice(name selftest.StepName) string {
	switch name {
	case selftest.Issue:
		return c.text("selftest.advice.issue")
	case selftest.Verify, selftest.Certificate:
		return c.text("selftest.advice.device")
	case selftest.Publish:
		return c.text("selftest.advice.publish")
	case selftest.Export:
		return c.text("selftest.advice.export")
	case selftest.Download:
		return c.text("selftest.advice.download")
	case selftest.Signature:
		return c.text("selftest.advice.signature")
	}
	return ""
}

// selfTestReason says why a step failed.
func (c *catalogue) selfTestReason(r selftest.Reason) string {
	switch r {
	case selftest.Unreachable:
		return c.text("selftest.reason.unreachable")
	case selftest.Refused:
		return c.text("selftest.reason.refused")
	case selftest.Broken:
		return c.text("selftest.reason.broken")
	case selftest.NoKey:
		return c.text("selftest.reason.no_key")
	case selftest.Mismatch:
		return c.text("selftest.reason.mismatch")
	case selftest.Storage:
		return c.text("selftest.reason.storage")
	}
	return string(r)
}

func (s *Server) runSelfTest(v *visit) (answer, error) {
	if err := s.config.SelfTests.Ask(v.r.Context(), v.tenant, v.by); err != nil {
		return answer{}, err
	}
	return s.platformDone(v, "selftest.asked", v.path("/self-test"))
}
