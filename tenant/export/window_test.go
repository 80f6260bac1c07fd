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

func ptr[T any](v T) *T { return &v }

// The tables of the key server protocol §5.2, where ours differs from the
// reference: windows never overlap, and the first ones reach back to the
// configuration's beginning.
func TestDueWindows(t *testing.T) {
	t.Parallel()
	const hour, quarter = 3600, 900
	for _, test := range []struct {
		name     string
		config   config
		now      time.Time
		truncate time.Duration
		want     []string
	}{
		{"first window since the beginning", config{PeriodSeconds: hour, ActiveFrom: at("08:30:00")}, at("10:00:01"), time.Hour, []string{"08:00-09:00", "09:00-10:00"}},
		{"nothing before the configuration is active", config{PeriodSeconds: hour, ActiveFrom: at("11:00:00")}, at("10:00:01"), time.Hour, nil},
		{"catching up", config{PeriodSeconds: hour, LastEnd: ptr(at("07:00:00"))}, at("10:00:01"), time.Hour, []string{"07:00-08:00", "08:00-09:00", "09:00-10:00"}},
		{"quarters, cut to whole hours of arrival", config{PeriodSeconds: quarter, LastEnd: ptr(at("09:00:00"))}, at("10:00:01"), time.Hour, []string{"09:00-09:15", "09:15-09:30", "09:30-09:45", "09:45-10:00"}},
		{"quarters wait for the hour", config{PeriodSeconds: quarter, LastEnd: ptr(at("10:00:00"))}, at("10:50:00"), time.Hour, nil},
		{"changed period leaves neither gap nor overlap", config{PeriodSeconds: hour, LastEnd: ptr(at("09:15:00"))}, at("10:00:01"), time.Hour, []string{"09:15-10:00"}},
		{"nothing new", config{PeriodSeconds: hour, LastEnd: ptr(at("10:00:00"))}, at("10:59:59"), time.Hour, nil},
		{"age holds windows back", config{PeriodSeconds: hour, MinAgeSeconds: 7200, LastEnd: ptr(at("07:00:00"))}, at("10:00:01"), time.Hour, []string{"07:00-08:00"}},
		{"ended configuration", config{PeriodSeconds: hour, ActiveThru: ptr(at("09:30:00")), LastEnd: ptr(at("09:00:00"))}, at("10:00:01"), time.Hour, nil},
		{"boundary itself", config{PeriodSeconds: hour, LastEnd: ptr(at("09:00:00"))}, at("10:00:00"), time.Hour, []string{"09:00-10:00"}},
		{"seconds", config{PeriodSeconds: 2, LastEnd: ptr(at("10:00:00"))}, at("10:00:05"), 2 * time.Second, []string{"10:00-10:00", "10:00-10:00"}},
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
	c := config{PeriodSeconds: 86400, ActiveFrom: at("00:00:00").AddDate(-1, 0, 0)}
	windows := c.due(at("12:00:00"), time.Hour)
	if n := len(windows); n != 14 {
		t.Errorf("%d windows, want 14", n)
	}
}
