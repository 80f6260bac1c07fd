package adminui_test

import (
	"context"
	"testing"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/selftest"
)

// trials stands for the database: what the page shows, and how often a run was asked for.
type trials struct {
	runs  []selftest.Run
	asked int
}

func (s *trials) List(context.Context, *tenant.Tenant, authz.Subject, int) ([]selftest.Run, error) {
	return s.runs, nil
}

func (s *trials) Ask(context.Context, *tenant.Tenant, authz.Subject) error {
	s.asked++
	return nil
}

// An owner sees that there is nothing yet, asks for a run, and is told what failed and what
// to do; others may not look.
func TestSelfTestPage(t *testing.T) {
	t.Parallel()
	tests := &trials{}
	w := newWorld(t, func(c *adminui.Config) { c.SelfTests = tests })
	const path = "/portal/north-shore/self-test"
	w.signIn(caseworker)
	w.get(path).wants(403, "You may not do this")
	w.post(path, nil).wants(403, "You may not do this")
	w.signIn(owner)
	w.get(path).wants(200, "Self-test").contains("There was no self-test yet")
	w.post(path, nil).wants(200, "Self-test").contains("has been asked for")
	if tests.asked != 1 {
		t.Errorf("asked for %d runs", tests.asked)
	}
	passed := selftest.Run{StartedAt: noon.Add(-time.Hour)}
	for _, name := range selftest.Steps() {
		passed.Steps = append(passed.Steps, selftest.Step{Name: name, Milliseconds: 12})
	}
	failed := selftest.Run{StartedAt: noon, FailedStep: selftest.Publish, Reason: selftest.Unreachable, Steps: passed.Steps[:4]}
	tests.runs = []selftest.Run{passed}
	w.get(path).wants(200, "Self-test").contains("The last self-test passed").contains("84 ms").lacks("Not reached")
	tests.runs = []selftest.Run{failed, passed}
	w.get(path).wants(200, "Self-test").contains("The last self-test failed at: Publish keys").contains("did not answer in time").
		contains("They try again by themselves").contains("Not reached")
}
