package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/onboarding"
)

// ExportOptions say what to measure of exports.
type ExportOptions struct {
	// Dir, PostgresBin and Out are as in [Options].
	Dir, PostgresBin string
	Out              io.Writer
	// Worker is the program and arguments that call [ExportWorker].
	Worker []string
	// Keys are the sizes of a tenant's window.
	Keys []int
	// Pair is how many keys each of two workers is given at once, and Tenants how many
	// tenants of a thousand keys one worker is; zero leaves either out.
	Pair, Tenants int
}

// tenantKeys is the window of each of many tenants.
const tenantKeys = 1000

// RunExports stores keys, has workers make and publish files of them, and prints how
// long that takes beside a floor of the same keys, and how much memory: [ErrMissed] if
// a target is missed.
//
// The floor is one pass over the same rows, read through the same driver in the order of
// files: encoded, hashed, deflated at the same level, and thrown away.
func RunExports(ctx context.Context, o ExportOptions) error {
	s, err := startStore(ctx, Options{Dir: o.Dir, PostgresBin: o.PostgresBin, Out: o.Out})
	if err != nil {
		return err
	}
	defer s.stop(ctx)
	fmt.Fprint(o.Out, machine(ctx, s))
	fmt.Fprint(o.Out, "Workers, each a process, and Postgres share these cores; files go to a folder.\n\n")
	r := &exportRun{options: o, stack: s}
	if r.super, err = sql.Open("postgres", s.dsn("")); err != nil {
		return err
	}
	defer r.super.Close()
	if r.operator, err = tenant.Open(ctx, tenant.Config{DSN: s.dsn("carillon_operator")}); err != nil {
		return err
	}
	defer r.operator.Close()
	exportHeader(o.Out)
	for _, keys := range o.Keys {
		if err := r.measure(ctx, 1, 1, keys); err != nil {
			return err
		}
	}
	if o.Pair > 0 {
		for _, workers := range []int{1, 2} {
			if err := r.measure(ctx, workers, 1, o.Pair); err != nil {
				return err
			}
		}
	}
	if o.Tenants > 0 {
		if err := r.measure(ctx, 1, o.Tenants, tenantKeys); err != nil {
			return err
		}
	}
	if missed := r.missed(); len(missed) > 0 {
		fmt.Fprintf(o.Out, "\nTargets missed:\n  %s\n", strings.Join(missed, "\n  "))
		return ErrMissed
	}
	fmt.Fprintln(o.Out, "\nEvery target is met.")
	return nil
}

// exportRun is a measurement of exports under way.
type exportRun struct {
	options  ExportOptions
	stack    *stack
	super    *sql.DB
	operator *tenant.DB
	made     int // tenants
	figures  []exportFigure
}

// exportFigure is one line: workers with some tenants each, and their keys.
type exportFigure struct {
	workers, tenants, keys int // tenants of each worker, keys of each tenant
	files                  int
	size                   int64 // of all files, in bytes
	took, floor            time.Duration
	peak                   uint64  // of one worker above idle, in bytes
	cpu, floorCPU          float64 // seconds of workers and Postgres together
}

func (f exportFigure) total() int { return f.workers * f.tenants * f.keys }

// ratio is how many times as long as the floor the work took.
func (f exportFigure) ratio() float64 { return float64(f.took) / float64(f.floor) }

// measure stores keys for new tenants and has workers export them.
func (r *exportRun) measure(ctx context.Context, workers, tenants, keys int) error {
	f := exportFigure{workers: workers, tenants: tenants, keys: keys}
	all := make([]tenant.ID, workers*tenants)
	for i := range all {
		var err error
		if all[i], err = r.fill(ctx, keys); err != nil {
			return err
		}
	}
	if _, err := r.super.ExecContext(ctx, `vacuum analyze exposure`); err != nil {
		return err
	}
	if err := r.floor(ctx, &f, all[0]); err != nil {
		return err
	}
	if err := r.work(ctx, &f, slices.Collect(slices.Chunk(all, tenants))); err != nil {
		return err
	}
	if err := r.floor(ctx, &f, all[0]); err != nil {
		return err
	}
	if err := r.count(ctx, &f, all); err != nil {
		return err
	}
	r.figures = append(r.figures, f)
	f.print(r.options.Out)
	return nil
}

const (
	window    = 4 * time.Hour
	windowAge = 2 * time.Hour
)

// start is the beginning of the window that is exported, by the workers' clock.
var windowStart = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// Fourteen days of keys for each person, of which the last may be short.
const fillSQL = `
insert into exposure
       (tenant_id, created_at, rolling_start, report_type, rolling_period, transmission_risk, days_since_onset,
        traveler, tek, region)
select $1, $2::timestamptz + (i::bigint * 4 / $3) * interval '1 hour', $4 - 144 * (i % 14),
       (case when i / 14 % 5 = 0 then 'likely' else 'confirmed' end)::report_type,
       case when i % 14 = 0 then 1 + i / 14 % 144 else 144 end, 2, 3 - i % 14, false, uuid_send(gen_random_uuid()), $5
  from generate_series(0, $3::integer - 1) as i`

// fill makes a tenant with so many keys in one window.
func (r *exportRun) fill(ctx context.Context, keys int) (tenant.ID, error) {
	slug := fmt.Sprintf("export-%04d", r.made)
	spec := onboarding.Spec{
		Slug: slug, Name: slug, Region: region(r.made), HealthAuthorityID: "org." + slug, Issuer: slug + ".example",
		Audience: audience, ExportKeyID: "310", ExportPeriod: window, ExportMinAge: windowAge,
	}
	r.made++
	id, err := onboarding.Create(ctx, r.operator, r.stack.root, spec, windowStart)
	if err != nil {
		return id, err
	}
	interval := windowStart.Unix()/600 - 144
	_, err = r.super.ExecContext(ctx, fillSQL, id, windowStart, keys, interval, spec.Region)
	return id, err
}

// work has each worker export the tenants that it is given, all at once.
func (r *exportRun) work(ctx context.Context, f *exportFigure, tenants [][]tenant.ID) error {
	workers := make([]*exportWorker, 0, len(tenants))
	for _, given := range tenants {
		w, err := startExportWorker(ctx, r.options.Worker, exportOrders{
			DSN: r.stack.dsn("carillon_jobs"), Root: r.stack.rootFile(), Store: r.stack.files(), Tenants: given,
			Now: windowStart.Add(window + windowAge),
		})
		if err != nil {
			return err
		}
		defer w.stop()
		workers = append(workers, w)
	}
	database, start := r.databaseCPU(), time.Now()
	var group errgroup.Group
	results := make([]exportResult, len(workers))
	for i, w := range workers {
		group.Go(func() (err error) {
			results[i], err = w.work()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	f.took, f.cpu = time.Since(start), r.databaseCPU()-database
	for _, result := range results {
		f.peak = max(f.peak, result.Peak)
		f.cpu += result.CPU
	}
	return nil
}

const (
	floorRowsSQL = `
  select tek, rolling_start, rolling_period, transmission_risk, report_type, days_since_onset
    from exposure
   where tenant_id = $1
     and created_at >= $2
     and created_at < $3
order by tek`
	// Following the index of keys from row to row takes longer than sorting.
	floorPlanSQL = `set work_mem = '32MB'; set enable_indexscan = off`
	filesSQL     = `select count(*), sum(size), sum(key_count) from export_file where tenant_id = any($1::uuid[]) and state = 'published'`
	maxKeys      = 500_000 // of a file, unless a tenant wants otherwise
)

func (r *exportRun) databaseCPU() float64 { return familyTime(r.stack.database.PID()) }

// floorTimes is how often the floor is measured, in turns with the work.
const floorTimes = 2

// floor measures the least that exporting a tenant's window can take, and adds it to the
// figure, once for each tenant of a worker.
func (r *exportRun) floor(ctx context.Context, f *exportFigure, id tenant.ID) error {
	conn, err := r.super.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, floorPlanSQL); err != nil {
		return err
	}
	query, err := conn.PrepareContext(ctx, floorRowsSQL) // prepared, to get most values in binary
	if err != nil {
		return err
	}
	defer func() { _ = query.Close() }()
	before, err := usage()
	if err != nil {
		return err
	}
	database, start := r.databaseCPU(), time.Now()
	rows, err := query.QueryContext(ctx, id, windowStart, windowStart.Add(window))
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := errors.Join(discardKeys(rows), rows.Err()); err != nil {
		return err
	}
	f.floor += time.Since(start) * time.Duration(f.tenants) / floorTimes
	after, err := usage()
	f.floorCPU += (after.cpu - before.cpu + r.databaseCPU() - database) * float64(f.workers*f.tenants) / floorTimes
	return err
}

// discardKeys makes files of keys and throws them away.
func discardKeys(rows *sql.Rows) error {
	frame := exportfile.Frame{Start: windowStart, End: windowStart.Add(window)}
	var w *exportfile.Writer
	for n := 0; rows.Next(); n++ {
		if n%maxKeys == 0 {
			if err := closeFile(w); err != nil {
				return err
			}
			var err error
			if w, err = exportfile.NewWriter(io.Discard, frame, nil); err != nil {
				return err
			}
		}
		var k exportfile.Key
		var tek, report sql.RawBytes
		if err := rows.Scan(&tek, &k.RollingStart, &k.RollingPeriod, &k.TransmissionRisk, &report, &k.DaysSinceOnset); err != nil {
			return err
		}
		copy(k.Data[:], tek)
		k.HasOnset, k.ReportType = true, exportfile.Confirmed
		if string(report) == "likely" {
			k.ReportType = exportfile.Clinical
		}
		if err := w.Add(k); err != nil {
			return err
		}
	}
	return closeFile(w)
}

func closeFile(w *exportfile.Writer) error {
	if w == nil {
		return nil
	}
	return w.Close()
}

var errLost = errors.New("there are keys that no file has")

// count looks at what was published.
func (r *exportRun) count(ctx context.Context, f *exportFigure, tenants []tenant.ID) error {
	var ids []string
	for _, id := range tenants {
		ids = append(ids, id.String())
	}
	var keys sql.NullInt64
	var size sql.NullInt64
	err := r.super.QueryRowContext(ctx, filesSQL, "{"+strings.Join(ids, ",")+"}").Scan(&f.files, &size, &keys)
	if err == nil && keys.Int64 < int64(f.total()) {
		err = fmt.Errorf("%w: %d of %d", errLost, keys.Int64, f.total())
	}
	f.size = size.Int64
	return err
}

const exportLine = "%8s %8s %10s %6s %9s %9s %6s %9s %9s %9s %10s %7s\n"

func exportHeader(out io.Writer) {
	fmt.Fprintf(out, exportLine, "workers", "tenants", "keys", "files", "seconds", "floor", "ratio", "keys/s", "peak MB", "cpu s", "floor cpu", "B/key")
}

func (f exportFigure) print(out io.Writer) {
	number := func(format string, v float64) string { return fmt.Sprintf(format, v) }
	fmt.Fprintf(out, exportLine, fmt.Sprint(f.workers), fmt.Sprint(f.workers*f.tenants), fmt.Sprint(f.total()), fmt.Sprint(f.files),
		number("%.2f", f.took.Seconds()), number("%.2f", f.floor.Seconds()), number("%.2f", f.ratio()),
		number("%.0f", float64(f.total())/f.took.Seconds()), number("%.0f", float64(f.peak)/(1<<20)),
		number("%.2f", f.cpu), number("%.2f", f.floorCPU), number("%.1f", float64(f.size)/float64(f.total())))
}

// The targets of exports, for two cores that workers and database share.
const (
	ratioFrom  = 1_000_000 // keys
	maxRatio   = 1.5
	maxPeak    = 150 << 20 // bytes above idle
	maxTenants = time.Minute
	minPair    = 1.6 // times what one worker does in the same time
	maxCurve   = 1.3 // times as long for a key among the most keys as among the fewest from ratioFrom on
)

// missed says which targets were.
func (r *exportRun) missed() (missed []string) {
	miss := func(format string, args ...any) { missed = append(missed, fmt.Sprintf(format, args...)) }
	var big, alone []exportFigure
	for _, f := range r.figures {
		if f.peak > maxPeak {
			miss("%d keys: %d MB above idle", f.total(), f.peak>>20)
		}
		switch {
		case f.tenants > 1:
			if f.took > maxTenants {
				miss("%d tenants: %.1f s", f.tenants, f.took.Seconds())
			}
			continue
		case f.workers > 1:
			one := alone[len(alone)-1] // measured just before, with as many keys for each
			if gain := float64(f.total()) / float64(one.total()) * float64(one.took) / float64(f.took); gain < minPair {
				miss("%d workers do %.2f times what one does", f.workers, gain)
			}
			continue
		}
		alone = append(alone, f)
		if f.keys >= ratioFrom {
			big = append(big, f)
			if f.ratio() > maxRatio {
				miss("%d keys: %.2f times the floor", f.keys, f.ratio())
			}
		}
	}
	if len(big) > 0 {
		perKey := func(f exportFigure) float64 { return float64(f.took) / float64(f.keys) }
		byKeys := func(a, b exportFigure) int { return a.keys - b.keys }
		few, most := slices.MinFunc(big, byKeys), slices.MaxFunc(big, byKeys)
		if curve := perKey(most) / perKey(few); curve > maxCurve {
			miss("a key among %d takes %.2f times as long as among %d", most.keys, curve, few.keys)
		}
	}
	return missed
}
