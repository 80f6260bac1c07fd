package authz

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
)

//go:embed model.conf
var modelText string

//go:embed builtin.csv
var builtinRules string

// Effect is what a rule does.
type Effect string

// The effects. A denial beats any permission, whichever role it comes from.
const (
	Allowed Effect = "allow"
	Denied  Effect = "deny"
)

// Rule gives an action to a role, or denies it. Rules that a tenant writes define
// new roles, widen its built-in ones, or narrow any of them but [Owner].
type Rule struct {
	Role   Role
	Action Action
	Effect Effect
}

// ErrRule means that a tenant's rule names an action that is unknown or not for
// staff, a role that is out of the tenant's reach, or an effect that is unknown.
var ErrRule = errors.New("rule of no use")

// Validate checks a rule that a tenant wrote: [ErrRule], with the reason.
func (r Rule) Validate() error {
	switch {
	case !slices.Contains(RuleActions(), r.Action):
		return fmt.Errorf("%w: no action that a rule can be about is called %q", ErrRule, r.Action)
	case r.Effect != Allowed && r.Effect != Denied:
		return fmt.Errorf("%w: the effect is neither allow nor deny", ErrRule)
	case r.Role == Owner:
		return fmt.Errorf("%w: the owner's permissions are fixed, so that nobody can lock the authority out", ErrRule)
	case !slices.Contains(TenantRoles(), r.Role) && !r.Role.own():
		return fmt.Errorf("%w: no role of staff can be called %q", ErrRule, r.Role)
	}
	return nil
}

// Origins of rules, as they stand in the enforcer and in explanations.
const (
	builtIn = "built in"
	ownRule = "the authority's own rule"
)

// Policy decides for one tenant. It never changes, so it is safe for concurrent
// use; a tenant whose rules change gets a new one.
type Policy struct {
	enforcer *casbin.Enforcer // of the rules of own roles
	roles    []Role           // that staff may be given
	own      []Role           // of which the tenant's rules say something
	// builtIn decides for all other roles. All tenants have it in common, so that what
	// one of them costs depends on its own rules alone. It is nil in itself.
	builtIn *Policy
	// ruled remembers which rule decides for holders of one role: every request asks,
	// and evaluating the rules costs a tenth of a phone's. It grows to the number of
	// roles times actions.
	ruled sync.Map // of question to ruling
}

type question struct {
	role   Role
	action Action
}

// ruling is the rule that decides a question, in the columns of the policy's file
// with its origin: nil if there is none.
type ruling []string

func (r ruling) effect() Effect {
	if r == nil {
		return ""
	}
	return Effect(r[2])
}

// builtInPolicy is the policy of tenants without rules of their own.
var builtInPolicy = sync.OnceValues(func() (*Policy, error) {
	rules, err := parseBuiltin(builtinRules)
	if err != nil {
		return nil, err
	}
	p := &Policy{roles: TenantRoles()}
	p.enforcer, err = newEnforcer(rules)
	return p, err
})

// NewPolicy makes a policy of the built-in rules and the tenant's own. Any rule
// that does not pass [Rule.Validate] fails the whole: half a policy might lack a
// denial.
func NewPolicy(own []Rule) (*Policy, error) {
	base, err := builtInPolicy()
	if err != nil || len(own) == 0 {
		return base, err
	}
	p := &Policy{roles: TenantRoles(), builtIn: base}
	var rules [][]string
	for _, r := range own {
		if err := r.Validate(); err != nil {
			return nil, err
		}
		if !slices.Contains(p.own, r.Role) {
			p.own = append(p.own, r.Role)
			inherited, err := base.enforcer.GetFilteredPolicy(0, string(r.Role))
			if err != nil {
				return nil, fmt.Errorf("built-in rules: %w", err)
			}
			rules = append(rules, inherited...)
		}
		if !slices.Contains(p.roles, r.Role) {
			p.roles = append(p.roles, r.Role)
		}
		rules = append(rules, []string{string(r.Role), string(r.Action), string(r.Effect), ownRule})
	}
	p.enforcer, err = newEnforcer(rules)
	return p, err
}

// parseBuiltin reads Casbin's policy format: p, role, action, effect.
func parseBuiltin(text string) ([][]string, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, 4
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("built-in rules: %w", err)
	}
	for i, l := range lines {
		lines[i] = append(l[1:], builtIn)
	}
	return lines, nil
}

func newEnforcer(rules [][]string) (*casbin.Enforcer, error) {
	e, err := compile(rules)
	if err != nil {
		return nil, fmt.Errorf("casbin enforcer: %w", err)
	}
	return e, nil
}

func compile(rules [][]string) (*casbin.Enforcer, error) {
	m, err := model.NewModelFromString(modelText)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	e.AddFunction("holds", holds)
	if _, err := e.AddPolicies(rules); err != nil {
		return nil, err
	}
	// The matcher is compiled at first use; a mistake in it should show here.
	_, err = e.Enforce([]Role(nil), "")
	return e, err
}

// holds is the matcher's own function: whether a role is among those held.
func holds(args ...any) (any, error) {
	if len(args) != 2 {
		return false, errors.New("holds takes roles and a role")
	}
	roles, ok := args[0].([]Role)
	role, ok2 := args[1].(string)
	if !ok || !ok2 {
		return false, errors.New("holds takes roles and a role")
	}
	return slices.Contains(roles, Role(role)), nil
}

// Allow reports whether s may do a. Whatever no rule allows is denied, and so are
// unknown actions, unknown roles, and roles that do not fit the subject's kind.
func (p *Policy) Allow(s Subject, a Action) bool {
	r, err := p.decide(s.held(), a)
	return err == nil && r.effect() == Allowed
}

// decide returns the rule that decides: one that denies if there is any, or else one
// that allows. What an owner is allowed no other role takes away.
func (p *Policy) decide(held []Role, a Action) (ruling, error) {
	if slices.Contains(held, Owner) {
		if r, err := p.rule(question{Owner, a}); err != nil || r != nil {
			return r, err
		}
	}
	var allowed ruling
	for _, role := range held {
		r, err := p.rule(question{role, a})
		if err != nil || r.effect() == Denied {
			return r, err
		}
		if allowed == nil {
			allowed = r
		}
	}
	return allowed, nil
}

func (p *Policy) rule(q question) (ruling, error) {
	if p.builtIn != nil && !slices.Contains(p.own, q.role) {
		return p.builtIn.rule(q)
	}
	if r, known := p.ruled.Load(q); known {
		return r.(ruling), nil
	}
	_, rule, err := p.enforcer.EnforceEx([]Role{q.role}, string(q.action))
	if err != nil {
		return nil, err
	}
	var r ruling
	if len(rule) > 0 {
		r = rule
	}
	if q.action.Known() && p.knows(q.role) {
		p.ruled.Store(q, r)
	}
	return r, nil
}

// knows bounds what is remembered: roles and actions come from the database.
func (p *Policy) knows(r Role) bool {
	return slices.Contains(p.roles, r) || slices.Contains(KeyRoles(), r)
}

// Explain decides as [Policy.Allow] does, and says in English which rule decided.
// The text is for the tenant's own staff; it holds no name.
func (p *Policy) Explain(s Subject, a Action) (allowed bool, because string) {
	if !a.Known() {
		return false, "there is no such action"
	}
	held := s.held()
	rule, err := p.decide(held, a)
	switch {
	case err != nil:
		return false, "the policy could not be evaluated"
	case rule == nil && len(held) < len(s.Roles):
		return false, fmt.Sprintf("no rule gives %s to %s; roles that do not fit this kind of subject (%s) do not count", a, join(held), s.Kind)
	case rule == nil:
		return false, fmt.Sprintf("no rule gives %s to %s", a, join(held))
	case rule.effect() == Allowed:
		return true, fmt.Sprintf("role %s allows %s (%s)", rule[0], rule[1], rule[3])
	default:
		return false, fmt.Sprintf("role %s is denied %s (%s)", rule[0], rule[1], rule[3])
	}
}

// Says tells what the rules say of one role and one action, and whether a rule of the
// tenant's own does. An empty effect says nothing, which denies unless another role allows.
func (p *Policy) Says(r Role, a Action) (e Effect, own bool) {
	rule, err := p.rule(question{r, a})
	if err != nil || rule == nil {
		return "", false
	}
	return rule.effect(), rule[3] == ownRule
}

// Roles lists the roles that staff of this tenant can have: the built-in ones,
// then those that its own rules define.
func (p *Policy) Roles() []Role { return slices.Clone(p.roles) }

// MayChange reports whether s may change a member's roles: s may grant each that is new,
// and may itself do all that those deny which are taken away. That s may change members
// at all is [MemberWrite], which is not asked here.
func (p *Policy) MayChange(s Subject, from, to []Role) bool {
	for _, r := range to {
		if !slices.Contains(from, r) && !p.MayGrant(s, r) {
			return false
		}
	}
	for _, r := range from {
		if !slices.Contains(to, r) && !p.mayLift(s, r) {
			return false
		}
	}
	return true
}

// mayLift reports whether s may itself do all that r denies.
func (p *Policy) mayLift(s Subject, r Role) bool {
	for _, a := range StaffActions() {
		ruled, err := p.rule(question{r, a})
		if err != nil || ruled.effect() == Denied && !p.Allow(s, a) {
			return false
		}
	}
	return true
}

// MayGrant reports whether s may give role r to a member: r is one of
// [Policy.Roles], and s itself may do all that r allows. That s may change
// members at all is [MemberWrite], which is not asked here.
func (p *Policy) MayGrant(s Subject, r Role) bool {
	if !slices.Contains(p.roles, r) {
		return false
	}
	return p.covers(s, Subject{Kind: Person, Roles: []Role{r}})
}

// MayHoldKey reports whether s may get to see an API key of role r, with which it can do
// all that r allows: what staff can do, s must be able to do itself. That s may write API
// keys at all is [APIKeyWrite], which is not asked here.
func (p *Policy) MayHoldKey(s Subject, r Role) bool {
	return slices.Contains(KeyRoles(), r) && p.covers(s, Subject{Kind: APIKey, Roles: []Role{r}})
}

// covers reports whether s may do all that the holder may, of what staff do.
func (p *Policy) covers(s, holder Subject) bool {
	for _, a := range StaffActions() {
		if p.Allow(holder, a) && !p.Allow(s, a) {
			return false
		}
	}
	return true
}
