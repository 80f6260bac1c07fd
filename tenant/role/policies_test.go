package role_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/role"
)

// watching is a handle like those of a process of its own.
func (f *fixture) watching(databaseRole string) *tenant.DB {
	f.t.Helper()
	db, err := tenant.Open(f.t.Context(), tenant.Config{DSN: f.world.Database.DSN(databaseRole), Watch: true})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
	return db
}

// until asks again and again until the condition holds, and fails after a while: a
// process that heard nothing would know after [role.Age].
func until(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

// Every process that decides learns of a change that the portal makes, and would not
// otherwise: what it has read it keeps.
func TestAChangeReachesEveryProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	processes := map[string]*authz.Policies{}
	for _, databaseRole := range []string{"carillon_device", "carillon_issuer", "carillon_report", "carillon_portal", "carillon_operator"} {
		processes[databaseRole] = role.NewPolicies(f.watching(databaseRole))
	}
	may := func(name string) bool {
		err := processes[name].Check(t.Context(), f.north.ID.String(), person("tracer"), authz.CodeIssue)
		if err != nil && !errors.Is(err, authz.ErrForbidden) {
			t.Fatalf("%s: %v", name, err)
		}
		return err == nil
	}
	for name := range processes {
		if may(name) {
			t.Fatalf("%s knows the role beforehand", name)
		}
	}
	f.save(tracer)
	for name := range processes {
		until(t, name+" knows the new role", time.Minute, func() bool { return may(name) })
	}
	r := f.find("tracer")
	r.Denied = []authz.Action{authz.CodeIssue}
	r.Allowed = []authz.Action{authz.StatsRead}
	f.save(r)
	for name := range processes {
		until(t, name+" knows the denial", time.Minute, func() bool { return !may(name) })
	}
}

// Nothing is decided by rules that cannot be read, or are none.
func TestWithoutReadableRulesNothingIsAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	ask := func(policies *authz.Policies, id string) error {
		return policies.Check(t.Context(), id, owner, authz.CodeIssue)
	}
	// The role carillon_publish decides nothing, so that it may not read the rules.
	if err := ask(role.NewPolicies(f.world.Publish), f.north.ID.String()); err == nil || errors.Is(err, authz.ErrForbidden) {
		t.Errorf("rules that cannot be read: %v", err)
	}
	if err := ask(role.NewPolicies(f.world.Device), "north"); err == nil || errors.Is(err, authz.ErrForbidden) {
		t.Errorf("no tenant: %v", err)
	}
	_, err := f.world.Database.Super().ExecContext(t.Context(), `update staff_role set allowed = '{code:forge}' where name = 'tracer'`)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(role.NewPolicies(f.world.Device), f.north.ID.String()); !errors.Is(err, authz.ErrRule) {
		t.Errorf("a rule that is none: %v", err)
	}
}
