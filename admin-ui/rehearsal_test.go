package adminui_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/rehearsal"
)

// play stands for the desk: it has one rehearsal, and notes what was asked of it.
type play struct {
	r     *rehearsal.Rehearsal
	err   error
	steps []string
	code  string
}

func (p *play) Find(_ context.Context, t *tenant.Tenant, _ authz.Subject) (*rehearsal.Rehearsal, error) {
	if t.Kind != tenant.Sandbox {
		return nil, rehearsal.ErrNotSandbox
	}
	return p.r, nil
}

func (p *play) take(t *tenant.Tenant, step string, at int) error {
	if t.Kind != tenant.Sandbox {
		return rehearsal.ErrNotSandbox
	}
	if want := map[bool]int{true: 0, false: 7}[p.r == nil]; at != want {
		return rehearsal.ErrOver
	}
	p.steps = append(p.steps, step)
	return p.err
}

func (p *play) Begin(_ context.Context, t *tenant.Tenant, _ authz.Subject, at int) error {
	return p.take(t, "begin", at)
}

func (p *play) Issue(_ context.Context, t *tenant.Tenant, _ authz.Subject, at int) error {
	return p.take(t, "issue", at)
}

func (p *play) Redeem(_ context.Context, t *tenant.Tenant, _ authz.Subject, at int, code string) error {
	p.code = code
	return p.take(t, "redeem", at)
}

func (p *play) Publish(_ context.Context, t *tenant.Tenant, _ authz.Subject, at int) error {
	return p.take(t, "publish", at)
}

func (p *play) Look(_ context.Context, t *tenant.Tenant, _ authz.Subject, at int) error {
	return p.take(t, "look", at)
}

const rehearsalPath = "/portal/box-sandbox/rehearsal"

// rehearsing is a world with a sandbox in which an analyst, who may do next to nothing
// else, rehearses.
func rehearsing(t *testing.T) (*world, *play) {
	t.Helper()
	p := &play{}
	w := newWorld(t, func(c *adminui.Config) { c.Rehearsals = p })
	box := authority("box-sandbox", "Lakeland")
	box.Kind = tenant.Sandbox
	w.staff.Tenants = append(w.staff.Tenants, box)
	w.staff.Roles[analyst]["box-sandbox"] = []authz.Role{authz.Analyst}
	w.signIn(analyst)
	return w, p
}

// stands puts the rehearsal at a stage.
func (p *play) stands(stage rehearsal.Stage, change func(*rehearsal.Rehearsal)) {
	p.r = &rehearsal.Rehearsal{Stage: stage, Step: 7, StartedAt: noon, ExpiresAt: noon.Add(rehearsal.Life)}
	if change != nil {
		change(p.r)
	}
}

var step7 = url.Values{"step": {"7"}}

func TestRehearsalPage(t *testing.T) {
	t.Parallel()
	w, p := rehearsing(t)
	const heading = "Rehearsal with simulated phones"
	w.get(rehearsalPath).wants(200, heading).contains("You have no rehearsal yet").contains("Nothing here reaches anybody’s phone")
	w.post(rehearsalPath+"/begin", url.Values{"step": {"0"}}).wants(200, heading).contains("Two phones are ready")

	p.stands(rehearsal.Met, nil)
	w.get(rehearsalPath).wants(200, heading).contains("Issue a code").lacks("Share").lacks("Look for new files")
	w.post(rehearsalPath+"/issue", step7).wants(200, heading).contains("The code is issued")

	p.stands(rehearsal.Issued, func(r *rehearsal.Rehearsal) { r.Code, r.CodeExpires = "12345678", noon.Add(15*time.Minute) })
	if page := w.get(rehearsalPath).wants(200, heading).contains("Good until").contains("Issue another code"); page.value("code") != "12345678" {
		t.Errorf("phone A is offered %q", page.value("code"))
	}
	w.post(rehearsalPath+"/redeem", url.Values{"step": {"7"}, "code": {" 1234 5678\n"}}).wants(200, heading).contains("Phone A has redeemed the code")
	if p.code != "12345678" {
		t.Errorf("phone A redeems %q", p.code)
	}
	w.pass(time.Hour)
	w.get(rehearsalPath).wants(200, heading).contains("Expired at").lacks("Good until")

	p.stands(rehearsal.Redeemed, func(r *rehearsal.Rehearsal) {
		r.Diagnosis = rehearsal.Diagnosis{TestType: "confirmed", SymptomDate: "2026-11-24"}
	})
	w.get(rehearsalPath).wants(200, heading).contains("Confirmed positive, symptoms since November 24, 2026").lacks("Issue a code</button>").lacks("Redeem</button>")
	w.post(rehearsalPath+"/publish", step7).wants(200, heading).contains("Phone A has shared its keys")

	p.stands(rehearsal.Published, func(r *rehearsal.Rehearsal) {
		r.Diagnosis, r.Keys, r.NextFile = rehearsal.Diagnosis{TestType: "likely", TestDate: "2026-11-25"}, 14, w.clock().Add(time.Minute)
	})
	w.get(rehearsalPath).wants(200, heading).contains("tested on November 25, 2026").contains("The next file is made at").lacks("Compared so far").lacks("You may have been exposed")
	w.post(rehearsalPath+"/look", step7).wants(200, heading).contains("Phone B has looked")
	p.r.Looks, p.r.Seen = 1, rehearsal.Sighting{Files: 1, Keys: 1034}
	w.pass(2 * time.Minute)
	w.get(rehearsalPath).wants(200, heading).contains("The next file is due").contains("1034 keys").lacks("You may have been exposed")

	p.stands(rehearsal.Notified, func(r *rehearsal.Rehearsal) {
		r.Looks, r.Seen = 2, rehearsal.Sighting{Files: 1, Keys: 1034, Found: true, Day: noon.AddDate(0, 0, -1).Truncate(24 * time.Hour), Minutes: 30}
	})
	w.get(rehearsalPath).wants(200, heading).contains("You may have been exposed").contains("On November 25, 2026").contains("for 30 minutes").lacks("Look for new files")

	w.get(rehearsalPath+"/again").wants(200, "Begin the rehearsal again?").contains("Both phones are deleted")
	w.post(rehearsalPath+"/begin", step7).wants(200, heading)
	if want := "begin issue redeem publish look begin"; strings.Join(p.steps, " ") != want {
		t.Errorf("steps %q, want %q", strings.Join(p.steps, " "), want)
	}
	p.r = nil
	w.get(rehearsalPath+"/again").wants(200, heading).contains("You have no rehearsal yet")
}

// What is refused is said beside the field, where there is one, with what was typed.
func TestRefusedRehearsal(t *testing.T) {
	t.Parallel()
	w, p := rehearsing(t)
	const heading = "Rehearsal with simulated phones"
	p.stands(rehearsal.Met, nil)
	w.post(rehearsalPath+"/redeem", step7).wants(422, heading).contains("Enter a code")
	if len(p.steps) != 0 {
		t.Errorf("without a code steps are taken: %q", p.steps)
	}
	for reason, words := range map[rehearsal.Reason]string{
		rehearsal.CodeInvalid: "there is no such code", rehearsal.CodeExpired: "This code has expired", rehearsal.Negative: "a negative test",
		rehearsal.Unreachable: "did not answer in time", rehearsal.NoKey: "may have been revoked", rehearsal.Failed: "The server refused",
	} {
		p.err = &rehearsal.Refusal{Reason: reason}
		page := w.post(rehearsalPath+"/redeem", url.Values{"step": {"7"}, "code": {"12 <b>🤒"}}).wants(422, heading).contains(words)
		if page.value("code") != "12 <b>🤒" {
			t.Errorf("%s: what was typed became %q", reason, page.value("code"))
		}
	}
	for reason, words := range map[rehearsal.Reason]string{
		rehearsal.Quota: "no more codes today", rehearsal.Closed: "in maintenance", rehearsal.Untrusted: "is not signed",
	} {
		p.err = &rehearsal.Refusal{Reason: reason}
		w.post(rehearsalPath+"/issue", step7).wants(422, heading).contains(words)
	}
	p.err = rehearsal.ErrBusy
	w.post(rehearsalPath+"/issue", step7).wants(200, heading).contains("Load this page again in a moment")
	w.post(rehearsalPath+"/issue", url.Values{"step": {"6"}}).wants(200, heading).contains("That step was taken before")
	w.post(rehearsalPath+"/issue", url.Values{"step": {"x"}}).wants(200, heading).contains("That step was taken before")
	p.r.Busy = true
	w.get(rehearsalPath).wants(200, heading).contains("A step is being taken")
}

// A production authority has no such pages, and nothing leads to them.
func TestProductionHasNoRehearsal(t *testing.T) {
	t.Parallel()
	w, p := rehearsing(t)
	w.signIn(owner)
	const path = "/portal/north-shore/rehearsal"
	for _, page := range []string{"", "/again"} {
		w.get(path+page).wants(404, "Page not found")
	}
	for _, step := range []string{"begin", "issue", "redeem", "publish", "look"} {
		w.post(path+"/"+step, url.Values{"step": {"0"}, "code": {"1"}}).wants(404, "Page not found")
	}
	w.post(path+"/redeem", nil).wants(404, "Page not found")
	if len(p.steps) != 0 {
		t.Errorf("steps %q", p.steps)
	}
	w.get("/portal/north-shore/codes/new").wants(200, "Issue a verification code").lacks("Rehearsal")
}
