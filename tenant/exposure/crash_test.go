package exposure_test

import (
	"fmt"
	"testing"

	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

// mortal is a service whose connection breaks at a message, counted from the first after
// the tenant's keys are read; 0 is never.
func (f *fixture) mortal(t *testing.T, at int64, after bool) (s *exposure.Service, sent func() int64) {
	t.Helper()
	var cut tenanttest.Scissors
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: f.world.Database.DSN("carillon_publish"), MaxOpen: 1, Dialer: &cut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s = exposure.New(exposure.Config{DB: db, Keys: key.NewRing(f.world.Publish, f.world.Root), Now: f.world.Now})
	cut.Cut(at, after)
	return s, cut.Sent
}

// atEachCut tries an act with the connection cut before and after each message that it
// takes, and says how often a cut failed it.
func (f *fixture) atEachCut(t *testing.T, act func(t *testing.T, s *exposure.Service) error) {
	t.Helper()
	whole, sent := f.mortal(t, 0, false)
	if err := act(t, whole); err != nil {
		t.Fatal(explain(err))
	}
	messages, failed := sent(), 0
	for at := int64(1); at <= messages; at++ {
		for _, after := range []bool{false, true} {
			s, sent := f.mortal(t, at, after)
			t.Run(fmt.Sprintf("message %d, answer lost %t", at, after), func(t *testing.T) {
				if err := act(t, s); err != nil {
					failed++
				}
				if sent() < at {
					t.Errorf("only %d messages: nothing was cut", sent())
				}
			})
		}
	}
	if failed == 0 {
		t.Errorf("none of %d messages failed anything", messages)
	}
}

// Wherever the connection breaks, all keys of an upload are stored or none is, and the
// phone that sends the same again has a success that tells the truth, and a token that
// covers them.
func TestPublishCrash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.atEachCut(t, func(t *testing.T, s *exposure.Service) error {
		t.Helper()
		const n = 14
		before := f.count(t)
		u := f.phone.Upload(likely, f.phone.Keys(n))
		first, failure := s.Publish(t.Context(), f.north, u)
		stored := f.count(t) - before
		switch {
		case failure == nil && (stored != n || first.Inserted != n):
			t.Errorf("acknowledged as %d keys, of which %d are stored", first.Inserted, stored)
		case stored != 0 && stored != n:
			t.Errorf("%d of %d keys are stored", stored, n)
		}
		again, err := f.service.Publish(t.Context(), f.north, u)
		if err != nil {
			t.Fatalf("the same again: %s", explain(err))
		}
		if again.Inserted != n-stored || f.count(t)-before != n {
			t.Errorf("the same again inserted %d, with %d stored before", again.Inserted, stored)
		}
		if r, err := f.revise(t, confirmed, u.Keys, again.RevisionToken); err != nil || r.Revised != n {
			t.Errorf("the token does not revise the keys: %s", explain(err))
		}
		return failure
	})
}

// The same for a revision, which happens once.
func TestRevisionCrash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.atEachCut(t, func(t *testing.T, s *exposure.Service) error {
		t.Helper()
		const n = 5
		keys := f.phone.Keys(n)
		u := f.phone.Upload(confirmed, keys)
		u.RevisionToken = f.publish(t, f.phone.Upload(likely, keys)).RevisionToken
		before := f.revised(t)
		_, failure := s.Publish(t.Context(), f.north, u)
		done := f.revised(t) - before
		if done != 0 && done != n || failure == nil && done != n {
			t.Errorf("%d of %d keys are revised, after %v", done, n, failure)
		}
		if _, err := f.service.Publish(t.Context(), f.north, u); err != nil {
			t.Errorf("the same again: %s", explain(err))
		}
		if now := f.revised(t) - before; now != n {
			t.Errorf("%d of %d keys are revised in the end", now, n)
		}
		return failure
	})
}

func (f *fixture) revised(t *testing.T) (n int) {
	t.Helper()
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from exposure where revised_at is not null`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
