package stats

import (
	"context"
	"time"

	"carillon/tenant"
)

// Stage is one step of the way from a diagnosis to an exported key.
type Stage struct {
	Count int64
	// Delays has the number of events in each of the [Classes] by the time since the
	// stage before; nil for none, and for stages whose delay is not known.
	Delays []int64
}

// FunnelDay is what became of the codes that were issued on a day, its cohort. No
// stage knows a person: a code's day travels with its token, and from the certificate
// on the cohort is that of the certificate's day, then of the key's arrival.
type FunnelDay struct {
	Day time.Time
	// Issued are codes. Sent and Delivered are those of them that went out by message
	// and that the provider says arrived; delivered since it was queued.
	Issued, Sent, Delivered Stage
	// Claimed are codes swapped for tokens, since their issue. Certified are tokens
	// swapped for certificates, since the claim.
	Claimed, Certified Stage
	// Published are uploads with a certificate of this day, since it was made.
	Published Stage
	// Exported are keys, not people, that arrived on this day and came out in a file,
	// since their arrival. Self-made padding is not among them.
	Exported Stage
}

// Empty reports whether nothing became of the day.
func (d FunnelDay) Empty() bool {
	return d.Issued.Count|d.Claimed.Count|d.Certified.Count|d.Published.Count|d.Exported.Count == 0
}

// Funnel returns the last [Days] cohorts, the newest first. Messages and exports are as
// of the last roll-up, the rest is current.
func (s *Service) Funnel(ctx context.Context, t *tenant.Tenant) ([]FunnelDay, error) {
	counts, err := s.recent(ctx, t.ID, codesIssued, messages, codesClaimed, tokensClaimed, uploads, keysExported)
	if err != nil {
		return nil, err
	}
	cohorts := map[time.Time]*FunnelDay{}
	report := make([]FunnelDay, Days)
	for i, d := range s.days() {
		report[i].Day = d
		cohorts[d] = &report[i]
	}
	for _, c := range counts {
		if d := cohorts[c.Cohort.UTC()]; d != nil {
			d.add(c)
		}
	}
	return report, nil
}

func (d *FunnelDay) add(c count) {
	//nolint:exhaustive // the other series are not about the funnel
	switch c.Series {
	case codesIssued:
		d.Issued.Count += c.Quantity
	case messages:
		d.addMessages(c)
	case codesClaimed:
		d.Claimed.add(c)
	case tokensClaimed:
		d.Certified.add(c)
	case uploads:
		d.Published.add(c)
	case keysExported:
		d.Exported.add(c)
	}
}

func (d *FunnelDay) addMessages(c count) {
	switch c.Subject {
	case "sent":
		d.Sent.Count += c.Quantity
	case "delivered":
		d.Sent.Count += c.Quantity
		d.Delivered.add(c)
	}
}

func (s *Stage) add(c count) {
	s.Count += c.Quantity
	s.Delays = addTo(s.Delays, Classes, c)
}
