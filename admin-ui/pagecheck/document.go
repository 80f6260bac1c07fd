package pagecheck

import (
	"regexp"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/text/language"
)

// slips are what templates and formats leave where a value is missing or of a wrong type.
var slips = regexp.MustCompile(`ZgotmplZ|<no value>|&lt;no value&gt;|%!(?:[a-zA-Z]\(|\(EXTRA)`)

// document finds what is wrong with the page as a whole: language, title, landmarks.
func (c *check) document() {
	page := first(c.root, "html")
	lang := attr(page, "lang")
	tag, err := language.Parse(lang)
	c.fault(err != nil || lang == "", "the language is %q", lang)
	c.fault(c.page.Lang != "" && lang != c.page.Lang, "the language is %q, not %q", lang, c.page.Lang)
	script, _ := tag.Script()
	rightToLeft := script.String() == "Arab" || script.String() == "Hebr"
	c.fault(rightToLeft != (attr(page, "dir") == "rtl"), "%q is written in direction %q", lang, attr(page, "dir"))
	c.title()
	if slip := slips.FindString(c.page.Source); slip != "" {
		c.fault(true, "a value is missing: %s", slip)
	}
	c.fault(count(c.root, "main") != 1, "%d main", count(c.root, "main"))
	zoomed := false
	for n := range elements(c.root, "meta") {
		content := strings.ReplaceAll(attr(n, "content"), " ", "")
		zoomed = zoomed || attr(n, "name") == "viewport" && strings.Contains(content, "width=device-width")
		c.at(n, strings.Contains(content, "maximum-scale") || strings.Contains(content, "user-scalable"), "forbids to zoom")
	}
	c.fault(!zoomed, "no viewport")
	navs := count(c.root, "nav")
	for n := range elements(c.root, "nav") {
		c.at(n, navs > 1 && !has(n, "aria-label") && !has(n, "aria-labelledby"), "one of %d without a name", navs)
	}
}

// title has to begin with what the page is about, so that tabs can be told apart.
func (c *check) title() {
	title, heading := words(first(first(c.root, "head"), "title")), words(first(c.root, "h1"))
	_, marked, _ := strings.Cut(title, ": ") // if something is wrong, the title says so first
	begins := strings.HasPrefix(title, heading) || strings.HasPrefix(marked, heading)
	c.fault(heading == "" || !begins, "title %q does not begin with heading %q", title, heading)
}

// headings make an outline: one h1, and no level left out on the way down. The list of
// problems stands above the h1.
func (c *check) headings() {
	c.fault(count(c.root, "h1") != 1, "%d h1", count(c.root, "h1"))
	last := 1
	for n := range elements(c.root, "h1", "h2", "h3", "h4", "h5", "h6") {
		level := int(n.Data[1] - '0')
		c.at(n, words(n) == "", "no words")
		c.at(n, level > last+1, "h%d follows h%d: %q", level, last, words(n))
		last = level
	}
}

func count(root *html.Node, name string) (n int) {
	for range elements(root, name) {
		n++
	}
	return n
}
