package adminui_test

import (
	"net/url"
	"testing"

	"carillon/tenant"
	"carillon/tenant/approval"
)

// An owner asks with the name typed and a reason, begins once a second person has approved,
// and has her authority stay after all, also while it is closed.
func TestLeavingAndStaying(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/portal/north-shore/leaving"
	w.signIn(owner)
	p := w.get(path).wants(200, "Leaving Carillon").contains("After 30 days everything is erased").contains("archive")
	w.get(p.link("Ask to leave")).wants(200, "Ask to leave").contains("type north-shore").contains("erased for good")
	for want, bad := range map[string]url.Values{
		"Type the name exactly as it is in addresses": {"typed": {"North Shore"}, "reason": {"It is over."}},
		"Say why, in 1 to 500":                        {"typed": {"north-shore"}, "reason": {""}},
	} {
		p := w.post(path+"/new", bad).wants(422, "Ask to leave").contains(want)
		if p.value("typed") != bad.Get("typed") || p.value("reason") != bad.Get("reason") {
			t.Errorf("%s: what was typed is lost", want)
		}
	}
	good := url.Values{"typed": {"north-shore"}, "reason": {"It is over."}}
	w.post(path+"/new", good).wants(200, "Leaving Carillon").contains("A second person has to approve it").contains("It is over.").lacks("/leaving/begin")
	w.post(path+"/new", good).wants(409, "This has been asked for already")
	w.post(path+"/begin", nil).wants(409, "Something has changed since it was asked for")
	w.leaving.Standing.Request.State = approval.Approved
	w.get(path).wants(200, "Leaving Carillon").contains("Begin to leave now")
	w.post(path+"/begin", nil).wants(200, "Leaving Carillon").contains("No codes are issued any more")
	w.staff.Tenants[0].State = tenant.Leaving
	p = w.get("/portal/north-shore/").wants(403, "This health authority is leaving")
	w.get(p.link("When it will be erased, and how it can stay")).wants(200, "Leaving Carillon").contains("December 26, 2026")
	w.get(path+"/new").wants(403, "This health authority is leaving")
	w.signIn(caseworker)
	w.get("/portal/north-shore/").wants(403, "This health authority is leaving").lacks("/leaving")
	w.get(path).wants(403, "This health authority is leaving")
	w.signIn(owner)
	w.post(path+"/stay", nil).wants(200, "Leaving Carillon").contains("Stay after all")
	w.post(path+"/stay", url.Values{"confirm": {"yes"}}).wants(200, "Leaving Carillon").contains("Your health authority stays")
	w.post(path+"/stay", url.Values{"confirm": {"yes"}}).wants(409, "Your health authority is not leaving")
}
