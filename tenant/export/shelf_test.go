package export

import (
	"context"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// Staff see each window with what phones download of it, the one that is open, and since
// when a file is late; another authority sees nothing of it.
func TestShelf(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	look := func(of *tenant.Tenant) (plans []shelf.Plan, batches []shelf.Batch) {
		t.Helper()
		err := f.world.Portal.In(t.Context(), of.ID, func(tx *tenant.Tx) (err error) {
			if plans, err = shelf.Plans(t.Context(), tx, f.world.Now()); err != nil {
				return err
			}
			batches, err = shelf.Batches(t.Context(), tx, plans[0].ID, f.world.Now().Add(time.Hour), 3)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return plans, batches
	}
	f.mustPublish(t, 1)
	f.world.Advance(2 * period)
	f.turn(t, f.service(nil))
	plans, batches := look(f.tenant)
	if len(plans) != 1 || plans[0].Period != period || plans[0].LateSince != nil || len(batches) == 0 {
		t.Fatalf("plans %+v, %d batches", plans, len(batches))
	}
	for len(batches) > 1 && batches[0].Files == 0 {
		batches = batches[1:]
	}
	b := batches[0]
	if b.Files != 1 || b.Keys < 20 || b.Bytes < 100 || b.Published == nil || !b.Listed || !b.Until.Equal(b.From.Add(period)) {
		t.Errorf("the last window: %+v", b)
	}
	if plans[0].Next.Before(f.world.Now()) || !plans[0].Due.Equal(plans[0].Next.Add(plans[0].MinAge)) {
		t.Errorf("next %v, due %v, now %v", plans[0].Next, plans[0].Due, f.world.Now())
	}
	due := plans[0].Due
	f.world.Advance(2*period + plans[0].MinAge + shelf.Grace + time.Second)
	if plans, _ := look(f.tenant); plans[0].LateSince == nil || !plans[0].LateSince.Equal(due) {
		t.Errorf("late since %v, want %v", plans[0].LateSince, due)
	}
	other := f.world.Create("south", hourly)
	err := f.world.Portal.In(t.Context(), other.ID, func(tx *tenant.Tx) error {
		list, err := shelf.Batches(context.Background(), tx, plans[0].ID, f.world.Now(), 3)
		if len(list) > 0 {
			t.Errorf("another authority sees %+v", list)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
