package adminui_test

import (
	"net/url"
	"testing"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant/quota"
	"carillon/tenant/tenanttest"
)

const limitsPath = "/portal/north-shore/limits"

// An administrator sees what is left, tries another limit on yesterday, and adds to today.
func TestLimits(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t)
	w := staffWorldOf(t, db, func(c *adminui.Config) { c.Budget = quota.NewStaff(db.Portal, c.Policies, c.Now) })
	w.hire("aud@north.example", "Aud", authz.Auditor)
	w.signIn(alex)
	w.get(limitsPath).wants(200, "Limits").contains("does not keep to its daily budget").contains("no complete day yet")
	yesterday := noon.AddDate(0, 0, -1).Format(time.DateOnly)
	if _, err := db.Database.Super().ExecContext(t.Context(), `insert into quota_day values ($1, $2::date - 1, 1, 100), ($1, $2::date, 120, 100)`, w.at.ID, yesterday); err != nil {
		t.Fatal(err)
	}
	w.get(limitsPath).wants(200, "Limits").contains("it would have refused 20 codes, with a budget of 100")
	w.get(limitsPath+"?factor=1.5").wants(200, "Limits").contains("would have refused nothing").contains("would have been 150")
	w.get(limitsPath+"?factor=junk").wants(422, "Limits").contains("Write a factor").marks(`value="junk"`)
	w.get(limitsPath+"?factor=NaN").wants(422, "Limits").contains("Write a factor")
	w.post(limitsPath, url.Values{"codes": {"1e9"}}).wants(422, "Limits").contains("Write a number").marks(`value="1e9"`)
	w.post(limitsPath, url.Values{"codes": {"25"}}).wants(200, "Limits").contains("25 codes were added")
	w.signIn("aud@north.example")
	w.get(limitsPath).wants(200, "Limits").lacks("Add codes for today")
	w.post(limitsPath, url.Values{"codes": {"25"}}).wants(403, "You may not do this")
}
