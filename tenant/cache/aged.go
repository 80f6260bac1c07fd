package cache

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Aged keeps at most so many values, the ones used last, each for at most its life. It
// has no goroutine of its own: what is too old is dropped when somebody asks for it, and
// all of it when something is added. It is safe for concurrent use.
type Aged[K comparable, V any] struct {
	life time.Duration

	mu    sync.Mutex
	kept  *simplelru.LRU[K, aged[V]] // guarded by mu
	swept time.Time                  // guarded by mu
}

// aged is a value and when it was added.
type aged[V any] struct {
	value V
	at    time.Time
}

// NewAged returns an empty one for at most size values, at least 1.
func NewAged[K comparable, V any](size int, life time.Duration) *Aged[K, V] {
	kept, err := simplelru.NewLRU[K, aged[V]](size, nil)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &Aged[K, V]{life: life, kept: kept}
}

// clock is real time, by which answers grow old, whatever time a service believes in.
func clock() time.Time { return time.Now() } //nolint:forbidigo // see above

// Get returns the value for k, and whether there is one.
func (a *Aged[K, V]) Get(k K) (V, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.kept.Get(k)
	if ok && a.old(e, clock()) {
		a.kept.Remove(k)
		ok = false
	}
	if !ok {
		var none V
		return none, false
	}
	return e.value, true
}

// Contains reports whether there is a value for k.
func (a *Aged[K, V]) Contains(k K) bool {
	_, ok := a.Get(k)
	return ok
}

func (a *Aged[K, V]) old(e aged[V], now time.Time) bool { return now.Sub(e.at) >= a.life }

// Add keeps a value for k, in place of the one before.
func (a *Aged[K, V]) Add(k K, v V) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := clock()
	a.kept.Add(k, aged[V]{value: v, at: now})
	if now.Sub(a.swept) >= a.life {
		a.swept = now
		a.removeIf(func(_ K, e aged[V]) bool { return a.old(e, now) })
	}
}

// Remove drops the value for k.
func (a *Aged[K, V]) Remove(k K) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept.Remove(k)
}

// RemoveIf drops the values that match.
func (a *Aged[K, V]) RemoveIf(matches func(K, V) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removeIf(func(k K, e aged[V]) bool { return matches(k, e.value) })
}

func (a *Aged[K, V]) removeIf(matches func(K, aged[V]) bool) {
	for _, k := range a.kept.Keys() {
		if e, ok := a.kept.Peek(k); ok && matches(k, e) {
			a.kept.Remove(k)
		}
	}
}

// Purge drops every value.
func (a *Aged[K, V]) Purge() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept.Purge()
}
