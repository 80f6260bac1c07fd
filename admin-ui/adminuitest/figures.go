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
	// Issuer is who issued the codes.
	Issuer string
}

func (f *Figures) day(i int) (day time.Time, n int64) {
	day = f.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -i)
	return day, max(0, int64(f.Days-i))
}

// Funnel has ten codes for each one that is used, and so on.
func (f *Figures) Funnel(context.Context, *tenant.Tenant) ([]stats.FunnelDay, error) {
	list := make([]stats.FunnelDay, stats.Days)
	for i := range list {
		day, n := f.day(i)
		list[i] = stats.FunnelDay{
			Day: day, Issued: stats.Stage{Count: 10 * n}, Sent: stats.Stage{Count: 9 * n}, Delivered: stats.Stage{Count: 8 * n},
			Claimed: stats.Stage{Count: 4 * n}, Certified: stats.Stage{Count: 3 * n}, Published: stats.Stage{Count: 2 * n}, Exported: stats.Stage{Count: 28 * n},
		}
	}
	return list, nil
}

// Realm has a claim in each class, and a wrong code of each system.
func (f *Figures) Realm(context.Context, *tenant.Tenant) ([]stats.RealmDay, error) {
	list := make([]stats.RealmDay, stats.Days)
	for i := range list {
		day, n := f.day(i)
		list[i] = stats.RealmDay{Day: day, CodesInvalid: stats.ByPlatform{Unknown: n, IOS: n, Android: n}}
		for range stats.Classes {
			list[i].ClaimAges = append(list[i].ClaimAges, n)
		}
	}
	return list, nil
}

// Uploads has days with uploads alone.
func (f *Figures) Uploads(context.Context, *tenant.Tenant) ([]stats.UploadDay, error) {
	var list []stats.UploadDay
	for i := range f.Days {
		day, n := f.day(i)
		list = append(list, stats.UploadDay{Day: day, Requests: stats.ByPlatform{IOS: n}, Keys: 14 * n, OnsetAges: []int64{n, 0, n}})
	}
	return list, nil
}

// SMSErrors has a landline each day.
func (f *Figures) SMSErrors(context.Context, *tenant.Tenant) ([]stats.SMSErrorDay, error) {
	var list []stats.SMSErrorDay
	for i := range f.Days {
		day, n := f.day(i)
		list = append(list, stats.SMSErrorDay{Day: day, Code: "30006", Quantity: n}, stats.SMSErrorDay{Day: day, Code: "99999", Quantity: 1})
	}
	return list, nil
}

// Users has one who issues.
func (f *Figures) Users(context.Context, *tenant.Tenant) ([]stats.IssuerDay, error) {
	var list []stats.IssuerDay
	for i := range f.Days {
		day, n := f.day(i)
		list = append(list, stats.IssuerDay{Day: day, Issuer: stats.Issuer{Name: f.Issuer}, CodesIssued: n})
	}
	return list, nil
}
