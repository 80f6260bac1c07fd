package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/idp"
	"carillon/tenant/platform"
	"carillon/tenant/role"
)

// ChangeOptions say what to measure of changes.
type ChangeOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Changes is how many changes of each kind are waited for.
	Changes int
}

// RunChanges has changes made through one process's handles and measures how long they are
// not seen through another's, from the end of their commit on: by a process that hears of
// changes, and by one that does not, as behind a pooler or after a lost notification, which
// looks again when what it knows is old. It is [ErrMissed] if a change takes longer than a
// second.
func RunChanges(ctx context.Context, o ChangeOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	if s.tenants, err = s.grow(ctx, few); err != nil {
		return err
	}
	r := &changeRun{stack: s, options: o, policy: policyRun{options: PolicyOptions{Out: o.Out}}}
	if err := r.open(ctx); err != nil {
		return errors.Join(err, r.close())
	}
	defer func() { _ = r.close() }() // nothing is lost
	for _, hears := range []bool{true, false} {
		if err := r.measure(ctx, hears); err != nil {
			return err
		}
	}
	if len(r.policy.missed) > 0 {
		fmt.Fprintf(o.Out, "\nTargets missed:\n  %s\n", strings.Join(r.policy.missed, "\n  "))
		return ErrMissed
	}
	fmt.Fprintln(o.Out, "\nEvery target is met.")
	return nil
}

// changeRun is a measurement of changes under way.
type changeRun struct {
	stack   *stack
	options ChangeOptions
	policy  policyRun // prints and judges
	// Those who change: a portal, an operator's process, and the database's own superuser.
	portal, operator *tenant.DB
	super            *sql.DB
	made             int // tenants
}

func (r *changeRun) open(ctx context.Context) (err error) {
	if r.super, err = sql.Open("postgres", r.stack.dsn("")); err != nil {
		return err
	}
	if r.portal, err = tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_portal")}); err != nil {
		return err
	}
	r.operator, err = tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_operator")})
	return err
}

func (r *changeRun) close() error {
	errs := []error{r.super.Close()}
	for _, db := range []*tenant.DB{r.portal, r.operator} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// change is one kind of change: do makes one, which is the i-th, and returns how to see it.
type change struct {
	name string
	do   func(ctx context.Context, i int) (seen func(context.Context) (bool, error), err error)
}

// measure waits for changes of each kind, and counts what looking costs.
func (r *changeRun) measure(ctx context.Context, hears bool) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: r.stack.dsn("carillon_portal"), Watch: hears})
	if err != nil {
		return err
	}
	defer db.Close()
	fmt.Fprintf(r.options.Out, "\nA process that hears of changes: %t\n", hears)
	start, trips := time.Now(), db.Stats().RoundTrips
	for _, c := range r.changes(db) {
		took := make([]time.Duration, 0, r.options.Changes)
		for i := range r.options.Changes {
			seen, err := c.do(ctx, i)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			since := time.Now()
			for {
				done, err := seen(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if done {
					break
				}
				runtime.Gosched()
			}
			took = append(took, time.Since(since))
		}
		slices.Sort(took)
		r.policy.figure(c.name+" is not seen", took, 99, changeTarget)
	}
	fmt.Fprintf(r.options.Out, "%-54s %.1f per second, asked without pause about one tenant\n", "round trips of the process that looks",
		float64(db.Stats().RoundTrips-trips)/time.Since(start).Seconds())
	return nil
}

// changes are the kinds, as db sees them.
func (r *changeRun) changes(db *tenant.DB) []change {
	directory, keys, policies := tenant.NewDirectory(db), client.NewAuthenticator(db, nil, time.Now), role.NewPolicies(db)
	providers := idp.NewDirectory(idp.Config{DB: db, Now: time.Now})
	chief := authz.Subject{Kind: authz.Person, ID: "load", Roles: []authz.Role{authz.Owner}}
	of := &tenant.Tenant{ID: r.stack.tenants[0].id, Slug: tenant.Slug(r.stack.tenants[0].slug)}
	state := func(want tenant.State) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			t, err := directory.BySlug(ctx, string(of.Slug))
			return err == nil && t.State == want, err
		}
	}
	return []change{
		{"a suspension, or its end,", func(ctx context.Context, i int) (func(context.Context) (bool, error), error) {
			if i%2 == 0 {
				return state(tenant.Suspended), platform.Suspend(ctx, r.operator, chief, of, "load", time.Now())
			}
			return state(tenant.Active), platform.Resume(ctx, r.operator, chief, of, "load", time.Now())
		}},
		{"a tenant that is approved", func(ctx context.Context, _ int) (func(context.Context) (bool, error), error) {
			r.made++
			n := few + r.made
			slug := fmt.Sprintf("tenant-%04d", n)
			if _, err := directory.BySlug(ctx, slug); !errors.Is(err, tenant.ErrUnknown) {
				return nil, fmt.Errorf("before: %w", err)
			}
			_, err := r.stack.create(ctx, r.operator, n)
			return func(ctx context.Context) (bool, error) {
				_, err := directory.BySlug(ctx, slug)
				if errors.Is(err, tenant.ErrUnknown) {
					return false, nil
				}
				return true, err
			}, err
		}},
		{"the end of an API key", func(ctx context.Context, _ int) (func(context.Context) (bool, error), error) {
			staff := client.NewStaff(r.portal, authz.NewPolicies(nil), time.Now)
			plain, k, err := staff.Make(ctx, of, chief, client.Device, client.Terms{Name: "load " + uuid.NewString()})
			if err != nil {
				return nil, err
			}
			if _, err := keys.Authenticate(ctx, of, client.Device, plain, netip.Addr{}); err != nil {
				return nil, err
			}
			_, err = staff.Revoke(ctx, of, chief, k.ID)
			return func(ctx context.Context) (bool, error) {
				_, err := keys.Authenticate(ctx, of, client.Device, plain, netip.Addr{})
				if errors.Is(err, client.ErrUnknownKey) {
					return true, nil
				}
				return false, err
			}, err
		}},
		{"a provider of sign-ins, or its end,", func(ctx context.Context, _ int) (func(context.Context) (bool, error), error) {
			before, err := providers.Active(ctx, of.ID)
			if err != nil {
				return nil, err
			}
			query := `update identity_provider set state = 'off' where tenant_id = $1`
			if len(before) == 0 {
				query = `
insert into identity_provider
       (tenant_id, provider_id, name, issuer, client_id, proof, scopes, email_domains, trust_email, role_claim, roles, acr, amr, state, changed_at)
values ($1, gen_random_uuid(), gen_random_uuid()::text, 'https://login.example', 'c', 'none', '{}', '{}', false, '', '[]', '{}', '{}', 'active', now())`
			}
			_, err = r.super.ExecContext(ctx, query, of.ID)
			return func(ctx context.Context) (bool, error) {
				now, err := providers.Active(ctx, of.ID)
				return len(now) != len(before), err
			}, err
		}},
		{"a role", r.roleChange(policies, chief, of)},
	}
}

// roleChange gives and takes an action of a role that the tenant has made.
func (r *changeRun) roleChange(policies *authz.Policies, chief authz.Subject, of *tenant.Tenant) func(context.Context, int) (func(context.Context) (bool, error), error) {
	helper := authz.Subject{Kind: authz.Person, Roles: []authz.Role{"helper"}}
	staff := role.NewStaff(r.portal, time.Now)
	return func(ctx context.Context, i int) (func(context.Context) (bool, error), error) {
		own := role.Role{Name: "helper", Allowed: []authz.Action{authz.CodeRead}}
		board, err := staff.Board(ctx, of, chief)
		if err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(board.Roles, func(o role.Role) bool { return o.Name == own.Name }); at >= 0 {
			own.Version = board.Roles[at].Version
		}
		given := i%2 == 0
		if given {
			own.Allowed = append(own.Allowed, authz.StatsRead)
		}
		return func(ctx context.Context) (bool, error) {
			err := policies.Check(ctx, of.ID.String(), helper, authz.StatsRead)
			if err != nil && !errors.Is(err, authz.ErrForbidden) {
				return false, err
			}
			return (err == nil) == given, nil
		}, staff.Save(ctx, of, chief, own)
	}
}
