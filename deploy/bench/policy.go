package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/role"
)

// PolicyOptions say what to measure of decisions.
type PolicyOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Tenants is how many tenants have rules of their own, Users how many people each has,
	// and Changes how many changes are waited for.
	Tenants, Users, Changes int
}

// The targets of decisions.
const (
	coldTarget   = 20 * time.Millisecond
	decideTarget = 20 * time.Microsecond
	changeTarget = time.Second
	memoryTarget = 64 << 20 // bytes, of a thousand tenants' policies
)

// ownRules are the ten rules of each tenant: two roles of its own, and one that is narrowed.
func ownRules() []role.Role {
	return []role.Role{
		{Name: "tracer", Allowed: []authz.Action{authz.CodeIssue, authz.CodeRead, authz.StatsRead, authz.MemberRead}},
		{Name: "night-shift", Allowed: []authz.Action{authz.CodeIssue, authz.CodeRead, authz.CodeExpire}, Denied: []authz.Action{authz.CodeBulkIssue}},
		{Name: authz.Caseworker, Allowed: []authz.Action{authz.StatsRead}, Denied: []authz.Action{authz.CodeBulkIssue}},
	}
}

// users have one or two roles each, of every kind.
func users(n int) []authz.Subject {
	roles := append(authz.TenantRoles(), "tracer", "night-shift")
	list := make([]authz.Subject, n)
	for i := range list {
		list[i] = authz.Subject{Kind: authz.Person, Roles: []authz.Role{roles[i%len(roles)]}}
		if i >= len(roles) {
			list[i].Roles = append(list[i].Roles, roles[(i+i/len(roles))%len(roles)])
		}
	}
	return list
}

// RunPolicy gives tenants rules of their own and measures decisions as a process makes
// them: the first of each tenant, which reads its rules from the database, the first of
// each user and action, the same once more, the memory that all that takes, and how long a
// change that another process makes is not seen. It is [ErrMissed] if a target is missed.
func RunPolicy(ctx context.Context, o PolicyOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	fmt.Fprintf(o.Out, "%d tenants, %d users and 10 rules of its own each; the process that decides and Postgres share these cores.\n\n", o.Tenants, o.Users)
	tenants, err := s.grow(ctx, o.Tenants)
	if err != nil {
		return err
	}
	r := &policyRun{options: o, stack: s, tenants: tenants, users: users(o.Users)}
	if err := r.store(ctx); err != nil {
		return err
	}
	db, err := tenant.Open(ctx, tenant.Config{DSN: s.dsn("carillon_portal"), Watch: true})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Ping(ctx); err != nil {
		return err
	}
	r.policies = role.NewPolicies(db)
	for _, measure := range []func(context.Context) error{r.decide, r.change} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	if len(r.missed) > 0 {
		fmt.Fprintf(o.Out, "\nTargets missed:\n  %s\n", strings.Join(r.missed, "\n  "))
		return ErrMissed
	}
	fmt.Fprintln(o.Out, "\nEvery target is met.")
	return nil
}

// policyRun is a measurement of decisions under way.
type policyRun struct {
	options  PolicyOptions
	stack    *stack
	tenants  []*target
	users    []authz.Subject
	policies *authz.Policies
	missed   []string
}

const ruleSQL = `
insert into staff_role (tenant_id, name, description, allowed, denied, version)
select t.tenant, $1, '', coalesce($2::text[], '{}'), coalesce($3::text[], '{}'), gen_random_uuid()
  from tenant_directory t`

// store writes every tenant's rules.
func (r *policyRun) store(ctx context.Context) error {
	super, err := sql.Open("postgres", r.stack.dsn(""))
	if err != nil {
		return err
	}
	defer super.Close()
	for _, own := range ownRules() {
		if _, err := super.ExecContext(ctx, ruleSQL, string(own.Name), pq.Array(own.Allowed), pq.Array(own.Denied)); err != nil {
			return fmt.Errorf("store rules: %w", err)
		}
	}
	_, err = super.ExecContext(ctx, `vacuum analyze staff_role`)
	return err
}

// decide measures decisions, and what is kept for them.
func (r *policyRun) decide(ctx context.Context) error {
	before := heap()
	cold := make([]time.Duration, 0, len(r.tenants))
	for _, t := range r.tenants {
		took, err := r.time(ctx, t, r.users[:1], authz.StaffActions()[:1])
		if err != nil {
			return err
		}
		cold = append(cold, took)
	}
	slices.Sort(cold)
	r.figure("first decision of a tenant", cold, 99, coldTarget)
	for _, what := range []string{"first of a user and an action", "the same once more"} {
		took := make([]time.Duration, 0, len(r.tenants))
		each := len(r.users) * len(authz.StaffActions())
		for _, t := range r.tenants {
			all, err := r.time(ctx, t, r.users, authz.StaffActions())
			if err != nil {
				return err
			}
			took = append(took, all/time.Duration(each))
		}
		slices.Sort(took)
		r.figure(fmt.Sprintf("%s, mean of a tenant's %d", what, each), took, 50, decideTarget)
	}
	kept := heap() - min(before, heap())
	runtime.KeepAlive(r.policies)
	fmt.Fprintf(r.options.Out, "%-54s %.1f MB, %.1f kB a tenant\n", "memory of all policies", float64(kept)/(1<<20), float64(kept)/1024/float64(len(r.tenants)))
	if limit := uint64(memoryTarget) * uint64(len(r.tenants)) / 1000; kept > limit {
		r.missed = append(r.missed, fmt.Sprintf("policies take %d bytes, more than %d", kept, limit))
	}
	return nil
}

// time takes the time of asking for each user and action.
func (r *policyRun) time(ctx context.Context, t *target, users []authz.Subject, actions []authz.Action) (time.Duration, error) {
	id := t.id.String()
	start := time.Now()
	for _, u := range users {
		for _, a := range actions {
			if err := r.policies.Check(ctx, id, u, a); err != nil && !errors.Is(err, authz.ErrForbidden) {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}

// heap is how much memory is in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a pool kept over the first is gone after the second
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// change measures how long a change by another handle is not seen, from its commit on.
func (r *policyRun) change(ctx context.Context) error {
	other, err := tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_portal")})
	if err != nil {
		return err
	}
	defer other.Close()
	staff := role.NewStaff(other, time.Now)
	chief := authz.Subject{Kind: authz.Person, ID: "load", Roles: []authz.Role{authz.Owner}}
	tracer := authz.Subject{Kind: authz.Person, Roles: []authz.Role{"tracer"}}
	took := make([]time.Duration, 0, r.options.Changes)
	for i := range r.options.Changes {
		t := &tenant.Tenant{ID: r.tenants[i%len(r.tenants)].id}
		board, err := staff.Board(ctx, t, chief)
		if err != nil {
			return err
		}
		own := board.Roles[slices.IndexFunc(board.Roles, func(o role.Role) bool { return o.Name == "tracer" })]
		given := slices.Contains(own.Allowed, authz.AuditRead)
		if given {
			own.Allowed = slices.DeleteFunc(own.Allowed, func(a authz.Action) bool { return a == authz.AuditRead })
		} else {
			own.Allowed = append(own.Allowed, authz.AuditRead)
		}
		if err := staff.Save(ctx, t, chief, own); err != nil {
			return err
		}
		start := time.Now()
		for (r.policies.Check(ctx, t.ID.String(), tracer, authz.AuditRead) == nil) == given {
			if err := ctx.Err(); err != nil {
				return err
			}
			runtime.Gosched()
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	r.figure("a change is not seen by another process", took, 99, changeTarget)
	return nil
}

// figure prints how a measurement is distributed, and judges one percentile of it. The
// median is judged where whatever else the machine does takes longer than what is measured.
func (r *policyRun) figure(what string, sorted []time.Duration, judged int, target time.Duration) {
	at := func(p int) time.Duration { return percentile(sorted, p).Round(10 * time.Nanosecond) }
	fmt.Fprintf(r.options.Out, "%-54s p50 %-10s p99 %-10s max %s\n", what, at(50), at(99), at(100))
	if got := percentile(sorted, judged); got > target {
		r.missed = append(r.missed, fmt.Sprintf("%s: %s, more than %s", what, got, target))
	}
}
