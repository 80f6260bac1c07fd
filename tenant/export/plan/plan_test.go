package plan_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/export/plan"
	"carillon/tenant/tenanttest"
)

type fixture struct {
	world        *tenanttest.World
	north, south *tenant.Tenant
	now          time.Time
}

var manager = authz.Subject{Kind: authz.Person, ID: "manager", Name: "Manager"}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	return &fixture{world: w, north: w.Create("north"), south: w.Create("south"), now: w.Now().Truncate(time.Hour).Add(20 * time.Minute)}
}

type values = map[string]string

func (f *fixture) in(t *testing.T, of *tenant.Tenant, fn func(*tenant.Tx) error) error {
	t.Helper()
	return f.world.Operator.In(t.Context(), of.ID, fn)
}

func (f *fixture) add(t *testing.T, path string, v values) error {
	t.Helper()
	return f.in(t, f.north, func(tx *tenant.Tx) error { return plan.Add(t.Context(), tx, f.north, manager, path, v, f.now) })
}

func (f *fixture) change(t *testing.T, path string, v values) error {
	t.Helper()
	return f.in(t, f.north, func(tx *tenant.Tx) error { return plan.Change(t.Context(), tx, manager, path, v, f.now) })
}

func (f *fixture) retire(t *testing.T, path string) (last time.Time, err error) {
	t.Helper()
	err = f.in(t, f.north, func(tx *tenant.Tx) (err error) {
		last, err = plan.Retire(t.Context(), tx, manager, path, f.now)
		return err
	})
	return last, err
}

// show is a configuration as people read it.
func (f *fixture) show(t *testing.T, of *tenant.Tenant, path string) values {
	t.Helper()
	var found values
	err := f.in(t, of, func(tx *tenant.Tx) error {
		list, err := plan.List(t.Context(), tx)
		for _, p := range list {
			if p.Path == path {
				found = p.Values()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAddAndChange(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.add(t, "travelers/", values{"travelers": "include", "period": "24h", "regions": "us-wa, US-OR"}); err != nil {
		t.Fatal(err)
	}
	want := values{
		"region": f.north.Region, "regions": "US-WA,US-OR", "exclude-regions": "", "travelers": "include", "imported": "on",
		"period": "24h0m0s", "min-age": "2h0m0s", "min-records": "1000", "padding-range": "100", "max-records": "500000",
		"active-from": f.now.Format(time.RFC3339), "active-thru": "never",
	}
	if diff := cmp.Diff(want, f.show(t, f.north, "travelers/")); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	end := f.now.Truncate(time.Hour).Add(5 * time.Hour).Format(time.RFC3339)
	changes := values{
		"region": "US", "regions": "", "exclude-regions": "US-ID", "travelers": "exclude", "imported": "off", "period": "1h", "min-age": "0s",
		"min-records": "0", "padding-range": "1", "max-records": "750000", "active-from": f.now.Add(-time.Hour).Format(time.RFC3339), "active-thru": end,
	}
	if err := f.change(t, "travelers/", changes); err != nil {
		t.Fatal(err)
	}
	maps.Copy(want, changes)
	want["period"] = "1h0m0s"
	if diff := cmp.Diff(want, f.show(t, f.north, "travelers/")); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if f.show(t, f.north, "")["region"] != f.north.Region || f.show(t, f.south, "travelers/") != nil {
		t.Error("another configuration was changed")
	}
	var text []string
	err := f.in(t, f.north, func(tx *tenant.Tx) error {
		entries, err := audit.List(t.Context(), tx, 2)
		for _, e := range entries {
			text = append(text, e.ActorID+" "+e.Action+" "+e.Target+" "+string(e.Detail))
		}
		return err
	})
	if err != nil || len(text) != 2 || !strings.HasPrefix(text[0], "manager settings:write exports/travelers/ ") ||
		!strings.Contains(text[0], `"+period": "1h0m0s"`) || !strings.Contains(text[0], `"-period": "24h0m0s"`) || strings.Contains(text[0], `"+path"`) {
		t.Errorf("audit: %q, %v", text, err)
	}
}

func TestRefusedValues(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tomorrow := f.now.Truncate(24 * time.Hour).Add(24 * time.Hour).Format(time.RFC3339)
	many := "US"
	for i := range 100 {
		many += fmt.Sprintf(",US-%03d", i)
	}
	for _, test := range []struct {
		field  string
		values values
	}{
		{"region", values{"region": ""}},
		{"region", values{"region": "Washington"}},
		{"regions", values{"regions": "US-WA,US-WA"}},
		{"regions", values{"regions": "US-WA,"}},
		{"regions", values{"regions": many}},
		{"exclude-regions", values{"exclude-regions": "*"}},
		{"exclude-regions", values{"exclude-regions": f.north.Region}},
		{"exclude-regions", values{"regions": "US-WA,US-OR", "exclude-regions": "US-OR,US-WA"}},
		{"travelers", values{"travelers": "all"}},
		{"imported", values{"imported": "maybe"}},
		{"period", values{"period": "7h"}},
		{"period", values{"period": "0s"}},
		{"period", values{"period": "48h"}},
		{"period", values{"period": "1500ms"}},
		{"period", values{"period": "-1h"}},
		{"min-age", values{"min-age": "25h"}},
		{"min-age", values{"min-age": "-1s"}},
		{"min-records", values{"min-records": "-1"}},
		{"min-records", values{"min-records": "many"}},
		{"padding-range", values{"padding-range": "0"}},
		{"max-records", values{"max-records": "750001"}},
		{"max-records", values{"max-records": "0"}},
		{"max-records", values{"max-records": "99999999999"}},
		{"max-records", values{"max-records": "2099"}},
		{"active-from", values{"active-from": "tomorrow"}},
		{"active-from", values{"active-from": f.now.AddDate(0, 0, -15).Format(time.RFC3339)}},
		{"active-thru", values{"active-thru": f.now.Format(time.RFC3339)}},
		{"active-thru", values{"active-thru": f.now.AddDate(0, 0, 1).Format(time.RFC3339)}},
		{"active-thru", values{"active-thru": tomorrow, "active-from": tomorrow}},
		{"path", values{"path": "other/"}},
		{"config_id", values{"config_id": "1"}},
	} {
		var refused *plan.FieldError
		if err := f.add(t, "x/", test.values); !errors.As(err, &refused) || refused.Field != test.field {
			t.Errorf("add %v: %v, want an error of %s", test.values, err, test.field)
		}
		if err := f.change(t, "", test.values); !errors.As(err, &refused) || refused.Field != test.field {
			t.Errorf("change %v: %v, want an error of %s", test.values, err, test.field)
		}
	}
	for _, path := range []string{"x", "/", "X/", "a/b/", "../", "-/", "a-/", "a--b/", strings.Repeat("a", 41) + "/", "index.txt/"} {
		var refused *plan.FieldError
		if err := f.add(t, path, nil); !errors.As(err, &refused) || refused.Field != "path" {
			t.Errorf("path %q: %v", path, err)
		}
	}
}

// A path is used once, for ever, and there is an end to their number.
func TestPaths(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.change(t, "none/", values{"period": "1h"}); !errors.Is(err, plan.ErrNoPlan) {
		t.Errorf("change of none: %v", err)
	}
	if _, err := f.retire(t, "none/"); !errors.Is(err, plan.ErrNoPlan) {
		t.Errorf("retirement of none: %v", err)
	}
	for i := range 19 {
		if err := f.add(t, fmt.Sprintf("x%d/", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.add(t, "x20/", nil); !errors.Is(err, plan.ErrTooMany) {
		t.Errorf("the 21st: %v", err)
	}
	err := f.in(t, f.south, func(tx *tenant.Tx) error { return plan.Add(t.Context(), tx, f.south, manager, "x1/", nil, f.now) })
	if err != nil {
		t.Errorf("another authority's configuration of the same path: %v", err)
	}
	f2 := setUp(t)
	if err := f2.add(t, "x/", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f2.retire(t, "x/"); err != nil {
		t.Fatal(err)
	}
	if err := f2.add(t, "x/", nil); !errors.Is(err, plan.ErrExists) {
		t.Errorf("the path of one that has ended: %v", err)
	}
}

// A retired configuration ends with the window that is open, and does not come back.
func TestRetire(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.add(t, "x/", values{"period": "1h"}); err != nil {
		t.Fatal(err)
	}
	end := f.now.Add(40 * time.Minute)
	for range 2 {
		if last, err := f.retire(t, "x/"); err != nil || !last.Equal(end) {
			t.Errorf("until %v, %v, want %v", last, err, end)
		}
		f.now = f.now.Add(20 * time.Minute)
	}
	f.now = end.Add(time.Hour)
	if last, err := f.retire(t, "x/"); err != nil || !last.Equal(end) {
		t.Errorf("retired again: until %v, %v, want %v", last, err, end)
	}
	var refused *plan.FieldError
	if err := f.change(t, "x/", values{"active-thru": "never"}); !errors.As(err, &refused) || refused.Field != "active-thru" {
		t.Errorf("brought back: %v", err)
	}
}

// What a closed window was made by does not change any more.
func TestBeginningIsFixedOnceAWindowIsClosed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	_, err := f.world.Database.Super().ExecContext(context.WithoutCancel(t.Context()), `
insert into export_batch (tenant_id, config_id, starts_at, ends_at)
select tenant_id, config_id, now(), now() + interval '1 hour' from export_config where tenant_id = $1`, f.north.ID)
	if err != nil {
		t.Fatal(err)
	}
	var refused *plan.FieldError
	if err := f.change(t, "", values{"active-from": f.now.Format(time.RFC3339)}); !errors.As(err, &refused) || refused.Field != "active-from" {
		t.Errorf("changed: %v", err)
	}
	if err := f.change(t, "", values{"period": "2h"}); err != nil {
		t.Errorf("period: %v", err)
	}
}
