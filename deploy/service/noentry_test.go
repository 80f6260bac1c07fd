package service

import (
	"cmp"
	"net/http"
	"testing"

	"github.com/google/uuid"
)

// If the audit entry cannot be written, no write of the portal does anything, at whatever
// route; and those that would have been done fail, rather than say that they were.
func TestNoEntryNoAct(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	if _, err := e.world.Database.Super().ExecContext(t.Context(), `revoke insert on audit_entry from carillon_portal`); err != nil {
		t.Fatal(err)
	}
	before := e.rows(t, nil)
	failed := map[string]bool{}
	for _, r := range e.portalRoutes() {
		if r.Method != http.MethodPost {
			continue
		}
		x := exampleOf(r)
		values := make([]string, len(x.objects))
		for i, kind := range x.objects {
			values[i] = cmp.Or(e.found(t, kind, e.own), uuid.NewString())
		}
		got := e.visit(t, "owner", r.Method, at(r, string(e.own.Slug), values...), x.form)
		failed[r.Path] = got.status == http.StatusInternalServerError
	}
	e.wantUnchanged(t, "acts without an entry", before)
	for _, path := range []string{
		"/portal/:tenant/codes/new", "/portal/:tenant/sharing/new", "/portal/:tenant/api-keys/new",
		"/portal/:tenant/api-keys/:id/change", "/portal/:tenant/api-keys/:id/rotate", "/portal/:tenant/api-keys/:id/revoke", "/portal/:tenant/api-keys/:id/codes",
		"/portal/:tenant/roles/new", "/portal/:tenant/staff/invite", "/portal/:tenant/staff/people/:id/suspend", "/portal/:tenant/sign-in/new",
	} {
		if !failed[path] {
			t.Errorf("%s: did not fail", path)
		}
	}
}
