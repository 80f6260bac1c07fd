package verification_test

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/guess"
	"carillon/tenant/quota"
	"carillon/tenant/verification"
)

// With the real budget: ten codes a day and not one more, however many ask at once;
// what is repeated or refused takes none; a burst is for everybody.
func TestIssueWithinABudget(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	of := with(f.north, func(s *tenant.Settings) { s.QuotaEnforced, s.QuotaFactor = true, 1 })
	s := f.service(f.world.Issuer, func(c *verification.Config) {
		c.Quota = quota.NewBudget(f.world.Issuer, slog.New(slog.DiscardHandler), false, f.world.Now).Hold
	})
	id := uuid.NewString()
	repeated := verification.IssueRequest{TestType: "confirmed", UUID: id}
	if _, err := s.Issue(t.Context(), of, backEnd, repeated); err != nil {
		t.Fatal(explain(err))
	}
	var issued, refused, odd atomic.Int64
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			r := []verification.IssueRequest{{TestType: "confirmed"}, repeated, {TestType: "unheard of"}}[i%3]
			_, err := s.Issue(t.Context(), of, backEnd, r)
			switch {
			case err == nil:
				issued.Add(1)
			case errors.Is(err, verification.ErrQuota):
				refused.Add(1)
			case !errors.Is(err, verification.ErrUUIDExists) && !errors.Is(err, verification.ErrInvalidTestType):
				odd.Add(1)
				t.Error(explain(err))
			}
		})
	}
	all.Wait()
	// The others may hold a code for a moment, so a few may have found none left.
	if got := issued.Load(); got > quota.Default-1 || got+refused.Load() != 20 {
		t.Errorf("%d codes and %d refusals", got, refused.Load())
	}
	for issued.Load() < quota.Default-1 { // what was given back is still there
		if _, err := s.Issue(t.Context(), of, backEnd, verification.IssueRequest{TestType: "confirmed"}); err != nil {
			t.Fatal(explain(err))
		}
		issued.Add(1)
	}
	_, err := s.Issue(t.Context(), of, backEnd, verification.IssueRequest{TestType: "confirmed"})
	wantProblem(t, err, verification.ErrQuota, "daily quota of codes exceeded")
	_, err = s.Issue(t.Context(), of, backEnd, repeated)
	wantProblem(t, err, verification.ErrUUIDExists, "")
}

// While somebody guesses, new codes are longer, of every form and for every issuer, and
// work like others; codes that were out stay good.
func TestLongerCodes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	before := f.issue(t, f.north, verification.IssueRequest{})
	_, err := f.world.Database.Super().ExecContext(t.Context(),
		`insert into wrong_code_count select $1, date_trunc('minute', $2::timestamptz), gen_random_uuid(), 20000`, f.north.ID, f.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]*tenant.DB{"issuer": f.world.Issuer, "portal": f.world.Portal} {
		s := f.service(db, func(c *verification.Config) { c.Digits = guess.NewLengths(db, f.world.Now).Digits })
		for _, by := range []authz.Subject{backEnd, caseworker} {
			for _, r := range []verification.IssueRequest{{TestType: "confirmed"}, {TestType: "likely", Phone: phone}} {
				i, err := s.Issue(t.Context(), f.north, by, r)
				if err != nil {
					t.Fatal(explain(err))
				}
				if len(i.Code) != 9 {
					t.Errorf("%s, %s: %d digits, want 9", name, by.Name, len(i.Code))
				}
				f.verify(t, f.north, i.Code)
			}
		}
		other, err := s.Issue(t.Context(), f.south, backEnd, verification.IssueRequest{TestType: "confirmed"})
		if err != nil || len(other.Code) != 8 {
			t.Errorf("%s, another tenant: %d digits (%v), want 8", name, len(other.Code), err)
		}
	}
	f.verify(t, f.north, before.Code)
}

// In maintenance nothing is issued, whoever asks; the tenant's own switch leaves codes
// good that are out, the platform's does not (§0.4).
func TestMaintenance(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	own := with(f.north, func(s *tenant.Settings) { s.Maintenance = true })
	whole := *f.north
	whole.Maintenance = true
	for name, at := range map[string]*tenant.Tenant{"own": own, "platform": &whole} {
		for _, by := range []authz.Subject{backEnd, caseworker} {
			_, err := f.issuer.Issue(t.Context(), at, by, verification.IssueRequest{TestType: "confirmed"})
			wantProblem(t, err, verification.ErrMaintenance, "server is read-only for maintenance")
		}
		_, err := f.issuer.Issue(t.Context(), at, stranger, verification.IssueRequest{TestType: "confirmed"})
		if !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s, somebody who may not: %v", name, err)
		}
	}
	code := f.issue(t, f.north, verification.IssueRequest{}).Code
	_, err := f.device.Verify(t.Context(), &whole, verification.VerifyRequest{Code: code})
	wantProblem(t, err, verification.ErrMaintenance, "server is read-only for maintenance")
	f.verify(t, own, code)
}
