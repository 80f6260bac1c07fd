package tenant_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

// watched is a handle that watches, with a cache of it that counts its loads.
type watched struct {
	db    *tenant.DB
	cache interface {
		Get(context.Context, tenant.ID) (int, error)
	}
	loads map[tenant.ID]int
	last  int // what keeps has seen
}

// short is over at every tick of until.
const short = time.Millisecond

func watching(t *testing.T, w *tenanttest.World) *watched {
	t.Helper()
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN("carillon_device"), Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	x := &watched{db: db, loads: map[tenant.ID]int{}}
	x.cache = tenant.NewCache(db, 10, short, func(id tenant.ID, _ int) tenant.ID { return id },
		func(_ context.Context, id tenant.ID) (int, error) { // asked by one goroutine at a time
			x.loads[id]++
			return x.loads[id], nil
		})
	return x
}

// until asks again and again until the condition holds, or the test's time is over.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func (x *watched) get(t *testing.T, id tenant.ID) int {
	t.Helper()
	n, err := x.cache.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// keeps reports whether an answer is the same as at the last tick.
func (x *watched) keeps(t *testing.T, id tenant.ID) bool {
	t.Helper()
	last := x.last
	x.last = x.get(t, id)
	return x.last == last
}

// Each kind of change, by whomever, makes every watching process forget what it has of
// that tenant, and of no other.
func TestChangesAreHeard(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	x := watching(t, w)
	until(t, "the watch hears", func() bool { return x.keeps(t, north.ID) })
	for _, change := range []string{
		`update tenant_directory set name = 'Another' where tenant = $1`,
		`insert into directory_host (tenant, host) values ($1, 'north.example')`,
		`delete from directory_host where tenant = $1`,
		`update tenant_setting set code_digits = 7 where tenant_id = $1`,
		`insert into api_key (tenant_id, api_key_id, kind, name, digest, preview) values ($1, gen_random_uuid(), 'device', 'k', sha256('k'), 'previe')`,
		`update api_key set disabled_at = now() where tenant_id = $1`,
		`update data_key set wrapped = wrapped where tenant_id = $1`,
		`update signing_key set state = state where tenant_id = $1`,
	} {
		before, other := x.get(t, north.ID), x.get(t, south.ID)
		if _, err := w.Database.Super().ExecContext(t.Context(), change, north.ID.String()); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		until(t, change, func() bool { return x.get(t, north.ID) > before })
		if got := x.get(t, south.ID); got != other {
			t.Errorf("%s: the other tenant's answer was forgotten", change)
		}
	}
	other := x.get(t, south.ID)
	if err := tenant.SetMaintenance(t.Context(), w.Operator, switcher, true, tenanttest.Start); err != nil {
		t.Fatal(err)
	}
	until(t, "maintenance concerns all", func() bool { return x.get(t, south.ID) > other })
}

// A watch whose connection is cut keeps nothing until it hears again, and has missed
// nothing.
func TestWatchIsCut(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	x := watching(t, w)
	for range 3 {
		until(t, "the watch hears", func() bool { return x.keeps(t, north.ID) })
		before := x.get(t, north.ID)
		_, err := w.Database.Super().ExecContext(t.Context(), `
select pg_terminate_backend(pid)
  from pg_stat_activity
 where datname = current_database() and usename = 'carillon_device' and query not ilike '%select%'`)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the answer is forgotten", func() bool { return x.get(t, north.ID) > before })
	}
}

// Whoever did not ask for a watch has caches as short-lived as ever.
func TestNoWatch(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	loads := 0
	c := tenant.NewCache(w.Device, 10, short, func(tenant.ID, int) tenant.ID { return tenant.ID{} },
		func(context.Context, tenant.ID) (int, error) { loads++; return loads, nil })
	until(t, "three loads", func() bool {
		got, err := c.Get(t.Context(), tenant.ID{})
		return err == nil && got >= 3
	})
}

// A tenant that was asked for before there was one is there as soon as it is made.
func TestNewTenantsAreHeard(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	x := watching(t, w)
	anybody := tenant.NewID()
	until(t, "the watch hears", func() bool { return x.keeps(t, anybody) })
	d := tenant.NewDirectory(x.db)
	if _, err := d.BySlug(t.Context(), "newborn"); !errors.Is(err, tenant.ErrUnknown) {
		t.Fatalf("before: %v", err)
	}
	w.Create("newborn")
	until(t, "the new tenant is found", func() bool { _, err := d.BySlug(t.Context(), "newborn"); return err == nil })
}
