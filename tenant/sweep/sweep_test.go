package sweep_test

import (
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/sweep"
	"carillon/tenant/tenanttest"
)

// A sweep takes as many small transactions as it needs, and leaves what it is not about.
func TestRun(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	const insert = `
insert into login_session
select i::text, '', $1::timestamptz + i * interval '1 second' from generate_series(1, $2) i`
	if _, err := w.Database.Super().ExecContext(t.Context(), insert, w.Now(), 2*sweep.Size+sweep.Size/2+10); err != nil {
		t.Fatal(err)
	}
	const statement = `
delete from login_session
 where expires_at <= (select max(old.expires_at)
                        from (select expires_at from login_session where expires_at <= $1 order by expires_at limit $2) old)`
	limit := w.Now().Add((2*sweep.Size + sweep.Size/2) * time.Second)
	trips := w.Trips(func() {
		if err := sweep.Run(t.Context(), w.Jobs, tenant.ID{}, statement, limit); err != nil {
			t.Fatal(err)
		}
	})
	const transactions = 3
	if trips != 3*transactions {
		t.Errorf("%d round trips, want those of %d transactions", trips, transactions)
	}
	var left int
	if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from login_session`).Scan(&left); err != nil || left != 10 {
		t.Errorf("%d rows are left (%v), want 10", left, err)
	}
}
