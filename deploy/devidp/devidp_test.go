//go:build !release

package devidp

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"carillon/authz/oidc"
)

const mount = "/dev/idp"

// site is a listener with the provider below mount and a client beside it.
type site struct {
	*httptest.Server
	browser *http.Client
	// came is the query with which the browser reached the client.
	came chan url.Values
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{came: make(chan url.Values, 1)}
	mux := http.NewServeMux()
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	idp, err := New(Config{
		Issuer: s.URL + mount,
		Clients: []Client{
			{ID: "carillon", Secret: "top-secret", RedirectURIs: []string{s.URL + "/callback"}, PostLogoutRedirectURIs: []string{s.URL + "/bye"}},
			{ID: "public", RedirectURIs: []string{s.URL + "/callback"}},
		},
		People: []Person{
			{Login: "ns-caseworker", Name: "Kim Example", Email: "kim@north-shore.example"},
			{Login: "rv-owner", Name: "Ola <Example>", Email: "Ola@River-Valley.example"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle(mount+"/", idp)
	mux.HandleFunc("/callback", func(_ http.ResponseWriter, r *http.Request) { s.came <- r.URL.Query() })
	mux.HandleFunc("/bye", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "bye") })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.browser = &http.Client{Jar: jar, Transport: s.Client().Transport, Timeout: 10 * time.Second}
	return s
}

func (s *site) client(t *testing.T, changes ...func(*oidc.Config)) *oidc.Provider {
	t.Helper()
	c := oidc.Config{
		Issuer: s.URL + mount, ClientID: "carillon", ClientSecret: "top-secret", RedirectURL: s.URL + "/callback",
		HTTPClient: &http.Client{Transport: s.Client().Transport}, Now: time.Now,
	}
	for _, change := range changes {
		change(&c)
	}
	p, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// view is a page that the browser shows.
type view struct {
	status int
	at     *url.URL
	policy string
	doc    *html.Node
	text   string
}

func read(t *testing.T, resp *http.Response, err error) view {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return view{resp.StatusCode, resp.Request.URL, resp.Header.Get("Content-Security-Policy"), doc, string(body)}
}

func (s *site) get(t *testing.T, address string) view {
	t.Helper()
	resp, err := s.browser.Get(address)
	return read(t, resp, err)
}

// submit sends the page's form that has an element by which the person acts: a
// button's text, or a field that is filled in.
func (s *site) submit(t *testing.T, v view, button, field string) view {
	t.Helper()
	for form := range elements(v.doc, "form") {
		values := url.Values{}
		found := false
		for e := range elements(form, "input") {
			value := attr(e, "value")
			if attr(e, "type") != "hidden" && field != "" {
				value, found = field, true
			}
			values.Set(attr(e, "name"), value)
		}
		for e := range elements(form, "button") {
			if field == "" && text(e) == button {
				values.Set(attr(e, "name"), attr(e, "value"))
				found = true
			}
		}
		if !found {
			continue
		}
		target, err := v.at.Parse(attr(form, "action"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.browser.PostForm(target.String(), values)
		return read(t, resp, err)
	}
	t.Fatalf("no form with button %q or a field for %q in:\n%s", button, field, v.text)
	return view{}
}

func elements(root *html.Node, tag string) func(func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && (tag == "" || n.Data == tag) && !yield(n) {
				return
			}
		}
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var out strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			out.WriteString(d.Data)
		}
	}
	return out.String()
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tests := map[string]struct {
		button, field string
		want          oidc.Identity
	}{
		"by button": {button: "Sign in as Kim Example", want: oidc.Identity{Subject: "ns-caseworker", Email: "kim@north-shore.example", Name: "Kim Example"}},
		"by login":  {field: " rv-owner ", want: oidc.Identity{Subject: "rv-owner", Email: "ola@river-valley.example", Name: "Ola <Example>"}},
	}
	p := s.client(t)
	for name, tt := range tests {
		started := time.Now()
		redirect, f, err := p.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.submit(t, s.get(t, redirect), tt.button, tt.field)
		got, err := p.Finish(t.Context(), f, <-s.came)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if since := got.AuthTime.Sub(started); since < -2*time.Second || since > 5*time.Second {
			t.Errorf("%s: signed in %v after the beginning", name, since)
		}
		tt.want.Issuer, tt.want.AuthTime, tt.want.IDToken = s.URL+mount, got.AuthTime, got.IDToken
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: identity (-want +got):\n%s", name, diff)
		}
	}
}

func TestFreshSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t)
	redirect, f, err := p.BeginFresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.submit(t, s.get(t, redirect), "", "rv-owner")
	if _, err := p.Finish(t.Context(), f, <-s.came); err != nil {
		t.Errorf("Finish = %v", err)
	}
}

func TestPublicClient(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t, func(c *oidc.Config) { c.ClientID, c.ClientSecret = "public", "" })
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.submit(t, s.get(t, redirect), "", "rv-owner")
	answer := <-s.came
	forged := f
	forged.Verifier = strings.Repeat("v", 43)
	if _, err := p.Finish(t.Context(), forged, answer); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("another verifier: %v, want ErrToken", err)
	}
	if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("a code that was tried before: %v, want ErrToken", err)
	}
}

func TestCodesServeOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.submit(t, s.get(t, redirect), "", "rv-owner")
	answer := <-s.came
	if _, err := p.Finish(t.Context(), f, answer); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), f, answer); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("again: %v, want ErrToken", err)
	}
}

func TestWrongSecret(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t, func(c *oidc.Config) { c.ClientSecret = "guess" })
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.submit(t, s.get(t, redirect), "", "rv-owner")
	if _, err := p.Finish(t.Context(), f, <-s.came); !errors.Is(err, oidc.ErrProvider) {
		t.Errorf("Finish = %v, want ErrProvider", err)
	}
}

func TestUnknownLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t)
	redirect, f, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := s.submit(t, s.get(t, redirect), "", `"><script>`)
	if v.status != http.StatusUnprocessableEntity {
		t.Errorf("status %d, want 422", v.status)
	}
	checkPage(t, v)
	if !strings.Contains(v.text, `role="alert"`) {
		t.Error("the page does not say what was wrong")
	}
	s.submit(t, v, "", "rv-owner") // the page can be corrected
	if _, err := p.Finish(t.Context(), f, <-s.came); err != nil {
		t.Errorf("Finish = %v", err)
	}
}

// Pages that need no script and trouble no screen reader.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	redirect, _, err := s.client(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	signIn := s.get(t, redirect+"&login_hint=rv-owner")
	if got := text(signIn.doc); !strings.Contains(got, "Sign in as Kim Example") || !strings.Contains(got, "Sign in as Ola <Example>") {
		t.Errorf("people are missing:\n%s", got)
	}
	if !strings.Contains(signIn.text, `name="login" value="rv-owner" autocomplete`) {
		t.Error("the client's hint is not in the field")
	}
	if !strings.Contains(signIn.policy, "form-action 'self' "+s.URL+";") {
		t.Errorf("content policy does not let forms reach the client: %s", signIn.policy)
	}
	expired := s.get(t, s.URL+mount+"/login?id=unknown")
	if expired.status != http.StatusBadRequest {
		t.Errorf("unknown request: status %d", expired.status)
	}
	resp, err := s.browser.PostForm(s.URL+mount+"/login", url.Values{"id": {"unknown"}, "login": {"rv-owner"}})
	if v := read(t, resp, err); v.status != http.StatusBadRequest {
		t.Errorf("signing in to an unknown request: status %d", v.status)
	}
	for _, v := range []view{signIn, expired, s.get(t, s.URL+mount+"/signed-out")} {
		checkPage(t, v)
	}
	style := s.get(t, s.URL+mount+"/login.css")
	if style.status != http.StatusOK {
		t.Errorf("stylesheet: status %d", style.status)
	}
}

func checkPage(t *testing.T, v view) {
	t.Helper()
	one := func(tag string) *html.Node {
		var found []*html.Node
		for n := range elements(v.doc, tag) {
			found = append(found, n)
		}
		if len(found) != 1 {
			t.Fatalf("%s: %d elements <%s>", v.at.Path, len(found), tag)
		}
		return found[0]
	}
	if heading, title := text(one("h1")), text(one("title")); heading == "" || !strings.HasPrefix(title, heading) {
		t.Errorf("%s: title %q does not begin with heading %q", v.at.Path, title, heading)
	}
	if attr(one("html"), "lang") == "" {
		t.Errorf("%s: no language", v.at.Path)
	}
	one("main")
	if !strings.HasPrefix(v.policy, "default-src 'none'; style-src 'self'; ") || strings.Contains(v.policy, "unsafe") {
		t.Errorf("%s: content policy %q", v.at.Path, v.policy)
	}
	checkElements(t, v)
}

func checkElements(t *testing.T, v view) {
	t.Helper()
	ids, labelled := map[string]bool{}, map[string]bool{}
	for n := range elements(v.doc, "") {
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("%s: ID %s occurs twice", v.at.Path, id)
			}
			ids[id] = true
		}
		if n.Data == "label" {
			labelled[attr(n, "for")] = true
		}
	}
	for n := range elements(v.doc, "") {
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s: inline %s", v.at.Path, a.Key)
			}
		}
		for _, name := range []string{"aria-labelledby", "aria-describedby"} {
			if id := attr(n, name); id != "" && !ids[id] {
				t.Errorf("%s: %s leads nowhere", v.at.Path, name)
			}
		}
		switch n.Data {
		case "script", "style":
			t.Errorf("%s: has a <%s>", v.at.Path, n.Data)
		case "form":
			if attr(n, "action") == "" || attr(n, "method") != "post" {
				t.Errorf("%s: form without action", v.at.Path)
			}
		case "button":
			if text(n) == "" {
				t.Errorf("%s: button without text", v.at.Path)
			}
		case "input":
			if attr(n, "type") != "hidden" && !labelled[attr(n, "id")] {
				t.Errorf("%s: field without label", v.at.Path)
			}
		}
	}
}

func TestQuestionsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	redirect, _, err := s.client(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		set  map[string]string
		want string // error with which the client is reached; empty: it must not be
	}{
		"no PKCE":            {map[string]string{"code_challenge": ""}, "invalid_request"},
		"plain PKCE":         {map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		"no PKCE method":     {map[string]string{"code_challenge_method": ""}, "invalid_request"},
		"nobody to ask":      {map[string]string{"prompt": "none"}, "login_required"},
		"implicit flow":      {map[string]string{"response_type": "id_token"}, "unauthorized_client"},
		"unknown client":     {map[string]string{"client_id": "stranger"}, ""},
		"another redirect":   {map[string]string{"redirect_uri": s.URL + "/callback/"}, ""},
		"redirect elsewhere": {map[string]string{"redirect_uri": "https://elsewhere.example/callback"}, ""},
	}
	for name, tt := range tests {
		u, err := url.Parse(redirect)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for k, v := range tt.set {
			q.Set(k, v)
		}
		u.RawQuery = q.Encode()
		v := s.get(t, u.String())
		if tt.want == "" {
			if v.status != http.StatusBadRequest || v.at.Host != u.Host {
				t.Errorf("%s: status %d at %s", name, v.status, v.at)
			}
			continue
		}
		// The implicit flow answers in the fragment, which a server does not see.
		fragment, _ := url.ParseQuery(v.at.Fragment)
		if got := (<-s.came).Get("error") + fragment.Get("error"); got != tt.want {
			t.Errorf("%s: error %q, want %q", name, got, tt.want)
		}
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.client(t)
	address, err := p.EndSessionURL(t.Context(), s.URL+"/bye", "")
	if err != nil || address == "" {
		t.Fatalf("EndSessionURL = %q, %v", address, err)
	}
	if v := s.get(t, address); v.at.Path != "/bye" || v.status != http.StatusOK {
		t.Errorf("ended at %s with %d", v.at, v.status)
	}
	address, err = p.EndSessionURL(t.Context(), "https://elsewhere.example/", "")
	if err != nil {
		t.Fatal(err)
	}
	if v := s.get(t, address); v.status != http.StatusBadRequest {
		t.Errorf("unregistered return: %d at %s", v.status, v.at)
	}
	if v := s.get(t, s.URL+mount+"/end_session"); v.at.Path != mount+"/signed-out" {
		t.Errorf("without a client: at %s", v.at)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	good := func() Config {
		return Config{
			Issuer:  "http://localhost:8080/dev/idp",
			Clients: []Client{{ID: "carillon", RedirectURIs: []string{"http://localhost:8080/callback"}}},
			People:  []Person{{Login: "a", Name: "A", Email: "a@a.example"}},
		}
	}
	before := slog.Default()
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	if slog.Default() != before {
		t.Error("the process's logger was replaced")
	}
	for name, change := range map[string]func(*Config){
		"no issuer":         func(c *Config) { c.Issuer = "" },
		"issuer elsewhere":  func(c *Config) { c.Issuer = "https://idp.example/dev" },
		"issuer on any":     func(c *Config) { c.Issuer = "http://0.0.0.0:8080/dev" },
		"issuer, slash":     func(c *Config) { c.Issuer += "/" },
		"issuer, query":     func(c *Config) { c.Issuer += "?a=b" },
		"issuer, scheme":    func(c *Config) { c.Issuer = "ftp://localhost/dev" },
		"client without ID": func(c *Config) { c.Clients[0].ID = "" },
		"no redirect":       func(c *Config) { c.Clients[0].RedirectURIs = nil },
		"client twice":      func(c *Config) { c.Clients = append(c.Clients, c.Clients[0]) },
		"no login":          func(c *Config) { c.People[0].Login = "" },
		"no name":           func(c *Config) { c.People[0].Name = "" },
		"no e-mail":         func(c *Config) { c.People[0].Email = "" },
		"person twice":      func(c *Config) { c.People = append(c.People, c.People[0]) },
	} {
		c := good()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
