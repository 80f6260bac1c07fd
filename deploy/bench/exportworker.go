package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"github.com/prometheus/procfs"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/key"
)

// exportOrders are what a worker process is to do.
type exportOrders struct {
	DSN, Root, Store string
	Tenants          []tenant.ID
	// Now is what its clock shows at the beginning.
	Now time.Time
}

// exportResult is what it cost. A worker says twice how it stands: when it is ready, and
// when it is done.
type exportResult struct {
	// Peak is resident memory above what it was when ready, in bytes.
	Peak uint64
	// CPU is in seconds.
	CPU float64
}

// ExportWorker is a process of its own that exports the windows of some tenants, one
// tenant after the other, and nothing else. It reads orders and then a signal to begin,
// and writes when it is ready and what it has used.
func ExportWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var o exportOrders
	if err := orders.Decode(&o); err != nil {
		return err
	}
	s, done, err := o.service(ctx)
	if err != nil {
		return err
	}
	defer done()
	debug.FreeOSMemory()
	ready, err := usage()
	if err == nil {
		err = errors.Join(forgetPeak(), answers.Encode(exportResult{}))
	}
	if err != nil {
		return err
	}
	var begin bool
	if err := orders.Decode(&begin); err != nil {
		return err
	}
	for _, id := range o.Tenants {
		if err := s.Turn(ctx, id); err != nil {
			return err
		}
	}
	end, err := usage()
	if err != nil {
		return err
	}
	return answers.Encode(exportResult{Peak: end.peak - min(end.peak, ready.resident), CPU: end.cpu - ready.cpu})
}

// service opens what the orders name, and asks once, so that connections and what is
// remembered are there.
func (o exportOrders) service(ctx context.Context) (*export.Service, func(), error) {
	db, err := tenant.Open(ctx, tenant.Config{DSN: o.DSN})
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = db.Close() }
	root, err := signing.OpenRootFile(o.Root)
	if err != nil {
		done()
		return nil, nil, err
	}
	store, err := export.NewFileStore(o.Store)
	if err != nil {
		done()
		return nil, nil, err
	}
	begin := time.Now()
	s := export.New(export.Config{
		DB: db, Keys: key.NewRing(db, signing.Custody{Root: root}), Directory: tenant.NewDirectory(db), Store: store,
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return o.Now.Add(time.Since(begin)) },
	})
	return s, done, db.Ping(ctx)
}

// used is what a process has used.
type used struct {
	resident, peak uint64  // bytes
	cpu            float64 // seconds
}

func usage() (used, error) {
	self, err := procfs.Self()
	if err != nil {
		return used{}, err
	}
	status, err := self.NewStatus()
	if err != nil {
		return used{}, err
	}
	stat, err := self.Stat()
	return used{resident: status.VmRSS, peak: status.VmHWM, cpu: stat.CPUTime()}, err
}

// forgetPeak has the system begin anew to note the most memory that is resident (Linux,
// proc(5)).
func forgetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// exportWorker is a worker process as seen from outside.
type exportWorker struct {
	process *exec.Cmd
	orders  *json.Encoder
	in      io.Closer
	answers *json.Decoder
}

// startExportWorker returns when the worker is ready.
func startExportWorker(ctx context.Context, program []string, o exportOrders) (*exportWorker, error) {
	w := &exportWorker{process: exec.CommandContext(ctx, program[0], program[1:]...)}
	w.process.Stderr = os.Stderr
	in, err := w.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.in, w.orders, w.answers = in, json.NewEncoder(in), json.NewDecoder(out)
	if err := w.process.Start(); err != nil {
		return nil, err
	}
	var ready exportResult
	if err := errors.Join(w.orders.Encode(o), w.answers.Decode(&ready)); err != nil {
		w.stop()
		return nil, fmt.Errorf("export worker: %w", err)
	}
	return w, nil
}

// work has the worker do what it was ordered.
func (w *exportWorker) work() (r exportResult, err error) {
	if err = errors.Join(w.orders.Encode(true), w.answers.Decode(&r)); err != nil {
		err = fmt.Errorf("export worker: %w", err)
	}
	return r, err
}

func (w *exportWorker) stop() {
	_ = w.in.Close()
	_ = w.process.Wait() // it has nothing more to say
}
