//go:build !release

package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"carillon/admin-ui/pagecheck"
	"carillon/deploy/devidp"
)

// shown is an answer as a browser has it.
type shown struct {
	status int
	header http.Header
	body   string
}

// links are the addresses of ours to which a page leads.
func (s shown) links() []string {
	links := pagecheck.Page{Source: s.body}.Links()
	return slices.DeleteFunc(links, func(to string) bool { return !strings.HasPrefix(to, "/") })
}

// ask has a handler answer a request.
func ask(ctx context.Context, handler http.Handler, method, target string, header http.Header) shown {
	request := httptest.NewRequestWithContext(ctx, method, target, nil)
	if header != nil {
		request.Header = header
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(w, request)
	return shown{w.status, w.header, w.body.String()}
}

// recorder keeps an answer, but not the rest of one that no browser would show.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

const mostShown = 4 << 20 // bytes

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) { r.status = status }

func (r *recorder) Write(b []byte) (int, error) {
	if r.body.Len() < mostShown {
		r.body.Write(b)
	}
	return len(b), nil
}

// guest is somebody who is signed in.
type guest struct {
	handler http.Handler
	cookie  string
}

func (g *guest) get(ctx context.Context, address string) shown {
	return ask(ctx, g.handler, http.MethodGet, pagesURL+address, http.Header{
		"Cookie": {"__Host-carillon=" + g.cookie}, "Accept-Encoding": {"gzip"},
	})
}

var errSignIn = errors.New("nobody is signed in")

// post sends a form from a page of the same site.
func (g *guest) post(ctx context.Context, address, kind string, body io.Reader) shown {
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, pagesURL+address, body)
	request.Header = http.Header{"Cookie": {"__Host-carillon=" + g.cookie}, "Content-Type": {kind}, "Sec-Fetch-Site": {"same-origin"}}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, request)
	return shown{w.Code, w.Result().Header, w.Body.String()}
}

// startProvider runs a provider of identities at which people sign in by their names.
func startProvider(names ...string) (issuer string, stop func(), err error) {
	provider := httptest.NewUnstartedServer(nil)
	issuer = "http://" + provider.Listener.Addr().String() + "/idp"
	people := make([]devidp.Person, len(names))
	for i, name := range names {
		people[i] = devidp.Person{Login: name, Name: name, Email: name + "@people.example"}
	}
	provider.Config.Handler, err = devidp.New(devidp.Config{
		Issuer: issuer, Clients: []devidp.Client{{ID: "c", RedirectURIs: []string{pagesURL + "/login/callback"}}}, People: people,
	})
	if err != nil {
		return "", nil, err
	}
	provider.Start()
	return issuer, provider.Close, nil
}

// signIn has somebody go through the provider, at a server of pages.
func signIn(ctx context.Context, handler http.Handler, name string) (*guest, error) {
	g := &guest{handler: handler}
	to := "/login/start"
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range 6 {
		if path, ours := strings.CutPrefix(to, pagesURL); ours || strings.HasPrefix(to, "/") {
			answer := g.get(ctx, path)
			for _, c := range (&http.Response{Header: answer.header}).Cookies() {
				if c.Name == "__Host-carillon" {
					g.cookie = c.Value
				}
			}
			if strings.HasPrefix(path, "/login/callback") {
				return g, nil
			}
			to = answer.header.Get("Location")
			continue
		}
		next, err := atProvider(ctx, browser, to, name)
		if err != nil {
			return nil, err
		}
		to = next
	}
	return nil, errSignIn
}

// atProvider follows a redirect at the provider, and says there who somebody is.
func atProvider(ctx context.Context, browser *http.Client, to, name string) (next string, err error) {
	at, err := url.Parse(to)
	if err != nil {
		return "", err
	}
	method, body := http.MethodGet, ""
	if id := at.Query().Get("id"); strings.HasSuffix(at.Path, "/login") {
		method, body, at.RawQuery = http.MethodPost, url.Values{"id": {id}, "login": {name}}.Encode(), ""
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := browser.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	location, err := response.Location()
	if err != nil {
		return "", fmt.Errorf("%w: %s answers %s", errSignIn, at.Path, response.Status)
	}
	return location.String(), nil
}

// needed are the files that a page or a style sheet names.
var needed = regexp.MustCompile(`(?:src="|href="|url\(["']?)((?:/assets/|\./)?[A-Za-z0-9_-]+\.(?:css|js|svg|woff2))`)

// weigh adds up the first page that somebody sees after signing in and all files that it may
// need, fonts and pictures of the style sheet included, as they are sent.
func (r *pageRun) weigh(ctx context.Context) error {
	g, err := signIn(ctx, r.service.Handler(), ownerName)
	if err != nil {
		return err
	}
	page := g.get(ctx, "/portal/"+r.stack.tenants[0].slug+"/codes/new")
	r.first = len(page.body)
	names := map[string]bool{}
	waiting := []string{page.body}
	for len(waiting) > 0 {
		text := waiting[0]
		waiting = waiting[1:]
		for _, match := range needed.FindAllStringSubmatch(text, -1) {
			name := match[1][strings.LastIndex(match[1], "/")+1:]
			if names[name] {
				continue
			}
			names[name] = true
			file := g.get(ctx, "/assets/"+name)
			if file.status != http.StatusOK {
				return fmt.Errorf("%w: %s", errPage, name)
			}
			r.first += len(file.body)
			if strings.HasSuffix(name, ".css") {
				waiting = append(waiting, file.text())
			}
		}
	}
	return nil
}

// text is what was sent, not compressed any more.
func (s shown) text() string {
	if s.header.Get("Content-Encoding") != "gzip" {
		return s.body
	}
	unpacked, err := gzip.NewReader(strings.NewReader(s.body))
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(unpacked)
	return string(text)
}
