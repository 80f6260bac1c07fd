package export

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", "2026-11-25 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

// began is a configuration whose newest batch ended at a time.
func began(c config, lastEnd time.Time) standing { return standing{config: c, LastEnd: &lastEnd} }

func ptr[T any](v T) *T { return &v }

// The tables of the key server protocol §5.2, where ours differs from the
// reference: windows never overlap, and the first ones reach back to the
// configuration's beginning.
func TestDueWindows(t *testing.T) {
	t.Parallel()
	const hour, quarter = 3600, 900
	for _, test := range []struct {
		name     string
		config   standing
		now      time.Time
		truncate time.Duration
		want     []string
	}{
		{"first window since the beginning", standing{config: config{PeriodSeconds: hour, ActiveFrom: at("08:30:00")}}, at("10:00:01"), time.Hour, []string{"08:00-09:00", "09:00-10:00"}},
		{"nothing before the configuration is active", standing{config: config{PeriodSeconds: hour, ActiveFrom: at("11:00:00")}}, at("10:00:01"), time.Hour, nil},
		{"catching up", began(config{PeriodSeconds: hour}, at("07:00:00")), at("10:00:01"), time.Hour, []string{"07:00-08:00", "08:00-09:00", "09:00-10:00"}},
		{"quarters, cut to whole hours of arrival", began(config{PeriodSeconds: quarter}, at("09:00:00")), at("10:00:01"), time.Hour, []string{"09:00-09:15", "09:15-09:30", "09:30-09:45", "09:45-10:00"}},
		{"quarters wait for the hour", began(config{PeriodSeconds: quarter}, at("10:00:00")), at("10:50:00"), time.Hour, nil},
		{"changed period leaves neither gap nor overlap", began(config{PeriodSeconds: hour}, at("09:15:00")), at("10:00:01"), time.Hour, []string{"09:15-10:00"}},
		{"nothing new", began(config{PeriodSeconds: hour}, at("10:00:00")), at("10:59:59"), time.Hour, nil},
		{"age holds windows back", began(config{PeriodSeconds: hour, MinAgeSeconds: 7200}, at("07:00:00")), at("10:00:01"), time.Hour, []string{"07:00-08:00"}},
		{"ended configuration", began(config{PeriodSeconds: hour, ActiveThru: ptr(at("09:00:00"))}, at("09:00:00")), at("12:00:01"), time.Hour, nil},
		{"last window, closed after the end", began(config{PeriodSeconds: hour, ActiveThru: ptr(at("09:00:00"))}, at("07:00:00")), at("12:00:01"), time.Hour, []string{"07:00-08:00", "08:00-09:00"}},
		{"end within a window", began(config{PeriodSeconds: hour, ActiveThru: ptr(at("09:30:00"))}, at("09:00:00")), at("10:00:01"), time.Hour, nil},
		{"boundary itself", began(config{PeriodSeconds: hour}, at("09:00:00")), at("10:00:00"), time.Hour, []string{"09:00-10:00"}},
		{"seconds", began(config{PeriodSeconds: 2}, at("10:00:00")), at("10:00:05"), 2 * time.Second, []string{"10:00-10:00", "10:00-10:00"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			var previous time.Time
			for _, w := range test.config.due(test.now, test.truncate) {
				got = append(got, w.start.Format("15:04")+"-"+w.end.Format("15:04"))
				if !previous.IsZero() && !w.start.Equal(previous) {
					t.Errorf("window starts at %v, the one before ended at %v", w.start, previous)
				}
				previous = w.end
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
		})
	}
}

// A configuration from long ago does not open windows whose keys are deleted.
func TestDueWindowsGoBackAsFarAsKeysAreKept(t *testing.T) {
	t.Parallel()
	c := standing{config: config{PeriodSeconds: 86400, ActiveFrom: at("00:00:00").AddDate(-1, 0, 0)}}
	windows := c.due(at("12:00:00"), time.Hour)
	if n := len(windows); n != 14 {
		t.Errorf("%d windows, want 14", n)
	}
}

// An outage that made more windows than are closed at once is caught up with in
// several turns, oldest first, whatever the period.
func TestDueWindowsAreBounded(t *testing.T) {
	t.Parallel()
	now := at("12:00:00")
	c := began(config{PeriodSeconds: 2}, now.AddDate(0, -1, 0))
	total := 0
	for {
		windows := c.due(now, 2*time.Second)
		if len(windows) == 0 {
			break
		}
		if len(windows) > maxWindows {
			t.Fatalf("%d windows at once", len(windows))
		}
		total += len(windows)
		c.LastEnd = &windows[len(windows)-1].end
	}
	if want := int(Retention / (2 * time.Second)); total != want || !c.LastEnd.Equal(now) {
		t.Errorf("%d windows until %v, want %d", total, c.LastEnd, want)
	}
}

// The first window after a long outage begins at a multiple of the period, so that no
// arrival time falls between two windows.
func TestDueWindowsStartEvenly(t *testing.T) {
	t.Parallel()
	c := began(config{PeriodSeconds: 3600}, at("00:00:00").AddDate(0, -1, 0))
	windows := c.due(at("12:34:56").Add(time.Millisecond), time.Hour)
	if first := windows[0]; !first.start.Equal(at("12:00:00").Add(-Retention)) || first.end.Sub(first.start) != time.Hour {
		t.Errorf("first window %v", first)
	}
}
