package tenant

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant/cache"
)

// watch hears of changes to tenants' directory entries, settings and keys, from
// whichever process makes them. While it hears, what was read may be kept for long;
// while it does not, for a moment only.
type watch struct {
	listener *pq.Listener
	greet    func(ctx context.Context, greeting string) error
	stop     context.CancelFunc
	done     sync.WaitGroup

	greeting atomic.Value // string: what proves that this connection hears
	proven   atomic.Bool
	answers  atomic.Bool // the server has answered a moment ago
	silence  *time.Timer // ends answers

	mu      sync.Mutex
	keepers []keeper            // guarded by mu
	topics  map[string][]func() // guarded by mu
}

// keeper keeps answers about tenants.
type keeper struct {
	forget func(ID)
	clear  func()
}

const (
	changeChannel = "carillon_change"
	greetingStart = "greeting "
	topicStart    = "topic "

	pingInterval = 250 * time.Millisecond
	// deaf is how long a connection may be dead before that is noticed: less than any
	// cache's shorter life, so that nothing is kept that was changed longer ago.
	deaf             = 750 * time.Millisecond
	reconnectMin     = 100 * time.Millisecond
	reconnectMax     = 10 * time.Second
	greetingDeadline = 5 * time.Second
)

// startWatch listens on a connection of its own until close.
func startWatch(ctx context.Context, dsn string, greet func(context.Context, string) error) (*watch, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &watch{greet: greet, stop: stop}
	w.greeting.Store("")
	w.silence = time.AfterFunc(deaf, func() { w.answers.Store(false) })
	w.listener = pq.NewListener(dsn, reconnectMin, reconnectMax, w.event)
	if err := w.listener.Listen(changeChannel); err != nil {
		stop()
		return nil, fmt.Errorf("listen for changes: %w", err)
	}
	w.prove(ctx)
	w.done.Go(func() { w.hear(ctx) })
	w.done.Go(func() { w.ping(ctx) })
	return w, nil
}

func (w *watch) close() error {
	w.stop()
	w.silence.Stop()
	err := w.listener.Close()
	w.done.Wait()
	return err
}

// alive reports whether a change would be heard.
func (w *watch) alive() bool { return w != nil && w.proven.Load() && w.answers.Load() }

// event is told of the connection's fate by the driver.
func (w *watch) event(e pq.ListenerEventType, _ error) {
	if e == pq.ListenerEventDisconnected {
		w.proven.Store(false)
	}
}

// prove starts anew after a connection was made: what was kept may have changed while
// nobody listened. That this connection hears is proven by hearing a greeting sent on
// another one; behind a pooler that lends connections by the transaction, it does not.
func (w *watch) prove(ctx context.Context) {
	w.proven.Store(false)
	w.each(func(k keeper) { k.clear() })
	greeting := greetingStart + rand.Text()
	w.greeting.Store(greeting)
	ctx, cancel := context.WithTimeout(ctx, greetingDeadline)
	defer cancel()
	_ = w.greet(ctx, greeting) // one that does not arrive proves nothing
}

func (w *watch) hear(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n, open := <-w.listener.NotificationChannel():
			switch {
			case !open:
				return
			case n == nil: // connected again
				w.prove(ctx)
			default:
				w.take(n.Extra)
			}
		}
	}
}

func (w *watch) take(payload string) {
	if strings.HasPrefix(payload, greetingStart) {
		if payload == w.greeting.Load() {
			w.proven.Store(true)
		}
		return
	}
	if topic, ok := strings.CutPrefix(payload, topicStart); ok {
		w.tell(topic)
		return
	}
	if id, err := uuid.Parse(payload); err == nil {
		w.each(func(k keeper) { k.forget(ID(id)) })
		return
	}
	w.each(func(k keeper) { k.clear() })
}

func (w *watch) tell(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, heard := range w.topics[topic] {
		heard()
	}
}

// Hear has heard called whenever somebody tells of the topic, if db watches for
// changes. It may be missed, so that nothing may depend on it alone. heard must not wait.
func (db *DB) Hear(topic string, heard func()) {
	if db.watch == nil {
		return
	}
	db.watch.mu.Lock()
	defer db.watch.mu.Unlock()
	if db.watch.topics == nil {
		db.watch.topics = map[string][]func(){}
	}
	db.watch.topics[topic] = append(db.watch.topics[topic], heard)
}

const tellSQL = `select pg_notify($1, $2)`

// Tell tells every process of a topic when the transaction commits.
func (tx *Tx) Tell(ctx context.Context, topic string) error {
	_, err := tx.Exec(ctx, tellSQL, changeChannel, topicStart+topic)
	return err
}

func (w *watch) ping(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		if w.listener.Ping() == nil {
			w.answers.Store(true)
			w.silence.Reset(deaf)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *watch) each(do func(keeper)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.keepers {
		do(k)
	}
}

func (w *watch) add(k keeper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keepers = append(w.keepers, k)
}

// keptLife is how old an answer may be that nobody has said to have changed.
const keptLife = time.Hour

// NewCache returns a cache of answers about tenants, read through db from what tells
// its changes: directory entries, settings, API keys and signing keys. About says
// whose an answer is. If db watches for changes, an answer is kept until its tenant's
// change is heard; otherwise for life.
func NewCache[K comparable, V any](db *DB, size int, life time.Duration, about func(K, V) ID, load func(context.Context, K) (V, error)) *cache.Cache[K, V] {
	if db.watch == nil {
		return cache.New(size, life, load)
	}
	c := cache.NewWatched(size, life, keptLife, db.watch.alive, load)
	db.watch.add(keeper{
		forget: func(id ID) { c.ForgetIf(func(k K, v V) bool { return about(k, v) == id }) },
		clear:  c.Clear,
	})
	return c
}
