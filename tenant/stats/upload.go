package stats

import (
	"context"
	"slices"
	"time"

	"carillon/tenant"
)

// UploadDay is a day of the key server (key server protocol §9).
type UploadDay struct {
	Day time.Time
	// Requests are publish requests that stored or changed something.
	Requests ByPlatform
	// Keys are those inserted and revised, Revisions the requests that revised any,
	// MissingOnset those for which the onset was a guess.
	Keys, Revisions, MissingOnset int64
	// KeyAges has the requests by the age of their oldest key in days, 16 classes, and
	// OnsetAges by the age of the onset, 30 classes; the last class takes the rest.
	KeyAges, OnsetAges []int64
}

var uploadSeries = []series{uploads, uploadKeys, revisions, missingOnset, keyAges, onsetAges}

// Uploads returns the days of the report on which anything was published, the newest
// first, in exact numbers: for the tenant alone.
func (s *Service) Uploads(ctx context.Context, t *tenant.Tenant) ([]UploadDay, error) {
	return s.uploadDays(ctx, t, s.now().Add(day))
}

// The bounds of [Service.Shared] (key server protocol §9).
const (
	// SharedMinimum is how many publish requests make a day's numbers safe to tell.
	SharedMinimum = 10
	// SharedEmbargo is how long after its end any day's numbers are.
	SharedEmbargo = 48 * time.Hour
)

// Shared returns the days of the report that may leave the tenant, the oldest first:
// with ten publish requests or more, or over for two days. The current hour never
// counts, so that nobody sees a single request arrive.
func (s *Service) Shared(ctx context.Context, t *tenant.Tenant) ([]UploadDay, error) {
	now := s.now().UTC()
	days, err := s.uploadDays(ctx, t, now.Truncate(time.Hour))
	if err != nil {
		return nil, err
	}
	days = slices.DeleteFunc(days, func(d UploadDay) bool {
		return heldBack(d.Day, d.Requests.Total(), now)
	})
	slices.Reverse(days)
	return days, nil
}

// heldBack reports whether nobody but the tenant learns yet how many requests a day had.
func heldBack(d time.Time, requests int64, now time.Time) bool {
	return requests < SharedMinimum && !d.Add(day+SharedEmbargo).Before(now)
}

func (s *Service) uploadDays(ctx context.Context, t *tenant.Tenant, until time.Time) ([]UploadDay, error) {
	counts, err := s.read(ctx, t.ID, s.oldest(), until, false, uploadSeries...)
	if err != nil {
		return nil, err
	}
	of := byDay(counts)
	var report []UploadDay
	for _, d := range s.days() {
		if len(of[d]) > 0 {
			report = append(report, uploadDay(d, of[d]))
		}
	}
	return report, nil
}

func uploadDay(d time.Time, counts []count) UploadDay {
	u := UploadDay{Day: d, KeyAges: make([]int64, keyAgeClasses), OnsetAges: make([]int64, onsetAgeClasses)}
	for _, c := range counts {
		//nolint:exhaustive // the other series are not about uploads
		switch c.Series {
		case uploads:
			u.Requests.add(Platform(c.Subject), c.Quantity)
		case uploadKeys:
			u.Keys += c.Quantity
		case revisions:
			u.Revisions += c.Quantity
		case missingOnset:
			u.MissingOnset += c.Quantity
		case keyAges:
			u.KeyAges = addTo(u.KeyAges, keyAgeClasses, c)
		case onsetAges:
			u.OnsetAges = addTo(u.OnsetAges, onsetAgeClasses, c)
		}
	}
	return u
}
