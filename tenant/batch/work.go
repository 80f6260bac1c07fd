package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/message/outbox"
	"carillon/tenant/verification"
)

// WorkerConfig is what a [Worker] works with.
type WorkerConfig struct {
	// DB is a handle under the role carillon_issuer.
	DB *tenant.DB
	// Keys hold the data keys that seal rows.
	Keys *key.Ring
	// Directory lists the tenants.
	Directory *tenant.Directory
	// Codes issues the codes. It needs an outbox.
	Codes *verification.Service
	// Recorder is told how turns end.
	Recorder *job.Recorder
	Log      *slog.Logger
	Now      func() time.Time
}

// Worker issues the codes of batches. Any number of them may work, in any number of
// processes: a batch is leased to one at a time, and a lease that was lost is noticed in
// the transaction of every row.
//
// Rows with a telephone number wait while messages must not go out or enough of them
// wait to be sent, because a code's life begins when it is issued.
type Worker struct {
	c    WorkerConfig
	wake chan struct{}
}

// NewWorker returns a worker.
func NewWorker(c WorkerConfig) *Worker { return &Worker{c: c, wake: make(chan struct{}, 1)} }

const (
	// turnSize is how many rows of a tenant are worked on before another's turn comes.
	turnSize = 100
	// atOnce is how many of them are worked on side by side.
	atOnce = 4
	// leaseLife outlives turnTime, so that a lease which has ended is a dead worker's.
	leaseLife = time.Minute
	turnTime  = 30 * time.Second
	// enoughMessages is how many may wait in a tenant's outbox before its batches wait.
	enoughMessages = 200
	// maxAttempts is how often a row is tried if the fault is ours.
	maxAttempts = 10
)

// How long a batch waits, by the reason. [QuietHours] have an end of their own.
const (
	messagesWait    = 2 * time.Second
	quotaWait       = 10 * time.Minute
	maintenanceWait = time.Minute
	faultWait       = 5 * time.Second // times the attempts of the row
)

// Wake makes a resting worker look for work. It does not wait.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Tenants take turns; if none has anything to do, there is a
// pause.
func (w *Worker) Run(ctx context.Context, pause time.Duration) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if w.round(ctx) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-ticker.C:
		}
	}
	return nil
}

// round gives every tenant a turn and returns how many rows were worked on.
func (w *Worker) round(ctx context.Context) (worked int) {
	err := w.c.Directory.Each(ctx, func(id tenant.ID) error {
		t, err := w.c.Directory.ByID(ctx, id)
		if err == nil {
			var n int
			n, err = w.Turn(ctx, t)
			worked += n
		}
		w.c.Recorder.Note(ctx, id, err)
		return ctx.Err()
	})
	w.c.Recorder.Note(ctx, job.Platform, err)
	return worked
}

// Turn works on some rows of one batch of a tenant and returns on how many: 0 if there
// is nothing to do for now.
func (w *Worker) Turn(ctx context.Context, t *tenant.Tenant) (int, error) {
	if !t.Settings.BatchIssue || t.ClosedForIssue() {
		return 0, nil
	}
	dk, err := w.c.Keys.DataKey(ctx, t.ID)
	if err != nil {
		return 0, err
	}
	l, rows, err := w.take(ctx, t)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	l.safe = vault{dk, t.ID, l.Batch}
	if err = w.c.Codes.CheckBatch(ctx, t, l.subject()); errors.Is(err, authz.ErrForbidden) {
		err = forbidden()
	}
	if err == nil {
		err = w.work(ctx, t, l, rows)
	}
	var h *held
	switch {
	case errors.As(err, &h):
		return len(rows), w.release(ctx, t, l, h)
	case err == nil, errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return len(rows), w.release(ctx, t, l, nil)
	case errors.Is(err, errLost):
		return len(rows), nil
	default:
		return 0, errors.Join(err, w.release(ctx, t, l, &held{until: clock(w.c.Now).Add(faultWait), because: Fault}))
	}
}

// lease is one worker's right to a batch, and in whose name it works.
type lease struct {
	Batch uuid.UUID `db:"batch_id"`
	Fence int64
	Kind  authz.Kind     `db:"issuer_kind"`
	ID    string         `db:"issuer_id"`
	Name  string         `db:"issuer_name"`
	Roles pq.StringArray `db:"issuer_roles"`
	// CreatedAt is when the batch was ordered.
	CreatedAt time.Time `db:"created_at"`
	safe      vault
}

func (l *lease) subject() authz.Subject {
	by := authz.Subject{Kind: l.Kind, ID: l.ID, Name: l.Name}
	for _, r := range l.Roles {
		by.Roles = append(by.Roles, authz.Role(r))
	}
	return by
}

// pending is a row to be worked on.
type pending struct {
	Number   int       `db:"row_number"`
	Code     uuid.UUID `db:"code_id"`
	Order    []byte    `db:"sealed_order"`
	Attempts int
}

const (
	leaseSQL = `
with next as (
  select batch_id
    from batch
   where state = 'running'
     and (leased_until is null or leased_until <= $1)
     and (held_until is null or held_until <= $1)
order by worked_at nulls first, created_at, batch_id
   limit 1
     for update skip locked
)
   update batch b
      set fence = b.fence + 1, leased_until = $2, worked_at = $1, held_until = null, held_because = ''
     from next
    where b.batch_id = next.batch_id
returning b.batch_id, b.fence, b.issuer_kind, b.issuer_id, b.issuer_name, b.issuer_roles, b.created_at`

	jobsSQL = `
  select row_number, code_id, sealed_order, attempts
    from batch_row
   where batch_id = $1
     and state = 'pending'
     and ($2 or not messaged)
order by row_number
   limit $3`
)

// take leases a batch and reads its next rows. There are none if the batch has to wait
// or is done, which is noted then.
func (w *Worker) take(ctx context.Context, t *tenant.Tenant) (l *lease, rows []pending, err error) {
	now := w.c.Now().UTC()
	err = w.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		var leased []lease
		if err := tx.Select(ctx, &leased, leaseSQL, now, now.Add(leaseLife)); err != nil {
			return fmt.Errorf("lease batch: %w", err)
		}
		if len(leased) == 0 {
			return nil
		}
		l = &leased[0]
		h, err := w.obstacle(ctx, tx, t, l)
		if err != nil {
			return err
		}
		if h == nil || h.because != Forbidden {
			if err := tx.Select(ctx, &rows, jobsSQL, l.Batch.String(), h == nil, turnSize); err != nil {
				return fmt.Errorf("read rows: %w", err)
			}
		}
		if len(rows) > 0 {
			return nil
		}
		return l.rest(ctx, tx, h, clock(w.c.Now))
	})
	return l, rows, err
}

// held says that a batch has to wait: until a time, or if that is zero until somebody
// resumes it.
type held struct {
	until   time.Time
	because Hold
}

func (h *held) Error() string { return "batch waits: " + string(h.because) }

// obstacle is what keeps a batch from being worked on, or from making messages.
func (w *Worker) obstacle(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, l *lease) (*held, error) {
	now := clock(w.c.Now)
	if may, err := l.standing(ctx, tx, now); err != nil || !may {
		return forbidden(), err
	}
	if opens := outbox.Opens(t.Settings, now); opens.After(now) {
		return &held{opens, QuietHours}, nil
	}
	waiting, err := outbox.Waiting(ctx, tx, enoughMessages)
	if err != nil {
		return nil, err
	}
	if waiting >= enoughMessages {
		return &held{now.Add(messagesWait), Messages}, nil
	}
	return nil, nil
}

// claimsCount is how long the roles count that a person's identity provider gave her: as
// long as a session of hers may last.
const claimsCount = 12 * time.Hour

// standing reports whether whoever ordered the batch is still one who may work here, and
// takes her present roles. Whether these allow the batch is for the policy to say.
func (l *lease) standing(ctx context.Context, tx *tenant.Tx, now time.Time) (bool, error) {
	switch l.Kind {
	case authz.APIKey:
		return client.Enabled(ctx, tx, l.ID)
	case authz.Person:
		present, err := member.Standing(ctx, tx, l.ID)
		if errors.Is(err, member.ErrNotMember) || errors.Is(err, member.ErrSuspended) {
			return false, nil
		}
		if now.After(l.CreatedAt.Add(claimsCount)) {
			l.Roles = nil
		}
		for _, r := range present {
			l.Roles = append(l.Roles, string(r))
		}
		return err == nil, err
	case authz.System:
	}
	return true, nil
}

// forbidden stops a batch until somebody resumes it.
func forbidden() *held { return &held{because: Forbidden} }

const doneSQL = `
with done as (
     update batch
        set state = 'done', finished_at = $3, leased_until = null
      where batch_id = $1
        and fence = $2
        and state = 'running'
        and not exists (select from batch_row where batch_id = $1 and state = 'pending')
  returning batch_id
)
  select count(*) filter (where state = 'issued') as issued,
         count(*) filter (where state = 'failed') as failed,
         count(*) filter (where state = 'duplicate') as duplicate
    from batch_row
    join done using (batch_id)
  having count(*) > 0`

// rest ends a batch of which nothing is left, or lets it wait.
func (l *lease) rest(ctx context.Context, tx *tenant.Tx, h *held, now time.Time) error {
	var done []struct{ Issued, Failed, Duplicate int }
	if err := tx.Select(ctx, &done, doneSQL, l.Batch.String(), l.Fence, now); err != nil {
		return fmt.Errorf("finish batch: %w", err)
	}
	if len(done) == 0 {
		return l.release(ctx, tx, h)
	}
	return audit.Record(ctx, tx, now, l.subject(), "batch:finish", l.Batch.String(), map[string]string{
		"issued": strconv.Itoa(done[0].Issued), "failed": strconv.Itoa(done[0].Failed), "duplicates": strconv.Itoa(done[0].Duplicate),
	})
}

const releaseSQL = `
update batch
   set leased_until = null, held_until = $3, held_because = $4,
       state = case when $3::timestamptz is null and $4 <> '' then 'paused' else state end
 where batch_id = $1
   and fence = $2
   and state = 'running'`

func (l *lease) release(ctx context.Context, tx *tenant.Tx, h *held) error {
	var until *time.Time
	because := Hold("")
	if h != nil {
		because = h.because
		if !h.until.IsZero() {
			until = &h.until
		}
	}
	if _, err := tx.Exec(ctx, releaseSQL, l.Batch.String(), l.Fence, until, string(because)); err != nil {
		return fmt.Errorf("release batch: %w", err)
	}
	return nil
}

func (w *Worker) release(ctx context.Context, t *tenant.Tenant, l *lease, h *held) error {
	return w.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return l.release(ctx, tx, h) })
}

func (w *Worker) work(ctx context.Context, t *tenant.Tenant, l *lease, rows []pending) error {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	group, going := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, j := range rows {
		if going.Err() != nil {
			break
		}
		group.Go(func() error { return w.row(going, t, l, j) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// row issues the code of one row, or notes why there is none.
func (w *Worker) row(ctx context.Context, t *tenant.Tenant, l *lease, j pending) error {
	var o Order
	err := l.safe.open(sealedOrder, j.Number, j.Order, &o)
	if err == nil {
		_, err = w.c.Codes.Issue(ctx, t, l.subject(), verification.IssueRequest{
			TestType: o.TestType, SymptomDate: o.SymptomDate, TestDate: o.TestDate, TZOffset: o.TZOffset,
			Phone: o.Phone, SMSTemplateLabel: o.SMSTemplateLabel, UUID: j.Code.String(), ExternalIssuerID: o.ExternalIssuerID,
			Deferred: true, Recorded: true,
			Also: func(ctx context.Context, tx *tenant.Tx, i *verification.Issued) error {
				return l.issued(ctx, tx, j, o, i, clock(w.c.Now))
			},
		})
	}
	now := clock(w.c.Now)
	switch kind := kindOf(err); {
	case err == nil, errors.Is(err, errLost), ctx.Err() != nil:
		return err
	case errors.Is(err, authz.ErrForbidden):
		return forbidden()
	case errors.Is(kind, verification.ErrQuota):
		return &held{now.Add(quotaWait), Quota}
	case errors.Is(kind, verification.ErrMaintenance):
		return &held{now.Add(maintenanceWait), Maintenance}
	case kind != nil && !errors.Is(kind, verification.ErrNoFreeCode):
		return w.fail(ctx, t, l, j, err)
	}
	w.c.Log.ErrorContext(ctx, "batches: row failed", slog.String("tenant", string(t.Slug)),
		slog.String("batch", l.Batch.String()), slog.Int("row", j.Number), slog.Any("error", err))
	return w.fault(ctx, t, l, j)
}

// errLost means that the batch is not this worker's any more: it was paused or
// cancelled, or another worker has it.
var errLost = errors.New("batch is no longer leased")

// guardSQL begins every statement that changes a row. Its lock on the batch lasts until
// the transaction ends and keeps the batch's state from changing before.
const guardSQL = `
with mine as (
  select
    from batch
   where batch_id = $1
     and fence = $2
     and state = 'running'
     for share
)
update batch_row
   set `

const whereMineSQL = `
 where batch_id = $1
   and row_number = $3
   and state = 'pending'
   and exists (select from mine)`

const (
	issuedSQL  = guardSQL + `state = 'issued', sealed_order = null, sealed_result = $4, expires_at = $5::timestamptz, done_at = $6::timestamptz` + whereMineSQL
	failedSQL  = guardSQL + `state = 'failed', sealed_result = $4, done_at = $5::timestamptz` + whereMineSQL
	attemptSQL = guardSQL + `attempts = attempts + 1` + whereMineSQL
)

// change runs one of the statements above: [errLost] if the row is not ours to change.
func (l *lease) change(ctx context.Context, tx *tenant.Tx, query string, row int, more ...any) error {
	n, err := tx.Exec(ctx, query, append([]any{l.Batch.String(), l.Fence, row}, more...)...)
	if err != nil {
		return fmt.Errorf("note row: %w", err)
	}
	if n == 0 {
		return errLost
	}
	return nil
}

// issued is part of the code's own transaction.
func (l *lease) issued(ctx context.Context, tx *tenant.Tx, j pending, o Order, i *verification.Issued, now time.Time) error {
	var sealed []byte
	if o.Phone == "" {
		var err error
		if sealed, err = l.safe.seal(sealedResult, j.Number, outcome{Code: i.Code}); err != nil {
			return err
		}
	}
	return l.change(ctx, tx, issuedSQL, j.Number, sealed, i.LongExpiresAt, now)
}

// fail notes that a row is refused for good.
func (w *Worker) fail(ctx context.Context, t *tenant.Tenant, l *lease, j pending, why error) error {
	sealed, err := l.safe.seal(sealedResult, j.Number, refusal(why))
	if err != nil {
		return err
	}
	return w.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return l.change(ctx, tx, failedSQL, j.Number, sealed, clock(w.c.Now))
	})
}

// fault counts a failure of ours. The batch waits and tries again, but not for ever.
func (w *Worker) fault(ctx context.Context, t *tenant.Tenant, l *lease, j pending) error {
	attempts := j.Attempts + 1
	if attempts >= maxAttempts {
		return w.fail(ctx, t, l, j, ErrUnworkable)
	}
	err := w.c.DB.In(ctx, t.ID, func(tx *tenant.Tx) error { return l.change(ctx, tx, attemptSQL, j.Number) })
	if err != nil {
		return err
	}
	return &held{clock(w.c.Now).Add(time.Duration(attempts) * faultWait), Fault}
}
