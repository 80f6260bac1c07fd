package quota

import (
	"context"
	"fmt"
	"time"

	"carillon/authz"
	"carillon/tenant"
)

// Past is a complete day beside the budget that it had, or would have had.
type Past struct {
	Day
	// Base is the limit that was modelled for it.
	Base int
}

// Beyond is how many of the day's codes a factor would have refused. What was refused on
// the day itself was not issued, and does not count.
func (p Past) Beyond(factor float64) int { return max(0, p.Issued-Effective(p.Base, factor)) }

// Board is where a tenant's budget stands.
type Board struct {
	Standing
	// Days are the last complete ones, the newest first.
	Days []Past
	// Spent is when yesterday's budget, at the factor that was asked about, would have been
	// spent; zero if it would have lasted, or if that is not known any more.
	Spent time.Time
}

// Staff is the budget as the staff of tenants see it: each act is checked.
type Staff struct {
	db       *tenant.DB
	policies *authz.Policies
	now      func() time.Time
}

// NewStaff returns it through db, a handle under carillon_portal.
func NewStaff(db *tenant.DB, policies *authz.Policies, now func() time.Time) *Staff {
	return &Staff{db: db, policies: policies, now: now}
}

const (
	pastSQL = `
  select d.day, d.issued, coalesce((select base from quota_day b where b.day < d.day order by b.day desc limit 1), $2) as base
    from quota_day d
   where d.day > $1
order by d.day desc`

	// spentSQL is when the code after the last of a budget was issued on a day.
	spentSQL = `
select coalesce((select issued_at
                   from verification_code
                  where issued_at >= $1 and issued_at < $2
               order by issued_at
                 offset $3
                  limit 1), 'epoch')`

	daysShown = 14
)

// Board tells where the budget stands, and how the days before would have been with a
// factor: [authz.ErrForbidden] for whoever may not see it.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject, factor float64) (b Board, err error) {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsRead); err != nil {
		return b, err
	}
	now := s.now()
	yesterday := dayOf(now).AddDate(0, 0, -1)
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		if b.Standing, err = Stand(ctx, tx, t, now); err != nil {
			return err
		}
		if err := tx.Select(ctx, &b.Days, pastSQL, yesterday.AddDate(0, 0, -daysShown).Format(time.DateOnly), Default); err != nil {
			return err
		}
		if len(b.Days) == 0 || !b.Days[0].Day.Day.UTC().Equal(yesterday) || b.Days[0].Beyond(factor) == 0 {
			return nil
		}
		var spent time.Time
		err := tx.Get(ctx, &spent, spentSQL, yesterday, dayOf(now), Effective(b.Days[0].Base, factor))
		if spent.Unix() != 0 {
			b.Spent = spent.UTC()
		}
		return err
	})
	if err != nil {
		return b, fmt.Errorf("budget: %w", err)
	}
	for i := range b.Days {
		b.Days[i].Day.Day = b.Days[i].Day.Day.UTC()
	}
	return b, nil
}

// Add adds codes to this day's budget, once: [authz.ErrForbidden] or [ErrBurst].
func (s *Staff) Add(ctx context.Context, t *tenant.Tenant, by authz.Subject, codes int) error {
	if err := s.policies.Check(ctx, t.ID.String(), by, authz.SettingsWrite); err != nil {
		return err
	}
	return s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return Burst(ctx, tx, by, codes, s.now()) })
}
