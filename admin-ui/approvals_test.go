package adminui_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
)

const (
	rita          = "rita@north.example"
	approvalsPath = "/portal/north-shore/approvals"
)

// ask has Olga, an owner of two, ask for Sam to become a third, and returns the request's
// path.
func (w *staffWorld) ask() string {
	w.t.Helper()
	w.hire(rita, "Rita", authz.Owner)
	w.hire(sam, "Sam", authz.Caseworker)
	w.signIn(olga)
	person := w.get(w.get(staffPath).link("Change Sam")).wants(200, "Sam").contains("This person is no owner")
	form := w.get(person.link("Make an owner")).wants(200, "Make Sam an owner").contains("Somebody else who is an owner has to approve it")
	w.post(form.url.Path, url.Values{"change": {"grant"}}).wants(422, "Make Sam an owner").contains("Say why")
	w.post(form.url.Path, url.Values{"change": {"grant"}, "reason": {"She leads from May."}}).wants(200, "Approvals").
		contains("Those who may decide have been told").contains("Make Sam an owner").contains("Waits for a second person")
	return w.get(approvalsPath).link("Make Sam an owner")
}

// Two owners make a third: one asks, the other is told, sees why, and approves.
func TestTwoOwnersMakeAThird(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	path := w.ask()
	p := w.get(path).wants(200, "Make Sam an owner").contains("She leads from May.").lacks("/approve")
	w.post(path+"/approve", nil).wants(403, "You cannot approve what you asked for yourself")
	w.get(staffPath).contains("Approvals").lacks("Approvals (1)")

	letters := w.mail.To(rita)
	if len(letters) != 1 || !strings.Contains(letters[0].Text, approvalsPath) || strings.Contains(letters[0].Text, "Sam") {
		t.Fatalf("letters to Rita %+v", letters)
	}
	w.signIn(alex)
	w.get(approvalsPath).wants(200, "Approvals").contains("Nothing waits").lacks("Sam")
	w.get(path).wants(404, "There is no such request")
	w.post(path+"/approve", nil).wants(404, "There is no such request")

	w.signIn(rita)
	w.get(staffPath).contains("Settings (1)").contains("Approvals (1)")
	w.get(p.url.Path).wants(200, "Make Sam an owner").contains("talk to whoever asks").contains("sam@north.example")
	w.post(path+"/approve", nil).wants(200, "Approvals").contains("Approved and done").contains("Approved by Rita and done").lacks("Approvals (1)")
	w.get(staffPath).contains("Sam")
	w.post(path+"/approve", nil).wants(409, "This request is over")
	w.post(path+"/withdraw", nil).wants(409, "This request is over")

	person := w.get(w.get(staffPath).link("Change Sam")).wants(200, "Sam").contains("This person is an owner").lacks("/remove")
	w.post(person.url.Path+"/remove", nil).wants(409, "Who is an owner is for two people to decide")
	w.post(person.url.Path, url.Values{"roles": {"analyst"}}).wants(200, "Staff").contains("The roles of Sam were changed")
	w.get(person.url.Path).contains("This person is an owner")
}

// Whoever decides says why not; whoever asked takes it back; and either is in the history.
func TestRefusedAndWithdrawn(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	path := w.ask()
	w.signIn(rita)
	w.post(path+"/refuse", url.Values{"reason": {" "}}).wants(422, "Make Sam an owner").contains("Say why")
	w.post(path+"/refuse", url.Values{"reason": {"Not yet."}}).wants(200, "Approvals").contains("Refused by Rita: Not yet.").contains("Nothing waits")

	w.signIn(olga)
	person := w.get(w.get(staffPath).link("Change Sam"))
	w.post(person.url.Path+"/owner", url.Values{"change": {"grant"}, "reason": {"Please."}}).wants(200, "Approvals")
	w.post(person.url.Path+"/owner", url.Values{"change": {"grant"}, "reason": {"Please."}}).wants(409, "This has been asked for already")
	path = w.get(approvalsPath).link("Make Sam an owner")
	w.post(path+"/withdraw", nil).wants(200, "Approvals").contains("Withdrawn by Olga")

	w.post(person.url.Path+"/owner", url.Values{"change": {"grant"}, "reason": {"Please."}}).wants(200, "Approvals")
	path = w.get(approvalsPath).link("Make Sam an owner")
	w.pass(approval.Life + time.Minute)
	w.signIn(rita)
	w.get(path).wants(409, "This request has expired")
	w.get(approvalsPath).contains("Not approved or not done in time")
}

// To approve asks for a sign-in of a moment ago.
func TestApprovingIsForTheFreshlySignedIn(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	path := w.ask()
	w.signIn(rita)
	w.pass(time.Hour)
	w.get(approvalsPath).wants(200, "Approvals")
	w.get(path).wants(200, "Sign in again").contains("of the last 10 minutes")
	w.post(path+"/approve", nil).wants(200, "Sign in again")
	w.get(approvalsPath).contains("Waits for a second person")
}

// An owner is invited by two; the letter goes when the second approves. Alone, nobody can
// decide, and the page says what to do.
func TestInvitingAnOwner(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.hire(rita, "Rita", authz.Owner)
	w.signIn(olga)
	form := invitation("Sam", sam, "owner")
	w.post(staffPath+"/invite", form).wants(422, "Invite somebody").contains("Say why")
	form.Set("reason", "She leads from May.")
	w.post(staffPath+"/invite", form).wants(200, "Approvals").contains("Invite Sam as an owner")
	if len(w.mail.To(sam)) != 0 {
		t.Fatal("the invitation went out before it was approved")
	}
	path := w.get(approvalsPath).link("Invite Sam as an owner")
	if err := w.suspend(rita); err != nil {
		t.Fatal(err)
	}
	w.get(path).contains("Nobody else may decide this. Invite a second person")
	if err := w.resume(rita); err != nil {
		t.Fatal(err)
	}
	w.signIn(rita)
	w.post(path+"/approve", nil).wants(200, "Approvals").contains("Approved and done")
	if len(w.mail.To(sam)) != 1 {
		t.Error("no invitation went out")
	}
}

func (w *staffWorld) suspend(email string) error { return w.setState(email, "suspended") }

func (w *staffWorld) resume(email string) error { return w.setState(email, "active") }

func (w *staffWorld) setState(email, state string) error {
	_, err := w.db.Database.Super().ExecContext(w.t.Context(), `update member set state = $2 where email = $1`, email, state)
	return err
}

// The first second owner needs nobody's approval, and is told so.
func TestTheFirstSecondOwner(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.hire(sam, "Sam", authz.Caseworker)
	w.signIn(olga)
	person := w.get(w.get(staffPath).link("Change Sam"))
	w.get(person.link("Make an owner")).contains("If you are the only owner, there is nobody to approve it")
	w.post(person.url.Path+"/owner", url.Values{"change": {"grant"}}).wants(200, "Staff").contains("Sam is the second owner")
	w.signIn(alex)
	w.get(person.url.Path+"/owner").wants(403, "You may not do this")
}

// Every kind of act has words for what it would do.
func TestEveryKindHasWords(t *testing.T) {
	t.Parallel()
	w := newStaffWorld(t)
	w.hire(rita, "Rita", authz.Owner)
	w.signIn(olga)
	w.get(approvalsPath).wants(200, "Approvals")
	by, err := realStaff{w.db.Portal}.Authenticate(t.Context(), w.at, identity(rita))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range approval.Kinds() {
		var r approval.Request
		err := w.db.Portal.In(t.Context(), w.at.ID, func(tx *tenant.Tx) (err error) {
			want := approval.Want{Kind: kind, Target: "export 2", Detail: map[string]string{"confirmed": "apple"}}
			r, err = approval.Ask(t.Context(), tx, by, want, "It is time.", w.clock())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if p := w.get(approvalsPath + "/" + r.ID.String()).contains("What will happen"); strings.Contains(p.text("h1"), string(kind)) {
			t.Errorf("%s has no words", kind)
		}
	}
}
