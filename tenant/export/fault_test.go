package export

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
)

var everyCut = flag.Int("every-cut", 25, "the distance of the messages to the database at which a turn's connection is cut; 1 is at each")

// scissors are a dialer whose connections break at a chosen message to the server, before
// it or after its answer, which is lost.
type scissors struct {
	at, sent atomic.Int64 // messages; cut when they are equal
	after    atomic.Bool
}

var errCut = errors.New("connection cut")

func (s *scissors) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &cutConn{Conn: c, by: s}, err
}

func (s *scissors) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, timeout)
	return &cutConn{Conn: c, by: s}, err
}

type cutConn struct {
	net.Conn
	by *scissors
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.by.sent.Add(1) != c.by.at.Load() {
		return c.Conn.Write(p)
	}
	if !c.by.after.Load() {
		return 0, errors.Join(errCut, c.Close())
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		_, _ = c.Read(make([]byte, 1)) // the server has done it
	}
	return n, errors.Join(err, c.Close())
}

// mortal is a worker whose connection breaks at a message, counted from when it is made;
// 0 is never.
func (sc *scene) mortal(t *testing.T, at int64, after bool) (s *Service, cut *scissors) {
	t.Helper()
	cut = &scissors{}
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: sc.world.Database.DSN("carillon_jobs"), Dialer: cut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s = sc.service(nil)
	s.db, s.keys, s.directory = db, key.NewRing(db, sc.world.Root), tenant.NewDirectory(db)
	cut.sent.Store(0)
	cut.at.Store(at)
	cut.after.Store(after)
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
	messages := int(cut.sent.Load())

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
				if n := int(cut.sent.Load()); n < at {
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
