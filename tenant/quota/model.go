package quota

import (
	"math"
	"slices"
	"time"
)

// Bounds of a modelled limit, and what it is before there is a model (§11.4).
const (
	Least   = 10
	Most    = 20_000
	Default = Least
)

const (
	historyDays = 21
	enoughDays  = 14
)

// Day is how many codes were issued on a UTC day.
type Day struct {
	Day    time.Time // its midnight
	Issued int
}

// Model gives the limit of a day from the days before it (§11.4): a straight line
// through those of the last 21 that have an entry, read where the next one would be.
// The day itself is not complete and does not count. ok is false if there are fewer
// than 14 entries.
func Model(days []Day, today time.Time) (limit int, ok bool) {
	forecast, ok := Forecast(days, today)
	return min(Most, max(Least, forecast)), ok
}

// Forecast is [Model] without its bounds.
func Forecast(days []Day, today time.Time) (codes int, ok bool) {
	recent := slices.DeleteFunc(slices.Clone(days), func(d Day) bool {
		return !d.Day.After(today.AddDate(0, 0, -historyDays)) || d.Day.After(today)
	})
	if len(recent) < enoughDays {
		return 0, false
	}
	complete := slices.DeleteFunc(recent, func(d Day) bool { return d.Day.Equal(today) })
	slices.SortFunc(complete, func(a, b Day) int { return a.Day.Compare(b.Day) })
	y := make([]float64, len(complete))
	for i, d := range complete {
		y[i] = float64(d.Issued)
	}
	a, b := line(y)
	return int(math.Round(a + b*float64(len(y)))), true
}

// line fits y ≈ a + b·x by least squares, x = 0, 1, 2, …
func line(y []float64) (a, b float64) {
	n := float64(len(y))
	meanX, meanY := (n-1)/2, 0.0
	for _, v := range y {
		meanY += v / n
	}
	var covariance, variance float64
	for i, v := range y {
		dx := float64(i) - meanX
		covariance += dx * (v - meanY)
		variance += dx * dx
	}
	if variance > 0 {
		b = covariance / variance
	}
	return meanY - b*meanX, b
}

// Effective is the limit that a tenant's factor makes of a modelled one: hundredths
// of a factor count, thousandths do not.
func Effective(base int, factor float64) int {
	const tolerance = 1e-6 // decimals are not exact in binary
	hundredths := int(math.Floor(factor*100 + tolerance))
	return (base*hundredths + 99) / 100
}

// dayOf is the midnight that begins a moment's UTC day.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
