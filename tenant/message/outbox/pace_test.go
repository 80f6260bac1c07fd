package outbox_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/message"
)

// meter is a provider that notes how many messages are with it at once. Each stays for
// a while on the world's clock, and until as many are there as it waits for.
type meter struct {
	f            *fixture
	takes        time.Duration
	waitsFor     int64
	sent         atomic.Int64
	inside, most atomic.Int64
	together     chan struct{}
}

func (m *meter) Send(ctx context.Context, _ *tenant.Tenant, _ message.Message) error {
	now := m.inside.Add(1)
	defer m.inside.Add(-1)
	for most := m.most.Load(); now > most && !m.most.CompareAndSwap(most, now); most = m.most.Load() {
	}
	m.f.world.Advance(m.takes)
	if m.sent.Add(1) > 1 && m.waitsFor > 0 {
		if now == m.waitsFor {
			close(m.together)
		}
		select {
		case <-m.together:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// A long queue goes in one turn, and several messages of it at once while the provider
// is fast: what it takes to answer does not bound the pace.
func TestALongQueueGoesAtTheProvidersPace(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const messages = 25
	for range messages {
		f.issue(t, f.north, "confirmed")
	}
	m := &meter{f: f, waitsFor: 2, together: make(chan struct{})}
	n, err := f.newDispatcher(m).Turn(t.Context(), f.north)
	if err != nil || n != messages || m.sent.Load() != messages {
		t.Errorf("%d of %d messages in one turn, %v", n, messages, err)
	}
	if m.most.Load() > 8 {
		t.Errorf("%d messages were with the provider at once", m.most.Load())
	}
}

// While the provider is slow, or its pace is, messages go one after the other: else
// those behind would wait for their turn longer than they may.
func TestASlowProviderHasOneMessageAtATime(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const messages = 5
	for range messages {
		f.issue(t, f.north, "confirmed")
	}
	m := &meter{f: f, takes: 2 * time.Second}
	if n, err := f.newDispatcher(m).Turn(t.Context(), f.north); err != nil || n != messages || m.most.Load() != 1 {
		t.Errorf("%d of %d messages, %d at once, %v", n, messages, m.most.Load(), err)
	}
}
