package export

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

// orders are what a worker needs to know that is to kill itself.
type orders struct {
	DSN, Root, Store string
	Tenant           uuid.UUID
	Now              time.Time
	// Step is the step at which it dies, from 0.
	Step int
}

// TestMain can also be a worker that is killed at a step.
func TestMain(m *testing.M) {
	tenanttest.Main(m, func(ctx context.Context, o orders) error { return o.obey(ctx) })
}

// obey takes a turn and ends this process at a step.
func (o orders) obey(ctx context.Context) error {
	db, err := tenant.Open(ctx, tenant.Config{DSN: o.DSN})
	if err != nil {
		return err
	}
	root, err := signing.OpenRootFile(o.Root)
	if err != nil {
		return err
	}
	store, err := NewFileStore(o.Store)
	if err != nil {
		return err
	}
	s := New(Config{
		DB: db, Keys: key.NewRing(db, signing.Custody{Root: root}), Directory: tenant.NewDirectory(db), Store: store,
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return o.Now },
	})
	at := nth(o.Step)
	s.step = func(name string) error {
		if at(name) != nil {
			return tenanttest.Die()
		}
		return nil
	}
	store.step = s.step
	return s.Turn(ctx, tenant.ID(o.Tenant))
}

// Whatever step the process is killed at, another one finishes the work: nothing is
// lost, nothing doubled, and at no moment does the index name a file that is not
// there. Keys that arrive while nobody works are in the next file.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	all := scenes(t, len(allSteps))
	for i, sc := range all {
		t.Run(fmt.Sprint(i, " ", allSteps[i]), func(t *testing.T) {
			sc.killWorker(t, i)
			sc.wantIntact(t)
			late := sc.mustPublish(t, 3)
			sc.recover(t)
			fresh, _ := sc.observe(t)
			for _, k := range late {
				if fresh[k] != 0 {
					t.Error("a key of the open window is in a file")
				}
			}
			sc.keys = append(sc.keys, late...)
		})
	}
	all[0].world.Advance(period)
	for _, sc := range all {
		sc.turn(t, sc.service(nil))
		sc.wantOnce(t, sc.keys)
	}
}

// killWorker runs a worker in a process of its own, which is killed at the step.
func (sc *scene) killWorker(t *testing.T, step int) {
	t.Helper()
	tenanttest.Killed(t, orders{
		DSN: sc.world.Database.DSN("carillon_jobs"), Root: sc.world.RootFile, Store: sc.store.(*FileStore).dir,
		Tenant: uuid.UUID(sc.tenant.ID), Now: sc.world.Now(), Step: step,
	})
}
