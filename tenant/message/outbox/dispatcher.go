package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/message"
)

// Config is what a [Dispatcher] works with.
type Config struct {
	// DB is a handle under the role carillon_issuer.
	DB *tenant.DB
	// Keys open the messages.
	Keys *key.Ring
	// Directory lists the tenants.
	Directory *tenant.Directory
	// Sender delivers the messages, a few at a time for each tenant, and keeps the pace
	// of the tenant's provider.
	Sender message.Sender
	// Recorder is told how turns end.
	Recorder *job.Recorder
	Log      *slog.Logger
	Now      func() time.Time
}

// Dispatcher sends what is in the outboxes. Any number of them may run, in any number
// of processes.
type Dispatcher struct {
	c Config

	mu   sync.Mutex
	busy map[tenant.ID]bool
}

// NewDispatcher returns a dispatcher.
func NewDispatcher(c Config) *Dispatcher { return &Dispatcher{c: c, busy: map[tenant.ID]bool{}} }

const (
	// turnLength is for how long a tenant's messages go before another's turn may come:
	// a long queue goes as fast as its provider takes it, and still lets the others by.
	turnLength = 5 * time.Second
	// hands is how many messages of a tenant are on their way at the same time, if they
	// go fast: a provider's answer may take longer than its pace.
	hands = 8
	fast  = time.Second
	// atOnce bounds the tenants that are served at the same time.
	atOnce = 32
	// looksPerSecond bounds how many outboxes are looked into, empty ones included: of
	// a thousand tenants, each has its turn every ten seconds.
	looksPerSecond = 100
	// sendTimeout ends a message's sending, waiting for the provider's pace included;
	// the lease outlives it, so that a row which is still "sending" then belongs to a
	// process that died.
	sendTimeout = 30 * time.Second
	leaseLife   = 2 * time.Minute
)

// Run serves every tenant, again and again with a pause in between, until ctx ends.
// It returns when what is being sent at that moment has been sent.
func (d *Dispatcher) Run(ctx context.Context, pause time.Duration) error {
	var turns sync.WaitGroup
	defer turns.Wait()
	slots := make(chan struct{}, atOnce)
	pace := rate.NewLimiter(looksPerSecond, looksPerSecond)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := d.c.Directory.Each(ctx, func(id tenant.ID) error {
			if err := pace.Wait(ctx); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case slots <- struct{}{}:
			}
			if !d.begin(id) {
				<-slots
				return nil
			}
			turns.Go(func() {
				defer func() { d.end(id); <-slots }()
				d.turn(ctx, id)
			})
			return nil
		})
		d.c.Recorder.Note(ctx, job.Platform, err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// begin makes this process serve a tenant at most once at a time: the others wait for
// no slow provider but their own.
func (d *Dispatcher) begin(id tenant.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[id] {
		return false
	}
	d.busy[id] = true
	return true
}

func (d *Dispatcher) end(id tenant.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, id)
}

func (d *Dispatcher) turn(ctx context.Context, id tenant.ID) {
	t, err := d.c.Directory.ByID(ctx, id)
	if err == nil {
		_, err = d.Turn(ctx, t)
	}
	d.c.Recorder.Note(ctx, id, err)
}

// Turn tidies a tenant's outbox and sends what is due, for as long as a turn may last.
// It reports how many messages it took to the provider, whatever became of them.
func (d *Dispatcher) Turn(ctx context.Context, t *tenant.Tenant) (int, error) {
	m, err := d.take(ctx, t, true)
	if err != nil || m == nil {
		return 0, err
	}
	over, cancel := context.WithTimeout(ctx, turnLength)
	defer cancel()
	u := &turn{dispatcher: d, tenant: t, over: over.Done()}
	err = u.serve(ctx, m)
	err = errors.Join(err, u.others.Wait())
	return int(u.count.Load()), err
}

// turn is one of a tenant's.
type turn struct {
	dispatcher *Dispatcher
	tenant     *tenant.Tenant
	over       <-chan struct{} // closed when its time is up, or the process ends
	others     errgroup.Group
	hands      atomic.Int64 // beside the first
	count      atomic.Int64
}

func (u *turn) ended() bool {
	select {
	case <-u.over:
		return true
	default:
		return false
	}
}

// serve sends a message, and then what is due until the turn is over. Each message that
// went fast gets one more hand: a provider whose pace is slow keeps to one or two, or
// messages would wait for it longer than they may.
func (u *turn) serve(ctx context.Context, m *taken) error {
	for d := u.dispatcher; m != nil; {
		began := d.c.Now()
		u.count.Add(1)
		err := d.deliver(ctx, u.tenant, m)
		if err != nil || u.ended() {
			return err
		}
		if d.c.Now().Sub(began) < fast && u.hands.Add(1) < hands {
			u.others.Go(func() error { return u.next(ctx) })
		}
		if m, err = d.take(ctx, u.tenant, false); err != nil {
			return err
		}
	}
	return nil
}

// next is serve for whatever is due.
func (u *turn) next(ctx context.Context) error {
	m, err := u.dispatcher.take(ctx, u.tenant, false)
	if err != nil || m == nil {
		return err
	}
	return u.serve(ctx, m)
}

const (
	// Messages of codes that ended go. Those that a dead process was sending have
	// failed: nobody knows whether they were sent.
	tidySQL = `
with dead as (
  delete from message_queue q
   where q.state <> 'sending'
     and (q.expires_at <= $1::timestamptz
          or exists (select from verification_code c
                      where c.tenant_id = q.tenant_id
                        and c.code_id = q.code_id
                        and (c.claimed_at is not null or c.long_expires_at <= $1)))
  returning q.code_id
), lost as (
  update message_queue
     set state = 'failed', leased_until = null
   where state = 'sending'
     and leased_until <= $1
  returning code_id
), told as (
  update message_delivery
     set state = 'failed', class = 'uncertain', changed_at = $1
   where state = 'queued'
     and code_id in (select code_id from lost)
)
update message_delivery
   set state = 'failed', class = 'expired', changed_at = $1
 where state = 'queued'
   and code_id in (select code_id from dead)`

	takeSQL = `
   update message_queue
      set state = 'sending', attempts = attempts + 1, leased_until = $2
    where code_id = (select code_id
                       from message_queue
                      where state = 'waiting'
                        and not_before <= $1
                        and expires_at > $1
                        and (not $3 or purpose = 'User Report')
                   order by not_before
                      limit 1
                        for update skip locked)
returning code_id, purpose, sealed, attempts, expires_at`
)

// taken is a message that this process alone may send until the lease ends. The end
// of the lease is the proof of being its holder.
type taken struct {
	CodeID    uuid.UUID `db:"code_id"`
	Purpose   string
	Sealed    []byte
	Attempts  int
	ExpiresAt time.Time `db:"expires_at"`
	lease     time.Time
}

// take leases the message that has been due for longest; nil if none is. In quiet
// hours, only messages of people who asked for them themselves are due.
func (d *Dispatcher) take(ctx context.Context, t *tenant.Tenant, tidy bool) (*taken, error) {
	now := d.c.Now().UTC().Truncate(time.Microsecond)
	m := taken{lease: now.Add(leaseLife)}
	err := d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if tidy {
			if _, err := tx.Exec(ctx, tidySQL, now); err != nil {
				return fmt.Errorf("tidy: %w", err)
			}
		}
		err := tx.Get(ctx, &m, takeSQL, now, m.lease, quiet(t.Settings, now))
		if errors.Is(err, sql.ErrNoRows) {
			m.Sealed = nil
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("take message: %w", err)
	case m.Sealed == nil:
		return nil, nil //nolint:nilnil // none is due
	}
	return &m, nil
}

// deliver sends a leased message and records what became of it. It goes on when ctx
// ends: the provider has been asked, and what it says must be known.
func (d *Dispatcher) deliver(ctx context.Context, t *tenant.Tenant, m *taken) error {
	ctx = context.WithoutCancel(ctx)
	err := d.send(ctx, t, m)
	if err == nil {
		return d.record(ctx, t, m, sentSQL)
	}
	f := message.AsFailure(err)
	d.c.Log.WarnContext(ctx, "message failed", slog.String("tenant", string(t.Slug)),
		slog.String("class", string(f.Class)), slog.String("code", f.Code), slog.Bool("again", f.Retry()))
	if f.Retry() {
		return d.record(ctx, t, m, retrySQL, string(f.Class), d.c.Now().UTC().Add(backOff(m.Attempts)))
	}
	return d.record(ctx, t, m, failedSQL, string(f.Class))
}

func (d *Dispatcher) send(ctx context.Context, t *tenant.Tenant, m *taken) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	dk, err := d.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return &message.Failure{Class: message.Unavailable, Certain: true}
	}
	text, err := open(dk, t.ID, m.CodeID, m.Purpose, m.Sealed)
	if err != nil {
		return &message.Failure{Class: message.Other, Certain: true}
	}
	return d.c.Sender.Send(ctx, t, text)
}

const (
	firstPause   = 10 * time.Second
	longestPause = 15 * time.Minute
)

// backOff is the pause after so many attempts. It ends with the code.
func backOff(attempts int) time.Duration {
	const doublings = 7 // beyond the longest pause
	return min(firstPause<<min(attempts-1, doublings), longestPause)
}

const (
	sentSQL = `
with gone as (
  delete from message_queue
   where code_id = $1::uuid
     and leased_until = $2
  returning code_id
)
update message_delivery
   set state = 'sent', class = '', changed_at = $3
 where state in ('queued', 'failed')
   and code_id in (select code_id from gone)`

	retrySQL = `
with waiting as (
  update message_queue
     set state = 'waiting', leased_until = null, not_before = $5
   where code_id = $1::uuid
     and leased_until = $2
  returning code_id
)
update message_delivery
   set state = 'queued', class = $4, changed_at = $3
 where state <> 'delivered'
   and code_id in (select code_id from waiting)`

	failedSQL = `
with failed as (
  update message_queue
     set state = 'failed', leased_until = null
   where code_id = $1::uuid
     and leased_until = $2
  returning code_id
)
update message_delivery
   set state = 'failed', class = $4, changed_at = $3
 where state <> 'delivered'
   and code_id in (select code_id from failed)`

	recordTimeout = 10 * time.Second
)

// record ends the lease. If that fails, the row stays "sending" until the lease is
// over, and is then one of which nobody knows.
func (d *Dispatcher) record(ctx context.Context, t *tenant.Tenant, m *taken, query string, more ...any) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	now := d.c.Now().UTC().Truncate(time.Second)
	args := append([]any{m.CodeID.String(), m.lease, now}, more...)
	err := d.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("record message: %w", err)
	}
	return nil
}
