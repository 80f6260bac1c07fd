package role

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
)

var histories = flag.Int("histories", 60, "how many random histories of edits to try")

// authority is one whose staff change roles and give them to each other.
type authority struct {
	*rand.Rand
	t     *testing.T
	own   []Role
	staff []Member
}

func (a *authority) policy() *authz.Policy {
	a.t.Helper()
	p, err := authz.NewPolicy(rulesOf(a.own))
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// some picks about n of a list.
func some[T any](r *rand.Rand, list []T, n int) []T {
	var out []T
	for _, x := range list {
		if r.IntN(len(list)) < n {
			out = append(out, x)
		}
	}
	return out
}

var ownNames = []authz.Role{"aa", "bb", "cc", "dd"}

// draft is any role, with any rules that do not contradict each other.
func (a *authority) draft() Role {
	name := pick(a.Rand, append(authz.TenantRoles(), ownNames...))
	r := Role{Name: name, BuiltIn: !slices.Contains(ownNames, name)}
	if at := find(a.own, name); at >= 0 {
		r = a.own[at]
	}
	// Mostly a small change, as people make.
	for range 1 + a.IntN(3) {
		action := pick(a.Rand, authz.StaffActions())
		without := func(list []authz.Action) []authz.Action {
			return slices.DeleteFunc(slices.Clone(list), func(b authz.Action) bool { return b == action })
		}
		r.Allowed, r.Denied = without(r.Allowed), without(r.Denied)
		switch a.IntN(3) {
		case 0:
			r.Allowed = append(r.Allowed, action)
		case 1:
			r.Denied = append(r.Denied, action)
		}
	}
	if a.IntN(8) == 0 {
		r.Allowed, r.Denied = nil, nil
	}
	return r
}

// act has somebody do something at random, if she may: change a role, delete one, or
// change the roles of somebody. It reports whether she might.
func (a *authority) act(by int) bool {
	s := situation{by: a.staff[by].subject(), own: a.own, policy: a.policy(), staff: a.staff}
	if a.IntN(2) == 0 {
		if !s.policy.Allow(s.by, authz.MemberWrite) {
			return false
		}
		whom, to := a.IntN(len(a.staff)), some(a.Rand, append(authz.TenantRoles(), ownNames...), 3)
		if !s.policy.MayChange(s.by, a.staff[whom].Roles, to) {
			return false
		}
		a.staff[whom].Roles = to
		return true
	}
	if !s.policy.Allow(s.by, authz.RoleWrite) {
		return false
	}
	var p Plan
	var err error
	if a.IntN(6) == 0 {
		p, err = s.deleting(pick(a.Rand, ownNames))
	} else {
		p, err = s.saving(a.draft())
	}
	if err != nil || p.admit(p.Before.Version) != nil {
		return false
	}
	p.After.Version = uuid.New()
	a.own = with(a.own, p.After)
	return true
}

// allowed are the actions of somebody.
func allowed(p *authz.Policy, m Member) map[authz.Action]bool {
	may := map[authz.Action]bool{}
	for _, action := range authz.StaffActions() {
		if p.Allow(m.subject(), action) {
			may[action] = true
		}
	}
	return may
}

// Some of the staff conspire, in any order and as often as they like, while the others
// do nothing. Nobody, conspirator or not, comes to be allowed anything that neither she
// nor a conspirator was allowed at first; and owners are allowed everything all along.
func TestNoSequenceOfPermittedEditsEscalates(t *testing.T) {
	t.Parallel()
	acts := 0
	for seed := range *histories {
		a := &authority{Rand: rand.New(rand.NewPCG(uint64(seed), 1)), t: t}
		for range 6 {
			a.staff = append(a.staff, Member{ID: uuid.New(), Roles: some(a.Rand, append(authz.TenantRoles()[1:], ownNames...), 3)})
		}
		for range 6 {
			if r, err := a.draft().tidied(); err == nil {
				r.Version = uuid.New()
				a.own = with(a.own, r)
			}
		}
		// Conspirators may change roles and staff, unless something else denies it to them.
		a.own = with(a.own, Role{Name: "plotter", Allowed: []authz.Action{authz.RoleWrite, authz.MemberWrite}, Version: uuid.New()})
		conspirators := 1 + a.IntN(3)
		for i := range conspirators {
			a.staff[i].Roles = append(a.staff[i].Roles, "plotter")
		}
		a.staff = append(a.staff, Member{ID: uuid.New(), Roles: []authz.Role{authz.Owner, "aa", "bb"}})
		boss := len(a.staff) - 1

		policy := a.policy()
		common := map[authz.Action]bool{}
		first := make([]map[authz.Action]bool, len(a.staff))
		for i, m := range a.staff {
			first[i] = allowed(policy, m)
			for action := range first[i] {
				common[action] = common[action] || i < conspirators
			}
		}
		for step := range 30 {
			if !a.act(a.IntN(conspirators)) {
				continue
			}
			acts++
			policy = a.policy()
			for i, m := range a.staff {
				for action := range allowed(policy, m) {
					if !common[action] && !first[i][action] {
						t.Fatalf("history %d, step %d: member %d with %v came to %s", seed, step, i, m.Roles, action)
					}
				}
			}
			if may := allowed(policy, a.staff[boss]); slices.Contains(a.staff[boss].Roles, authz.Owner) && len(may) != len(authz.StaffActions()) {
				t.Fatalf("history %d, step %d: the owner with %v may only %v", seed, step, a.staff[boss].Roles, may)
			}
		}
	}
	if acts < 3**histories {
		t.Errorf("only %d acts in %d histories: too few to tell anything", acts, *histories)
	}
	t.Logf("%d permitted acts in %d histories", acts, *histories)
}
