package stats

import (
	"context"
	"time"

	"carillon/tenant"
)

// RealmDay is a tenant's day (verification protocol §8.2).
type RealmDay struct {
	Day time.Time
	// CodesIssued and CodesClaimed include self-reports.
	CodesIssued, CodesClaimed int64
	CodesInvalid              ByPlatform
	// UserReportsIssued and UserReportsClaimed count the self-reports among them.
	UserReportsIssued, UserReportsClaimed int64
	NoncesInvalid                         ByPlatform
	// TokensClaimed are certificates, UserReportTokensClaimed those of self-reports.
	TokensClaimed, TokensInvalid, UserReportTokensClaimed int64
	// MeanClaimAge is the mean time from issue to claim; zero if nothing was claimed.
	MeanClaimAge time.Duration
	// ClaimAges has the number of claims in each of the [Classes]; nil if there was
	// none.
	ClaimAges []int64
}

// Empty reports whether nothing happened on the day.
func (d RealmDay) Empty() bool {
	return d.CodesIssued|d.CodesClaimed|d.CodesInvalid.Total()|d.TokensClaimed|d.TokensInvalid == 0
}

const userReport = "user-report"

// Realm returns the last [Days] days, the newest first.
func (s *Service) Realm(ctx context.Context, t *tenant.Tenant) ([]RealmDay, error) {
	counts, err := s.recent(ctx, t.ID,
		codesIssued, codesClaimed, claimSeconds, codesInvalid, noncesInvalid, tokensClaimed, tokensInvalid)
	if err != nil {
		return nil, err
	}
	of := byDay(counts)
	report := make([]RealmDay, 0, Days)
	for _, d := range s.days() {
		report = append(report, realmDay(d, of[d]))
	}
	return report, nil
}

func realmDay(d time.Time, counts []count) RealmDay {
	r := RealmDay{Day: d}
	var seconds int64
	for _, c := range counts {
		if c.Series == claimSeconds {
			seconds += c.Quantity
			continue
		}
		r.add(c)
	}
	if r.CodesClaimed > 0 {
		r.MeanClaimAge = time.Duration(seconds/r.CodesClaimed) * time.Second
	}
	return r
}

func (d *RealmDay) add(c count) {
	reported := int64(0)
	if c.Subject == userReport {
		reported = c.Quantity
	}
	//nolint:exhaustive // the other series are not about the realm
	switch c.Series {
	case codesIssued:
		d.CodesIssued += c.Quantity
		d.UserReportsIssued += reported
	case codesClaimed:
		d.CodesClaimed += c.Quantity
		d.UserReportsClaimed += reported
		d.ClaimAges = addTo(d.ClaimAges, Classes, c)
	case tokensClaimed:
		d.TokensClaimed += c.Quantity
		d.UserReportTokensClaimed += reported
	case tokensInvalid:
		d.TokensInvalid += c.Quantity
	case codesInvalid:
		d.CodesInvalid.add(Platform(c.Subject), c.Quantity)
	case noncesInvalid:
		d.NoncesInvalid.add(Platform(c.Subject), c.Quantity)
	}
}

// addTo adds a count to its class of a distribution, which is made if there is none.
func addTo(distribution []int64, classes int, c count) []int64 {
	if distribution == nil {
		distribution = make([]int64, classes)
	}
	distribution[min(max(0, c.Class), classes-1)] += c.Quantity
	return distribution
}
