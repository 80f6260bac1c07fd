package tenanttest_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

func TestClock(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	if got := w.Now(); !got.Equal(tenanttest.Start) {
		t.Errorf("Now = %v, want %v", got, tenanttest.Start)
	}
	w.Advance(time.Hour)
	if got, want := w.Now(), tenanttest.Start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("Now = %v, want %v", got, want)
	}
	w.SetNow(tenanttest.Start)
	if got := w.Now(); !got.Equal(tenanttest.Start) {
		t.Errorf("Now = %v, want %v", got, tenanttest.Start)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	south := w.Create("south", func(s *onboarding.Spec) { s.Name = "Another name" })
	if north.Slug != "north" || north.Name != "Health of north" || north.HealthAuthorityID != "org.north.health" {
		t.Errorf("north = %+v", north)
	}
	if south.Name != "Another name" || south.Region == north.Region || south.ID == north.ID {
		t.Errorf("south = %+v", south)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	known := client.NewAuthenticator(w.Device, nil, w.Now)
	for _, kind := range []client.Kind{client.Device, client.Device, client.Admin, client.Stats} {
		if _, err := known.Authenticate(t.Context(), north, kind, w.Key(north, kind), netip.Addr{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Counting is right also for many rows, for large answers and for many parameters.
func TestTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	id := w.Create("north").ID
	for name, c := range map[string]struct {
		query string
		args  []any
		want  int
	}{
		"a statement":      {`select 'x'`, nil, 3},
		"with parameters":  {`select $1::text`, []any{"x"}, 3},
		"a long question":  {`select md5($1::text)`, []any{strings.Repeat("x", 1<<20)}, 3},
		"a long answer":    {`select repeat('x', 5000000)`, nil, 3},
		"a slower answer":  {`select repeat('x', 10) from pg_sleep(0.05)`, nil, 3},
		"of another width": {`select $1::text || $2::text`, []any{"x", "y"}, 3},
	} {
		got := w.Trips(func() {
			err := w.Device.In(t.Context(), id, func(tx *tenant.Tx) error {
				var s string
				return tx.Get(t.Context(), &s, c.query, c.args...)
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if got != c.want {
			t.Errorf("%s: %d round trips, want %d", name, got, c.want)
		}
	}
	if got := w.Trips(func() {}); got != 0 {
		t.Errorf("nothing: %d round trips", got)
	}
}
