package api_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"carillon/api"
	"carillon/tenant"
	"carillon/tenant/app"
)

// page is the landing page as the API knows it: whose links it was asked for.
type page struct {
	mu    sync.Mutex
	asked []string
}

func (p *page) ServeLink(w http.ResponseWriter, _ *http.Request, t *tenant.Tenant, s app.Site) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := "nobody"
	if t != nil {
		name = string(t.Slug) + " " + s.Region
	}
	p.asked = append(p.asked, name)
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.WriteString(w, name)
}

// Whom a link would lead nowhere gets a page, and so does whoever was led on and comes
// back. Everybody else is led on as ever.
func TestLinksThatNoAppOpens(t *testing.T) {
	t.Parallel()
	landing := &page{}
	f := setUp(t, func(_ *fixture, c *api.Config) { c.Links.Landing = landing })
	f.set(t, f.south.Tenant, `enx = true`)
	north, south := regionHost(f.north), regionHost(f.south)
	const (
		code            = "/v?c=abcd1234efgh5678"
		android, iphone = "Android", "iPhone"
	)
	for _, test := range []struct {
		host, path, agent string
		back              bool
		status            int
		page              string
	}{
		{south, code, iphone, false, http.StatusSeeOther, ""},
		{south, code, android, false, http.StatusSeeOther, ""},
		{south, code, "", false, http.StatusTeapot, "south " + f.south.Region},
		{south, code, iphone, true, http.StatusTeapot, "south " + f.south.Region},
		{south, code, android, true, http.StatusTeapot, "south " + f.south.Region},
		{north, code, iphone, false, http.StatusTeapot, "north " + f.north.Region}, // neither an app nor ENX
		{"zz-zz." + linkDomain, code, iphone, false, http.StatusTeapot, "nobody"},
		{linkDomain, code, "", false, http.StatusTeapot, "nobody"},
		{south, "/", iphone, true, http.StatusSeeOther, ""}, // no code, no page
		{south, "/", "", false, http.StatusSeeOther, ""},
		{south, "/v?c=%3Cscript%3E", "", false, http.StatusNotFound, ""},
		{"zz-zz." + linkDomain, "/", "", false, http.StatusNotFound, ""},
		{portalHost, code, "", false, http.StatusNotFound, ""},
	} {
		h := header{"Host": test.host, "User-Agent": test.agent}
		if test.back {
			h["Cookie"] = "__Host-carillon-link=1"
		}
		a := f.ask(t, http.MethodGet, test.path, h, "")
		if a.StatusCode != test.status || test.page != "" && string(a.body) != test.page {
			t.Errorf("%s%s for %q, back %v: %v, want %d %q", test.host, test.path, test.agent, test.back, a, test.status, test.page)
		}
		led := test.status == http.StatusSeeOther && strings.Contains(test.path, "c=")
		cookie := a.Header.Get("Set-Cookie")
		if led != (cookie != "") {
			t.Errorf("%s%s for %q: cookie %q", test.host, test.path, test.agent, cookie)
		}
		if led && cookie != "__Host-carillon-link=1; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax" {
			t.Errorf("cookie %q", cookie)
		}
		if a.StatusCode == http.StatusTeapot && a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s%s may be kept", test.host, test.path)
		}
	}
	if strings.Contains(f.log.String(), "abcd1234") {
		t.Error("a code was logged")
	}
}
