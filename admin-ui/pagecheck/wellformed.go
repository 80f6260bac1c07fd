package pagecheck

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// void are the elements that have no end.
var void = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// reference is what an ampersand may begin.
var reference = regexp.MustCompile(`^&(#[0-9]+|#x[0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);`)

// place is where an element stands in a page.
type place struct {
	name  string
	depth int
}

// wellFormed finds tags that are missing, stray or in a wrong place: those of the source,
// one by one, have to make the very tree that a browser reads.
func (c *check) wellFormed() {
	c.fault(!strings.HasPrefix(c.page.Source, "<!doctype html>\n"), "no doctype in the first line")
	written, whole := c.written()
	if !whole {
		return
	}
	var read []place
	for n := range elements(c.root) {
		read = append(read, place{strings.ToLower(n.Data), depth(n)})
	}
	for i := range max(len(written), len(read)) {
		if i < len(written) && i < len(read) && written[i] == read[i] {
			continue
		}
		near := written[max(0, min(i, len(written))-3):min(i+1, len(written))]
		c.fault(true, "a browser reads the elements otherwise than they are written, near %v", near)
		return
	}
}

// written are the elements as the source has them, and whether each is closed where it
// has to be.
func (c *check) written() (all []place, whole bool) {
	var open []string
	z := html.NewTokenizer(strings.NewReader(c.page.Source))
	for {
		kind := z.Next()
		raw := string(z.Raw())
		token := z.Token()
		switch kind { //nolint:exhaustive // text, comments and the doctype open nothing
		case html.ErrorToken:
			c.fault(len(open) > 0, "never closed: %v", open)
			return all, len(open) == 0
		case html.StartTagToken, html.SelfClosingTagToken:
			all = append(all, place{token.Data, len(open)})
			foreign := slices.Contains(open, "svg") || token.Data == "svg"
			c.fault(kind == html.SelfClosingTagToken && !foreign, "<%s/> closes itself", token.Data)
			if kind == html.StartTagToken && !slices.Contains(void, token.Data) {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				c.fault(true, "</%s> within %v", token.Data, open)
				return nil, false
			}
			open = open[:len(open)-1]
		}
		c.ampersands(raw)
	}
}

// ampersands finds those that begin nothing.
func (c *check) ampersands(raw string) {
	for i := range len(raw) {
		if raw[i] == '&' && !reference.MatchString(raw[i:]) {
			c.fault(true, "a bare ampersand: %.30q", raw[i:])
		}
	}
}

// depth is how many elements are around one.
func depth(n *html.Node) (around int) {
	for a := range n.Ancestors() {
		if a.Type == html.ElementNode {
			around++
		}
	}
	return around
}
