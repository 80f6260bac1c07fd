package authz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// ErrForbidden means that the tenant's policy does not allow the subject to do
// this.
var ErrForbidden = errors.New("not permitted")

// Policies keeps the policies of the tenants that were asked for last. It is safe
// for concurrent use.
//
// A policy stays until its tenant is invalidated or others push it out. Who
// changes a tenant's rules invalidates it, in every process; who may have missed
// such a message invalidates all.
type Policies struct {
	load    func(ctx context.Context, tenant string) ([]Rule, error)
	cache   *lru.Cache[string, *Policy]
	flights singleflight.Group
	// epoch counts invalidations. What was loaded in an earlier epoch is given to
	// those who asked in it, but not kept.
	epoch atomic.Uint64
	// unchanged is the policy of every tenant without rules of its own.
	unchanged func() (*Policy, error)
}

// NewPolicies returns policies of at most size tenants, at least one. load reads a
// tenant's own rules; nil means that no tenant has any.
func NewPolicies(load func(ctx context.Context, tenant string) ([]Rule, error), size int) *Policies {
	if load == nil {
		load = func(context.Context, string) ([]Rule, error) { return nil, nil }
	}
	cache, err := lru.New[string, *Policy](max(size, 1))
	if err != nil {
		panic(err) // only for a size below one
	}
	unchanged := sync.OnceValues(func() (*Policy, error) { return NewPolicy(nil) })
	return &Policies{load: load, cache: cache, unchanged: unchanged}
}

// Check decides whether s may do a in tenant: [ErrForbidden] if not. Any other
// error means that the tenant's rules could not be read, and s may not either.
func (ps *Policies) Check(ctx context.Context, tenant string, s Subject, a Action) error {
	p, err := ps.Policy(ctx, tenant)
	if err != nil {
		return err
	}
	if !p.Allow(s, a) {
		return ErrForbidden
	}
	return nil
}

// CheckGrant decides whether s may give role r to a member of tenant, errors as
// for Check. It asks for [MemberWrite] and for all that r allows: nobody can
// grant what they do not hold.
func (ps *Policies) CheckGrant(ctx context.Context, tenant string, s Subject, r Role) error {
	p, err := ps.Policy(ctx, tenant)
	if err != nil {
		return err
	}
	if !p.Allow(s, MemberWrite) || !p.MayGrant(s, r) {
		return ErrForbidden
	}
	return nil
}

// Policy returns a tenant's policy, to explain a decision or to ask for many.
// Hold it for one request at most. A caller whose context ends stops waiting; the
// loading goes on for the others.
func (ps *Policies) Policy(ctx context.Context, tenant string) (*Policy, error) {
	if p, ok := ps.cache.Get(tenant); ok {
		return p, nil
	}
	epoch := ps.epoch.Load()
	flight := ps.flights.DoChan(fmt.Sprintf("%d %s", epoch, tenant), func() (any, error) {
		return ps.fill(context.WithoutCancel(ctx), tenant, epoch)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Policy), nil
	}
}

const loadTimeout = 10 * time.Second

func (ps *Policies) fill(ctx context.Context, tenant string, epoch uint64) (*Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	rules, err := ps.load(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("tenant's rules: %w", err)
	}
	p, err := ps.policy(rules)
	if err != nil {
		return nil, fmt.Errorf("tenant's rules: %w", err)
	}
	ps.keep(tenant, p, epoch)
	return p, nil
}

func (ps *Policies) policy(own []Rule) (*Policy, error) {
	if len(own) == 0 {
		return ps.unchanged()
	}
	return NewPolicy(own)
}

// keep puts p into the cache unless an invalidation came since its rules were
// read. One that comes between the question and the answer is why it asks twice.
func (ps *Policies) keep(tenant string, p *Policy, epoch uint64) {
	if ps.epoch.Load() != epoch {
		return
	}
	ps.cache.Add(tenant, p)
	if ps.epoch.Load() != epoch {
		ps.cache.Remove(tenant)
	}
}

// Invalidate forgets a tenant's policy: every question that is asked after this
// is answered by rules that were read after it.
func (ps *Policies) Invalidate(tenant string) {
	ps.epoch.Add(1)
	ps.cache.Remove(tenant)
}

// InvalidateAll forgets every policy, as Invalidate does for one.
func (ps *Policies) InvalidateAll() {
	ps.epoch.Add(1)
	ps.cache.Purge()
}

// Sentinels lists the errors of this package that callers tell apart.
func Sentinels() []error { return []error{ErrForbidden, ErrRule, ErrRoute} }
