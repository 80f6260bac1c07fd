package adminui

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// figure is a table of numbers, which is shown as such, drawn by scripts, and given out
// as CSV and JSON. All of them come from here, so they agree.
type figure struct {
	// Name is what URLs and files call it.
	Name          string
	Heading, Note string
	// Plot is how scripts draw it: lines over days, bars over classes, or not at all.
	Plot    plotKind
	Label   column // of each row
	Columns []column
	Rows    []figureRow
	// Rest says that there are more rows than are shown; empty if there are not.
	Rest string
	// Files are where it can be had.
	CSV, JSON string
}

type plotKind string

const (
	plotLines plotKind = "lines"
	plotBars  plotKind = "bars"
	plotNone  plotKind = ""
)

// column has a name for programs and one for people.
type column struct{ Name, Text string }

// figureRow is a day, a class or a thing with a number for each column.
type figureRow struct {
	Label string
	// Machine is the label as programs want it, such as a date.
	Machine string
	Values  []int64
}

// Empty reports whether there is nothing but zeros.
func (f figure) Empty() bool {
	for _, r := range f.Rows {
		for _, n := range r.Values {
			if n != 0 {
				return false
			}
		}
	}
	return true
}

// maxFigureRows is how many rows the page shows of a list that may be long. The files have
// all of it.
const maxFigureRows = 100

// shorten leaves the first rows, and reports whether that are not all.
func (f *figure) shorten() bool {
	if len(f.Rows) <= maxFigureRows {
		return false
	}
	f.Rows = f.Rows[:maxFigureRows]
	return true
}

// writeCSV writes a line with the columns' names and one for each row. What a
// spreadsheet could take for a formula is written as text.
func (f figure) writeCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	line := []string{f.Label.Name}
	for _, c := range f.Columns {
		line = append(line, c.Name)
	}
	lines := [][]string{line}
	for _, r := range f.Rows {
		line := []string{plainText(r.Machine)}
		for _, n := range r.Values {
			line = append(line, strconv.FormatInt(n, 10))
		}
		lines = append(lines, line)
	}
	return w.WriteAll(lines)
}

func plainText(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// writeJSON writes an array with an object for each row, its members in the order of the
// columns.
func (f figure) writeJSON(to io.Writer) error {
	var text strings.Builder
	text.WriteString("[")
	for i, r := range f.Rows {
		if i > 0 {
			text.WriteString(",")
		}
		text.WriteString("\n{" + quoted(f.Label.Name) + ":" + quoted(r.Machine))
		for j, n := range r.Values {
			text.WriteString("," + quoted(f.Columns[j].Name) + ":" + strconv.FormatInt(n, 10))
		}
		text.WriteString("}")
	}
	text.WriteString("\n]\n")
	_, err := io.WriteString(to, text.String())
	return err
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // a text always can
	return string(b)
}
