// Package quota gives each tenant a daily budget of codes (verification protocol
// §11.4), so that a stolen login or key cannot issue more than a bad day's worth.
//
// The budget is new with each UTC day: what a model of the days before expects, times
// the tenant's factor, plus bursts that somebody added. Processes share it without
// meeting at a row: each takes a small share of what is left, under an advisory lock
// and outside of any request's transaction, and spends it in memory. So no tenant ever
// issues more than its budget; and while others hold shares, a process may refuse a
// little before the end: every other process withholds at most 50 codes, and at most
// one in twenty of what was left when it took them ([shareOf]).
package quota

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// Standing is where a tenant's budget of one day stands.
type Standing struct {
	Day time.Time
	// Base is the modelled limit, Effective that times the tenant's factor, Burst what
	// was added for this day alone.
	Base, Effective, Burst int
	// Taken is what processes have taken for themselves; Issued cannot be more.
	Taken int
}

// Left is what no process has taken yet.
func (s Standing) Left() int { return max(0, s.Effective+s.Burst-s.Taken) }

const standingSQL = `
select coalesce((select base from quota_day where day < $1 order by day desc limit 1), $2) as base,
       coalesce(sum(codes) filter (where kind = 'burst'), 0) as burst,
       coalesce(sum(codes) filter (where kind = 'share'), 0) as taken
  from quota_entry
 where day = $1`

// Stand reads where the budget of tx's tenant stands.
func Stand(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, now time.Time) (Standing, error) {
	s := Standing{Day: dayOf(now)}
	if err := tx.Get(ctx, &s, standingSQL, s.Day.Format(time.DateOnly), Default); err != nil {
		return s, fmt.Errorf("read quota: %w", err)
	}
	s.Effective = Effective(s.Base, t.Settings.QuotaFactor)
	return s, nil
}

const daysSQL = `
  select day, issued
    from quota_day
   where day > $1
order by day`

// History returns the complete days of tx's tenant that have an entry, of the last six
// weeks, the oldest first. [Forecast] says what they lead to.
func History(ctx context.Context, tx *tenant.Tx, now time.Time) ([]Day, error) {
	var days []Day
	if err := tx.Select(ctx, &days, daysSQL, dayOf(now).AddDate(0, 0, -2*historyDays).Format(time.DateOnly)); err != nil {
		return nil, fmt.Errorf("read quota history: %w", err)
	}
	for i := range days {
		days[i].Day = days[i].Day.UTC()
	}
	return days, nil
}

// ErrBurst means that no such number of codes can be added.
var ErrBurst = errors.New("a burst has 1 to 20,000 codes")

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error { return []error{ErrBurst} }

// BurstAction is how the audit log names a burst.
const BurstAction = "quota:burst"

const entrySQL = `
insert into quota_entry (tenant_id, day, entry_id, kind, codes)
values (current_tenant(), $1, $2, $3, $4)`

// Burst adds codes to the budget of the current day of tx's tenant, once; factor and
// model stay as they are. Whoever calls has made sure that the subject may.
func Burst(ctx context.Context, tx *tenant.Tx, by authz.Subject, codes int, now time.Time) error {
	if codes < 1 || codes > Most {
		return ErrBurst
	}
	if err := enter(ctx, tx, dayOf(now), "burst", codes); err != nil {
		return err
	}
	return audit.Record(ctx, tx, now, by, BurstAction, dayOf(now).Format(time.DateOnly),
		map[string]string{"change": "added " + strconv.Itoa(codes) + " quota capacity"})
}

func enter(ctx context.Context, tx *tenant.Tx, day time.Time, kind string, codes int) error {
	if _, err := tx.Exec(ctx, entrySQL, day.Format(time.DateOnly), uuid.NewString(), kind, codes); err != nil {
		return fmt.Errorf("quota entry: %w", err)
	}
	return nil
}

// Budget is one process's access to the tenants' budgets. It is safe for concurrent
// use.
type Budget struct {
	db      *tenant.DB
	log     *slog.Logger
	logOnly bool
	now     func() time.Time

	mu     sync.Mutex
	shares map[tenant.ID]*share
}

// share is what the process has of a tenant's budget.
type share struct {
	taking sync.Mutex // one asks the database at a time

	mu   sync.Mutex
	day  time.Time // guarded by mu
	left int       // guarded by mu
	// emptyUntil is when it makes sense to ask again; guarded by mu.
	emptyUntil time.Time
}

// askAgain is how long an empty budget is taken as such, and so how long a burst may
// take to be noticed.
const askAgain = 2 * time.Second

// NewBudget takes shares through db, a handle under a role that issues codes. logOnly
// lets codes be issued beyond the budget, and only tells the log.
func NewBudget(db *tenant.DB, log *slog.Logger, logOnly bool, now func() time.Time) *Budget {
	return &Budget{db: db, log: log, logOnly: logOnly, now: now, shares: map[tenant.ID]*share{}}
}

// Hold sets one code of the tenant's budget aside: the Quota of package verification.
// Tenants that do not enforce a quota have no budget, and always one more code.
func (b *Budget) Hold(ctx context.Context, t *tenant.Tenant) (spend func() bool, release func(), err error) {
	if !t.Settings.QuotaEnforced {
		return func() bool { return true }, func() {}, nil
	}
	s, day := b.of(t.ID), dayOf(b.now())
	held, err := b.hold(ctx, t, s, day)
	if err != nil {
		return nil, nil, err
	}
	spent := false
	spend = func() bool {
		spent = true
		if !held && b.logOnly {
			b.log.WarnContext(ctx, "quota of codes exceeded, not enforced", slog.String("tenant", string(t.Slug)))
			return true
		}
		return held
	}
	release = func() {
		if held && !spent {
			s.put(day, 1)
		}
	}
	return spend, release, nil
}

func (b *Budget) of(id tenant.ID) *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shares[id]
	if s == nil {
		s = &share{}
		b.shares[id] = s
	}
	return s
}

func (b *Budget) hold(ctx context.Context, t *tenant.Tenant, s *share, day time.Time) (held bool, err error) {
	if held, empty := s.get(day, b.now()); held || empty {
		return held, nil
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	if held, empty := s.get(day, b.now()); held || empty { // another has asked meanwhile
		return held, nil
	}
	codes, err := b.take(ctx, t, day)
	switch {
	case err != nil:
		return false, err
	case codes == 0:
		s.empty(b.now().Add(askAgain))
		return false, nil
	}
	s.put(day, codes-1)
	return true, nil
}

// get takes one code of a day's share; empty says that there is none to be had.
func (s *share) get(day, now time.Time) (got, empty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.day.Equal(day) {
		s.day, s.left, s.emptyUntil = day, 0, time.Time{}
	}
	if s.left > 0 {
		s.left--
		return true, false
	}
	return false, now.Before(s.emptyUntil)
}

// put adds codes of a day, unless that is over.
func (s *share) put(day time.Time, codes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day.Equal(day) {
		s.left += codes
	}
}

func (s *share) empty(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emptyUntil = until
}

const lock tenant.Lock = "quota"

// take moves a share of what is left to this process.
func (b *Budget) take(ctx context.Context, t *tenant.Tenant, day time.Time) (codes int, err error) {
	err = b.db.InExclusive(ctx, t.ID, lock, func(tx *tenant.Tx) error {
		s, err := Stand(ctx, tx, t, day)
		if err != nil {
			return err
		}
		if codes = shareOf(s.Left()); codes == 0 {
			return nil
		}
		return enter(ctx, tx, day, "share", codes)
	})
	return codes, err
}

const (
	sharesOfRest = 20
	largestShare = 50
)

// shareOf is how much of the rest one process takes at a time.
func shareOf(left int) int {
	if left == 0 {
		return 0
	}
	return min(largestShare, max(1, left/sharesOfRest))
}
