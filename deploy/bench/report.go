package bench

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine describes what the figures were measured on.
func machine(ctx context.Context, s *stack) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cores, %s, %s %s/%s\n", runtime.NumCPU(), processor(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if average, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Fprintf(&b, "load average before the run: %s\n", strings.Join(strings.Fields(string(average))[:3], " "))
	}
	settings, err := databaseSettings(ctx, s.dsn(""))
	if err != nil {
		settings = err.Error()
	}
	return b.String() + settings + "\n"
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

const databaseSettingsSQL = `
select 'PostgreSQL ' || current_setting('server_version') || ': ' ||
       string_agg(name || ' ' || current_setting(name), ', ' order by name)
  from pg_settings
 where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers')`

func databaseSettings(ctx context.Context, dsn string) (text string, err error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, databaseSettingsSQL).Scan(&text)
	return text, err
}

const line = "%-12s %7s %8s %8s %8s %8s %8s %7s %8s %8s %8s %8s %6s %6s\n"

func header(out io.Writer) {
	fmt.Fprintf(out, line, "", "callers", "req/s", "floor/s", "% floor", "p50 ms", "p99 ms", "errors", "cpu ms", "db ms", "load ms", "RSS MB", "trips", "conns")
}

// share is a figure in percent of its floor. A flow is several requests, each of
// which commits, so it is counted in requests.
func (f figure) share() float64 { return 100 * f.rate() / f.floor }

// rate is requests per second.
func (f figure) rate() float64 { return f.load.rate() * float64(f.requests()) }

func (f figure) requests() int { return f.kind.requests }

func (f figure) p50() time.Duration { return percentile(f.load.took, 50) }
func (f figure) p99() time.Duration { return percentile(f.load.took, 99) }

func (f figure) print(out io.Writer) {
	number := func(format string, v float64) string { return fmt.Sprintf(format, v) }
	fmt.Fprintf(out, line, f.kind.name, number("%.0f", float64(f.callers)), number("%.0f", f.rate()), number("%.0f", f.floor),
		number("%.0f", f.share()), number("%.2f", milliseconds(f.p50())), number("%.2f", milliseconds(f.p99())),
		number("%.0f", float64(f.load.errors)), number("%.3f", f.cost.cpu*1000), number("%.3f", f.cost.database*1000), number("%.3f", f.cost.load*1000),
		number("%.0f", f.cost.resident/(1<<20)),
		number("%.2f", f.cost.trips), number("%.0f", f.cost.connections))
	if f.load.first != nil {
		fmt.Fprintf(out, "             the first error: %v\n", f.load.first)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// The targets, for two cores that server, database and load share.
const (
	maxTrips     = 3.1 // a cache that is filled now and then costs a little
	fromCallers  = 8   // with fewer, the floor waits for the disk and nobody else
	maxTail      = 10  // times the median
	maxResident  = 150 // MB
	maxSpread    = 10  // percent by which many tenants may be slower
	enough       = 500 // requests that a 99th percentile needs
	steadyMargin = 0.9 // with more callers, no less than this part of what 32 reach
	steadyFrom   = 32
)

// targets prints what was missed, and reports whether nothing was.
func (r *run) targets() bool {
	var missed []string
	miss := func(f figure, format string, args ...any) {
		missed = append(missed, fmt.Sprintf("%s with %d callers: ", f.kind.name, f.callers)+fmt.Sprintf(format, args...))
	}
	steady := map[string]float64{}
	for _, f := range r.figures {
		if f.load.errors > 0 {
			miss(f, "%d errors", f.load.errors)
		}
		if f.cost.trips > maxTrips {
			miss(f, "%.2f round trips", f.cost.trips)
		}
		if f.kind.cpu > 0 && f.cost.cpu*1000 > f.kind.cpu {
			miss(f, "%.3f ms of the server's CPU", f.cost.cpu*1000)
		}
		if f.cost.resident > maxResident<<20 {
			miss(f, "%.0f MB resident", f.cost.resident/(1<<20))
		}
		if f.load.count() >= enough && f.p99() > maxTail*f.p50() {
			miss(f, "p99 %v is more than %d times p50 %v", f.p99(), maxTail, f.p50())
		}
		if f.callers >= fromCallers && f.share() < f.kind.share {
			miss(f, "%.0f %% of the floor", f.share())
		}
		if f.callers == steadyFrom {
			steady[f.kind.name] = f.rate()
		}
		if f.callers > steadyFrom && f.rate() < steadyMargin*steady[f.kind.name] {
			miss(f, "%.0f req/s, less than with %d callers", f.rate(), steadyFrom)
		}
	}
	missed = append(missed, r.reportSpread()...)
	if len(missed) == 0 {
		fmt.Fprintln(r.options.Out, "\nEvery target is met.")
		return true
	}
	fmt.Fprintf(r.options.Out, "\nTargets missed:\n  %s\n", strings.Join(missed, "\n  "))
	return false
}

// reportSpread compares one tenant with many.
func (r *run) reportSpread() (missed []string) {
	var median [2]time.Duration
	for i, tenants := range []int{1, r.options.Tenants} {
		t := r.turns[i]
		if len(t.took) == 0 {
			return nil
		}
		if i == 0 {
			fmt.Fprintf(r.options.Out, "\nA whole flow with %d callers, in turns:\n", spreadCallers)
		}
		slices.Sort(t.took)
		median[i] = percentile(t.took, 50)
		t.cost = t.cost.since(cost{}, t.requests)
		fmt.Fprintf(r.options.Out, "  %5d tenants: p50 %.2f ms, p99 %.2f ms, %d flows; %.2f round trips and %.3f ms of CPU a request\n",
			tenants, milliseconds(median[i]), milliseconds(percentile(t.took, 99)), len(t.took), t.cost.trips, t.cost.cpu*1000)
	}
	slower := 100 * (float64(median[1])/float64(median[0]) - 1)
	fmt.Fprintf(r.options.Out, "  the median is %+.1f %%\n", slower)
	if slower > maxSpread {
		missed = append(missed, fmt.Sprintf("%d tenants: the median is %+.1f %%", r.options.Tenants, slower))
	}
	return missed
}
