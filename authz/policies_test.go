package authz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// book is where the tests' tenants keep their rules.
type book struct {
	mu    sync.Mutex
	rules map[string][]Rule
	err   error
	reads atomic.Int64
}

func (b *book) write(tenant string, rules ...Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rules == nil {
		b.rules = map[string][]Rule{}
	}
	b.rules[tenant] = rules
}

func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *book) load(_ context.Context, tenant string) ([]Rule, error) {
	b.reads.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules[tenant], b.err
}

func check(t *testing.T, ps *Policies, tenant string, s Subject, a Action, want error) {
	t.Helper()
	if err := ps.Check(t.Context(), tenant, s, a); !errors.Is(err, want) {
		t.Errorf("Check(%s, %v, %s) = %v, want %v", tenant, s, a, err, want)
	}
}

func TestCheckKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	var b book
	b.write("north", Rule{"tracer", CodeIssue, Allowed}, Rule{Caseworker, CodeBulkIssue, Denied})
	ps := NewPolicies(b.load, 10)

	check(t, ps, "north", person("tracer"), CodeIssue, nil)
	check(t, ps, "south", person("tracer"), CodeIssue, ErrForbidden)
	check(t, ps, "north", person(Caseworker), CodeBulkIssue, ErrForbidden)
	check(t, ps, "south", person(Caseworker), CodeBulkIssue, nil)
	check(t, ps, "", person("tracer"), CodeIssue, ErrForbidden)
	if got := b.reads.Load(); got != 3 {
		t.Errorf("%d reads for three tenants", got)
	}
}

func TestCheckGrant(t *testing.T) {
	t.Parallel()
	ps := NewPolicies(nil, 10)
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

func TestInvalidate(t *testing.T) {
	t.Parallel()
	var b book
	ps := NewPolicies(b.load, 10)
	tracer := person("tracer")
	check(t, ps, "north", tracer, CodeIssue, ErrForbidden)
	check(t, ps, "south", tracer, CodeIssue, ErrForbidden)

	b.write("north", Rule{"tracer", CodeIssue, Allowed})
	b.write("south", Rule{"tracer", CodeIssue, Allowed})
	check(t, ps, "north", tracer, CodeIssue, ErrForbidden) // still the kept one
	ps.Invalidate("north")
	check(t, ps, "north", tracer, CodeIssue, nil)
	check(t, ps, "south", tracer, CodeIssue, ErrForbidden)
	ps.InvalidateAll()
	check(t, ps, "south", tracer, CodeIssue, nil)
}

func TestPoliciesAreBounded(t *testing.T) {
	t.Parallel()
	var b book
	ps := NewPolicies(b.load, 2)
	for _, tenant := range []string{"a", "b", "c", "b", "c"} {
		check(t, ps, tenant, person(Owner), CodeIssue, nil)
	}
	if got := b.reads.Load(); got != 3 {
		t.Errorf("%d reads, want 3", got)
	}
	check(t, ps, "a", person(Owner), CodeIssue, nil) // was pushed out
	if got := b.reads.Load(); got != 4 {
		t.Errorf("%d reads, want 4", got)
	}
}

func TestRulesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	var b book
	broken := errors.New("broken")
	b.fail(broken)
	ps := NewPolicies(b.load, 10)
	err := ps.Check(t.Context(), "north", person(Owner), CodeIssue)
	if !errors.Is(err, broken) || errors.Is(err, ErrForbidden) {
		t.Errorf("Check = %v, want the source's error and not ErrForbidden", err)
	}
	if err := ps.CheckGrant(t.Context(), "north", person(Owner), Caseworker); !errors.Is(err, broken) {
		t.Errorf("CheckGrant = %v", err)
	}

	b.fail(nil)
	check(t, ps, "north", person(Owner), CodeIssue, nil) // the failure was not kept

	b.write("south", Rule{Owner, CodeIssue, Denied})
	check(t, ps, "south", person(Owner), CodeIssue, ErrRule)
}

func TestCallerStopsWaiting(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	ps := NewPolicies(func(context.Context, string) ([]Rule, error) {
		close(entered)
		<-release
		return nil, nil
	}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ps.Check(ctx, "north", person(Owner), CodeIssue) }()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v, want canceled", err)
	}
	close(release)
	check(t, ps, "north", person(Owner), CodeIssue, nil) // loaded for the others
}

// A policy that was being read while its tenant's rules changed must not be kept.
func TestInvalidateDuringLoad(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var loads atomic.Int64
	ps := NewPolicies(func(context.Context, string) ([]Rule, error) {
		if loads.Add(1) == 1 {
			close(entered)
			<-release
			return []Rule{{"tracer", CodeIssue, Allowed}}, nil
		}
		return nil, nil // the permission was withdrawn
	}, 10)
	first := make(chan error)
	go func() { first <- ps.Check(t.Context(), "north", person("tracer"), CodeIssue) }()
	<-entered
	ps.Invalidate("north")
	// Asked after the invalidation, so it must not join the old reading.
	check(t, ps, "north", person("tracer"), CodeIssue, ErrForbidden)
	close(release)
	if err := <-first; err != nil {
		t.Errorf("asked before the invalidation: %v, want the old answer", err)
	}
	check(t, ps, "north", person("tracer"), CodeIssue, ErrForbidden)
}

// Many ask while rules change: nobody sees a decision that neither version gives,
// and after the last invalidation everybody sees the last version.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	var b book
	ps := NewPolicies(b.load, 2)
	var askers, writer sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		askers.Go(func() {
			tenant := fmt.Sprintf("t%d", i%3)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ps.Check(t.Context(), tenant, person(Owner), CodeIssue); err != nil {
					t.Errorf("owner: %v", err)
				}
				if err := ps.Check(t.Context(), tenant, person("tracer"), CodeIssue); err != nil && !errors.Is(err, ErrForbidden) {
					t.Errorf("tracer: %v", err)
				}
				if err := ps.Check(t.Context(), tenant, person("tracer"), AuditRead); !errors.Is(err, ErrForbidden) {
					t.Errorf("tracer reads the audit log: %v", err)
				}
			}
		})
	}
	writer.Go(func() {
		for i := range 60 {
			tenant := fmt.Sprintf("t%d", i%3)
			if i%2 == 0 {
				b.write(tenant, Rule{"tracer", CodeIssue, Allowed})
			} else {
				b.write(tenant)
			}
			ps.Invalidate(tenant)
		}
	})
	writer.Wait()
	close(stop)
	askers.Wait()

	b.write("t0", Rule{"tracer", CodeIssue, Allowed})
	ps.Invalidate("t0")
	check(t, ps, "t0", person("tracer"), CodeIssue, nil)
}
