package outbox_test

import (
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/message/outbox"
)

func TestOpens(t *testing.T) {
	t.Parallel()
	night := tenant.Settings{TimeZone: "America/Los_Angeles", QuietFrom: 21 * 60, QuietUntil: 8 * 60}
	for name, c := range map[string]struct {
		settings  tenant.Settings
		now, want string
	}{
		"by day":         {night, "2026-11-25T12:00:07-08:00", "2026-11-25T12:00:07-08:00"},
		"in the evening": {night, "2026-11-25T21:00:00-08:00", "2026-11-26T08:00:00-08:00"},
		"after midnight": {night, "2026-11-26T07:59:59-08:00", "2026-11-26T08:00:00-08:00"},
		"the long night": {night, "2026-10-31T22:30:00-07:00", "2026-11-01T08:00:00-08:00"},
		"no quiet hours": {tenant.Settings{TimeZone: "UTC"}, "2026-11-26T03:00:00Z", "2026-11-26T03:00:00Z"},
		"an odd zone":    {tenant.Settings{TimeZone: "Nowhere", QuietUntil: 600}, "2026-11-26T03:00:00Z", "2026-11-26T03:00:00Z"},
	} {
		if got := outbox.Opens(c.settings, at(t, c.now)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}
