//go:build !release

package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const pageLine = "%-66s %7s %8s %9s %8s %6s\n"

// print shows each route by the slowest of its addresses, and names the routes without one.
func (r *pageRun) print() {
	out := r.options.Out
	fmt.Fprintf(out, "%d codes; one request at a time, %d of each page, by the service's own handler in this process;\n"+
		"Postgres and the service share these cores.\n\n", r.options.Codes, r.options.Requests)
	fmt.Fprintf(out, pageLine, "page", "bytes", "least ms", "median ms", "p95 ms", "trips")
	slowest := map[string]pageFigure{}
	for _, f := range r.found {
		if s, is := slowest[f.route]; !is || f.median() > s.median() {
			slowest[f.route] = f
		}
	}
	routes := slices.SortedFunc(maps.Values(slowest), func(a, b pageFigure) int { return cmp.Compare(a.route, b.route) })
	for _, f := range routes {
		name := f.route
		if _, query, is := strings.Cut(f.address, "?"); is {
			name += "?" + query
		}
		fmt.Fprintf(out, pageLine, shorten(name), fmt.Sprint(f.bytes), tenths(milliseconds(f.took[0])), tenths(milliseconds(f.median())), tenths(milliseconds(percentile(f.took, 95))), tenths(f.trips))
	}
	fmt.Fprintf(out, "\nThe first page with all files that it may need: %d bytes as sent.\n", r.first)
	var unmet []string
	for _, route := range r.service.Routes() {
		if _, is := slowest[route.Path]; r.ofPages(route) && !is {
			unmet = append(unmet, route.Path)
		}
	}
	fmt.Fprintf(out, "\nNot measured, since they lead on, are files, or nothing here leads there:\n  %s\n", strings.Join(unmet, "\n  "))
	r.judge(routes)
}

func (r *pageRun) judge(slowest []pageFigure) {
	miss := func(format string, args ...any) { r.missed = append(r.missed, fmt.Sprintf(format, args...)) }
	for _, f := range slowest {
		if f.median() > pageTarget {
			miss("%s: %.0f ms", f.address, milliseconds(f.median()))
		}
		if f.trips > tripsTarget {
			miss("%s: %.1f round trips", f.address, f.trips)
		}
	}
	if r.first > firstTarget {
		miss("the first page: %d bytes", r.first)
	}
}

func (f pageFigure) median() time.Duration { return percentile(f.took, 50) }

func tenths(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// shorten keeps a name within its column.
func shorten(name string) string {
	const most = 66
	if len(name) > most {
		return name[:most-1] + "…"
	}
	return name
}
