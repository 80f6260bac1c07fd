package pagecheck

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// pointing are the attributes that name other elements by their IDs.
var pointing = []string{"for", "form", "list", "headers", "aria-labelledby", "aria-describedby", "aria-controls", "aria-owns", "aria-details", "aria-errormessage", "aria-activedescendant"}

// stating are the other attributes of this kind that our pages may have.
var stating = []string{"aria-label", "aria-hidden", "aria-current", "aria-live", "aria-atomic", "aria-invalid", "aria-expanded", "aria-pressed", "aria-disabled", "aria-required", "aria-valuenow", "aria-valuemin", "aria-valuemax", "aria-valuetext", "aria-busy", "aria-modal", "aria-haspopup", "aria-roledescription"}

// dated are the forms of a datetime.
var dated = []string{time.RFC3339, time.DateOnly, "2006-01", "15:04", "2006-01-02T15:04"}

// attributes finds those that are inline, foreign or lead to nothing.
func (c *check) attributes(n *html.Node) {
	for _, a := range n.Attr {
		c.at(n, strings.HasPrefix(a.Key, "on") || a.Key == "style", "inline %s", a.Key)
		c.at(n, strings.HasPrefix(a.Key, "aria-") && !slices.Contains(pointing, a.Key) && !slices.Contains(stating, a.Key), "unknown %s", a.Key)
		if slices.Contains(pointing, a.Key) {
			c.refers(n, a)
		}
		switch a.Key {
		case "tabindex":
			c.at(n, a.Val != "0" && a.Val != "-1", "tabindex %q changes the order", a.Val)
		case "aria-label":
			c.at(n, strings.TrimSpace(a.Val) == "", "an empty name")
		case "src", "srcset", "poster", "data", "background", "formaction":
			c.at(n, !local(a.Val) && !c.permits(a.Val), "%s is %q", a.Key, a.Val)
		case "target":
			c.at(n, attr(n, "rel") != "noopener", "the other tab can reach this one")
		case "datetime":
			c.at(n, !slices.ContainsFunc(dated, func(form string) bool { _, err := time.Parse(form, a.Val); return err == nil }), "datetime %q", a.Val)
		}
	}
	hidden := attr(n, "aria-hidden") == "true"
	c.at(n, hidden && first(n, "a", "button", "input", "select", "textarea") != nil, "hidden from some, yet it can be used")
}

func (c *check) refers(n *html.Node, a html.Attribute) {
	c.at(n, a.Val == "", "%s is empty", a.Key)
	for id := range strings.FieldsSeq(a.Val) {
		c.at(n, c.ids[id] == nil, "%s names nothing: %s", a.Key, id)
	}
}

// local reports whether an address is one of our own, without a host.
func local(address string) bool {
	return strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") && !strings.ContainsAny(address, "\\\r\n\t")
}

// permits reports whether the page's content policy names the host of an address, as it does
// that of a picture which an authority has chosen.
func (c *check) permits(address string) bool {
	to, err := url.Parse(address)
	return err == nil && to.Scheme == "https" && strings.Contains(c.page.Header.Get("Content-Security-Policy"), " https://"+to.Host+";")
}

// typed are the elements into which somebody puts something.
var typed = []string{"input", "select", "textarea"}

// element finds what is wrong with one by its name.
func (c *check) element(n *html.Node) {
	switch n.Data {
	case "style":
		c.at(n, true, "inline")
	case "script":
		c.at(n, attr(n, "src") == "" && attr(n, "type") != "application/json", "inline")
	case "link":
		c.at(n, !local(attr(n, "href")), "leads to %q", attr(n, "href"))
	case "iframe", "object", "embed", "base", "frame", "center", "font", "marquee", "blink":
		c.at(n, true, "has no place here")
	case "a":
		c.link(n)
	case "form":
		c.form(n)
	case "input", "select", "textarea":
		c.control(n)
	case "button":
		c.at(n, words(n) == "" && !has(n, "aria-label"), "no words")
		idle := within(n, "form") == nil && !has(n, "form") && attr(n, "type") != "button"
		c.at(n, idle, "there is nothing that it could send")
	case "label":
		of := c.ids[attr(n, "for")]
		c.at(n, !has(n, "for") || of == nil || !slices.Contains(typed, of.Data), "it is for no field")
		c.at(n, words(n) == "", "no words")
	case "fieldset":
		below := children(n)
		c.at(n, len(below) == 0 || below[0].Data != "legend" || words(below[0]) == "", "no legend with words comes first")
	case "img":
		c.at(n, !has(n, "alt"), "no alt")
	case "svg":
		c.at(n, attr(n, "aria-hidden") != "true" && attr(n, "role") != "img", "neither hidden nor a picture with a name")
	case "ul", "ol":
		c.holds(n, "li")
	case "dl":
		c.holds(n, "dt", "dd", "div")
	case "table":
		c.table(n)
	}
}

// holds wants an element to have children, and of some names only.
func (c *check) holds(n *html.Node, names ...string) {
	below := children(n)
	c.at(n, len(below) == 0, "empty")
	for _, child := range below {
		c.at(n, !slices.Contains(names, child.Data) && child.Data != "template", "has a <%s>", child.Data)
	}
}

// link finds links without words, to nowhere, and to others than ourselves that are not plain.
func (c *check) link(n *html.Node) {
	href := attr(n, "href")
	c.at(n, words(n) == "" && !has(n, "aria-label"), "no words")
	to, err := url.Parse(href)
	switch {
	case href == "" || err != nil:
		c.at(n, true, "leads nowhere: %v", err)
	case href[0] == '#':
		c.at(n, c.ids[href[1:]] == nil, "leads to nothing on the page")
	case local(href):
		c.at(n, c.page.Leads != nil && !c.page.Leads(http.MethodGet, to.Path), "leads to no page of ours")
	default: // away from here, in a test also to another server of the test
		plain := slices.Contains([]string{"https", "mailto", "tel", "ens", "ensonboarding", "intent"}, to.Scheme) || to.Hostname() == "127.0.0.1"
		c.at(n, !plain, "leads away by %q", to.Scheme)
	}
}

// form finds forms that would send nothing, or to nobody.
func (c *check) form(n *html.Node) {
	method, action := strings.ToUpper(attr(n, "method")), attr(n, "action")
	c.at(n, method != http.MethodGet && method != http.MethodPost, "method %q", method)
	to, err := url.Parse(action)
	c.at(n, err != nil || !local(action), "sends to %q", action)
	c.at(n, err == nil && c.page.Leads != nil && !c.page.Leads(method, to.Path), "sends to no page of ours: %s %s", method, action)
	c.at(n, method == http.MethodGet && err == nil && to.RawQuery != "", "a browser drops the query of %q", action)
	c.at(n, first(n, "button") == nil, "no button")
	for field := range elements(n, typed...) {
		kind := attr(field, "type")
		c.at(field, kind == "file" && attr(n, "enctype") != "multipart/form-data", "the form sends the file's name only")
		c.at(field, kind == "password" && method == http.MethodGet, "a secret would be in the URL")
	}
}

// control finds fields without a name or a label, and choices without a question.
func (c *check) control(n *html.Node) {
	kind := attr(n, "type")
	c.at(n, n.Data == "input" && kind == "", "no type")
	inForm := within(n, "form") != nil
	c.at(n, inForm && attr(n, "name") == "", "no name to be sent by")
	if kind == "hidden" {
		return
	}
	named := c.labels[attr(n, "id")] || has(n, "aria-label") || has(n, "aria-labelledby")
	c.at(n, !named, "no label")
	c.at(n, kind == "radio" && within(n, "fieldset") == nil, "a choice without a question")
	c.at(n, attr(n, "aria-invalid") == "true" && !has(n, "aria-describedby"), "wrong, and nothing says why")
	c.at(n, has(n, "placeholder"), "what is typed takes its hint away")
}
