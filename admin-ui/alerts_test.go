package adminui_test

import (
	"net/url"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant/alert"
	"carillon/tenant/key"
	"carillon/tenant/outbound"
	"carillon/tenant/tenanttest"
)

const alertsPath = "/portal/north-shore/alerts"

// An alert is added and removed; what is wrong is named, and a secret is not sent back.
func TestAlerts(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t)
	w := staffWorldOf(t, db, func(c *adminui.Config) {
		c.Alerts = alert.NewStaff(db.Portal, c.Policies, key.NewRing(db.Portal, db.Root), outbound.New(false, 443), c.Now)
	})
	w.hire("aud@north.example", "Aud", authz.Auditor)
	w.signIn(alex)
	w.get(alertsPath).wants(200, "Alerts").contains("There are no alerts yet")
	w.get(alertsPath+"/new").wants(200, "Add an alert")
	form := url.Values{"figure": {"issued-above"}, "threshold": {"many"}, "emails": {"junk😀"}, "webhook": {"http://10.0.0.1/"}, "webhook_secret": {"shorty"}}
	p := w.post(alertsPath+"/new", form).wants(422, "Add an alert").marks(`value="many"`).marks(`value="junk😀"`).marks(`value="http://10.0.0.1/"`)
	p.contains("Write a number").contains("Write up to 10").contains("https address of a public host").contains("12 to 200")
	if p.value("webhook_secret") != "" {
		t.Error("the secret is sent back")
	}
	form = url.Values{"figure": {"issued-above"}, "threshold": {"500"}, "emails": {"team@north.example, b@north.example"}, "webhook": {"https://hooks.north.example/x"}, "webhook_secret": {"a secret of some length"}}
	p = w.post(alertsPath+"/new", form).wants(200, "Alerts").contains("The alert was added").contains("More codes were issued in a day than 500").contains("hooks.north.example").lacks("a secret of")
	remove := p.link("Remove More codes were issued in a day than 500")
	w.signIn("aud@north.example")
	w.get(alertsPath).wants(200, "Alerts").lacks("Add an alert")
	w.post(remove, nil).wants(403, "You may not do this")
	w.signIn(alex)
	w.get(remove).wants(200, "Remove this alert?").contains("500")
	w.post(remove, nil).wants(200, "Alerts").contains("The alert was removed")
	w.post(remove, nil).wants(404, "There is no such alert")
}
