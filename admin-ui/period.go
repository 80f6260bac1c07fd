package adminui

import (
	"slices"
	"time"

	"carillon/tenant/stats"
)

// period is the days that figures tell of, and as many before with which they compare.
type period struct {
	name, text string // in URLs; a key of messages
	length     int    // in days
	// last is how many days ago the last one is: a day that is not over does not compare
	// with one that is.
	last int
	// weekly puts seven days into each row.
	weekly bool
	// alone is the key of why it is not compared; empty if it is.
	alone string
}

const (
	periodToday   = "today"
	defaultPeriod = "week"
)

// periods are those that somebody may choose. Days are kept for 91 days, so 13 weeks have
// none before them to compare with.
func periods() []period {
	return []period{
		{name: periodToday, text: "statistics.period.today", length: 1, alone: "statistics.alone.today"},
		{name: "day", text: "statistics.period.day", length: 1, last: 1},
		{name: defaultPeriod, text: "statistics.period.week", length: 7, last: 1},
		{name: "month", text: "statistics.period.month", length: 28, last: 1},
		{name: "quarter", text: "statistics.period.quarter", length: 91, last: 1, weekly: true, alone: "statistics.alone.quarter"},
	}
}

func periodNamed(name string) (period, bool) {
	i := slices.IndexFunc(periods(), func(p period) bool { return p.name == name })
	if i < 0 {
		return period{}, false
	}
	return periods()[i], true
}

// span is the period as seen from today.
func (p period) span(today time.Time) stats.Span {
	last := today.AddDate(0, 0, -p.last)
	return stats.Span{First: last.AddDate(0, 0, 1-p.length), Last: last}
}

// since is the first day that is needed, for the comparison too.
func (p period) since(today time.Time) time.Time {
	first := p.span(today).First
	if p.alone != "" {
		return first
	}
	return first.AddDate(0, 0, -p.length)
}

// days are those of the period, the newest first; before are as many before them.
func (p period) days(o stats.Overview) []stats.OverviewDay { return part(o.Days, p.last, p.length) }

func (p period) before(o stats.Overview) []stats.OverviewDay {
	if p.alone != "" {
		return nil
	}
	return part(o.Days, p.last+p.length, p.length)
}

func part(days []stats.OverviewDay, first, n int) []stats.OverviewDay {
	return days[min(first, len(days)):min(first+n, len(days))]
}

// rows adds the days of the period up to its rows, the oldest first.
func (p period) rows(o stats.Overview, values func(stats.OverviewDay) []int64, label func(time.Time) string) []figureRow {
	step := 1
	if p.weekly {
		step = 7
	}
	days := slices.Clone(p.days(o))
	slices.Reverse(days)
	var rows []figureRow
	for some := range slices.Chunk(days, step) {
		row := figureRow{Label: label(some[0].Day), Machine: some[0].Day.Format(time.DateOnly), Values: values(some[0])}
		for _, d := range some[1:] {
			row.Values = added(row.Values, values(d))
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
