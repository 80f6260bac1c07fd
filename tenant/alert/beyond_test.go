package alert

import (
	"testing"

	"carillon/tenant/stats"
)

// The vectors are reckoned by hand (verification protocol §11.4).
func TestUnusual(t *testing.T) {
	t.Parallel()
	days := func(claimed int64, before ...int64) []stats.RealmDay {
		list := []stats.RealmDay{{CodesIssued: 100, CodesClaimed: claimed}}
		for _, b := range before {
			list = append(list, stats.RealmDay{CodesIssued: 100, CodesClaimed: b})
		}
		return list
	}
	// Mean 0.70 and deviation 0.10.
	zigzag := []int64{60, 80, 60, 80, 60, 80, 60, 80, 60, 80, 60, 80, 60, 80}
	for _, c := range []struct {
		name string
		days []stats.RealmDay
		want bool
	}{
		{"thirteen days", days(0, zigzag[:13]...), false},
		{"two deviations below", days(50, zigzag...), false},
		{"a little more", days(49, zigzag...), true},
		{"above the mean", days(100, zigzag...), false},
	} {
		if got := unusual(c.days); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	quiet := append([]stats.RealmDay{{}}, days(0, zigzag...)...)
	if unusual(quiet) {
		t.Error("a day without codes is unusual")
	}
}

func TestBeyond(t *testing.T) {
	t.Parallel()
	day := stats.RealmDay{CodesIssued: 10, CodesClaimed: 4}
	for _, c := range []struct {
		figure    Figure
		threshold int
		day       stats.RealmDay
		want      bool
	}{
		{IssuedAbove, 9, day, true},
		{IssuedAbove, 10, day, false},
		{IssuedBelow, 11, day, true},
		{IssuedBelow, 10, day, false},
		{ClaimedBelow, 41, day, true},
		{ClaimedBelow, 40, day, false},
		{ClaimedBelow, 90, stats.RealmDay{CodesIssued: 9}, false},
	} {
		if _, got := (Rule{Figure: c.figure, Threshold: c.threshold}).beyond([]stats.RealmDay{c.day}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
