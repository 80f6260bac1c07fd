package quota_test

import (
	"testing"
	"time"

	"carillon/tenant/quota"
)

var today = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// ending are days that end yesterday, in order.
func ending(issued ...int) []quota.Day {
	days := make([]quota.Day, len(issued))
	for i, n := range issued {
		days[i] = quota.Day{Day: today.AddDate(0, 0, i-len(issued)), Issued: n}
	}
	return days
}

func repeat(n, times int) []int {
	list := make([]int, times)
	for i := range list {
		list[i] = n
	}
	return list
}

// The vectors are reckoned by hand.
func TestModel(t *testing.T) {
	t.Parallel()
	zigzag := make([]int, 14) // 100, 200, 100, …
	for i := range zigzag {
		zigzag[i] = 100 + 100*(i%2)
	}
	climbing := make([]int, 20)
	for i := range climbing {
		climbing[i] = 50 + 3*i
	}
	for _, test := range []struct {
		name            string
		days            []quota.Day
		forecast, limit int
		ok              bool
	}{
		{"nothing", nil, 0, quota.Least, false},
		{"thirteen days", ending(repeat(100, 13)...), 0, quota.Least, false},
		{"fourteen days", ending(repeat(100, 14)...), 100, 100, true},
		// y = 50 + 3x, twenty days: the next is 50 + 60.
		{"climbing", ending(climbing...), 110, 110, true},
		// x̄ = 6.5, Σ(x−x̄)² = 227.5, Σ(x−x̄)(y−ȳ) = 7·50 = 350: b = 20/13, ȳ = 150,
		// so a + 14b = 150 + 7.5·20/13 = 161.54.
		{"zigzag", ending(zigzag...), 162, 162, true},
		// y = 140 − 10x: the next is 0, and a limit is at least 10.
		{"falling", ending(140, 130, 120, 110, 100, 90, 80, 70, 60, 50, 40, 30, 20, 10), 0, quota.Least, true},
		{"huge", ending(repeat(50_000, 20)...), 50_000, quota.Most, true},
		// Entries older than the last 21 days, this one included, do not count.
		{"old days", ending(append(repeat(9000, 10), repeat(100, 20)...)...), 100, 100, true},
		{"no entries lately", ending(append(repeat(9000, 30), 1)...)[:29], 9000, 9000, true},
	} {
		forecast, ok := quota.Forecast(test.days, today)
		limit, also := quota.Model(test.days, today)
		if forecast != test.forecast || limit != test.limit || ok != test.ok || also != ok {
			t.Errorf("%s: forecast %d, limit %d, %v; want %d, %d, %v", test.name, forecast, limit, ok, test.forecast, test.limit, test.ok)
		}
	}
}

// The current day counts as an entry, and its number does not count; days without an
// entry are no zeros.
func TestModelOfGaps(t *testing.T) {
	t.Parallel()
	days := append(ending(repeat(100, 13)...), quota.Day{Day: today, Issued: 3})
	if limit, ok := quota.Model(days, today); limit != 100 || !ok {
		t.Errorf("with the current day: %d, %v", limit, ok)
	}
	var sparse []quota.Day
	for i, d := range ending(repeat(100, 20)...) {
		if i%4 != 3 {
			sparse = append(sparse, d)
		}
	}
	if limit, ok := quota.Model(sparse, today); limit != 100 || !ok {
		t.Errorf("fifteen of twenty days: %d, %v", limit, ok)
	}
}

func TestEffective(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		base   int
		factor float64
		want   int
	}{
		{10, 1, 10},
		{10, 1.15, 12},
		{10, 1.1, 11},
		{100, 1.29, 129},
		{100, 0.1, 10},
		{33, 0.5, 17},
		{100, 1.999, 199},
		{20_000, 100, 2_000_000},
		{7, 0.29, 3},
	} {
		if got := quota.Effective(test.base, test.factor); got != test.want {
			t.Errorf("%d × %v = %d, want %d", test.base, test.factor, got, test.want)
		}
	}
}
