package limit

import (
	"context"
	"errors"
	"sync"

	"carillon/tenant"
)

// ErrCrowded means that too many requests of the tenant are waiting already.
var ErrCrowded = errors.New("too many requests of this tenant are waiting")

// Turns shares a process's work among tenants: at most so many requests are worked on
// at once, and when more want to be, tenants take turns. So a tenant with a thousand
// requests waiting delays another's only request by one turn, not by a thousand. It is
// safe for concurrent use; a nil one lets everybody in at once.
type Turns struct {
	perTenant, waiting int

	mu     sync.Mutex
	free   int                  // guarded by mu
	queues map[tenant.ID]*queue // guarded by mu; those with requests
	ring   []tenant.ID          // guarded by mu; tenants with somebody waiting, next first
}

type queue struct {
	working int
	waiting []chan struct{} // closed when it is one's turn, the oldest first
}

// NewTurns lets atOnce requests be worked on, three in four of them for one tenant, and
// at most waiting requests of each tenant wait.
func NewTurns(atOnce, waiting int) *Turns {
	return &Turns{
		perTenant: max(1, atOnce*3/4), waiting: waiting, free: atOnce, queues: map[tenant.ID]*queue{},
	}
}

// Enter waits for a turn of the tenant; done ends it. Without an error done must be
// called, once. [ErrCrowded] comes at once, the context's error when it ends first.
func (t *Turns) Enter(ctx context.Context, id tenant.ID) (done func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	mine, err := t.enqueue(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-mine:
		return func() { t.leave(id) }, nil
	case <-ctx.Done():
		t.giveUp(id, mine)
		return nil, ctx.Err()
	}
}

func (t *Turns) enqueue(id tenant.ID) (mine chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[id]
	if q == nil {
		q = &queue{}
		t.queues[id] = q
	}
	if len(q.waiting) >= t.waiting {
		return nil, ErrCrowded
	}
	mine = make(chan struct{})
	if q.waiting = append(q.waiting, mine); len(q.waiting) == 1 {
		t.ring = append(t.ring, id)
	}
	t.serve()
	return mine, nil
}

// serve gives what is free to those who wait, a tenant after the other.
func (t *Turns) serve() {
	for passed := 0; t.free > 0 && passed < len(t.ring); {
		id := t.ring[0]
		t.ring = t.ring[1:]
		q := t.queues[id]
		if q.working >= t.perTenant {
			t.ring = append(t.ring, id)
			passed++
			continue
		}
		close(q.waiting[0])
		q.waiting = q.waiting[1:]
		q.working++
		t.free--
		if len(q.waiting) > 0 {
			t.ring = append(t.ring, id)
		}
		passed = 0
	}
}

func (t *Turns) leave(id tenant.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(id)
}

// end takes back a turn. mu is held.
func (t *Turns) end(id tenant.ID) {
	t.queues[id].working--
	t.free++
	t.forget(id)
	t.serve()
}

// giveUp leaves the queue, or the turn if that has come meanwhile.
func (t *Turns) giveUp(id tenant.ID, mine chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[id]
	for i, w := range q.waiting {
		if w != mine {
			continue
		}
		q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
		if len(q.waiting) == 0 {
			t.dropFromRing(id)
		}
		t.forget(id)
		return
	}
	t.end(id)
}

func (t *Turns) dropFromRing(id tenant.ID) {
	for i, other := range t.ring {
		if other == id {
			t.ring = append(t.ring[:i:i], t.ring[i+1:]...)
			return
		}
	}
}

// forget drops a queue that nobody uses.
func (t *Turns) forget(id tenant.ID) {
	if q := t.queues[id]; q.working == 0 && len(q.waiting) == 0 {
		delete(t.queues, id)
	}
}
