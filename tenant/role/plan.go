package role

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"carillon/authz"
)

// Why a change is refused.
var (
	// ErrUnknown means that there is no such role, or that nobody may change it.
	ErrUnknown = errors.New("no such role")
	// ErrName means that a role cannot have this name: 2 to 40 lower-case letters and
	// digits, with single hyphens between them.
	ErrName = errors.New("not a name for a role")
	// ErrTaken means that another role has this name.
	ErrTaken = errors.New("another role has this name")
	// ErrDescription means that a description is longer than 200 characters, or is not
	// one line of text.
	ErrDescription = errors.New("not a description of a role")
	// ErrEmpty means that a role of the authority's own allows and denies nothing.
	ErrEmpty = errors.New("role says nothing")
	// ErrLacking means that a change gives actions that whoever makes it lacks.
	ErrLacking = errors.New("gives what the giver lacks")
	// ErrChanged means that somebody else has changed the role in the meantime.
	ErrChanged = errors.New("role was changed by somebody else")
	// ErrHeld means that a role to be deleted is still somebody's.
	ErrHeld = errors.New("role is somebody's")
	// ErrTooMany means that the authority has as many roles as it may have.
	ErrTooMany = errors.New("too many roles")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrUnknown, ErrName, ErrTaken, ErrDescription, ErrEmpty, ErrLacking, ErrChanged, ErrHeld, ErrTooMany}
}

const maxDescription = 200

// tidied returns r as it is stored: rules in order and each once. An error says what is
// wrong with it; [authz.ErrRule] if it is a rule.
func (r Role) tidied() (Role, error) {
	r.Description = strings.TrimSpace(r.Description)
	if r.BuiltIn {
		r.Description = ""
	}
	r.Allowed, r.Denied = ordered(r.Allowed), ordered(r.Denied)
	anything := authz.Rule{Role: r.Name, Action: authz.CodeRead, Effect: authz.Allowed}
	switch {
	case r.Name == authz.Owner, r.Version != uuid.Nil && anything.Validate() != nil:
		return r, ErrUnknown
	case anything.Validate() != nil:
		return r, ErrName
	case r.BuiltIn != slices.Contains(authz.TenantRoles(), r.Name):
		return r, ErrTaken
	case !utf8.ValidString(r.Description) || utf8.RuneCountInString(r.Description) > maxDescription || strings.ContainsFunc(r.Description, func(c rune) bool { return !unicode.IsPrint(c) }):
		return r, ErrDescription
	case !r.BuiltIn && len(r.rules()) == 0:
		return r, ErrEmpty
	}
	for _, rule := range r.rules() {
		if err := rule.Validate(); err != nil {
			return r, err
		}
		if slices.Contains(r.Allowed, rule.Action) && slices.Contains(r.Denied, rule.Action) {
			return r, fmt.Errorf("%w: %s is both allowed and denied", authz.ErrRule, rule.Action)
		}
	}
	return r, nil
}

// ordered puts actions in the order of [authz.Actions], and unknown ones last.
func ordered(list []authz.Action) []authz.Action {
	place := func(a authz.Action) int {
		if at := slices.Index(authz.Actions(), a); at >= 0 {
			return at
		}
		return len(authz.Actions())
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b authz.Action) int { return place(a) - place(b) })
	return slices.Compact(list)
}

// says is what the authority's own rules of r say of an action; empty for nothing.
func (r Role) says(a authz.Action) authz.Effect {
	switch {
	case slices.Contains(r.Denied, a):
		return authz.Denied
	case slices.Contains(r.Allowed, a):
		return authz.Allowed
	}
	return ""
}

// Difference is an action of which a role says something else than before. An empty
// effect says nothing: then the action is allowed if that is built in, or if another role
// allows it.
type Difference struct {
	Action        authz.Action
	Before, After authz.Effect
}

// gives reports whether somebody may come to be allowed something by d.
func (d Difference) gives() bool {
	return d.After == authz.Allowed || d.Before == authz.Denied
}

func differences(before, after Role) []Difference {
	var list []Difference
	for _, a := range authz.StaffActions() {
		if d := (Difference{a, before.says(a), after.says(a)}); d.Before != d.After {
			list = append(list, d)
		}
	}
	return list
}

// Plan is what a change of a role would do.
type Plan struct {
	// Before is the role as it is, After as it would be: one without rules is deleted.
	Before, After Role
	Differences   []Difference
	// Lacking are the actions that the change gives and whoever plans it lacks. She may
	// not make it unless there are none.
	Lacking []authz.Action
	// Holders are the members who have the role, by name.
	Holders []Member
	// Uses are by what others may come to have it.
	Uses []Use
	// Effects are for whom something changes, by name.
	Effects []Effect
}

// Changes reports whether anything would be different.
func (p Plan) Changes() bool {
	return len(p.Differences) > 0 || p.Before.Description != p.After.Description
}

// admit reports whether whoever made the plan may carry it out, having seen a version.
func (p Plan) admit(version uuid.UUID) error {
	switch {
	case p.Before.Version != version:
		return ErrChanged
	case len(p.Lacking) > 0:
		return ErrLacking
	case p.Deletes() && len(p.Holders)+len(p.Uses) > 0:
		return ErrHeld
	}
	return nil
}

// Deletes reports whether a role of the authority's own would be no more.
func (p Plan) Deletes() bool { return !p.After.BuiltIn && len(p.After.rules()) == 0 }

// Effect is what somebody may do by a change that she might not do before, and the
// other way round.
type Effect struct {
	Member       Member
	Gains, Loses []authz.Action
}

// Use is something by which people come to have a role: an invitation that waits, a group
// of the identity provider, or what a provider says at sign-in.
type Use struct {
	Kind UseKind
	Name string
	Role authz.Role
}

// UseKind says by what people come to have a role.
type UseKind string

// The kinds.
const (
	Invitation UseKind = "invitation"
	Group      UseKind = "group"
	Provider   UseKind = "provider"
)

// Member is somebody on the staff, with the roles of her groups.
type Member struct {
	ID    uuid.UUID
	Name  string
	Roles []authz.Role
}

func (m Member) subject() authz.Subject {
	return authz.Subject{Kind: authz.Person, ID: m.ID.String(), Name: m.Name, Roles: m.Roles}
}

// situation is everything that a change is judged by.
type situation struct {
	by     authz.Subject
	own    []Role
	policy *authz.Policy
	staff  []Member
	uses   []Use
}

// with are the own roles with one replaced, added, or removed if it says nothing.
func with(own []Role, r Role) []Role {
	list := slices.DeleteFunc(slices.Clone(own), func(o Role) bool { return o.Name == r.Name })
	if len(r.rules()) > 0 {
		list = append(list, r)
	}
	return list
}

// plan finds out what it would do to replace a role. after is tidied, or without rules.
func (s situation) plan(after Role) (Plan, error) {
	before := Role{Name: after.Name, BuiltIn: after.BuiltIn}
	if at := find(s.own, after.Name); at >= 0 {
		before = s.own[at]
	}
	p := Plan{Before: before, After: after, Differences: differences(before, after)}
	for _, d := range p.Differences {
		if d.gives() && !s.policy.Allow(s.by, d.Action) {
			p.Lacking = append(p.Lacking, d.Action)
		}
	}
	for _, u := range s.uses {
		if u.Role == after.Name {
			p.Uses = append(p.Uses, u)
		}
	}
	then, err := authz.NewPolicy(rulesOf(with(s.own, after)))
	if err != nil {
		return Plan{}, err
	}
	for _, m := range s.staff {
		if slices.Contains(m.Roles, after.Name) {
			p.Holders = append(p.Holders, m)
			if e := effect(s.policy, then, m); len(e.Gains)+len(e.Loses) > 0 {
				p.Effects = append(p.Effects, e)
			}
		}
	}
	return p, nil
}

func effect(now, then *authz.Policy, m Member) Effect {
	e := Effect{Member: m}
	for _, a := range authz.StaffActions() {
		switch may, will := now.Allow(m.subject(), a), then.Allow(m.subject(), a); {
		case will && !may:
			e.Gains = append(e.Gains, a)
		case may && !will:
			e.Loses = append(e.Loses, a)
		}
	}
	return e
}
