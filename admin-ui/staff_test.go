package adminui_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/mail"
	"carillon/tenant/mail/mailtest"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/tenanttest"
)

const staffPath = "/portal/north-shore/staff"

// realStaff is the members in a database, as the portal reaches them.
type realStaff struct{ db *tenant.DB }

func (s realStaff) Memberships(ctx context.Context, who oidc.Identity) ([]member.Membership, error) {
	return member.Memberships(ctx, s.db, who)
}

func (s realStaff) Authenticate(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	return member.Authenticate(ctx, s.db, t, who)
}

// staffWorld is a portal whose members are in a database: Olga owns, Alex administers.
type staffWorld struct {
	*world
	db   *tenanttest.World
	at   *tenant.Tenant
	mail mailtest.Recorder
}

const (
	olga = "olga@north.example"
	alex = "alex@north.example"
	sam  = "sam@north.example"
)

func newStaffWorld(t *testing.T) *staffWorld {
	t.Helper()
	return staffWorldOf(t, tenanttest.New(t))
}

func staffWorldOf(t *testing.T, db *tenanttest.World, changes ...func(*adminui.Config)) *staffWorld {
	t.Helper()
	w := &staffWorld{db: db}
	w.at = w.db.Create("north-shore", func(s *onboarding.Spec) { s.Name = "North Shore Department of Health" })
	policies := authz.NewPolicies(nil)
	w.world = newWorld(t, func(c *adminui.Config) {
		c.Staff, c.Directory, c.Policies = realStaff{w.db.Portal}, tenant.NewDirectory(w.db.Portal), policies
		c.Members = member.NewStaff(member.StaffConfig{
			DB: w.db.Portal, Policies: policies, Mail: &w.mail, Platform: identity(olga).Issuer, BaseURL: "https://carillon.example",
			Now: c.Now,
		})
		c.Approvals = approval.NewDesk(approval.DeskConfig{
			DB: w.db.Portal, Policies: policies, Now: c.Now,
			Acts: map[approval.Kind]approval.Act{approval.OwnerChange: c.Members.(*member.Staff).CarryOutOwner},
		})
		for _, change := range changes {
			change(c)
		}
	})
	w.hire(olga, "Olga", authz.Owner)
	w.hire(alex, "Alex", authz.Administrator)
	return w
}

func (w *staffWorld) hire(email, name string, roles ...authz.Role) {
	w.t.Helper()
	err := w.db.Operator.In(w.t.Context(), w.at.ID, func(tx *tenant.Tx) error {
		return member.Add(w.t.Context(), tx, member.Member{Issuer: identity(email).Issuer, Email: email, Name: name, Roles: roles})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// visitor is a second browser at the same portal.
type visitor struct {
	*browser
	w *staffWorld
}

func (w *staffWorld) another() visitor { return visitor{browser: newBrowser(w.t, w.server), w: w} }

func (v visitor) signIn(email string) {
	v.w.login.As = identity(email)
	v.get("/login/start")
}

// follow is the path of the newest link that Sam was sent.
func (w *staffWorld) follow() string {
	w.t.Helper()
	letters := w.mail.To(sam)
	if len(letters) == 0 {
		w.t.Fatal("no letter to Sam")
	}
	path, found := strings.CutPrefix(mailtest.Link(letters[len(letters)-1]), "https://carillon.example")
	if !found {
		w.t.Fatalf("the letter has no link of ours: %q", letters[len(letters)-1].Text)
	}
	return path
}

func invitation(name, email string, roles ...string) url.Values {
	return url.Values{"name": {name}, "email": {email}, "roles": roles}
}

func TestSomebodyIsInvitedJoinsAndIsSuspended(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(olga)
	p := w.get(staffPath).wants(200, "Staff").contains("Olga").contains("alex@north.example").contains("Has not signed in yet")
	w.get(p.link("Invite somebody")).wants(200, "Invite somebody").contains("Owner").contains("Caseworker")
	p = w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker")).wants(200, "Staff")
	p.contains("The invitation was sent").contains("Waits for an answer")

	v := w.another()
	link := w.follow()
	p = v.get(link).wants(200, "Sign in")
	if strings.Contains(p.url.String(), "token") {
		t.Errorf("the token is in the URL %s", p.url)
	}
	w.login.As = identity(sam)
	p = v.get(p.link("Continue to sign in")).wants(200, "Join the staff of North Shore Department of Health?").contains(sam).contains("Caseworker")
	v.post(p.url.Path, nil).wants(200, "Issue a verification code").contains("Welcome to North Shore Department of Health")
	v.get(link).wants(409, "This invitation has been used")

	w.get(staffPath).contains("Sam").lacks("Waits for an answer")
	person := w.get(w.get(staffPath).link("Change Sam")).wants(200, "Sam")
	question := w.get(person.link("Suspend")).wants(200, "Suspend Sam?").contains("at once")
	v.get("/portal/north-shore/codes/new").wants(200, "Issue a verification code")
	w.post(question.url.Path, nil).wants(200, "Staff").contains("The person is suspended").contains("Suspended")
	v.get("/portal/north-shore/codes/new").wants(403, "Your work here is suspended").contains("Ask an owner")
	w.post(person.url.Path+"/resume", nil).wants(200, "Staff").contains("can sign in again")
	v.get("/portal/north-shore/codes/new").wants(200, "Issue a verification code")

	w.post(person.url.Path, url.Values{}).wants(422, "Sam").contains("Choose at least one role")
	w.post(person.url.Path, url.Values{"roles": {"analyst", "auditor"}}).wants(200, "Staff").contains("The roles of Sam were changed")
	v.get("/portal/north-shore/codes/new").wants(403, "You may not do this")
	w.get(person.link("Remove")).wants(200, "Remove Sam?").contains("stays in the audit log")
	w.post(person.url.Path+"/remove", nil).wants(200, "Staff").lacks("sam@north.example")
	v.get("/portal/north-shore/codes/new").wants(404, "Page not found")
	w.get(person.url.Path).wants(404, "Nobody on the staff is meant")

	if strings.Contains(w.log.String(), strings.TrimPrefix(link, "/join/north-shore?token=")) || strings.Contains(w.log.String(), "sam@") {
		t.Error("the log has the token or an address")
	}
}

func TestLinksToJoinThatDoNotWork(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.db.Create("south-bay")
	w.signIn(olga)
	w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker")).wants(200, "Staff")
	link := w.follow()

	w.get(link).wants(403, "This invitation is for somebody else").contains("Sign out")
	w.post("/join/north-shore/accept", nil).wants(403, "This invitation is for somebody else")

	v := w.another()
	v.signIn(sam)
	v.get("/join/north-shore/accept").wants(404, "This invitation does not work")
	v.get("/join/north-shore?token=made-up").wants(404, "This invitation does not work").contains("newest one")
	v.get(strings.Replace(link, "north-shore", "south-bay", 1)).wants(404, "This invitation does not work")
	v.get(strings.Replace(link, "north-shore", "nowhere", 1)).wants(404, "Page not found")

	w.pass(member.InvitationLife)
	v.signIn(sam)
	v.get(link).wants(410, "This invitation has expired").contains("Ask the health authority")
	w.signIn(olga)
	p := w.get(staffPath).contains("Has expired")
	w.post(w.action(p, "Send again to Sam"), nil).wants(200, "Staff").contains("Waits for an answer")
	v.get(link).wants(404, "This invitation does not work")
	v.get(w.follow()).wants(200, "Join the staff of North Shore Department of Health?")

	question := w.get(w.get(staffPath).link("Revoke the invitation of Sam")).wants(200, "Revoke the invitation of Sam?")
	w.post(question.url.Path, nil).wants(200, "Staff").contains("The invitation was revoked")
	v.get(w.follow()).wants(410, "This invitation was revoked")
	w.post(question.url.Path, nil).wants(404, "There is nothing to do about this invitation")
}

// action is where the form of a button leads.
func (w *staffWorld) action(p *page, words string) string {
	w.t.Helper()
	for form := range p.all("form") {
		if strings.TrimSpace(textOf(form)) == words {
			return attr(form, "action")
		}
	}
	w.t.Fatalf("no button %q", words)
	return ""
}

func TestWhatIsWrongWithAnInvitation(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(olga)
	for _, c := range []struct {
		form url.Values
		want string
	}{
		{invitation("", sam, "caseworker"), "Enter a name"},
		{invitation("Sam", "sam", "caseworker"), "Enter an e-mail address"},
		{invitation("Sam", "s\u0430m@north.example", "caseworker"), "Enter an e-mail address"},
		{invitation("Sam", sam), "Choose at least one role"},
		{invitation("Alex", alex, "caseworker"), "belongs to somebody on the staff"},
	} {
		p := w.post(staffPath+"/invite", c.form).wants(422, "Invite somebody").contains(c.want)
		if p.value("name") != c.form.Get("name") || p.value("email") != c.form.Get("email") {
			t.Errorf("%s: what was typed is lost", c.want)
		}
	}
	w.mail.Break(mail.ErrUnavailable)
	w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker")).wants(200, "Staff").contains("the letter could not be sent").contains("The letter was not sent")
	w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker")).wants(422, "Invite somebody").contains("is invited already")
	w.mail.Break(nil)
	w.post(staffPath+"/unsent", nil).wants(200, "Staff").contains("Letters sent: 1. Still to be sent: 0.")
}

// An administrator may not do to an owner what an owner may do to her.
func TestNobodyGivesOrTakesWhatSheLacks(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(alex)
	p := w.get(staffPath).wants(200, "Staff").contains("Change Alex").lacks("Change Olga")
	form := w.get(p.link("Invite somebody")).wants(200, "Invite somebody")
	form.lacks(`value="owner"`).lacks(`value="key-custodian"`)
	w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker", "owner")).wants(403, "You may not do this")
	self := p.link("Change Alex")
	w.post(self, url.Values{"roles": {"owner"}}).wants(403, "You may not do this")

	w.signIn(olga)
	her := w.get(staffPath).link("Change Olga")
	w.signIn(alex)
	for _, path := range []string{her + "/suspend", her + "/remove", her + "/resume"} {
		w.post(path, nil).wants(403, "You may not do this")
	}
	w.get(her).wants(403, "You may not do this")
	w.post(her, url.Values{"roles": {"analyst"}}).wants(403, "You may not do this")

	w.signIn(olga)
	w.post(her+"/suspend", nil).wants(409, "A health authority keeps one owner").contains("Make somebody else an owner first")
	w.get(staffPath).contains("Olga")

	w.hire("casey@north.example", "Casey", authz.Caseworker)
	w.hire("ada@north.example", "Ada", authz.Auditor)
	v := w.another()
	v.signIn("casey@north.example")
	v.get(staffPath).wants(403, "You may not do this")
	v.signIn("ada@north.example")
	v.get(staffPath).wants(200, "Staff").lacks("Change ").lacks("Invite somebody")
	v.get(staffPath+"/invite").wants(403, "You may not do this")
	v.post(staffPath+"/import/confirm", nil).wants(403, "You may not do this")
}

// A sensitive act an hour after signing in leads through the provider first.
func TestStaffIsChangedAfterAFreshSignIn(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(olga)
	w.pass(11 * time.Minute)
	w.get(staffPath).wants(200, "Staff")
	w.get(staffPath+"/invite").wants(200, "Sign in again")
	w.post(staffPath+"/invite", invitation("Sam", sam, "caseworker")).wants(401, "Sign in again before this is sent")
	if n := len(w.mail.Letters()); n != 0 {
		t.Errorf("%d letters", n)
	}
}

// upload sends a file as a browser does.
func (w *staffWorld) upload(file string) *page {
	w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "staff.csv")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		w.t.Fatal(err)
	}
	return w.multipart(staffPath+"/import", form.FormDataContentType(), &body)
}

func (w *staffWorld) confirm(list string) *page {
	w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := errors.Join(form.WriteField("list", strings.ReplaceAll(list, "\n", "\r\n")), form.Close()); err != nil {
		w.t.Fatal(err)
	}
	return w.multipart(staffPath+"/import/confirm", form.FormDataContentType(), &body)
}

func (w *staffWorld) multipart(path, kind string, body *bytes.Buffer) *page {
	r := w.request(http.MethodPost, path, body)
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return w.do(r)
}

func TestAListIsCheckedAndThenImportedOnce(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(alex)
	file := "name,email,roles\nSam,sam@north.example,caseworker analyst\nZoë Doe,zoe@north.example,analyst\nOlga,olga@north.example,analyst\n"
	p := w.get(w.get(staffPath).link("Import a list")).wants(200, "Import a list of people")
	p.contains("At most 1000 people")
	p = w.upload(file).wants(200, "Check the list").contains("Invite 2 people").contains("Zoë Doe").contains("Is on the staff already")
	if n := len(w.mail.Letters()); n != 0 {
		t.Fatalf("%d letters before anybody confirmed", n)
	}
	list := p.value("list")
	w.confirm(list).wants(200, "Staff").contains("People invited: 2. Letters sent: 2.")
	w.confirm(list).wants(200, "Staff").contains("People invited: 0.")
	w.upload(file).wants(200, "Check the list").contains("Nobody in the list is new").contains("Is invited already").lacks("Invite 2 people")
	if n := len(w.mail.Letters()); n != 2 {
		t.Errorf("%d letters", n)
	}
}

func TestAListWithWrongRowsInvitesNobody(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(alex)
	bad := "name,email,roles\nSam,sam@north.example,caseworker\n=cmd(),kim@north.example,analyst\nLee,lee@north.example,owner\n"
	w.upload(bad).wants(422, "Check the list").contains("begins like a formula").contains("allows more than yours").lacks(`name="list"`)
	w.confirm(bad).wants(422, "Check the list")
	w.upload("\x00\x01").wants(422, "Import a list of people").contains("Choose a CSV file")
	w.upload("name,email\nSam,sam@north.example\n").wants(422, "Import a list of people").contains("Choose a CSV file")
	w.upload("name,email,roles\n"+strings.Repeat("a,b,c\n", member.MaxRoster+1)).wants(422, "Import a list of people").contains("Choose a shorter list")
	w.upload(strings.Repeat("x", member.MaxRosterBytes+100_000)).wants(400, "The form could not be read")
	w.post(staffPath+"/import", url.Values{}).wants(400, "The form could not be read")
	if n := len(w.mail.Letters()); n != 0 {
		t.Errorf("%d letters", n)
	}
}

func TestALongListGoesThrough(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.signIn(alex)
	var file strings.Builder
	file.WriteString("email;roles;name\n")
	for i := range member.MaxRoster {
		fmt.Fprintf(&file, "person.%d@department.north.example;caseworker,analyst;Person with a long name, the %dth\n", i, i)
	}
	p := w.upload(file.String()).wants(200, "Check the list").contains("Invite 1000 people")
	w.confirm(p.value("list")).wants(200, "Staff").contains("People invited: 1000. Letters sent: 1000.")
}
