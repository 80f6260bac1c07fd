package adminui_test

import (
	"net/url"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/admin-ui/adminuitest"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/signup"
)

// signingUp is a world with applications.
func signingUp(t *testing.T) (*world, *adminuitest.Signup) {
	t.Helper()
	applications := &adminuitest.Signup{Links: map[string]string{}}
	return newWorld(t, func(c *adminui.Config) { c.Signup, c.SignupIssuer = applications, "https://login.example" }), applications
}

var application = url.Values{
	"name": {"Lakeland Department of Health"}, "region": {"US-MN"}, "domain": {"health.lakeland.example"}, "contact_name": {"Ada Lake"},
	"contact_email": {"team@health.lakeland.example"}, "contact_phone": {"+1 206 555 0142"}, "languages": {"en"}, "codes": {"100"},
}

func TestSignupByLink(t *testing.T) {
	t.Parallel()
	w, applications := signingUp(t)
	w.get("/signup/application").wants(200, "Sign your health authority up") // nobody yet
	known := w.post("/signup/link", url.Values{"email": {owner}}).wants(200, "Look into your mailbox")
	if other := w.post("/signup/link", url.Values{"email": {"nobody@elsewhere.example"}}).wants(200, "Look into your mailbox"); other.text("main") != known.text("main") {
		t.Error("the answer tells which addresses are known")
	}
	applications.Links["good"] = "ada@health.lakeland.example"
	w.get("/signup/link/bad").wants(404, "This link does not work")
	w.get("/signup/link/good").wants(200, "Confirm your e-mail address")
	w.get("/signup/link/good").wants(200, "Confirm your e-mail address") // to look spends nothing
	w.post("/signup/link/good", nil).wants(200, "Your health authority").contains("ada@health.lakeland.example")
	w.post("/signup/link/good", nil).wants(404, "This link does not work")

	applications.Links["good"] = "ada@health.lakeland.example"
	another := newBrowser(t, w.server)
	another.get("/signup/link/good").wants(403, "This link belongs to another browser").contains("Open it in the browser in which you asked for it")
	for _, c := range []struct {
		fail    error
		status  int
		heading string
	}{
		{signup.ErrLinkUsed, 410, "This link has been used"}, {signup.ErrLinkExpired, 410, "This link has expired"},
	} {
		applications.Fail = c.fail
		w.post("/signup/link", url.Values{"email": {owner}})
		applications.Links["late"] = owner
		w.get("/signup/link/late").wants(c.status, c.heading)
	}
	applications.Fail = signup.ErrAddress
	w.post("/signup/link", url.Values{"email": {"<b>no"}}).wants(422, "Sign your health authority up").contains("Enter an e-mail address")
	applications.Fail = signup.ErrBusy
	w.post("/signup/link", url.Values{"email": {owner}}).wants(429, "Too many people sign up today")
}

func TestApplication(t *testing.T) {
	t.Parallel()
	w, applications := signingUp(t)
	w.signIn(stranger)
	w.get("/signup").wants(200, "Sign your health authority up").contains("You apply as " + stranger)
	w.get("/signup/application").wants(200, "Your health authority")

	applications.Fail = &signup.FormError{Problems: []signup.Problem{{Field: signup.FieldName, Fault: signup.Hidden}, {Field: signup.FieldDomain, Fault: signup.Suffix}}}
	hostile := url.Values{"name": {`"><script>alert(1)</script>`}, "domain": {"co.uk"}, "codes": {"many"}}
	p := w.post("/signup/application", hostile).wants(422, "Your health authority").contains("nobody can see").contains("Anybody can have a domain below")
	for id, values := range hostile {
		if got := p.value(id); got != values[0] {
			t.Errorf("%s is lost: %q", id, got)
		}
	}
	applications.Fail = nil
	save := url.Values{"act": {"save"}, "name": {"Lake"}}
	if p := w.post("/signup/application", save).wants(200, "Your health authority").contains("was saved"); p.value("name") != "Lake" {
		t.Error("the draft is lost")
	}
	w.post("/signup/application", application).wants(200, "Prove that health.lakeland.example is yours").contains("_carillon.health.lakeland.example")

	for _, c := range []struct {
		fail   error
		status int
		text   string
	}{
		{signup.ErrNoRecord, 422, "does not have the record yet"}, {signup.ErrDNS, 503, "does not answer in time"},
	} {
		applications.Fail = c.fail
		w.post("/signup/application/record", nil).wants(c.status, "Prove that health.lakeland.example is yours").contains(c.text)
	}
	applications.Fail = signup.ErrOtherDomain
	if p := w.post("/signup/application/letter", url.Values{"address": {"x@evil.example"}}).wants(422, "Prove that health.lakeland.example is yours"); p.value("address") != "x@evil.example" {
		t.Error("the address is lost")
	}
	applications.Fail = nil
	w.post("/signup/application/letter", url.Values{"address": {"web@health.lakeland.example"}}).wants(200, "Prove that health.lakeland.example is yours").
		contains("A letter was sent to web@health.lakeland.example")
	w.get("/signup/proof/token").wants(200, "Is this application yours?").contains("Lakeland Department of Health")
	w.post("/signup/application/record", nil).wants(200, "Your sandbox is open")

	a := applications.Application
	a.State, a.Message = signup.Asked, "Which <county>?"
	w.get("/signup/application").wants(200, "We have a question").contains("Which <county>?")
	w.get("/signup/application/edit").wants(200, "Your health authority").contains("Which <county>?").contains("Your answer")
	a.State = signup.Refused
	w.get("/signup/application").wants(200, "Your application was refused").lacks("Open your sandbox")
	a.State, a.Production = signup.Approved, &signup.Place{Slug: "us-mn", Name: "Lakeland"}
	w.get("/signup/application").wants(200, "Your health authority is live")
	applications.Fail = signup.ErrState
	w.post("/signup/application", application).wants(409, "This cannot be done any more")
}

func TestLookUpsAndLettersAreLimited(t *testing.T) {
	t.Parallel()
	w, applications := signingUp(t)
	for range 10 {
		w.post("/signup/link", url.Values{"email": {owner}}).wants(200, "Look into your mailbox")
	}
	w.post("/signup/link", url.Values{"email": {owner}}).wants(429, "Too many requests")
	if n := len(applications.Asked); n != 10 {
		t.Errorf("%d letters", n)
	}
}

// A person whom a tenant's own provider vouches for is nobody to the platform.
func TestOnlyThePlatformsProviderConfirms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *adminui.Config) { c.Signup, c.SignupIssuer = &adminuitest.Signup{}, "https://platform.example" })
	w.signIn(owner)
	w.get("/signup/application").wants(200, "Sign your health authority up").lacks("You apply as")
}

// Every page of a sandbox says so.
func TestASandboxIsMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := authority("box-sandbox", "Lakeland")
	box.Kind = tenant.Sandbox
	w.staff.Tenants = append(w.staff.Tenants, box)
	w.staff.Roles[owner]["box-sandbox"] = []authz.Role{authz.Owner}
	w.signIn(owner)
	for path, heading := range map[string]string{"codes/new": "Issue a verification code", "sharing": "Shared keys", "audit": "Audit log"} {
		box := w.get("/portal/box-sandbox/"+path).wants(200, heading).contains("Sandbox").contains("Nothing here reaches anybody’s phone")
		if want := heading + " – Lakeland – Sandbox – Carillon"; box.text("title") != want {
			t.Errorf("the title is %q, want %q", box.text("title"), want)
		}
		w.get("/portal/north-shore/"+path).wants(200, heading).lacks("Sandbox")
	}
}
