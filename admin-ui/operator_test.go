package adminui_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/job"
	"carillon/tenant/platform"
	"carillon/tenant/signup"
	"carillon/tenant/support"
)

// The platform's pages are for those who run it. To all others they do not exist.
func TestPlatformIsForOperators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, who := range []string{owner, caseworker, stranger} {
		w.signIn(who)
		missing := w.get("/operator/nowhere").wants(404, "Page not found")
		for _, path := range []string{"/operator", "/operator/log", "/operator/applications", "/operator/tenants/north-shore"} {
			if got := w.get(path).wants(404, "Page not found"); got.text("main p") != missing.text("main p") {
				t.Errorf("%s can tell %s from a page that does not exist", who, path)
			}
		}
	}
	for _, who := range []string{operator, supporter} {
		w.signIn(who)
		p := w.get("/portal").wants(200, "Choose a health authority")
		w.get(p.link("The platform’s own pages")).wants(200, "Health authorities")
		w.get("/portal/north-shore/").wants(404, "Page not found")
	}
}

// register fills the platform with tenants.
func (w *world) register(n int) {
	for i := range n {
		w.operators.Sheets = append(w.operators.Sheets, &platform.Sheet{Line: platform.Line{
			Slug: tenant.Slug(fmt.Sprintf("county-%03d", i)), Name: fmt.Sprintf("County %d.", i), Region: "XA-AA",
			State: tenant.Active, Kind: tenant.Production,
		}, Days: []platform.Day{{Day: noon}}})
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(operator)
	w.get("/operator").wants(200, "Health authorities").contains("Nothing found")
	w.register(60)
	w.operators.Sheets[7].State, w.operators.Sheets[8].Kind = tenant.Suspended, tenant.Sandbox
	first := w.get("/operator").contains("County 49.").lacks("County 50.")
	second := w.get(first.link("Next page")).contains("County 59.").lacks("County 49.")
	w.get(second.link("From the beginning")).contains("County 0.")
	w.get(first.link("Suspended")).contains("County 7.").lacks("County 8.").lacks("Next page")
	w.get(first.link("Sandbox")).contains("County 8.").lacks("County 7.")
	p := w.get("/operator?text=county-01&state=active").contains("County 10.").contains("County 19.").lacks("County 20.")
	if got := p.value("text"); got != "county-01" {
		t.Errorf("the search has become %q", got)
	}
	w.get(p.link("Show all")).contains("County 20.")
	w.get("/operator?state=nonsense&after=%00%ff").wants(200, "Health authorities")
}

// An operator suspends with a reason and resumes with another; support can do neither.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(1)
	const path = "/operator/tenants/county-000"
	w.signIn(supporter)
	w.get(path).wants(200, "County 0.").lacks("Suspend it")
	for _, act := range []string{"/suspend", "/resume"} {
		w.get(path+act).wants(404, "Page not found")
		w.post(path+act, url.Values{"reason": {"because"}}).wants(404, "Page not found")
	}
	w.get("/operator/log").wants(404, "Page not found")
	w.signIn(operator)
	w.get(w.get(path).link("Suspend it")).wants(200, "Suspend County 0.?")
	again := w.post(path+"/suspend", url.Values{"reason": {""}}).wants(422, "Suspend County 0.?").contains("Say why")
	if !strings.HasPrefix(again.text("title"), "Error:") {
		t.Errorf("title %q", again.text("title"))
	}
	p := w.post(path+"/suspend", url.Values{"reason": {"Codes for <nobody>"}}).wants(200, "County 0.").contains("The health authority is suspended.")
	p.contains("Codes for <nobody>").contains("tenant:suspended")
	w.post(path+"/suspend", url.Values{"reason": {"twice"}}).wants(409, "That is no longer possible")
	w.get(p.link("Resume it")).wants(200, "Resume County 0.?")
	w.post(path+"/resume", url.Values{"reason": {"They are somebody"}}).wants(200, "County 0.").contains("is active again")
	w.get("/operator/log").wants(200, "Platform log").contains("They are somebody")
	w.get("/operator/tenants/nowhere").wants(404, "Page not found")
}

// What operators decide needs a sign-in of the last minutes.
func TestSuspendingNeedsAFreshSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(1)
	w.signIn(operator)
	w.pass(11 * time.Minute)
	w.get("/operator/tenants/county-000/suspend").wants(200, "Sign in again")
	w.post("/operator/tenants/county-000/suspend", url.Values{"reason": {"late"}}).wants(401, "Sign in again before this is sent")
	if got := w.operators.Sheets[0].State; got != tenant.Active {
		t.Errorf("it is %s", got)
	}
}

// The sheet shows counts that are too few only as such.
func TestSheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(2)
	sheet := w.operators.Sheets[0]
	done := noon.Add(-time.Hour)
	sheet.Jobs = []job.Standing{{Job: "export", SucceededAt: &done, Late: true, LagSeconds: 180, Failures: 3}}
	sheet.Days = []platform.Day{{Day: noon.AddDate(0, 0, -1), Codes: 1, Keys: 120}}
	sheet.Support = 2
	w.signIn(supporter)
	w.get("/operator/tenants/county-000").wants(200, "County 0.").contains("Fewer than 10").contains("120").contains("Late").contains("3 minutes")
	w.operators.Sheets[1].State = tenant.Erased
	w.get("/operator/tenants/county-001").wants(200, "County 1.").contains("It was erased").lacks("Usage")
}

func TestInvitedSupport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.operators.Invitations = []support.Place{{Slug: "river-valley", Name: "River Valley Public Health", Until: noon.Add(time.Hour)}}
	w.signIn(supporter)
	p := w.get("/operator").contains("You are invited to").contains("River Valley Public Health")
	if !strings.Contains(p.body, `href="/portal/river-valley/"`) {
		t.Error("no way into the portal")
	}
}

// applies puts an application into the queue, and returns the path to it.
func (w *world) applies(name string) string {
	proven := noon.Add(-time.Hour)
	r := &signup.Review{
		Application: &signup.Application{
			ID: uuid.New(), State: signup.Waiting, Email: "ann@lake.example", Confirmed: signup.ByLink,
			Details: &signup.Details{
				Name: name, Region: "XA-LK", Domain: "lake.example", ContactName: "Ann", ContactEmail: "ann@lake.example",
				ContactPhone: "+15550100", Languages: []string{"en"}, CodesPerDay: 40,
			},
			ProvenBy: signup.ByDNS, ProvenAt: &proven, Sandbox: &signup.Place{Slug: "lake-sandbox"}, ChangedAt: proven,
		},
		Warnings: []signup.Warning{{Concern: signup.NameAlike, About: "Lake Department of Health"}, {Concern: signup.RegionTaken, About: "lake"}},
		Proposal: signup.Terms{Slug: "xa-lk", HealthAuthorityID: "example.lake", ExportKeyID: "xa-lk"},
	}
	w.desk.Reviews = append(w.desk.Reviews, r)
	return "/operator/applications/" + r.ID.String()
}

func TestQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(operator)
	w.get("/operator/applications").wants(200, "Applications").contains("Nothing here")
	const name = "Lake <b>Health</b>"
	path := w.applies(name)
	p := w.get("/operator/applications").contains(name)
	w.get(p.link("Refused")).contains("Nothing here")
	p = w.get(path).wants(200, name).contains("The name is nearly that of").contains("Lake Department of Health").contains("The region is served already").contains("A record in the DNS")
	w.get(p.link("Approve")).wants(200, "Approve "+name+"?")
	w.get(p.link("Ask back")).wants(200, "Ask "+name+" back?")
	w.get(p.link("Refuse")).wants(200, "Refuse "+name+"?")
	w.post(path+"/ask", nil).wants(422, "Ask "+name+" back?").contains("Enter 1 to 2,000 characters")
	w.post(path+"/ask", url.Values{"reason": {"Who are you?"}}).wants(200, name).contains("The question was sent.").contains("Who are you?")
	again := w.post(path+"/approve", url.Values{"slug": {"taken"}, "health_authority_id": {"a.b"}, "export_key_id": {"310"}}).wants(409, "Approve "+name+"?")
	if again.value("slug") != "taken" || again.value("health_authority_id") != "a.b" || again.value("export_key_id") != "310" {
		t.Error("what was typed is lost")
	}
	w.post(path+"/approve", url.Values{"slug": {"No Slug"}}).wants(422, "Approve "+name+"?").contains("lower-case letters")
	w.post(path+"/approve", url.Values{"slug": {"lake"}}).wants(200, name).contains("is live").lacks(path + "/refuse").lacks(path + "/approve")
	w.post(path+"/refuse", url.Values{"reason": {"too late"}}).wants(409, "This cannot be done any more")
	w.get("/operator/applications/"+uuid.NewString()).wants(404, "There is no such application")
	w.get("/operator/applications/x/approve").wants(404, "There is no such application")
}

// A decision whose letter was not sent says so, and the letter can be sent again.
func TestUnsentLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.applies("Lake Health")
	w.signIn(operator)
	w.desk.Silent = true
	w.post(path+"/refuse", url.Values{"reason": {"Not yours"}}).wants(200, "Lake Health").contains("the letter could not be sent").contains("Send the letter again")
	w.post(path+"/letter", nil).contains("the letter could not be sent")
	w.desk.Silent = false
	w.post(path+"/letter", nil).contains("The letter was sent.").lacks("Send the letter again")
}

func TestQueueIsNotForSupport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.applies("Lake Health")
	w.signIn(supporter)
	for _, page := range []string{"/operator/applications", path, path + "/approve", path + "/ask", path + "/refuse"} {
		w.get(page).wants(404, "Page not found")
	}
	w.post(path+"/approve", nil).wants(404, "Page not found")
	if w.desk.Reviews[0].State != signup.Waiting {
		t.Error("support has decided")
	}
}
