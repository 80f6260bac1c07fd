package authz

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", path, diff)
	}
}

func policy(tb testing.TB, own ...Rule) *Policy {
	tb.Helper()
	p, err := NewPolicy(own)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func person(roles ...Role) Subject { return Subject{Kind: Person, ID: "m1", Roles: roles} }

// bearer is a subject of the kind that can hold r.
func bearer(r Role) Subject {
	if slices.Contains(KeyRoles(), r) {
		return Subject{Kind: APIKey, ID: "k1", Roles: []Role{r}}
	}
	return person(r)
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	p := policy(t)
	roles := slices.Concat(TenantRoles(), PlatformRoles(), KeyRoles())

	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "action")
	for _, r := range roles {
		fmt.Fprintf(w, "\t%s", r)
	}
	fmt.Fprintln(w)
	for _, a := range Actions() {
		fmt.Fprint(w, a)
		for _, r := range roles {
			mark := "."
			if p.Allow(bearer(r), a) {
				mark = "yes"
			}
			fmt.Fprintf(w, "\t%s", mark)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	golden(t, "matrix.golden", out.String())
}

func TestBuiltinRulesNameOnlyKnownThings(t *testing.T) {
	t.Parallel()
	lines, err := parseBuiltin(builtinRules)
	if err != nil {
		t.Fatal(err)
	}
	roles := slices.Concat(TenantRoles(), PlatformRoles(), KeyRoles())
	for _, l := range lines {
		if !slices.Contains(roles, Role(l[0])) || !Action(l[1]).Known() || Effect(l[2]) != Allowed {
			t.Errorf("rule %v names something unknown", l)
		}
	}
}

func TestActionsAreDistinct(t *testing.T) {
	t.Parallel()
	actions := Actions()
	slices.Sort(actions)
	if got, want := len(slices.Compact(actions)), len(Actions()); got != want {
		t.Errorf("%d distinct actions of %d", got, want)
	}
	Actions()[0] = "changed"
	if Actions()[0] != CodeIssue {
		t.Error("a caller can change the list of actions")
	}
}

func TestDenyByDefault(t *testing.T) {
	t.Parallel()
	p := policy(t)
	tests := []struct {
		name    string
		subject Subject
		action  Action
	}{
		{"no roles", person(), CodeIssue},
		{"no kind", Subject{Roles: []Role{Owner}}, CodeIssue},
		{"unknown kind", Subject{Kind: "robot", Roles: []Role{Owner}}, CodeIssue},
		{"unknown role", person("janitor"), CodeIssue},
		{"empty role", person(""), CodeIssue},
		{"role with a pattern", person("*"), CodeIssue},
		{"role in capitals", person("Owner"), CodeIssue},
		{"unknown action", person(Owner), "code:forge"},
		{"empty action", person(Owner), ""},
		{"action with a pattern", person(Owner), "code:*"},
		{"owner acting as a phone", person(Owner), DeviceVerify},
		{"person with an API key's role", person(KeyDevice), DeviceVerify},
		{"API key with a person's role", Subject{Kind: APIKey, Roles: []Role{Owner}}, CodeIssue},
		{"API key with an own role", Subject{Kind: APIKey, Roles: []Role{"tracer"}}, CodeIssue},
		{"system with a tenant's role", Subject{Kind: System, Roles: []Role{Owner}}, CodeIssue},
		{"the name is no role", Subject{Kind: Person, ID: "owner", Name: "owner"}, CodeIssue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if p.Allow(tt.subject, tt.action) {
				t.Errorf("%v may %s", tt.subject, tt.action)
			}
			if allowed, because := p.Explain(tt.subject, tt.action); allowed || because == "" {
				t.Errorf("Explain = %v, %q; want a denial with a reason", allowed, because)
			}
		})
	}
}

func TestOwnRules(t *testing.T) {
	t.Parallel()
	p := policy(t,
		Rule{"tracer", CodeIssue, Allowed},
		Rule{"tracer", StatsRead, Allowed},
		Rule{Analyst, AuditRead, Allowed},
		Rule{Caseworker, CodeBulkIssue, Denied},
		Rule{Caseworker, CodeBulkIssue, Denied}, // a second time changes nothing
		Rule{Caseworker, CodeIssue, Allowed},    // as built in
	)
	tests := []struct {
		name    string
		subject Subject
		action  Action
		want    bool
		because string
	}{
		{"own role", person("tracer"), CodeIssue, true, "role tracer allows code:issue (the authority's own rule)"},
		{"own role, more", person("tracer"), CodeExpire, false, "no rule gives code:expire to tracer"},
		{"built-in role widened", person(Analyst), AuditRead, true, "role analyst allows audit:read (the authority's own rule)"},
		{"built-in role narrowed", person(Caseworker), CodeBulkIssue, false, "role caseworker is denied code:bulk-issue (the authority's own rule)"},
		{"the rest of it stays", person(Caseworker), CodeIssue, true, "role caseworker allows code:issue (built in)"},
		{"a denial beats another role", person(Administrator, Caseworker), CodeBulkIssue, false, "role caseworker is denied code:bulk-issue (the authority's own rule)"},
		{"but not the owner's", person(Owner, Caseworker), CodeBulkIssue, true, "role owner allows code:bulk-issue (built in)"},
		{"others are not touched", person(Administrator), CodeBulkIssue, true, "role administrator allows code:bulk-issue (built in)"},
		{"API keys are not touched", bearer(KeyAdmin), CodeBulkIssue, true, "role key-admin allows code:bulk-issue (built in)"},
		{"no role", person(), CodeIssue, false, "no rule gives code:issue to no role"},
		{"unknown action", person(Owner), "code:forge", false, "there is no such action"},
		{"wrong kind", Subject{Kind: APIKey, Roles: []Role{Owner}}, CodeIssue, false, "no rule gives code:issue to no role; roles that do not fit this kind of subject (api-key) do not count"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := p.Allow(tt.subject, tt.action); got != tt.want {
				t.Errorf("Allow = %v, want %v", got, tt.want)
			}
			got, because := p.Explain(tt.subject, tt.action)
			if got != tt.want || because != tt.because {
				t.Errorf("Explain = %v, %q\nwant %v, %q", got, because, tt.want, tt.because)
			}
		})
	}
}

func TestRulesOutOfReach(t *testing.T) {
	t.Parallel()
	tests := map[string]Rule{
		"unknown action":       {"tracer", "code:forge", Allowed},
		"pattern for action":   {"tracer", "*", Allowed},
		"phones' action":       {"tracer", DeviceVerify, Allowed},
		"unknown effect":       {"tracer", CodeIssue, "maybe"},
		"no effect":            {"tracer", CodeIssue, ""},
		"owner narrowed":       {Owner, RoleWrite, Denied},
		"platform role":        {Operator, CodeIssue, Allowed},
		"platform role denied": {Support, SettingsRead, Denied},
		"API key's role":       {KeyStats, CodeIssue, Allowed},
		"no role":              {"", CodeIssue, Allowed},
		"pattern for role":     {"*", CodeIssue, Allowed},
		"role of one letter":   {"t", CodeIssue, Allowed},
		"role of 41 letters":   {Role(strings.Repeat("a", 41)), CodeIssue, Allowed},
		"role with a comma":    {"tracer, owner", CodeIssue, Allowed},
		"role in capitals":     {"Tracer", CodeIssue, Allowed},
		"two hyphens":          {"contact--tracer", CodeIssue, Allowed},
		"hyphen at the end":    {"tracer-", CodeIssue, Allowed},
	}
	for name, rule := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := rule.Validate(); !errors.Is(err, ErrRule) {
				t.Errorf("Validate = %v, want ErrRule", err)
			}
			good := Rule{"tracer", CodeIssue, Allowed}
			if _, err := NewPolicy([]Rule{good, rule}); !errors.Is(err, ErrRule) {
				t.Errorf("NewPolicy = %v, want ErrRule", err)
			}
		})
	}
	if err := (Rule{Role(strings.Repeat("a", 40)), CodeIssue, Allowed}).Validate(); err != nil {
		t.Errorf("a role of 40 letters: %v", err)
	}
}

func TestMayGrant(t *testing.T) {
	t.Parallel()
	p := policy(t,
		Rule{"tracer", CodeIssue, Allowed},
		Rule{"rotator", KeyRequestRotation, Allowed},
	)
	grants := map[Role][]Role{
		Owner:         {Owner, Administrator, Caseworker, KeyCustodian, Analyst, Auditor, "tracer", "rotator"},
		Administrator: {Administrator, Caseworker, Analyst, Auditor, "tracer"},
		Caseworker:    {Caseworker, "tracer"},
		KeyCustodian:  {KeyCustodian, "rotator"},
		Analyst:       {Analyst},
		Auditor:       {Analyst, Auditor},
		Operator:      {Analyst, Auditor},
		"tracer":      {"tracer"},
		"unknown":     nil,
	}
	candidates := slices.Concat(p.Roles(), PlatformRoles(), KeyRoles(), []Role{"unknown", ""})
	for granter, want := range grants {
		var got []Role
		for _, r := range candidates {
			if p.MayGrant(person(granter), r) {
				got = append(got, r)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s may grant (-want +got):\n%s", granter, diff)
		}
	}
}

func TestBrokenBuiltins(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a field short": "p, owner, code:issue",
		"stray quote":   `p, "owner, code:issue, allow`,
	} {
		if _, err := parseBuiltin(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	p := policy(b)
	for _, bench := range []struct {
		name    string
		subject Subject
		action  Action
		want    bool
	}{
		{"allow", person(Caseworker), CodeIssue, true},
		{"deny", person(Caseworker), AuditRead, false},
		{"api-key", bearer(KeyDevice), DeviceVerify, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Allow(bench.subject, bench.action) != bench.want {
					b.Fatal("wrong decision")
				}
			}
		})
	}
}

func BenchmarkNewPolicy(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		policy(b)
	}
}
