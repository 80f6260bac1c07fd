package adminui

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
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

// period is the days that figures tell of, and those before with which they compare.
type period struct {
	days int
	// weekly puts seven days into each row.
	weekly bool
}

// periods are those that somebody may choose, by their name in URLs.
func periods() map[string]period {
	return map[string]period{"week": {days: 7}, "month": {days: 28}, "quarter": {days: 91, weekly: true}}
}

// comparable reports whether days are kept long enough to compare with those before.
func (p period) comparable(kept int) bool { return 2*p.days <= kept }

// sums adds the days of a report, the newest first, up to the rows of the period, the
// oldest first. values gives a day's numbers.
func (p period) rows(days int, dayAt func(int) time.Time, values func(int) []int64, label func(time.Time) string) []figureRow {
	step := 1
	if p.weekly {
		step = 7
	}
	var rows []figureRow
	for last := min(p.days, days) - 1; last >= step-1; last -= step {
		day := dayAt(last)
		row := figureRow{Label: label(day), Machine: day.Format(time.DateOnly), Values: values(last)}
		for i := last - 1; i > last-step; i-- {
			row.Values = added(row.Values, values(i))
		}
		rows = append(rows, row)
	}
	return rows
}

func added(a, b []int64) []int64 {
	sum := make([]int64, len(a))
	for i := range a {
		sum[i] = a[i] + b[i]
	}
	return sum
}
