package tenanttest

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Scissors are a dialer whose connections break at a chosen message to the server: the
// process dies there, as far as the database can see.
type Scissors struct {
	at, sent atomic.Int64
	after    atomic.Bool
}

// ErrCut is what becomes of a message that was not sent.
var ErrCut = errors.New("connection cut")

// Cut breaks the connection at the n-th message from now, the first being 1: before it is
// sent, or after the server has answered, so that the answer is lost. Zero is never.
func (s *Scissors) Cut(n int64, after bool) {
	s.at.Store(0)
	s.after.Store(after)
	s.sent.Store(0)
	s.at.Store(n)
}

// Sent is how many messages there were since [Scissors.Cut], the one at which the
// connection broke among them.
func (s *Scissors) Sent() int64 { return s.sent.Load() }

// Dial is [pq.Dialer.Dial].
func (s *Scissors) Dial(network, address string) (net.Conn, error) {
	return s.DialTimeout(network, address, 0)
}

// DialTimeout is [pq.Dialer.DialTimeout].
func (s *Scissors) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, timeout)
	return &cutConn{Conn: c, by: s}, err
}

type cutConn struct {
	net.Conn
	by *Scissors
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.by.sent.Add(1) != c.by.at.Load() {
		return c.Conn.Write(p)
	}
	if !c.by.after.Load() {
		return 0, errors.Join(ErrCut, c.Close())
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		_, _ = c.Read(make([]byte, 1)) // the server has done it
	}
	return n, errors.Join(err, c.Close())
}
