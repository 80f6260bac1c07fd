package tenant

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// Stats is what a handle has cost so far, and what it holds now.
type Stats struct {
	// RoundTrips is how often it waited for the server: an answer read after
	// something was sent. Making a connection counts, too, and so does preparing a
	// statement on it, once.
	RoundTrips int64
	// Prepared is how many of them prepared a statement.
	Prepared int64
	// Open connections, and those of them in use.
	Open, InUse int
}

// Stats returns the handle's figures.
func (db *DB) Stats() Stats {
	pool := db.pool.Stats()
	return Stats{RoundTrips: db.trips.Load(), Prepared: db.prepared.Load(), Open: pool.OpenConnections, InUse: pool.InUse}
}

// wiring dials for one connection of the driver and keeps hold of its wire. The driver
// uses DialContext; the other two methods are its interface's.
type wiring struct {
	dialer pq.Dialer // nil is the usual one
	trips  *atomic.Int64
	wire   atomic.Pointer[wire]
}

func (d *wiring) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address) //nolint:forbidigo // the driver has no context here
}

func (d *wiring) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) //nolint:forbidigo // the driver has no context here
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d *wiring) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, trips: d.trips}
	d.wire.CompareAndSwap(nil, w) // later ones carry cancellations
	return w, nil
}

func (d *wiring) dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch dialer := d.dialer.(type) {
	case nil:
		return (&net.Dialer{}).DialContext(ctx, network, address)
	case pq.DialerContext:
		return dialer.DialContext(ctx, network, address)
	default:
		return dialer.Dial(network, address)
	}
}

// wire counts its round trips, and knows whether all that was to be sent has been.
type wire struct {
	net.Conn
	trips *atomic.Int64
	asked atomic.Bool
	// broken: a message was not sent, or not to its end.
	broken atomic.Bool
}

func (w *wire) Write(p []byte) (int, error) {
	w.asked.Store(true)
	n, err := w.Conn.Write(p)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	if w.asked.Swap(false) {
		w.trips.Add(1)
	}
	return w.Conn.Read(p)
}

// quiet reports that the other side has neither hung up nor said anything unasked, such
// as that it is about to: what is sent now will probably be heard.
func (w *wire) quiet() bool {
	socket, ok := w.Conn.(syscall.Conn)
	if !ok {
		return true // nobody can tell
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}
