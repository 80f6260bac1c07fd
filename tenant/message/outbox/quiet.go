package outbox

import (
	"time"
	_ "time/tzdata" // a container may have no time zones of its own

	"carillon/tenant"
)

// quiet reports whether it is a tenant's night: messages that nobody waits for stay
// where they are. From is within quiet hours, until is not; both may lie on different
// sides of midnight. A time zone that is unknown has no quiet hours.
func quiet(s tenant.Settings, now time.Time) bool {
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return false
	}
	local := now.In(zone)
	minute := local.Hour()*60 + local.Minute()
	if s.QuietFrom <= s.QuietUntil {
		return s.QuietFrom <= minute && minute < s.QuietUntil
	}
	return minute >= s.QuietFrom || minute < s.QuietUntil
}
