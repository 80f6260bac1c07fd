package tenant

import (
	"context"
	"net"
	"sync/atomic"
	"time"
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

// dialer makes connections that count their round trips. The driver uses
// DialContext; the other two methods are its interface's.
type dialer struct {
	net.Dialer
	trips *atomic.Int64
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address) //nolint:forbidigo // the driver has no context here
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	d.Timeout = timeout
	return d.Dial(network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: c, trips: d.trips}, nil
}

type countedConn struct {
	net.Conn
	trips *atomic.Int64
	asked atomic.Bool
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(p)
}

func (c *countedConn) Read(p []byte) (int, error) {
	if c.asked.Swap(false) {
		c.trips.Add(1)
	}
	return c.Conn.Read(p)
}
