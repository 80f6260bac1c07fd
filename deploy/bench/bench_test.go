package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, test := range []struct {
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred, 1, 1},
		{[]time.Duration{7}, 50, 7},
		{[]time.Duration{7}, 99, 7},
		{[]time.Duration{1, 2, 3}, 50, 2},
		{nil, 50, 0},
	} {
		if got := percentile(test.sorted, test.p); got != test.want {
			t.Errorf("percentile %d of %d: got %d, want %d", test.p, len(test.sorted), got, test.want)
		}
	}
}

// A loop counts successes and errors apart, keeps the first error, and ends when
// there is nothing left.
func TestClosedLoop(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	const times = 20
	left := make([]int, 2)
	l := closedLoop(t.Context(), len(left), time.Hour, func(_ context.Context, caller int) error {
		left[caller]++
		switch {
		case left[caller] > times:
			return errExhausted
		case left[caller]%2 == 0:
			return broken
		default:
			return nil
		}
	})
	if l.count() != times || l.errors != times || !errors.Is(l.first, broken) || l.rate() <= 0 {
		t.Errorf("%d successes, %d errors, first %v, %v a second", l.count(), l.errors, l.first, l.rate())
	}
	none := closedLoop(t.Context(), 1, time.Hour, func(context.Context, int) error { return errExhausted })
	if err := none.fatal(); !errors.Is(err, errNothing) {
		t.Errorf("nothing succeeded: %v", err)
	}
}

func TestReadCost(t *testing.T) {
	t.Parallel()
	metrics := `
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 4.5
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 3e+07
# TYPE carillon_database_round_trips_total counter
carillon_database_round_trips_total{role="device"} 20
carillon_database_round_trips_total{role="issuer"} 13
# TYPE carillon_database_connections gauge
carillon_database_connections{role="device"} 2
carillon_database_connections{role="issuer"} 3
`
	now, err := readCost(strings.NewReader(metrics))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := now.since(cost{cpu: 0.5, trips: 3}, 10), (cost{cpu: 0.4, trips: 3, connections: 5, resident: 3e7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := readCost(strings.NewReader("{")); err == nil {
		t.Error("nonsense was taken for metrics")
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	if got, err := member([]byte(`{"padding":"x","token":"abc.d"}`), `"token":"`); got != "abc.d" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, answer := range []string{`{}`, `{"token":"unended`, ``} {
		if _, err := member([]byte(answer), `"token":"`); err == nil {
			t.Errorf("%s: found a token", answer)
		}
	}
}

// No two of many tenants share a region.
func TestRegions(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	const many = 5000
	for i := range many {
		seen[region(i)] = true
	}
	if len(seen) != many {
		t.Errorf("%d regions for %d tenants", len(seen), many)
	}
}

// Each target of exports can be missed, and is then named.
func TestExportTargets(t *testing.T) {
	t.Parallel()
	one := func(keys int, change func(*exportFigure)) exportFigure {
		f := exportFigure{workers: 1, tenants: 1, keys: keys, took: time.Duration(keys) * 1500, floor: time.Duration(keys) * 1000, peak: maxPeak}
		change(&f)
		return f
	}
	same := func(*exportFigure) {}
	pair := func(took time.Duration) func(*exportFigure) {
		return func(f *exportFigure) { f.workers, f.took = 2, took }
	}
	for name, test := range map[string]struct {
		figures []exportFigure
		want    string // part of what is said; nothing if all is met
	}{
		"all met": {[]exportFigure{
			one(100_000, func(f *exportFigure) { f.took *= 3 }), // so few are not held to the ratio
			one(1_000_000, same), one(5_000_000, same), one(1_000_000, same), one(1_000_000, pair(1800*time.Millisecond)),
			one(1000, func(f *exportFigure) { f.tenants, f.took = 200, time.Minute }),
		}, ""},
		"ratio":   {[]exportFigure{one(1_000_000, func(f *exportFigure) { f.took++ })}, "times the floor"},
		"memory":  {[]exportFigure{one(100_000, func(f *exportFigure) { f.peak += 1 << 20 })}, "151 MB above idle"},
		"tenants": {[]exportFigure{one(1000, func(f *exportFigure) { f.tenants, f.took = 200, time.Minute+1 })}, "200 tenants: 60.0 s"},
		"pair":    {[]exportFigure{one(1_000_000, same), one(1_000_000, pair(2*time.Second))}, "2 workers do 1.50 times"},
		"curve": {[]exportFigure{
			one(1_000_000, same), one(5_000_000, func(f *exportFigure) { f.took, f.floor = 2*f.took, 2*f.floor }),
		}, "a key among 5000000 takes 2.00 times"},
	} {
		missed := strings.Join((&exportRun{figures: test.figures}).missed(), "; ")
		if (missed == "") != (test.want == "") || !strings.Contains(missed, test.want) {
			t.Errorf("%s: missed %q, want %q", name, missed, test.want)
		}
	}
}
