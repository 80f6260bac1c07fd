package guess

import (
	"context"
	"fmt"
	"math"
	"time"

	"carillon/tenant"
	"carillon/tenant/cache"
)

// How long codes must be.
const (
	// Chance is what a day of guessing comes to, in expected hits of codes that were
	// issued after the guessing was noticed (deploy/docs/limits.md).
	Chance = 1e-3
	// Tolerated is how many unknown codes a day are nobody's attack, besides one in
	// ten of the codes that were issued: people mistype.
	Tolerated = 1000
	// MaxDigits is as long as a code gets.
	MaxDigits = 12
	// headroom is for guesses that come while a new code lives.
	headroom = 4
)

const day = 24 * time.Hour

// Sighting is what there is to see of guessing at one tenant.
type Sighting struct {
	// Wrong is the number of unknown codes of the last day, Issued that of codes.
	Wrong, Issued int64
	// Live is how many short codes could be hit at this moment.
	Live int64
}

// Suspicious reports whether more unknown codes came than people mistype.
func (s Sighting) Suspicious() bool { return s.Wrong > Tolerated+s.Issued/10 }

// Digits is how long new codes must be if the tenant wants at least so many digits.
func (s Sighting) Digits(least int) int {
	if !s.Suspicious() {
		return least
	}
	space := headroom * float64(max(s.Live, 1)) * float64(s.Wrong) / Chance
	return min(MaxDigits, max(least+1, int(math.Ceil(math.Log10(space)))))
}

const sightSQL = `
select (select coalesce(sum(wrong), 0)
          from wrong_code_count
         where minute > $1) as wrong,
       count(*) filter (where issued_at > $1) as issued,
       count(*) filter (where expires_at > $2 and claimed_at is null) as live
  from verification_code
 where long_expires_at > $1`

// See looks at tx's tenant.
func See(ctx context.Context, tx *tenant.Tx, now time.Time) (Sighting, error) {
	var s Sighting
	if err := tx.Get(ctx, &s, sightSQL, now.UTC().Add(-day), now.UTC()); err != nil {
		return s, fmt.Errorf("look for guessing: %w", err)
	}
	return s, nil
}

// LengthAge is how old the answer of [Lengths] may be.
const LengthAge = 5 * time.Second

const lengthsKept = 10_000

// Lengths tells how long new codes must be. It is safe for concurrent use.
type Lengths struct {
	seen *cache.Cache[tenant.ID, Sighting]
}

// NewLengths reads through db, a handle under a role that issues codes.
func NewLengths(db *tenant.DB, now func() time.Time) *Lengths {
	return &Lengths{seen: cache.New(lengthsKept, LengthAge, func(ctx context.Context, id tenant.ID) (s Sighting, err error) {
		err = db.In(ctx, id, func(tx *tenant.Tx) error {
			s, err = See(ctx, tx, now())
			return err
		})
		return s, err
	})}
}

// Digits is the length of a new short code of the tenant.
func (l *Lengths) Digits(ctx context.Context, t *tenant.Tenant) (int, error) {
	s, err := l.seen.Get(ctx, t.ID)
	if err != nil {
		return 0, err
	}
	return s.Digits(t.Settings.CodeDigits), nil
}
