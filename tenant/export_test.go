package tenant

import (
	"context"
	"time"
)

// Gather keeps statements of db from leaving, so that a test can say which of them
// travel together. Leave waits until n of them wait, sends them off and waits for their
// return; after it, statements leave when they come, as ever.
func Gather(db *DB) (leave func(ctx context.Context, n int)) {
	c := &db.convoys
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = maxConvoys
	return func(ctx context.Context, n int) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for c.crowd() < n && ctx.Err() == nil {
			<-tick.C
		}
		c.mu.Lock()
		c.running = 1
		c.mu.Unlock()
		c.run(ctx)
	}
}

func (c *convoys) crowd() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// MaxPassengers is how many statements share a transaction at most.
const MaxPassengers = maxPassengers
