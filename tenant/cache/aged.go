package cache

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Aged keeps at most so many values, the ones used last, each for at most its life. It
// has no goroutine of its own: what is too old is dropped when somebody asks for it, and
// all of it when something is added, or by a timer if DropIdle asks for that. It is safe for
// concurrent use.
type Aged[K comparable, V any] struct {
	life time.Duration
	idle time.Duration // zero: nothing is dropped for being idle

	mu    sync.Mutex
	kept  *simplelru.LRU[K, aged[V]] // guarded by mu
	swept time.Time                  // guarded by mu
	timed bool                       // guarded by mu; a timer will sweep
}

// aged is a value, when it was added and when it was last asked for.
type aged[V any] struct {
	value    V
	at, used time.Time
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
	now := clock()
	e, ok := a.kept.Get(k)
	if ok && a.old(e, now) {
		a.kept.Remove(k)
		ok = false
	}
	if !ok {
		var none V
		return none, false
	}
	if a.idle > 0 {
		e.used = now
		a.kept.Add(k, e)
	}
	return e.value, true
}

// Contains reports whether there is a value for k.
func (a *Aged[K, V]) Contains(k K) bool {
	_, ok := a.Get(k)
	return ok
}

func (a *Aged[K, V]) old(e aged[V], now time.Time) bool {
	return now.Sub(e.at) >= a.life || a.idle > 0 && now.Sub(e.used) >= a.idle
}

// DropIdle has values dropped that nobody asked for during idle, and all that are too old:
// when it is time, not when somebody asks. It is called before anything is added.
func (a *Aged[K, V]) DropIdle(idle time.Duration) { a.idle = idle }

// watch sweeps after a while, until nothing is left; a.mu is held. What is dropped has been
// kept for a sweep's time longer than it should at most.
func (a *Aged[K, V]) watch() {
	if a.idle == 0 || a.timed || a.kept.Len() == 0 {
		return
	}
	a.timed = true
	time.AfterFunc(min(a.idle, a.life)/sweeps, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.timed = false
		now := clock()
		a.removeIf(func(_ K, e aged[V]) bool { return a.old(e, now) })
		a.watch()
	})
}

// sweeps is how often is looked for idle values, by the time that they may be idle.
const sweeps = 4

// Add keeps a value for k, in place of the one before.
func (a *Aged[K, V]) Add(k K, v V) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := clock()
	a.kept.Add(k, aged[V]{value: v, at: now, used: now})
	a.watch()
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
