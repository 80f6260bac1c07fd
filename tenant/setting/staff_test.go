package setting_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/setting"
	"carillon/tenant/tenanttest"
)

// The defaults that people are told are those of the schema.
func TestDefaults(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for _, s := range setting.List() {
		var expression, text string
		db := w.Database.Super()
		err := db.QueryRowContext(t.Context(), `
select column_default from information_schema.columns where table_name = 'tenant_setting' and column_name = $1`, s.Column()).Scan(&expression)
		if err == nil {
			err = db.QueryRowContext(t.Context(), "select ("+expression+")::text").Scan(&text)
		}
		if got := s.Show(text); err != nil || got != s.Default {
			t.Errorf("%s begins as %q (%v), and is said to begin as %q", s.Name, got, err, s.Default)
		}
	}
}

func staff(w *tenanttest.World) *setting.Staff {
	return setting.NewStaff(w.Portal, authz.NewPolicies(nil), w.Now)
}

func board(t *testing.T, w *tenanttest.World, of *tenant.Tenant) setting.Board {
	t.Helper()
	b, err := staff(w).Board(t.Context(), of, robin)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whoever may see settings sees who changed each last; what others chose stays theirs.
func TestStaffChange(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	before := board(t, w, north)
	if len(before.Last) != 0 {
		t.Errorf("nothing was changed yet, and the board says %v", before.Last)
	}
	values := map[string]string{"code-life": "20m", "require-date": "off"}
	plan, err := staff(w).Plan(t.Context(), north, robin, before.Values, values)
	want := []setting.Difference{{Name: "require-date", Before: "on", After: "off"}, {Name: "code-life", Before: before.Values["code-life"], After: "20m0s"}}
	if err != nil || cmp.Diff(want, plan) != "" {
		t.Errorf("plan: %v %s", err, cmp.Diff(want, plan))
	}
	if diff := cmp.Diff(before.Values, board(t, w, north).Values); diff != "" {
		t.Errorf("a plan has changed settings:\n%s", diff)
	}
	if err := staff(w).Change(t.Context(), north, robin, before.Values, values); err != nil {
		t.Fatal(err)
	}
	after := board(t, w, north)
	if after.Values["code-life"] != "20m0s" || after.Last["code-life"].By != "Robin" || after.Last["code-life"].At.IsZero() || after.Last["enx"].By != "" {
		t.Errorf("after a change: %q, %+v", after.Values["code-life"], after.Last)
	}
	if b := board(t, w, south); b.Values["require-date"] != "on" || len(b.Last) != 0 {
		t.Errorf("the other tenant: %+v", b)
	}
}

func TestStaffAreRefused(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	seen := board(t, w, north).Values
	stale := maps.Clone(seen)
	stale["code-digits"] = "7"
	caseworker := authz.Subject{Kind: authz.Person, ID: "88bb", Name: "Sam", Roles: []authz.Role{authz.Caseworker}}
	analyst := authz.Subject{Kind: authz.Person, ID: "99cc", Name: "Ana", Roles: []authz.Role{authz.Analyst}}
	for name, c := range map[string]struct {
		by           authz.Subject
		seen, values map[string]string
		want         error
	}{
		"another role":        {caseworker, seen, map[string]string{"code-digits": "6"}, authz.ErrForbidden},
		"who only reads":      {analyst, seen, map[string]string{"code-digits": "6"}, authz.ErrForbidden},
		"changed meanwhile":   {robin, stale, map[string]string{"code-digits": "6"}, setting.ErrChanged},
		"the platform's":      {robin, seen, map[string]string{"maintenance": "on"}, setting.ErrOperator},
		"the texts' own page": {robin, seen, map[string]string{"sms-template": "[code]"}, setting.ErrOperator},
		"no such setting":     {robin, seen, map[string]string{"truncate": "1"}, setting.ErrUnknown},
		"no such value":       {robin, seen, map[string]string{"code-digits": "5", "require-date": "off"}, setting.ErrValue},
		"as it is":            {robin, seen, map[string]string{"require-date": seen["require-date"]}, setting.ErrSame},
	} {
		if err := staff(w).Change(t.Context(), north, c.by, c.seen, c.values); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if diff := cmp.Diff(seen, board(t, w, north).Values); diff != "" {
		t.Errorf("what was refused has changed settings:\n%s", diff)
	}
}

// Every value that makes no sense is named, not only the first.
func TestEveryFaultIsNamed(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := change(t, w, north, map[string]string{"code-digits": "x", "code-life": "y", "maintenance": "on"})
	if diff := cmp.Diff([]string{"code-digits", "code-life"}, setting.Faults(err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// Switching Exposure Notifications Express on sets the lengths that it needs, and keeps them.
func TestExpressBindsCodes(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	if err := change(t, w, north, map[string]string{"enx": "off", "code-digits": "6", "code-life": "1h"}); err != nil {
		t.Fatal(err)
	}
	seen := board(t, w, north).Values
	if err := staff(w).Change(t.Context(), north, robin, seen, map[string]string{"enx": "on"}); err != nil {
		t.Fatal(err)
	}
	seen = board(t, w, north).Values
	if seen["code-digits"] != "8" || seen["code-life"] != "15m0s" || seen["test-types"] != "confirmed" {
		t.Errorf("with Express: %v", seen)
	}
	if err := staff(w).Change(t.Context(), north, robin, seen, map[string]string{"code-digits": "7"}); !errors.Is(err, setting.ErrLocked) {
		t.Errorf("another length: %v, want ErrLocked", err)
	}
	if err := staff(w).Change(t.Context(), north, robin, seen, map[string]string{"test-types": "confirmed,likely"}); err != nil {
		t.Errorf("more types: %v", err)
	}
}
