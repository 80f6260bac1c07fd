package pagecheck

import (
	"slices"
	"strconv"

	"golang.org/x/net/html"
)

// scopes are what a heading of a table may be over.
var scopes = []string{"col", "row", "colgroup", "rowgroup"}

// table finds tables that cannot be understood by ear: without a caption, with headings
// that are over nothing, with rows of another length than the first, or with no rows.
func (c *check) table(n *html.Node) {
	below := children(n)
	c.at(n, len(below) == 0 || below[0].Data != "caption" || words(below[0]) == "", "no caption with words comes first")
	c.at(n, first(n, "th") == nil, "no headings")
	for th := range elements(n, "th") {
		c.at(th, !slices.Contains(scopes, attr(th, "scope")), "scope %q of %q", attr(th, "scope"), words(th))
		c.at(th, words(th) == "", "a heading of %q without words", words(below[0]))
	}
	c.at(n, first(first(n, "tbody"), "tr") == nil, "no rows: say instead that there is nothing yet")
	width, held := 0, []int{} // cells that reach into rows below: how many, by the row
	for row := range elements(n, "tr") {
		cells := 0
		if len(held) > 0 {
			cells, held = held[0], held[1:]
		}
		for _, cell := range children(row) {
			across := number(cell, "colspan")
			cells += across
			for below := range number(cell, "rowspan") - 1 {
				held = append(held, make([]int, max(0, below+1-len(held)))...)
				held[below] += across
			}
		}
		if width == 0 {
			width = cells
		}
		c.at(n, cells != width, "a row of %d cells among rows of %d: %.60q", cells, width, words(row))
	}
}

// number is an attribute that says how many; one if it is missing.
func number(n *html.Node, key string) int {
	if many, err := strconv.Atoi(attr(n, key)); err == nil {
		return many
	}
	return 1
}
