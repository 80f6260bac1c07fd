package bench

import (
	"testing"

	"carillon/authz"
)

// What is measured is ten rules, which make a policy that allows some and denies some.
func TestOwnRulesAreTen(t *testing.T) {
	t.Parallel()
	var rules []authz.Rule
	for _, r := range ownRules() {
		for _, a := range r.Allowed {
			rules = append(rules, authz.Rule{Role: r.Name, Action: a, Effect: authz.Allowed})
		}
		for _, a := range r.Denied {
			rules = append(rules, authz.Rule{Role: r.Name, Action: a, Effect: authz.Denied})
		}
	}
	if len(rules) != 10 {
		t.Errorf("%d rules", len(rules))
	}
	p, err := authz.NewPolicy(rules)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[bool]int{}
	for _, u := range users(20) {
		answers[p.Allow(u, authz.CodeBulkIssue)]++
	}
	if answers[true] == 0 || answers[false] == 0 {
		t.Errorf("of 20 users %d may, %d may not", answers[true], answers[false])
	}
}
