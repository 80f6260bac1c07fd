package adminui_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"carillon/admin-ui/pagecheck"
)

// browser is a strict client: whatever page it is given must be a good one, in
// every test, without the test asking.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
}

// newBrowser speaks to a server over TLS, which the session's cookie insists on.
func newBrowser(t *testing.T, server *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *server.Client()
	client.Jar = jar
	return &browser{t: t, client: &client, base: server.URL}
}

// forget loses every cookie, as a browser does with a session that has ended.
func (b *browser) forget() {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.client.Jar = jar
}

// page is an answer that was read and, if it is HTML, found good.
type page struct {
	t      *testing.T
	status int
	header http.Header
	url    *url.URL
	body   string
	root   *html.Node
}

func (b *browser) get(path string) *page {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil))
}

// post sends a form as a browser does from a page of the same site.
func (b *browser) post(path string, form url.Values) *page {
	b.t.Helper()
	r := b.request(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

func (b *browser) request(method, path string, body io.Reader) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *browser) do(r *http.Request) *page {
	b.t.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &page{t: b.t, status: resp.StatusCode, header: resp.Header, url: resp.Request.URL, body: string(body)}
	redirect := resp.StatusCode >= 300 && resp.StatusCode < 400
	if redirect || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return p
	}
	if p.root, err = html.Parse(strings.NewReader(p.body)); err != nil {
		b.t.Fatal(err)
	}
	for _, fault := range (pagecheck.Page{Source: p.body, Header: p.header}).Faults() {
		b.t.Errorf("%s %s: %s", r.Method, r.URL.Path, fault)
	}
	return p
}

// wants checks status and heading.
func (p *page) wants(status int, heading string) *page {
	p.t.Helper()
	if p.status != status || p.text("h1") != heading {
		p.t.Errorf("%s: got %d %q, want %d %q", p.url.Path, p.status, p.text("h1"), status, heading)
	}
	return p
}

// contains checks the page's text, as it is read.
func (p *page) contains(want string) *page {
	p.t.Helper()
	if !strings.Contains(p.text("body"), want) {
		p.t.Errorf("%s: %q is missing in: %s", p.url.Path, want, p.text("body"))
	}
	return p
}

// lacks checks that something is nowhere in the source.
func (p *page) lacks(unwanted string) *page {
	p.t.Helper()
	if strings.Contains(p.body, unwanted) {
		p.t.Errorf("%s: has %q", p.url.Path, unwanted)
	}
	return p
}

// value is what a form's field would send.
func (p *page) value(name string) string {
	for n := range p.all("input") {
		if attr(n, "name") == name && attr(n, "type") != "radio" {
			return attr(n, "value")
		}
	}
	return ""
}

// link is where the link or button with these words leads.
func (p *page) link(words string) string {
	p.t.Helper()
	for n := range p.all("a") {
		if strings.TrimSpace(textOf(n)) == words {
			return attr(n, "href")
		}
	}
	p.t.Fatalf("%s: no link %q", p.url.Path, words)
	return ""
}

func (p *page) all(tags ...string) func(func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		for n := range p.root.Descendants() {
			if n.Type == html.ElementNode && slices.Contains(tags, n.Data) && !yield(n) {
				return
			}
		}
	}
}

// text is the words of the first such element, in one line.
func (p *page) text(tag string) string {
	for n := range p.all(tag) {
		return strings.Join(strings.Fields(textOf(n)), " ")
	}
	return ""
}

func textOf(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style" {
			text.WriteString(d.Data)
		}
	}
	return text.String()
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// form is what a browser would send of the form with an ID if somebody pressed its button.
func (p *page) form(id string) url.Values {
	p.t.Helper()
	sent := url.Values{}
	for f := range p.all("form") {
		if attr(f, "id") != id {
			continue
		}
		for n := range f.Descendants() {
			if n.Type != html.ElementNode || n.Data != "input" && n.Data != "textarea" {
				continue
			}
			kind, off := attr(n, "type"), !has(n, "checked")
			switch {
			case (kind == "checkbox" || kind == "radio") && off:
			case n.Data == "textarea":
				sent.Add(attr(n, "name"), textOf(n))
			default:
				sent.Add(attr(n, "name"), attr(n, "value"))
			}
		}
		return sent
	}
	p.t.Errorf("%s has no form %q", p.url.Path, id)
	return sent
}
