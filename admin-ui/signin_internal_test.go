package adminui

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/admin-ui/adminuitest"
	"carillon/authz"
	"carillon/authz/oidc"
)

// A sensitive act waits for a fresh sign-in, which leads back to where it is begun.
func TestSensitiveActs(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, time.November, 26, 12, 0, 0, 0, time.UTC)
	s := &Server{config: Config{Staff: &adminuitest.Staff{}, Now: func() time.Time { return noon }}, words: &catalogue{}}
	done := answer{page: "done"}
	r := fresh(signedIn("POST /portal/:tenant/sharing/:id/withdraw", "for a test", func(*visit) (answer, error) { return done, nil }))
	for name, c := range map[string]struct {
		who  *oidc.Identity
		want answer
	}{
		"just now":          {&oidc.Identity{AuthTime: noon}, done},
		"nearly 10 minutes": {&oidc.Identity{AuthTime: noon.Add(time.Second - freshLife)}, done},
		"10 minutes":        {&oidc.Identity{AuthTime: noon.Add(-freshLife)}, answer{redirect: "/login?reason=fresh&return=%2Fportal%2Fa%2520b%2Fsharing%2F1%2Fwithdraw"}},
		"nobody knows when": {&oidc.Identity{}, answer{redirect: "/login?reason=fresh&return=%2Fportal%2Fa%2520b%2Fsharing%2F1%2Fwithdraw"}},
		"nobody":            {nil, answer{redirect: "/login?reason=lost&return=%2Fportal%2Fa%2520b%2Fsharing%2F1%2Fwithdraw"}},
	} {
		v := &visit{r: httptest.NewRequest(http.MethodPost, "/portal/a%20b/sharing/1/withdraw", nil), route: r, who: c.who}
		got, err := s.guarded(t.Context(), v)
		if err != nil || got.page != c.want.page || got.redirect != c.want.redirect {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

// Who may not do a thing is told so, and not sent to sign in again for it.
func TestSensitiveActsOfOthers(t *testing.T) {
	t.Parallel()
	s := &Server{config: Config{Staff: &adminuitest.Staff{}, Now: time.Now}}
	r := fresh(staffed("POST /portal/:tenant/sharing/:id/withdraw", authz.SharingOffer, limitPortal, nil))
	r.TenantFrom = authz.TenantFromNone // and so there is no policy
	v := &visit{r: httptest.NewRequest(http.MethodPost, "/", nil), route: r, who: &oidc.Identity{}}
	if a, err := s.guarded(t.Context(), v); err != authz.ErrForbidden { //nolint:errorlint // exactly this
		t.Errorf("%+v, %v, want a refusal", a, err)
	}
}

func TestWayBack(t *testing.T) {
	t.Parallel()
	s := &Server{config: Config{Staff: &adminuitest.Staff{}}}
	for _, c := range []struct{ method, pattern, path, want string }{
		{"GET", "/portal/:tenant/codes", "/portal/n/codes?id=1&x=a%2Fb", "/portal/n/codes?id=1&x=a%2Fb"},
		{"POST", "/portal/:tenant/codes/new", "/portal/n/codes/new?x=1", "/portal/n/codes/new"},
		{"POST", "/portal/:tenant/codes/:id/expire", "/portal/n/codes/1/expire", "/portal/n/codes/1/expire"},
		{"POST", "/portal/:tenant/sharing/:id/accept", "/portal/n/sharing/1/accept", "/portal/n/sharing"},
		{"POST", "/portal/:tenant/nowhere", "/portal/n/nowhere", "/portal"},
		{"POST", "/nowhere", "/nowhere", "/portal"},
	} {
		v := &visit{r: httptest.NewRequest(c.method, c.path, nil), params: gin.Params{}, route: declare(c.method+" "+c.pattern, limitNone, nil)}
		if got := s.wayBack(v); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

// A provider's clock that runs ahead does not keep anybody fresh for longer, and the return
// from a provider of an authority's own that says nothing is no fresh sign-in by itself.
func TestSignedInAt(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, time.November, 26, 12, 0, 0, 0, time.UTC)
	s := &Server{config: Config{Staff: &adminuitest.Staff{}, Now: func() time.Time { return noon }}}
	for _, c := range []struct {
		flow       oidc.Flow
		said, want time.Time
	}{
		{oidc.Flow{}, time.Time{}, noon},
		{oidc.Flow{}, noon.Add(-time.Hour), noon.Add(-time.Hour)},
		{oidc.Flow{}, noon.Add(time.Hour), noon},
		{oidc.Flow{Realm: "north"}, time.Time{}, time.Time{}},
		{oidc.Flow{Realm: "north"}, noon.Add(-time.Hour), noon.Add(-time.Hour)},
		{oidc.Flow{Realm: "north", Fresh: true}, time.Time{}, noon},
	} {
		if got := s.signedInAt(c.flow, oidc.Identity{AuthTime: c.said}); !got.Equal(c.want) {
			t.Errorf("asked by %q, fresh %v, the provider said %v: %v, want %v", c.flow.Realm, c.flow.Fresh, c.said, got, c.want)
		}
	}
}
