package stats

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// KeyAnswered counts a request with a key that was accepted: what it was for, as the
// policy names it, and the HTTP status of the answer.
func (c *Counter) KeyAnswered(id tenant.ID, key, action string, status int) {
	c.add(id, cell{series: keyAnswers, subject: key + " " + action, class: int16(status)})
}

// KeyRefused counts a request with a key that exists and was not accepted, for a reason in
// one word.
func (c *Counter) KeyRefused(id tenant.ID, key, why string) {
	c.add(id, cell{series: keyRefused, subject: key + " " + why})
}

// networkClasses is into how many classes the networks of a key's callers fall.
const networkClasses = 64

// KeyFrom counts from how many networks a key is used, without keeping them: six bits
// of a digest of the network, the key and the day are all that remains of one. It is not
// for the keys of phones.
func (c *Counter) KeyFrom(id tenant.ID, key, network string) {
	if c == nil {
		return
	}
	digest := sha256.Sum256([]byte(c.now().UTC().Format(time.DateOnly) + " " + key + " " + network))
	c.add(id, cell{series: keyNetworks, subject: key, class: int16(digest[0] % networkClasses)})
}

// networks is how many networks have probably fallen into n of the classes.
func networks(n int) int {
	if n >= networkClasses {
		n = networkClasses - 1
	}
	return int(math.Round(networkClasses * math.Log(networkClasses/float64(networkClasses-n))))
}

// The roll-up leaves of an hour the day alone; the last hour of each key is kept beside.
const usedSQL = `
insert into api_key_use (tenant_id, api_key_id, last_hour)
select current_tenant(), k.api_key_id, max(t.hour)
  from statistic_tally t
  join api_key k on k.tenant_id = t.tenant_id and k.api_key_id::text = split_part(t.subject, ' ', 1)
 where t.series = $1
group by k.api_key_id
    on conflict on constraint api_key_use_pkey do update
   set last_hour = greatest(api_key_use.last_hour, excluded.last_hour)`

// LastUse is when a key was used last.
type LastUse struct {
	// Hour is the beginning of the last full hour (UTC) in which a request with the key
	// was accepted, or of the current one.
	Hour time.Time
	// Requests is how many were, in the last seven days.
	Requests int64
}

// recently is the time of [LastUse.Requests].
const recently = 7 * day

const lastUseSQL = `
  select key, max(hour) as hour, sum(quantity)::bigint as requests
    from (select api_key_id::text as key, last_hour as hour, 0 as quantity
            from api_key_use
       union all
          select split_part(subject, ' ', 1), hour, case when hour >= $2::timestamptz then quantity else 0 end
            from statistic_tally
           where series = $1
       union all
          select split_part(subject, ' ', 1), null, quantity
            from statistic_day
           where series = $1
             and day >= ($2::timestamptz at time zone 'UTC')::date) uses
group by key
  having max(hour) is not null`

// LastUses tells of every key that was ever used when that was last. What processes have
// not flushed is missing: [FlushInterval], and as much is lost when one is killed.
func LastUses(ctx context.Context, tx *tenant.Tx, now time.Time) (map[uuid.UUID]LastUse, error) {
	var found []struct {
		Key      string
		Hour     time.Time
		Requests int64
	}
	if err := tx.Select(ctx, &found, lastUseSQL, string(keyAnswers), dayOf(now).Add(day-recently)); err != nil {
		return nil, fmt.Errorf("last uses of API keys: %w", err)
	}
	uses := map[uuid.UUID]LastUse{}
	for _, f := range found {
		if id, err := uuid.Parse(f.Key); err == nil {
			uses[id] = LastUse{Hour: f.Hour.UTC(), Requests: f.Requests}
		}
	}
	return uses, nil
}

// Answers are how many requests of one kind ended in one way.
type Answers struct {
	// Action is what they were for, as the policy names it.
	Action string
	// Status is the HTTP status of the answers.
	Status   int
	Requests int64
}

// KeyDay is what was done with a key on a day.
type KeyDay struct {
	Day time.Time
	// Answers are by action, then status.
	Answers []Answers
	// Refused are the requests that were not accepted, by the reason.
	Refused map[string]int64
	// CodesIssued is how many codes were, also those of orders that were worked on later.
	CodesIssued int64
	// Networks is from about how many networks it was used: never for phones' keys, whose
	// networks are not counted, and too few beyond 250.
	Networks int
}

const keyDaysSQL = `
select day, series, subject, class, sum(quantity)::bigint as quantity
  from (select day, series, subject, class, quantity
          from statistic_day
         where series = any($1)
           and day >= $2::date
     union all
        select (hour at time zone 'UTC')::date, series, subject, class, quantity
          from statistic_tally
         where series = any($1)
           and hour >= $2::timestamptz) counts
 where subject = $3
    or starts_with(subject, $3 || ' ')
group by day, series, subject, class
order by day desc, series, subject, class`

// KeyDays returns the days on which a key was used or tried, the newest first, of the
// last [Days]. The codes of this day are those that the last roll-up has counted, some
// minutes ago: to count them anew would be to read those of all keys.
func (s *Service) KeyDays(ctx context.Context, t *tenant.Tenant, id uuid.UUID) ([]KeyDay, error) {
	var counts []count
	of := pq.StringArray{string(keyAnswers), string(keyRefused), string(keyNetworks), string(issuedByKey)}
	err := s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return tx.Select(ctx, &counts, keyDaysSQL, of, s.oldest(), id.String())
	})
	if err != nil {
		return nil, fmt.Errorf("read use of API key: %w", err)
	}
	return keyDays(counts), nil
}

func keyDays(counts []count) []KeyDay {
	days := []KeyDay{}
	for at, of := range byDay(counts) {
		d := KeyDay{Day: at, Refused: map[string]int64{}}
		for _, c := range of {
			d.add(c)
		}
		d.Networks = networks(d.Networks)
		slices.SortFunc(d.Answers, func(a, b Answers) int {
			return cmp.Or(strings.Compare(a.Action, b.Action), cmp.Compare(a.Status, b.Status))
		})
		days = append(days, d)
	}
	slices.SortFunc(days, func(a, b KeyDay) int { return b.Day.Compare(a.Day) })
	return days
}

// add takes a count in; classes of networks are counted first.
func (d *KeyDay) add(c count) {
	_, about, _ := strings.Cut(c.Subject, " ")
	//nolint:exhaustive // the other series are not about what keys did
	switch c.Series {
	case keyAnswers:
		d.Answers = append(d.Answers, Answers{Action: about, Status: c.Class, Requests: c.Quantity})
	case keyRefused:
		d.Refused[about] += c.Quantity
	case keyNetworks:
		d.Networks++
	case issuedByKey:
		d.CodesIssued += c.Quantity
	}
}

// LastUses is [LastUses] of a tenant.
func (s *Service) LastUses(ctx context.Context, t *tenant.Tenant) (uses map[uuid.UUID]LastUse, err error) {
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		uses, err = LastUses(ctx, tx, s.now())
		return err
	})
	return uses, err
}
