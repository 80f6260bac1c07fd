package export

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/tenanttest"
)

var everyCut = flag.Int("every-cut", 25, "the distance of the messages to the database at which a turn's connection is cut; 1 is at each")

// mortal is a worker whose connection breaks at a message, counted from when it is made;
// 0 is never.
func (sc *scene) mortal(t *testing.T, at int64, after bool) (s *Service, cut *tenanttest.Scissors) {
	t.Helper()
	cut = &tenanttest.Scissors{}
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: sc.world.Database.DSN("carillon_jobs"), Dialer: cut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s = sc.service(nil)
	s.db, s.keys, s.directory = db, key.NewRing(db, sc.world.Root), tenant.NewDirectory(db)
	cut.Cut(at, after)
	return s, cut
}

// Wherever the connection to the database breaks in a turn that does everything, before a
// statement or after it, phones see nothing of it, and the next turns finish.
func TestConnectionCutAtEachMessage(t *testing.T) {
	t.Parallel()
	whole := scenes(t, 1)[0]
	s, cut := whole.mortal(t, 0, false)
	whole.turn(t, s)
	whole.wantDone(t)
	messages := int(cut.Sent())

	var cuts []int
	for at := 1 + messages%*everyCut/2; at <= messages; at += *everyCut {
		cuts = append(cuts, at)
	}
	all, failed := scenes(t, 2*len(cuts)), 0
	for i, at := range cuts {
		for j, how := range []string{"before", "after"} {
			sc := all[2*i+j]
			t.Run(fmt.Sprintf("%s message %d of %d", how, at, messages), func(t *testing.T) {
				s, cut := sc.mortal(t, int64(at), j == 1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if s.Turn(ctx, sc.tenant.ID) != nil {
					failed++
				}
				if n := int(cut.Sent()); n < at {
					t.Errorf("only %d messages: nothing was cut", n)
				}
				sc.wantIntact(t)
				sc.recover(t)
			})
		}
	}
	t.Logf("%d cuts of %d messages, %d of them failed a turn", 2*len(cuts), messages, failed)
	if failed == 0 {
		t.Error("no cut failed anything")
	}
}
