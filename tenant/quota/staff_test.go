package quota_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant/quota"
	"carillon/tenant/tenanttest"
)

var (
	admin  = authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: []authz.Role{authz.Administrator}}
	reader = authz.Subject{Kind: authz.Person, ID: "88bb", Name: "Sam", Roles: []authz.Role{authz.Auditor}}
)

// What a limit would have refused yesterday is told exactly, with the moment from which.
func TestWhatALimitWouldHaveRefused(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := enforcing(w, "north"), enforcing(w, "south")
	yesterday := w.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	exec(t, w, `insert into quota_day values ($1, $2::date - 1, 30, 20), ($1, $2::date, 25, 40)`, north.ID, yesterday.Format(time.DateOnly))
	for i := range 25 {
		exec(t, w, `insert into verification_code (tenant_id, code_id, short_mac, long_mac, test_type, issued_at, expires_at, long_expires_at, issuer_kind, issuer_id)
		 values ($1, $2, sha512($3::bytea), sha512($4::bytea), 'confirmed', $5, now(), now(), 'system', '')`,
			north.ID, uuid.New(), []byte{byte(i)}, []byte{byte(i), 1}, yesterday.Add(time.Duration(i)*time.Minute))
	}
	s := quota.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
	for _, c := range []struct {
		factor float64
		beyond int
		spent  time.Time
	}{
		{1, 5, yesterday.Add(20 * time.Minute)},
		{1.25, 0, time.Time{}},
		{0.5, 15, yesterday.Add(10 * time.Minute)},
	} {
		b, err := s.Board(t.Context(), north, reader, c.factor)
		if err != nil || len(b.Days) != 2 || b.Days[0].Base != 20 || b.Days[0].Beyond(c.factor) != c.beyond || !b.Spent.Equal(c.spent) {
			t.Errorf("factor %v: %+v %v", c.factor, b, err)
		}
	}
	if b, err := s.Board(t.Context(), south, reader, 0.1); err != nil || len(b.Days) != 0 || !b.Spent.IsZero() {
		t.Errorf("the other tenant: %+v %v", b, err)
	}
}

func TestStaffAddToADay(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := enforcing(w, "north")
	s := quota.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
	for name, c := range map[string]struct {
		by    authz.Subject
		codes int
		want  error
	}{
		"who only reads": {reader, 5, authz.ErrForbidden},
		"none":           {admin, 0, quota.ErrBurst},
		"too many":       {admin, quota.Most + 1, quota.ErrBurst},
		"some":           {admin, 5, nil},
	} {
		if err := s.Add(t.Context(), north, c.by, c.codes); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if got := stand(t, w, north); got.Burst != 5 {
		t.Errorf("added %d", got.Burst)
	}
	if _, err := s.Board(t.Context(), north, authz.Subject{Kind: authz.Person, ID: "x", Roles: []authz.Role{authz.Caseworker}}, 1); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a caseworker: %v", err)
	}
}
