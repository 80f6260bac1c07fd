package export

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	exportplan "carillon/tenant/export/plan"
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

// A window that was closed is exported as its configuration stood then, whatever is
// changed before its files are made. The change counts from the next window on.
func TestChangeCountsFromTheNextWindow(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	first := f.mustPublish(t, 3)
	f.world.Advance(period)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	f.operate(t, func(tx *tenant.Tx) error {
		return exportplan.Change(t.Context(), tx, custodian, "", map[string]string{
			"region": "ZZ", "regions": f.tenant.Region, "min-records": "40", "max-records": "85", "period": "30m",
		}, f.world.Now())
	})
	second := f.mustPublish(t, 3)
	f.turn(t, s)
	f.world.Advance(period)
	f.turn(t, s)
	f.wantOnce(t, slices.Concat(first, second))
	files := f.files(t)
	if len(files) != 2 || files[0].Region != f.tenant.Region || files[1].Region != "ZZ" || len(files[0].Keys) > 25 || len(files[1].Keys) < 40 {
		t.Fatalf("%d files", len(files))
	}
	if !files[1].Start.Equal(files[0].End) || files[1].End.Sub(files[1].Start) != period/2 {
		t.Errorf("the second file is of %v to %v, the first ended at %v", files[1].Start, files[1].End, files[0].End)
	}
}

// A batch that an older release opened is made by its configuration.
func TestBatchWithoutPlan(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	keys := f.mustPublish(t, 3)
	f.world.Advance(period)
	if err := s.Cut(t.Context(), f.tenant); err != nil {
		t.Fatal(err)
	}
	f.exec(t, `
update export_batch
   set region = null, input_regions = null, exclude_regions = null, travelers = null, include_imported = null,
       min_records = null, padding_range = null, max_records = null`)
	f.turn(t, s)
	f.wantOnce(t, keys)
	if files := f.files(t); len(files) != 1 || files[0].Region != f.tenant.Region || len(files[0].Keys) < 20 {
		t.Errorf("files %d", len(files))
	}
}

// A configuration that ends takes every key that arrived before, also if nobody works
// until long after, and none that arrived later. Its files stay until their time.
func TestRetiredConfiguration(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	s := f.service(nil)
	f.turn(t, s)
	keys := f.mustPublish(t, 3)
	f.operate(t, func(tx *tenant.Tx) error {
		_, err := exportplan.Retire(t.Context(), tx, custodian, "", f.world.Now())
		return err
	})
	f.world.Advance(period)
	f.mustPublish(t, 4)
	f.world.Advance(5 * period)
	f.turn(t, s)
	f.turn(t, s)
	f.wantOnce(t, keys)
	if n := len(f.index(t)); n != 1 {
		t.Errorf("%d files, want that of the last window", n)
	}
	f.world.Advance(Retention + deletionGrace + period)
	f.turn(t, s)
	f.wantTidy(t)
	if n := len(f.index(t)); n != 0 {
		t.Errorf("%d files are left", n)
	}
}
