package importer

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

// orders are what a worker needs to know that is to kill itself.
type orders struct {
	DSN    string
	Tenant uuid.UUID
	Now    time.Time
	// Step is the step at which it dies, from 0.
	Step int
}

// TestMain can also be a worker that is killed at a step.
func TestMain(m *testing.M) {
	tenanttest.Main(m, func(ctx context.Context, o orders) error { return o.obey(ctx) })
}

const killedKeysPerStep = 5

// obey takes a turn and ends this process at a step.
func (o orders) obey(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: o.DSN})
	if err != nil {
		return err
	}
	s := New(Config{
		DB: db, Directory: tenant.NewDirectory(db), Fetcher: outbound.NewFetcher(outbound.New(true)),
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return o.Now },
	})
	s.keysPerStep = killedKeysPerStep
	stop := at(o.Step)
	s.step = func(name string) error {
		if stop(name) != nil {
			return tenanttest.Die()
		}
		return nil
	}
	return s.Turn(ctx, tenant.ID(o.Tenant))
}

// Whatever step the process is killed at, another one finishes the file: no key is lost
// and none counted twice.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.service.keysPerStep = killedKeysPerStep
	const transactions = 3
	for step := range stepsEach * transactions {
		name := fmt.Sprintf("%02d.zip", step)
		f.partner.publish(name, f.partner.file(t, newKeys(killedKeysPerStep*transactions-1), newKeys(1)))
		f.killWorker(t, step)
		committed := (step + 1) / stepsEach * killedKeysPerStep
		if one := f.of(t, name); one.Position != committed {
			t.Errorf("%s: killed at %d, %d keys are dealt with, want %d", name, step, one.Position, committed)
		}
		f.turn(t)
		f.wantFile(t, name, "done: 14 0 0 1")
		if n, want := f.stored(t), 14*(step+1); n != want {
			t.Errorf("%s: %d keys are stored, want %d", name, n, want)
		}
	}
}

// killWorker runs a worker in a process of its own, which is killed at the step.
func (f *fixture) killWorker(t *testing.T, step int) {
	t.Helper()
	tenanttest.Killed(t, orders{
		DSN: f.world.Database.DSN("carillon_jobs"), Tenant: uuid.UUID(f.north.ID), Now: f.world.Now(), Step: step,
	})
}
