// Package pagecheck finds what is wrong with an HTML page that a server has answered: what
// a browser has to guess, what a screen reader cannot say, and what the content policy
// forbids. It is for tests. It is stricter than the HTML standard, which lets authors leave
// out what a parser adds: every element here is written as it is read.
package pagecheck

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// Page is a page as it was answered.
type Page struct {
	Source string
	Header http.Header
	// Lang is the language that the page has to be in; empty is any.
	Lang string
	// Leads reports whether a request would reach a page of ours, by its method and its path
	// without a query; nil takes every path.
	Leads func(method, path string) bool
}

// Faults are what is wrong with the page, each in a line of words; nil if nothing is.
func (p Page) Faults() []string {
	root, err := html.ParseWithOptions(strings.NewReader(p.Source), html.ParseOptionEnableScripting(false))
	if err != nil {
		return []string{err.Error()}
	}
	c := &check{page: p, root: root, ids: map[string]*html.Node{}, labels: map[string]bool{}}
	c.wellFormed()
	c.headers()
	c.names()
	c.document()
	c.headings()
	for n := range elements(root) {
		c.attributes(n)
		c.element(n)
	}
	return c.faults
}

// Title is the page's title, and Links the URLs to which its links lead.
func (p Page) Title() string { return words(first(p.tree(), "title")) }

// Links are the addresses of the page's links, in their order.
func (p Page) Links() (addresses []string) {
	for n := range elements(p.tree(), "a") {
		addresses = append(addresses, attr(n, "href"))
	}
	return addresses
}

// tree is the parsed page. A page in memory is always parsed, however bad it is.
func (p Page) tree() *html.Node {
	root, _ := html.Parse(strings.NewReader(p.Source))
	return root
}

// check is what is being found out about one page.
type check struct {
	page   Page
	root   *html.Node
	ids    map[string]*html.Node
	labels map[string]bool // IDs that labels with words are for
	faults []string
}

func (c *check) fault(bad bool, format string, args ...any) {
	if bad {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// at is a fault of an element, which is named so that it can be found in its template.
func (c *check) at(n *html.Node, bad bool, format string, args ...any) {
	if !bad {
		return
	}
	name := n.Data
	for _, key := range []string{"id", "name", "class", "href"} {
		if value := attr(n, key); value != "" {
			name += fmt.Sprintf(" %s=%q", key, value)
		}
	}
	c.faults = append(c.faults, fmt.Sprintf("<%s>: ", name)+fmt.Sprintf(format, args...))
}

// headers are those without which a page is not safe.
func (c *check) headers() {
	for key, want := range map[string]string{
		"Cache-Control":           "no-store",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "default-src 'none'; ",
		"Content-Type":            "text/html; charset=utf-8",
	} {
		value := c.page.Header.Get(key)
		c.fault(!strings.HasPrefix(value, want), "header %s is %q", key, value)
	}
	referrer := c.page.Header.Get("Referrer-Policy")
	c.fault(referrer != "same-origin" && referrer != "no-referrer", "header Referrer-Policy is %q", referrer)
	policy := c.page.Header.Get("Content-Security-Policy")
	c.fault(strings.Contains(policy, "unsafe-"), "the content policy is %q", policy)
}

// names are the IDs of elements, and what labels are for.
func (c *check) names() {
	for n := range elements(c.root) {
		if has(n, "id") {
			id := attr(n, "id")
			c.at(n, id == "" || strings.ContainsAny(id, " \t\n"), "an ID of spaces")
			c.at(n, c.ids[id] != nil, "the ID is used twice")
			c.ids[id] = n
		}
		if n.Data == "label" && words(n) != "" {
			c.labels[attr(n, "for")] = true
		}
	}
}

// elements are those below a node, or those of them with one of some names.
func elements(root *html.Node, names ...string) func(func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		if root == nil {
			return
		}
		for n := range root.Descendants() {
			wanted := n.Type == html.ElementNode && (len(names) == 0 || slices.Contains(names, n.Data))
			if wanted && !yield(n) {
				return
			}
		}
	}
}

// first is the first such element below a node, nil if there is none.
func first(root *html.Node, names ...string) *html.Node {
	for n := range elements(root, names...) {
		return n
	}
	return nil
}

// children are the elements directly below one.
func children(n *html.Node) (below []*html.Node) {
	for c := range n.ChildNodes() {
		if c.Type == html.ElementNode {
			below = append(below, c)
		}
	}
	return below
}

// within is the nearest of such elements around one, nil if there is none.
func within(n *html.Node, names ...string) *html.Node {
	for a := range n.Ancestors() {
		if slices.Contains(names, a.Data) {
			return a
		}
	}
	return nil
}

// words are what is read of an element, in one line: its text and that of its pictures.
func words(n *html.Node) string {
	if n == nil {
		return ""
	}
	var text strings.Builder
	for d := range n.Descendants() {
		switch {
		case d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style":
			text.WriteString(d.Data)
		case d.Data == "img":
			text.WriteString(" " + attr(d, "alt") + " ")
		case d.Type == html.ElementNode && d.Data != "span":
			text.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
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
