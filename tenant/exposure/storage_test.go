package exposure_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/exposure/exposuretest"
)

// What is stored of times is the tenant's window and nothing finer; keys in use are
// dated after their end, unless the tenant releases them the same day (§4).
func TestStoredTimes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now() // 15:04:05
	midnight := now.Truncate(24 * time.Hour)
	today := exposuretest.Interval(midnight)
	tests := []struct {
		name          string
		start, period int32
		window        time.Duration
		sameDay       bool
		want          time.Time
	}{
		{"ended", today - 144, 144, time.Hour, false, midnight.Add(15 * time.Hour)},
		{"ended in this interval", today, 90, time.Hour, false, midnight.Add(15 * time.Hour)},
		{"ends in ten minutes", today, 91, time.Hour, false, midnight.Add(16 * time.Hour)},
		{"ends at a boundary", today, 96, time.Hour, false, midnight.Add(17 * time.Hour)},
		{"in use until midnight", today, 144, time.Hour, false, midnight.Add(25 * time.Hour)},
		{"begins now, for a day", today + 90, 144, time.Hour, false, midnight.Add(40 * time.Hour)},
		{"a window of a day", today, 144, 24 * time.Hour, false, midnight.Add(48 * time.Hour)},
		{"same-day release", today, 144, time.Hour, true, midnight.Add(15 * time.Hour)},
		{"same-day release in seconds", today, 144, 10 * time.Second, true, now.Add(-5 * time.Second)},
	}
	for _, test := range tests {
		of := *f.north
		of.Settings.Truncate, of.Settings.ReleaseSameDay = test.window, test.sameDay
		k := exposuretest.Key(test.start, test.period)
		_, err := f.service.Publish(t.Context(), &of, f.phone.Upload(confirmed, []exposure.UploadKey{k}))
		if err != nil {
			t.Errorf("%s: %v", test.name, explain(err))
			continue
		}
		if got := f.row(t, f.north, k).Created.UTC(); !got.Equal(test.want) {
			t.Errorf("%s: created %v, want %v", test.name, got, test.want)
		}
	}
}

// An embargo that ends after the horizon stands; the horizon lifts only what lies before it.
func TestHorizonAndEmbargo(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	midnight := f.world.Now().Truncate(24 * time.Hour)
	today := exposuretest.Interval(midnight)
	keys := []exposure.UploadKey{exposuretest.Key(today, 144), exposuretest.Key(today-144, 144)}
	horizon := midnight.Add(20 * time.Hour)
	f.settle(t, f.north, horizon)
	f.publish(t, f.phone.Upload(confirmed, keys))
	for i, want := range []time.Time{midnight.Add(25 * time.Hour), horizon} {
		if got := f.row(t, f.north, keys[i]).Created.UTC(); !got.Equal(want) {
			t.Errorf("key %d: created %v, want %v", i, got, want)
		}
	}
}

// Rows lie in the order of their random bytes, not in that of the request, which is
// that of their days.
func TestStoredOrder(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.publish(t, f.phone.Upload(confirmed, f.phone.Keys(14)))
	var laid, sorted []byte
	const orderSQL = `
select string_agg(tek, '' order by ctid), string_agg(tek, '' order by tek)
  from exposure`
	if err := f.world.Database.Super().QueryRowContext(t.Context(), orderSQL).Scan(&laid, &sorted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted, laid); diff != "" {
		t.Errorf("order (-by bytes +stored):\n%s", diff)
	}
}

// A revision adds its region to those of the key, each of them once (§3.3).
func TestStoredRegions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := f.phone.Keys(2)
	here, there := *f.north, *f.north
	here.Region, there.Region = "XB-B", "XA-A"
	for i, reviser := range []*tenant.Tenant{&there, &here} {
		key := keys[i : i+1]
		first, err := f.service.Publish(t.Context(), &here, f.phone.Upload(likely, key))
		if err != nil {
			t.Fatal(explain(err))
		}
		u := f.phone.Upload(confirmed, key)
		u.RevisionToken = first.RevisionToken
		if _, err := f.service.Publish(t.Context(), reviser, u); err != nil {
			t.Fatal(explain(err))
		}
	}
	for i, want := range []string{"XB-B,XA-A", "XB-B"} {
		if got := f.row(t, f.north, keys[i]).Regions; got != want {
			t.Errorf("key %d: regions %q, want %q", i, got, want)
		}
	}
}

// A transaction of one tenant, and one of none, sees no key of another, nor can it
// revise one.
func TestOtherTenantSeesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.publish(t, f.phone.Upload(likely, f.phone.Keys(14)))
	seen := func(ctx context.Context, tx *tenant.Tx) (n int, err error) {
		err = tx.Get(ctx, &n, `select count(*) from exposure`)
		return n, err
	}
	ours := 0
	err := f.world.Publish.In(t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		ours, err = seen(t.Context(), tx)
		return err
	})
	if err != nil || ours != 14 {
		t.Errorf("the tenant sees %d of its keys, %v; want 14", ours, err)
	}
	look := func(tx *tenant.Tx) error {
		n, err := seen(t.Context(), tx)
		if n != 0 {
			t.Errorf("%d keys are seen", n)
		}
		if err != nil {
			return err
		}
		changed, err := tx.Exec(t.Context(), `update exposure set other_regions = '{XX}'`)
		if changed != 0 {
			t.Errorf("%d keys were changed", changed)
		}
		return err
	}
	if err := f.world.Publish.In(t.Context(), f.south.ID, look); err != nil {
		t.Error(err)
	}
	if err := f.world.Publish.Platform(t.Context(), look); err != nil {
		t.Error(err)
	}
}

// A key takes less than 200 bytes with its indexes, whose pages are as full as random
// bytes leave them. Uploads come one by one: with many at once the table grows by more
// pages than it needs yet, which shows while it is small.
func TestStoredSize(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const uploads, perUpload, maxBytes = 600, 30, 200
	for range uploads {
		keys := append(f.phone.Keys(perUpload/2), f.phone.Keys(perUpload/2)...)
		f.publish(t, f.phone.Upload(confirmed, keys))
	}
	var size, keys int64
	const sizeSQL = `select pg_total_relation_size('exposure'), (select count(*) from exposure)`
	if err := f.world.Database.Super().QueryRowContext(t.Context(), sizeSQL).Scan(&size, &keys); err != nil {
		t.Fatal(err)
	}
	if keys != uploads*perUpload || size > maxBytes*keys {
		t.Errorf("%d keys in %d bytes, %.1f each; want %d keys and %d bytes each at most", keys, size, float64(size)/float64(keys), uploads*perUpload, maxBytes)
	}
}
