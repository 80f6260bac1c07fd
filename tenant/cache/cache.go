// Package cache keeps answers of a slow source for a short while.
//
// It is bounded in number and age, asks the source once for callers who want the
// same thing at the same time, and never keeps a failure: an unknown key is
// asked for again. What it returns is shared, so it must not be changed.
package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Cache answers from memory, or from its source.
type Cache[K comparable, V any] struct {
	load    func(context.Context, K) (V, error)
	entries *Aged[K, V]
	// kept has the same answers for longer, to be used while alive.
	kept    *Aged[K, V]
	alive   func() bool
	flights singleflight.Group
	epoch   atomic.Uint64
}

// New returns a cache of at most size answers, none older than life.
func New[K comparable, V any](size int, life time.Duration, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return NewWatched(size, life, life, func() bool { return false }, load)
}

// NewWatched is [New] for a source whose changes are told: while alive reports true,
// answers stay for longer, until they are forgotten.
func NewWatched[K comparable, V any](size int, life, longer time.Duration, alive func() bool, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return &Cache[K, V]{
		load: load, alive: alive,
		entries: NewAged[K, V](size, life), kept: NewAged[K, V](size, longer),
	}
}

// DropIdle has answers dropped that nobody asked for during idle, when it is time: for what
// should not lie in memory. It is called before the first question.
func (c *Cache[K, V]) DropIdle(idle time.Duration) {
	c.entries.DropIdle(idle)
	c.kept.DropIdle(idle)
}

// Get returns the answer for k. An error is the source's own. A caller whose
// context ends stops waiting; the question to the source goes on for the others.
func (c *Cache[K, V]) Get(ctx context.Context, k K) (V, error) {
	if v, ok := c.entries.Get(k); ok {
		return v, nil
	}
	if c.alive() {
		if v, ok := c.kept.Get(k); ok {
			return v, nil
		}
	}
	epoch := c.epoch.Load()
	flight := c.flights.DoChan(fmt.Sprintf("%d %v", epoch, k), func() (any, error) {
		return c.fill(context.WithoutCancel(ctx), k, epoch)
	})
	var none V
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(V), nil
	}
}

const loadTimeout = 10 * time.Second

func (c *Cache[K, V]) fill(ctx context.Context, k K, epoch uint64) (V, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	v, err := c.load(ctx, k)
	if err == nil && c.epoch.Load() == epoch {
		c.add(k, v)
		if c.epoch.Load() != epoch { // forgotten between the look and the addition
			c.remove(k)
		}
	}
	return v, err
}

func (c *Cache[K, V]) add(k K, v V) {
	c.entries.Add(k, v)
	c.kept.Add(k, v)
}

func (c *Cache[K, V]) remove(k K) {
	c.entries.Remove(k)
	c.kept.Remove(k)
}

// Forget drops the answer for k.
func (c *Cache[K, V]) Forget(k K) {
	c.epoch.Add(1) // a load under way must not put the old answer back
	c.remove(k)
}

// ForgetIf drops the answers that match.
func (c *Cache[K, V]) ForgetIf(matches func(K, V) bool) {
	c.epoch.Add(1)
	c.entries.RemoveIf(matches)
	c.kept.RemoveIf(matches)
}

// Clear drops every answer.
func (c *Cache[K, V]) Clear() {
	c.epoch.Add(1)
	c.entries.Purge()
	c.kept.Purge()
}
