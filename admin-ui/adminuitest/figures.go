package adminuitest

import (
	"context"
	"time"

	"carillon/tenant"
	"carillon/tenant/stats"
)

// Figures is a stand-in for statistics: each authority has the same numbers, which grow
// by one a day for as many days as it has.
type Figures struct {
	Now  func() time.Time
	Days int
	// Issuers are who issued codes.
	Issuers []stats.IssuerSum
	// Asked counts the questions.
	Asked int
}

// Overview has ten codes for each one that is uploaded, a claim in each class, and a
// landline each day.
func (f *Figures) Overview(_ context.Context, _ *tenant.Tenant, first time.Time, of stats.Span) (stats.Overview, error) {
	f.Asked++
	o := stats.Overview{OnsetAges: make([]int64, 3), Systems: []stats.SystemPath{{Platform: stats.IOS}, {Platform: stats.Android}}}
	today := f.Now().UTC().Truncate(24 * time.Hour)
	var sum int64
	for i := 0; !today.AddDate(0, 0, -i).Before(first); i++ {
		n := max(0, int64(f.Days-i))
		d := stats.OverviewDay{
			Day: today.AddDate(0, 0, -i), Issued: 10 * n, Sent: 9 * n, Delivered: 8 * n, Claimed: 4 * n, Certified: 3 * n, Published: 2 * n,
			KeysExported: 28 * n, CodesRefused: stats.ByPlatform{IOS: n, Android: n}, Uploads: stats.ByPlatform{IOS: 2 * n}, HeldBack: n == 1,
		}
		o.Days = append(o.Days, d)
		if !d.Day.Before(of.First) && !d.Day.After(of.Last) {
			sum += n
		}
	}
	if sum == 0 {
		return o, nil
	}
	o.Counted = f.Now()
	for range stats.Classes {
		o.Delays.Claimed = append(o.Delays.Claimed, sum)
	}
	o.OnsetAges = []int64{sum, 0, sum}
	o.Types = []stats.Path{{Name: "confirmed", Issued: 10 * sum, Claimed: 4 * sum, Certified: 3 * sum}}
	o.Channels = []stats.Path{{Name: "none", Issued: 2 * sum, Claimed: sum}, {Name: "sms", Issued: 8 * sum, Claimed: 3 * sum}}
	o.Issuers = f.Issuers
	o.Failures, o.Errors = []stats.Reason{{Name: "landline", Count: sum}}, []stats.Reason{{Name: "30006", Count: sum}, {Name: "99999", Count: 1}}
	return o, nil
}
