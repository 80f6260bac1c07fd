package approval_test

import (
	"testing"

	"carillon/authz"
	"carillon/tenant/approval"
)

// The number in the navigation is of what somebody may decide, not of what she asked for.
func TestCount(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if _, err := f.ask(t, f.ada, activate); err != nil {
		t.Fatal(err)
	}
	policy, err := authz.NewPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	desk := approval.NewDesk(approval.DeskConfig{DB: f.Portal, Policies: authz.NewPolicies(nil), Now: f.Now})
	for who, want := range map[*authz.Subject]int{&f.ada: 0, &f.bea: 1} {
		if got, err := desk.Count(t.Context(), f.north, *who, policy); err != nil || got != want {
			t.Errorf("%s may decide %d, %v; want %d", who.Name, got, err, want)
		}
	}
	if got, err := desk.Count(t.Context(), f.north, authz.Subject{Kind: authz.Person, ID: f.bea.ID, Roles: []authz.Role{authz.Analyst}}, policy); err != nil || got != 0 {
		t.Errorf("an analyst may decide %d, %v", got, err)
	}
	f.Advance(approval.Life)
	if got, err := desk.Count(t.Context(), f.north, f.bea, policy); err != nil || got != 0 {
		t.Errorf("of what has expired %d wait, %v", got, err)
	}
}
