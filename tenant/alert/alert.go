// Package alert tells an authority's own people when a day's figures are beyond bounds
// that they have set: by e-mail, and by a webhook that is signed.
//
// A rule looks at each complete UTC day once. A day beyond the bound makes one notice for
// each of those who are told, in the transaction that notes that the day was looked at: so
// there is never a second alarm for it. Each notice is delivered until its receiver took
// it, or given up after a day. A process that dies between delivery and note delivers it
// again, with the same ID.
package alert

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// Figure is what a rule looks at.
type Figure string

// The figures of a day.
const (
	IssuedAbove    Figure = "issued-above"    // more codes were issued than the bound
	IssuedBelow    Figure = "issued-below"    // fewer were
	ClaimedBelow   Figure = "claimed-below"   // a smaller share of codes was used, in percent
	ClaimedStrange Figure = "claimed-unusual" // the share is far below its mean (§11.4); it has no bound
	InvalidAbove   Figure = "invalid-above"   // more codes were refused as unknown than the bound
)

// Figures lists them.
func Figures() []Figure {
	return []Figure{IssuedAbove, IssuedBelow, ClaimedBelow, ClaimedStrange, InvalidAbove}
}

// Rule is a bound.
type Rule struct {
	ID     uuid.UUID `db:"rule_id"`
	Figure Figure
	// Threshold is a number of codes, or percent for [ClaimedBelow].
	Threshold int
	Emails    pq.StringArray
	// Webhook is an address; empty for none.
	Webhook   string
	Sealed    []byte
	ChangedAt time.Time `db:"changed_at"`
	// Checked is the last day that was looked at.
	Checked time.Time `db:"checked_day"`
}

// least is how many codes make a share say anything.
const least = 10

// beyond reports whether the newest of some days, the newest first, is beyond the rule's
// bound, and the figure.
func (r Rule) beyond(days []stats.RealmDay) (value int, is bool) {
	d := days[0]
	switch r.Figure {
	case IssuedAbove:
		return int(d.CodesIssued), int(d.CodesIssued) > r.Threshold
	case IssuedBelow:
		return int(d.CodesIssued), int(d.CodesIssued) < r.Threshold
	case InvalidAbove:
		n := int(d.CodesInvalid.Total())
		return n, n > r.Threshold
	case ClaimedBelow:
		p := percent(d)
		return p, d.CodesIssued >= least && p < r.Threshold
	case ClaimedStrange:
		return percent(d), unusual(days)
	}
	return 0, false
}

// share is how many of a day's codes were used, at most 1; 1 if there were none.
func share(d stats.RealmDay) float64 {
	if d.CodesIssued == 0 {
		return 1
	}
	return min(1, float64(d.CodesClaimed)/float64(d.CodesIssued))
}

func percent(d stats.RealmDay) int { return int(math.Round(100 * share(d))) }

const (
	historyDays = 30
	enoughDays  = 14
	deviations  = 2.0
)

// unusual is the protocol's rule (§11.4): the newest day's share is more than two standard
// deviations below the mean of the up to 30 days before with codes, of which there must
// be 14.
func unusual(days []stats.RealmDay) bool {
	var shares []float64
	for _, d := range days[1:] {
		if d.CodesIssued > 0 && len(shares) < historyDays {
			shares = append(shares, share(d))
		}
	}
	if len(shares) < enoughDays {
		return false
	}
	mean, variance := 0.0, 0.0
	for _, s := range shares {
		mean += s / float64(len(shares))
	}
	for _, s := range shares {
		variance += (s - mean) * (s - mean) / float64(len(shares))
	}
	const rounding = 1e-9
	below := mean - share(days[0])
	return below > rounding && below > deviations*math.Sqrt(variance)+rounding
}

// Notice is a day beyond a bound, as one receiver is told.
type Notice struct {
	Rule uuid.UUID `db:"rule_id"`
	Day  time.Time
	// Channel is an address, or [WebhookChannel].
	Channel   string
	Figure    Figure
	Threshold int
	Value     int
	RaisedAt  time.Time  `db:"raised_at"`
	Due       *time.Time `db:"due_at"`
	Attempts  int
	Delivered *time.Time `db:"delivered_at"`
}

// WebhookChannel is the channel of notices that go to the rule's webhook.
const WebhookChannel = "webhook"

// ID names the notice, the same each time it is delivered.
func (n Notice) ID() string { return n.Rule.String() + "/" + n.Day.Format(time.DateOnly) }

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

const (
	rulesSQL = `
  select rule_id, figure, threshold, emails, webhook, sealed, changed_at, checked_day
    from alert_rule
order by figure, threshold, rule_id`

	// The condition makes sure that a day is looked at once, whoever else is at it.
	checkedSQL = `update alert_rule set checked_day = $2 where rule_id = $1 and checked_day < $2`

	raiseSQL = `
insert into alert_notice (tenant_id, rule_id, day, channel, figure, threshold, value, raised_at, due_at)
select current_tenant(), $1, $2, channel, $3, $4, $5, $6, $6
  from unnest($7::text[]) channel`
)

func rules(ctx context.Context, tx *tenant.Tx) ([]Rule, error) {
	var list []Rule
	if err := tx.Select(ctx, &list, rulesSQL); err != nil {
		return nil, fmt.Errorf("read alert rules: %w", err)
	}
	for i := range list {
		list[i].Checked = list[i].Checked.UTC()
	}
	return list, nil
}

// settle is how long after its end a day is looked at: counters are late by seconds, clocks
// by minutes.
const settle = time.Hour

// look has each rule look at the last complete day, unless it has.
func (s *Service) look(ctx context.Context, t *tenant.Tenant, now time.Time) error {
	day := dayOf(now.Add(-settle)).AddDate(0, 0, -1)
	var due []Rule
	err := s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		list, err := rules(ctx, tx)
		due = slices.DeleteFunc(list, func(r Rule) bool { return !r.Checked.Before(day) })
		return err
	})
	if err != nil || len(due) == 0 {
		return err
	}
	days, err := s.Figures.Realm(ctx, t)
	if err != nil {
		return err
	}
	days = slices.DeleteFunc(days, func(d stats.RealmDay) bool { return d.Day.After(day) })
	if len(days) == 0 {
		return nil
	}
	for _, r := range due {
		if err := s.raise(ctx, t, r, days, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) raise(ctx context.Context, t *tenant.Tenant, r Rule, days []stats.RealmDay, now time.Time) error {
	day := days[0].Day.Format(time.DateOnly)
	value, beyond := r.beyond(days)
	channels := slices.Clone(r.Emails)
	if r.Webhook != "" {
		channels = append(channels, WebhookChannel)
	}
	err := s.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, checkedSQL, r.ID.String(), day)
		if err != nil || rows == 0 || !beyond {
			return err
		}
		_, err = tx.Exec(ctx, raiseSQL, r.ID.String(), day, string(r.Figure), r.Threshold, value, now.UTC(), channels)
		return err
	})
	if err != nil {
		return fmt.Errorf("raise alert: %w", err)
	}
	return nil
}

// Turn does one tenant's work: [Service] is a job.
func (s *Service) Turn(ctx context.Context, id tenant.ID) error {
	t, err := s.Directory.ByID(ctx, id)
	if err != nil {
		return err
	}
	now := s.Now()
	return errors.Join(s.look(ctx, t, now), s.deliver(ctx, t, now))
}
