package verification_test

import (
	"errors"
	"sync"
	"testing"

	"carillon/tenant/verification"
)

// contend runs callers that all stand before a locked row when it is released,
// which is the worst moment for them to meet, and returns their errors.
func (f *fixture) contend(tb testing.TB, lockSQL string, call func(i int) error) []error {
	tb.Helper()
	ctx := tb.Context()
	super := f.world.Database.Super()
	lock, err := super.BeginTx(ctx, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := lock.ExecContext(ctx, lockSQL); err != nil {
		tb.Fatal(err)
	}
	errs := make([]error, contenders)
	var wg sync.WaitGroup
	for i := range contenders {
		wg.Go(func() { errs[i] = call(i) })
	}
	const waitingSQL = `
select count(*)
  from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'`
	for waiting := 0; waiting < contenders; {
		if err := super.QueryRowContext(ctx, waitingSQL).Scan(&waiting); err != nil {
			tb.Fatal(err)
		}
	}
	if err := lock.Rollback(); err != nil {
		tb.Fatal(err)
	}
	wg.Wait()
	return errs
}

const contenders = 12 // fewer than the pool has connections

func TestVerifyContended(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	errs := f.contend(t, `select code_id from verification_code for update`, func(int) error {
		_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: issued.Code})
		return err
	})
	wantOneWinner(t, errs, verification.ErrCodeInvalid)
	if n := f.countTokens(t, f.north); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

// A thousand phones show one code at once.
func TestThousandClaims(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := f.issue(t, f.north, verification.IssueRequest{})
	errs := make([]error, 1000)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			_, errs[i] = f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: issued.Code})
		})
	}
	group.Wait()
	wantOneWinner(t, errs, verification.ErrCodeInvalid)
	if n := f.countTokens(t, f.north); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

func TestCertificateContended(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tok := f.token(t, f.north, verification.IssueRequest{})
	errs := f.contend(t, `select token_digest from verification_token for update`, func(i int) error {
		r := verification.CertificateRequest{Token: tok, EKeyHMAC: hmacOf(i)}
		_, err := f.device.Certificate(t.Context(), f.north, r)
		return err
	})
	wantOneWinner(t, errs, verification.ErrTokenInvalid)
}

func wantOneWinner(tb testing.TB, errs []error, losers error) {
	tb.Helper()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, losers):
			tb.Errorf("a loser got %v, want %v", explain(err), losers)
		}
	}
	if winners != 1 {
		tb.Errorf("%d winners, want 1", winners)
	}
}
