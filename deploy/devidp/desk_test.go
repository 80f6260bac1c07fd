//go:build !release

package devidp

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"carillon/authz/oidc"
)

// newDeskSite is a site whose provider has a desk, says all in its tokens and takes any
// callback below a path; told has the logout tokens that its client was sent.
func newDeskSite(t *testing.T) (*site, chan string) {
	t.Helper()
	s := &site{came: make(chan url.Values, 1)}
	told := make(chan string, 1)
	mux := http.NewServeMux()
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	provider, err := New(Config{
		Issuer: s.URL + mount, Name: "Work account", Desk: true, FullTokens: true, ACR: "two", AMR: []string{"pwd", "mfa"},
		Clients: []Client{{ID: "carillon", Secret: "top-secret", RedirectPatterns: []string{s.URL + "/callback/*"}, PostLogoutRedirectURIs: []string{s.URL + "/bye"}}},
		People: []Person{
			{Login: "kim", Name: "Kim Example", Email: "kim@north-shore.example", Groups: []string{"tracers"}},
			{Login: "uma", Name: "Uma Example", Email: "uma@north-shore.example", Unverified: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle(mount+"/", provider)
	mux.HandleFunc("/callback/{id}", func(_ http.ResponseWriter, r *http.Request) { s.came <- r.URL.Query() })
	mux.HandleFunc("/bye", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/over", func(w http.ResponseWriter, r *http.Request) { told <- r.PostFormValue("logout_token") })
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	s.browser = s.Client()
	return s, told
}

func (s *site) own(t *testing.T, changes ...func(*oidc.Config)) *oidc.Provider {
	t.Helper()
	return s.client(t, append([]func(*oidc.Config){func(c *oidc.Config) {
		c.RedirectURL, c.RoleClaim, c.Roles = s.URL+"/callback/1", "groups", map[string][]string{"tracers": {"caseworker"}}
		c.ACR, c.AMR = []string{"two"}, []string{"mfa"}
	}}, changes...)...)
}

// come signs a person in through p.
func (s *site) come(t *testing.T, p *oidc.Provider, login string) (oidc.Identity, error) {
	t.Helper()
	to, flow, err := p.BeginFresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.submit(t, s.get(t, to), "", login)
	return p.Finish(t.Context(), flow, <-s.came)
}

func (s *site) post(t *testing.T, path string, form url.Values) view {
	t.Helper()
	resp, err := s.browser.PostForm(s.URL+path, form)
	return read(t, resp, err)
}

// Tokens say who, how strongly, when and in which session; a session ends by the desk and by
// signing out, and the client is told each time.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	s, told := newDeskSite(t)
	p := s.own(t)
	for _, address := range []string{s.URL + "/over", s.URL + "/deaf", "http://127.0.0.1:1/nobody"} {
		if v := s.post(t, mount+deskPath, url.Values{"address": {address}}); v.status != http.StatusOK || !strings.Contains(v.text, "was registered") {
			t.Errorf("%s: %d", address, v.status)
		}
	}
	for name, end := range map[string]func(oidc.Identity){
		"desk": func(who oidc.Identity) {
			s.submit(t, s.get(t, s.URL+mount+deskPath), "End the session of Kim Example", "")
			if v := s.post(t, mount+deskPath+"/end", url.Values{"session": {who.SID}}); v.status != http.StatusNotFound {
				t.Errorf("a second time: %d", v.status)
			}
		},
		"signing out": func(who oidc.Identity) {
			address, err := p.EndSessionURL(t.Context(), s.URL+"/bye", who.IDToken)
			if err != nil {
				t.Fatal(err)
			}
			if v := s.get(t, address); v.at.Path != "/bye" {
				t.Errorf("signed out at %s", v.at)
			}
		},
	} {
		who, err := s.come(t, p, "kim")
		if err != nil {
			t.Fatal(err)
		}
		if len(who.Roles) != 1 || who.Email != "kim@north-shore.example" || who.SID == "" || time.Since(who.AuthTime) > time.Minute {
			t.Errorf("roles %v, session %q, signed in at %v", who.Roles, who.SID, who.AuthTime)
		}
		end(who)
		said, err := p.VerifyLogout(t.Context(), <-told)
		if err != nil || said.Subject != "kim" || said.SID != who.SID {
			t.Errorf("%s: %+v, %v", name, said, err)
		}
	}
	if _, err := s.come(t, p, "uma"); err != oidc.ErrEmailUnverified { //nolint:errorlint // it is exactly this one
		t.Errorf("an address that is not vouched for: %v", err)
	}
}

func TestDeskRefuses(t *testing.T) {
	t.Parallel()
	s, _ := newDeskSite(t)
	for _, address := range []string{"", "https://example.com/", "http://example.com/x", "file:///etc/passwd", "http://10.0.0.1/", "javascript:alert(1)"} {
		if v := s.post(t, mount+deskPath, url.Values{"address": {address}}); v.status != http.StatusUnprocessableEntity || !strings.Contains(v.text, "Enter an address on this computer") {
			t.Errorf("%q: %d", address, v.status)
		}
	}
	checkPage(t, s.get(t, s.URL+mount+deskPath))
	without := newSite(t)
	if v := without.get(t, without.URL+mount+deskPath); v.status != http.StatusNotFound {
		t.Errorf("a provider without a desk: %d", v.status)
	}
}
