package batch_test

import (
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/verification"
)

func TestTheSameBatchTwiceIsOne(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first := f.create(t, "monday", many(1200))
	f.work(t, f.north)
	codes, entries := f.count(t, `select count(*) from verification_code`), f.count(t, `select count(*) from audit_entry`)
	again, created, err := f.service.Create(t.Context(), f.north, f.backEnd, "monday", many(1200))
	if err != nil || created || again.ID != first.ID {
		t.Fatalf("again: new %t, %v", created, err)
	}
	f.work(t, f.north)
	if got := f.count(t, `select count(*) from verification_code`); got != codes || codes != 1200 {
		t.Errorf("%d codes, before %d", got, codes)
	}
	if got := f.count(t, `select count(*) from batch_row`); got != 1200 {
		t.Errorf("%d rows", got)
	}
	if got := f.count(t, `select count(*) from audit_entry`); got != entries {
		t.Errorf("%d audit entries, before %d", got, entries)
	}
	if sent := len(f.sms.Delivered()); sent != 600 {
		t.Errorf("%d messages", sent)
	}
	for name, other := range map[string]iter.Seq2[batch.Order, error]{"shorter": many(1199), "longer": many(1201), "other": all(batch.Order{})} {
		if _, _, err := f.service.Create(t.Context(), f.north, f.backEnd, "monday", other); !errors.Is(err, batch.ErrKeyUsed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Another tenant's keys are its own.
	if _, created, err := f.service.Create(t.Context(), f.south, f.southern, "monday", many(1)); err != nil || !created {
		t.Errorf("south: new %t, %v", created, err)
	}
}

func TestManyAtOnceAreOne(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const askers = 8
	var together sync.WaitGroup
	var mu sync.Mutex
	ids, news := map[uuid.UUID]int{}, 0
	for range askers {
		together.Go(func() {
			b, created, err := f.service.Create(t.Context(), f.north, f.backEnd, "rush", many(700))
			if err != nil {
				t.Errorf("Create: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[b.ID]++
			if created {
				news++
			}
		})
	}
	together.Wait()
	if len(ids) != 1 || news != 1 {
		t.Errorf("%d batches, %d of them new", len(ids), news)
	}
	if b, r := f.count(t, `select count(*) from batch`), f.count(t, `select count(*) from batch_row`); b != 1 || r != 700 {
		t.Errorf("%d batches with %d rows are stored", b, r)
	}
}

func TestRefusedBatchesLeaveNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	broken := errors.New("connection lost")
	off := with(f.north, func(s *tenant.Settings) { s.BatchIssue = false })
	for name, c := range map[string]struct {
		to     *tenant.Tenant
		by     authz.Subject
		key    string
		orders iter.Seq2[batch.Order, error]
		want   error
	}{
		"not allowed": {f.north, stranger, "k", many(1), authz.ErrForbidden},
		"turned off":  {off, f.backEnd, "k", many(1), verification.ErrBatchDisabled},
		"no key":      {f.north, f.backEnd, "", many(1), batch.ErrKey},
		"long key":    {f.north, f.backEnd, strings.Repeat("k", batch.MaxKey+1), many(1), batch.ErrKey},
		"odd key":     {f.north, f.backEnd, "k\x00", many(1), batch.ErrKey},
		"empty":       {f.north, f.backEnd, "k", all(), batch.ErrEmpty},
		"too large":   {f.north, f.backEnd, "k", many(batch.MaxRows + 1), batch.ErrTooLarge},
		"bad UUID":    {f.north, f.backEnd, "k", all(batch.Order{}, batch.Order{UUID: "nonsense"}), batch.ErrRow},
		"broken off": {f.north, f.backEnd, "k", func(yield func(batch.Order, error) bool) {
			for range 1100 {
				if !yield(batch.Order{}, nil) {
					return
				}
			}
			yield(batch.Order{}, broken)
		}, broken},
	} {
		b, _, err := f.service.Create(t.Context(), c.to, c.by, c.key, c.orders)
		if !errors.Is(err, c.want) || b != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	var row *batch.RowError
	_, _, err := f.service.Create(t.Context(), f.north, f.backEnd, "k", all(batch.Order{}, batch.Order{UUID: "nonsense"}))
	if !errors.As(err, &row) || row.Row != 2 {
		t.Errorf("malformed row: %v", err)
	}
	if b, r := f.count(t, `select count(*) from batch`), f.count(t, `select count(*) from batch_row`); b != 0 || r != 0 {
		t.Errorf("%d batches with %d rows are stored", b, r)
	}
}

func TestTooManyUnfinished(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var last *batch.Batch
	for i := range batch.MaxUnfinished {
		last = f.create(t, string(rune('a'+i)), many(1))
	}
	if _, _, err := f.service.Create(t.Context(), f.north, f.backEnd, "one more", many(1)); !errors.Is(err, batch.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if _, created, err := f.service.Create(t.Context(), f.north, f.backEnd, last.Key, many(1)); err != nil || created {
		t.Errorf("one of them again: new %t, %v", created, err)
	}
	f.work(t, f.north)
	f.create(t, "one more", many(1))
}

// What waits is unreadable, and what was done is forgotten.
func TestRowsAreSealedAndForgotten(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "secret", all(batch.Order{TestType: "confirmed", Phone: "+12065550177", ExternalIssuerID: "canary"}, batch.Order{TestType: "likely"}))
	dump := `select count(*) from batch_row r, batch b where (r::text || b::text) ~ '2065550177|canary|confirmed' or (r.sealed_order::text) ~ encode('2065550177', 'hex')`
	if n := f.count(t, dump); n != 0 {
		t.Errorf("%d rows are readable", n)
	}
	f.work(t, f.north)
	if n := f.count(t, `select count(*) from batch_row where sealed_order is not null or messaged and sealed_result is not null`); n != 0 {
		t.Errorf("%d rows remember what they ordered", n)
	}
	f.want(t, b, batch.Done, map[batch.State]int{batch.Issued: 2})
	if strings.Contains(f.log.String(), "2065550177") {
		t.Error("the number is in the log")
	}
}

// An upload whose process died is not seen, holds no key, and goes.
func TestBrokenUploadsGo(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	b := f.create(t, "k", many(3))
	if _, err := f.world.Database.Super().ExecContext(t.Context(), `update batch set state = 'receiving', idempotency_key = null, digest = null`); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Get(t.Context(), f.north, f.backEnd, b.ID.String()); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("it is seen: %v", err)
	}
	f.work(t, f.north)
	if n := f.count(t, `select count(*) from verification_code`); n != 0 {
		t.Errorf("%d codes are issued for half a batch", n)
	}
	again := f.create(t, "k", many(3))
	f.world.Advance(61 * minute)
	if err := batch.Cleanup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
		t.Fatal(err)
	}
	if n := f.count(t, `select count(*) from batch_row`); n != 3 {
		t.Errorf("%d rows are left, want those of the second try", n)
	}
	f.want(t, again, batch.Running, map[batch.State]int{batch.Pending: 3})
}
