package verification

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/tenant"
)

// pace remembers how long self-reports took whose message was sent, of each tenant,
// because each may have a provider of its own. A report that sends none is made to
// take as long as one of them, whichever chance picks: the same spread, not only the
// same mean. It is safe for concurrent use.
type pace struct {
	wait func(context.Context, time.Duration) error

	mu   sync.Mutex
	took *lru.Cache[tenant.ID, []time.Duration] // newest last; guarded by mu
}

const (
	paceTenants = 10_000
	paceSize    = 32
	// Before the first message, a sending takes between builtInPace and twice that.
	builtInPace = 200 * time.Millisecond
)

func newPace(wait func(context.Context, time.Duration) error) *pace {
	took, err := lru.New[tenant.ID, []time.Duration](paceTenants)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &pace{wait: wait, took: took}
}

// record takes in a report whose message was sent.
func (p *pace) record(id tenant.ID, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, _ := p.took.Get(id)
	all = append(all, took)
	p.took.Add(id, all[max(0, len(all)-paceSize):])
}

// imitate waits until a report that has worked for spent has taken as long as a
// remembered one. It returns the context's error if that ends before.
func (p *pace) imitate(ctx context.Context, id tenant.ID, spent time.Duration) error {
	return p.wait(ctx, p.draw(id)-spent)
}

func (p *pace) draw(id tenant.ID) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, _ := p.took.Get(id)
	if len(all) == 0 {
		return builtInPace + rand.N(builtInPace) //nolint:gosec // a delay, not a secret
	}
	return all[rand.IntN(len(all))] //nolint:gosec // as above
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
