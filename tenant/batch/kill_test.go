package batch_test

import (
	"context"
	"crypto/rand"
	"flag"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/message/outbox"
	"carillon/tenant/tenanttest"
	"carillon/tenant/verification"
)

// orders are what a worker needs to know.
type orders struct {
	DSN, Root string
	Tenant    uuid.UUID
	Now       time.Time
	Rows      int // how many it works on before it stands still, a turn more at most
}

// killedRows is how long the batch is whose workers are killed.
var killedRows = flag.Int("rows", 2000, "rows of the batch in TestKilledWorkers, at most 50000")

// TestMain can also be a worker, which works until it is killed.
func TestMain(m *testing.M) {
	tenanttest.Main(m, func(ctx context.Context, o orders) error { return o.obey(ctx) })
}

func (o orders) obey(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: o.DSN})
	if err != nil {
		return err
	}
	root, err := signing.OpenRootFile(o.Root)
	if err != nil {
		return err
	}
	began := time.Now()
	now := func() time.Time { return o.Now.Add(time.Since(began)) }
	keys, directory := key.NewRing(db, signing.Custody{Root: root}), tenant.NewDirectory(db)
	worker := batch.NewWorker(batch.WorkerConfig{
		DB: db, Keys: keys, Directory: directory, Log: slog.New(slog.DiscardHandler), Now: now,
		Codes: verification.New(verification.Config{
			DB: db, Keys: keys, Policies: authz.NewPolicies(nil), Sender: &messagetest.Sender{},
			Outbox: outbox.New(keys, now), Now: now, Rand: rand.Reader,
		}),
	})
	for worked := 0; worked < o.Rows; {
		t, err := directory.ByID(ctx, tenant.ID(o.Tenant))
		if err != nil {
			return err
		}
		n, err := worker.Turn(ctx, t)
		if err != nil {
			return err
		}
		worked += n
	}
	select {}
}

// startWorker starts a worker of some rows in a process of its own. kill ends it by SIGKILL: nothing
// deferred runs, no transaction is closed.
func (f *fixture) startWorker(t *testing.T, rows int) (kill func()) {
	t.Helper()
	worker := tenanttest.Worker(t, orders{
		DSN: f.world.Database.DSN("carillon_issuer"), Root: f.world.RootFile, Tenant: uuid.UUID(f.north.ID), Now: f.world.Now(), Rows: rows,
	})
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := worker.Process.Kill(); err != nil {
			t.Errorf("the worker ended by itself: %v", err)
		}
		_ = worker.Wait() // it was killed
		if usage, ok := worker.ProcessState.SysUsage().(*syscall.Rusage); ok {
			t.Logf("a worker has used %d MB at most", usage.Maxrss/kilobytes)
		}
	}
}

const kilobytes = 1024 // in a megabyte

// spare is how many rows a worker may work on beyond those that it is killed for, so that
// it dies at its work and leaves some.
const spare = 200

// However often its workers are killed, a batch issues each code once and sends each
// message once.
func TestKilledWorkers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	rows := *killedRows
	began := time.Now()
	b := f.create(t, "kill", many(rows))
	t.Logf("%d rows are stored after %v", rows, time.Since(began).Round(time.Millisecond))
	issued := 0
	for _, percent := range []int{7, 25, 50, 70} {
		until := rows * percent / 100
		kill := f.startWorker(t, until-issued+spare)
		for looked := time.Now(); issued < until; issued = f.progress(t, b).Counts[batch.Issued] {
			f.sendSome(t, f.north)
			now := time.Now()
			f.world.Advance(now.Sub(looked)) // the worker's clock runs, too
			looked = now
		}
		kill()
		if p := f.progress(t, b); p.State != batch.Running || p.Counts[batch.Pending] == 0 {
			t.Fatalf("the batch is %s with %d rows left: nothing was interrupted", p.State, p.Counts[batch.Pending])
		}
		f.world.Advance(5 * minute) // the lease has ended
	}
	for f.progress(t, b).State == batch.Running {
		f.work(t, f.north)
		f.world.Advance(5 * time.Second)
	}
	t.Logf("%d codes are issued and %d messages sent after %v", rows, rows/2, time.Since(began).Round(time.Millisecond))
	f.wantEachOnce(t, b, rows)
}
