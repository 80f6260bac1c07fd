package service

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

// What statistics have not counted yet is not deleted, however old it is; once it is
// counted, it goes.
func TestNothingGoesUncounted(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	s := open(t, config(t, w, Jobs))
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := w.Database.Super().ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	codes := func() (n int) {
		t.Helper()
		if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from verification_code`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	issued := w.Now().AddDate(0, 0, -30)
	exec(`
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
values ($1, $2, 'confirmed', $3, $3, $3, 'system', '')`, north.ID, uuid.New(), issued)

	if err := s.forgetCodes(t.Context(), w.Jobs, north, w.Now()); err != nil || codes() != 1 {
		t.Errorf("%d codes left of one that was not counted, %v", codes(), err)
	}
	if err := s.statisticsJob(w.Jobs).Run(t.Context(), north.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.forgetCodes(t.Context(), w.Jobs, north, w.Now()); err != nil || codes() != 0 {
		t.Errorf("%d codes left of one that was counted, %v", codes(), err)
	}
	days, err := stats.New(w.Issuer, w.Now).Realm(t.Context(), north)
	if err != nil || days[30].CodesIssued != 1 {
		t.Errorf("%+v, %v", days[30], err)
	}
}

// The last counts are flushed after the last request.
func TestCountsAreFlushedAtTheEnd(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	s := open(t, config(t, w, Device))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.counter.TokenInvalid(north.ID, stats.Caller{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Run(ctx, l, nil) }()
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	days, err := stats.New(w.Issuer, time.Now).Realm(t.Context(), north)
	if err != nil || days[0].TokensInvalid != 1 {
		t.Errorf("%+v, %v", days[0], err)
	}
}

func TestRetentionOfStatisticsIsBounded(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, days := range []int{-1, 29, 181} {
		c := config(t, w, Jobs)
		c.StatisticsRetention = time.Duration(days) * 24 * time.Hour
		if s, err := Open(t.Context(), c); err == nil {
			t.Errorf("%d days: opened, %v", days, errors.Join(s.Close()))
		}
	}
}
