package adminui_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
)

// An owner invites, sees what became of it, and revokes.
func TestInvitingSupport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/portal/north-shore/support"
	w.signIn(owner)
	p := w.get(path).wants(200, "Support").contains("Nobody was invited")
	form := w.get(p.link("Invite support")).wants(200, "Invite support")
	if got := form.value("hours"); got != "4" {
		t.Errorf("hours %q", got)
	}
	for want, bad := range map[string]url.Values{
		"Enter an e-mail address":              {"email": {"nobody"}, "role": {"auditor"}, "hours": {"4"}},
		"Choose one of the roles":              {"email": {supporter}, "role": {"owner"}, "hours": {"4"}},
		"Enter a number of hours from 1 to 24": {"email": {supporter}, "role": {"analyst"}, "hours": {"25"}},
	} {
		p := w.post(path+"/new", bad).wants(422, "Invite support").contains(want)
		if p.value("email") != bad.Get("email") || p.value("hours") != bad.Get("hours") {
			t.Errorf("%s: what was typed is lost", want)
		}
	}
	w.post(path+"/new", url.Values{"email": {supporter}, "role": {"auditor"}, "hours": {"2"}}).wants(200, "Support").contains("Invited.").contains(supporter).contains("Open")
	id := w.support.Grants[0].ID.String()
	w.signIn(auditor)
	w.get(path).wants(200, "Support").contains(supporter).lacks("/revoke").lacks("/support/new")
	w.post(path+"/"+id+"/revoke", nil).wants(403, "You may not do this")
	w.signIn(caseworker)
	w.get(path).wants(403, "You may not do this")
	w.signIn(owner)
	w.post(path+"/"+id+"/revoke", nil).wants(200, "Support").contains("Revoked")
	w.post(path+"/"+id+"/revoke", nil).wants(404, "There is no such invitation")
	w.post(path+"/"+uuid.NewString()+"/revoke", nil).wants(404, "There is no such invitation")
	w.post(path+"/new", url.Values{"email": {supporter}, "role": {"auditor"}, "hours": {"1"}})
	w.pass(time.Hour)
	w.signIn(owner)
	w.get(path).wants(200, "Support").contains("Over").lacks("/revoke")
}
