package authz

import (
	"context"
	"errors"
	"testing"
)

// book is where the tests' tenants keep their rules.
type book struct {
	rules map[string][]Rule
	err   error
}

func (b *book) policy(_ context.Context, tenant string) (*Policy, error) {
	if b.err != nil {
		return nil, b.err
	}
	return NewPolicy(b.rules[tenant])
}

func check(t *testing.T, ps *Policies, tenant string, s Subject, a Action, want error) {
	t.Helper()
	if err := ps.Check(t.Context(), tenant, s, a); !errors.Is(err, want) {
		t.Errorf("Check(%s, %v, %s) = %v, want %v", tenant, s, a, err, want)
	}
}

func TestCheckKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	b := book{rules: map[string][]Rule{"north": {{"tracer", CodeIssue, Allowed}, {Caseworker, CodeBulkIssue, Denied}}}}
	ps := NewPolicies(b.policy)

	check(t, ps, "north", person("tracer"), CodeIssue, nil)
	check(t, ps, "south", person("tracer"), CodeIssue, ErrForbidden)
	check(t, ps, "north", person(Caseworker), CodeBulkIssue, ErrForbidden)
	check(t, ps, "south", person(Caseworker), CodeBulkIssue, nil)
	check(t, ps, "", person("tracer"), CodeIssue, ErrForbidden)
}

func TestCheckGrant(t *testing.T) {
	t.Parallel()
	ps := NewPolicies(nil)
	for _, tt := range []struct {
		by   Role
		role Role
		want error
	}{
		{Owner, KeyCustodian, nil},
		{Administrator, Caseworker, nil},
		{Administrator, KeyCustodian, ErrForbidden}, // holds less than it would give
		{Caseworker, Caseworker, ErrForbidden},      // may not change members
		{Owner, Operator, ErrForbidden},
		{Owner, KeyStats, ErrForbidden},
		{Owner, KeySCIM, ErrForbidden},
	} {
		if err := ps.CheckGrant(t.Context(), "north", person(tt.by), tt.role); !errors.Is(err, tt.want) {
			t.Errorf("%s gives %s: %v, want %v", tt.by, tt.role, err, tt.want)
		}
	}
}

// Who changes a member's roles needs what she comes to be allowed, also by losing a role
// that denied it.
func TestCheckRoles(t *testing.T) {
	t.Parallel()
	b := book{rules: map[string][]Rule{"north": {
		{"muzzled", StatsRead, Denied}, {"muzzled", KeyRead, Denied}, {"blindfolded", StatsRead, Denied},
	}}}
	ps := NewPolicies(b.policy)
	for _, tt := range []struct {
		by       Subject
		from, to []Role
		want     error
	}{
		{person(Administrator), []Role{Caseworker}, []Role{Analyst}, nil},
		{person(Administrator), []Role{Owner}, []Role{Analyst}, nil}, // taking away is no grant
		{person(Administrator), []Role{KeyCustodian}, []Role{KeyCustodian, Analyst}, nil},
		{person(Administrator), nil, []Role{Analyst, KeyCustodian}, ErrForbidden},
		{person(Administrator), []Role{KeyCustodian, "muzzled"}, []Role{KeyCustodian}, nil},
		{person(Administrator, "blindfolded"), []Role{KeyCustodian, "muzzled"}, []Role{KeyCustodian}, ErrForbidden},
		{person(Administrator, "blindfolded"), []Role{Administrator, "blindfolded"}, []Role{Administrator}, ErrForbidden}, // of herself
		{person(Administrator, "blindfolded"), []Role{Caseworker}, []Role{Caseworker, "blindfolded"}, nil},
		{person(Caseworker), []Role{Analyst}, []Role{Caseworker}, ErrForbidden}, // may not change members
	} {
		if err := ps.CheckRoles(t.Context(), "north", tt.by, tt.from, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("%v makes %v of %v: %v, want %v", tt.by, tt.to, tt.from, err, tt.want)
		}
	}
}

func TestRulesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := book{err: errors.New("broken")}
	ps := NewPolicies(b.policy)
	err := ps.Check(t.Context(), "north", person(Owner), CodeIssue)
	if !errors.Is(err, b.err) || errors.Is(err, ErrForbidden) {
		t.Errorf("Check = %v, want the source's error and not ErrForbidden", err)
	}
	if err := ps.CheckGrant(t.Context(), "north", person(Owner), Caseworker); !errors.Is(err, b.err) {
		t.Errorf("CheckGrant = %v", err)
	}
	b.err = nil
	check(t, ps, "north", person(Owner), CodeIssue, nil)
	b.rules = map[string][]Rule{"south": {{Owner, CodeIssue, Denied}}}
	check(t, ps, "south", person(Owner), CodeIssue, ErrRule)
}
