package adminui_test

import (
	"testing"
)

// The platform's pages are for those who run it. To all others they do not exist.
func TestPlatformIsForOperators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, who := range []string{owner, caseworker, stranger} {
		w.signIn(who)
		missing := w.get("/operator/nowhere").wants(404, "Page not found")
		if got := w.get("/operator").wants(404, "Page not found"); got.text("main p") != missing.text("main p") {
			t.Errorf("%s can tell the platform's pages from those that do not exist", who)
		}
	}
	for _, who := range []string{operator, supporter} {
		w.signIn(who)
		w.get("/operator").wants(200, "Platform")
		w.get("/portal/north-shore/").wants(404, "Page not found")
	}
}
