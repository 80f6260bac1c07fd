package member_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/audit"
	"carillon/tenant/member"
	"carillon/tenant/platform"
)

const why = "She runs the department from May."

func (o *office) desk() *approval.Desk {
	return approval.NewDesk(approval.DeskConfig{
		DB: o.Portal, Policies: o.policies, Now: o.Now,
		Acts: map[approval.Kind]approval.Act{approval.OwnerChange: o.staff.CarryOutOwner},
	})
}

// waits is the one request that waits.
func (o *office) waits(by authz.Subject) approval.Waiting {
	o.t.Helper()
	b, err := o.desk().Board(o.t.Context(), o.at, by)
	if err != nil || len(b.Waiting) != 1 {
		o.t.Fatalf("requests %+v, %v; want one", b.Waiting, err)
	}
	return b.Waiting[0]
}

func (o *office) changes(by authz.Subject, of uuid.UUID, owner, wantAsked bool, want error, what string) {
	o.t.Helper()
	asked, err := o.staff.ChangeOwner(o.t.Context(), o.at, by, of, owner, why)
	o.wants(err, want, what)
	if err == nil && asked != wantAsked {
		o.t.Errorf("%s: asked is %v, want %v", what, asked, wantAsked)
	}
}

func (o *office) isOwner(name string) bool {
	o.t.Helper()
	for _, p := range o.board().People {
		if p.Name == name {
			return slices.Contains(p.Roles, authz.Owner)
		}
	}
	return false
}

// second is an office with two owners, Robin and Sam.
func second(t *testing.T) (o *office, sam authz.Subject) {
	t.Helper()
	o = newOffice(t)
	sam = o.hire("Sam", authz.Caseworker)
	o.changes(o.robin, id(sam), true, false, nil, "the first second owner")
	if !o.isOwner("Sam") {
		t.Fatal("Sam is no owner")
	}
	sam.Roles = []authz.Role{authz.Caseworker, authz.Owner}
	return o, sam
}

// The only owner makes a second one alone, as the log says; from then on it takes two.
func TestTheThirdOwnerTakesTwoPeople(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	kim := o.hire("Kim", authz.Analyst)
	o.changes(o.robin, id(kim), true, true, nil, "the third owner")
	if o.isOwner("Kim") {
		t.Error("one person made an owner")
	}
	if got := o.mail.Letters(); len(got) != 1 || got[0].To != who("Sam").Email || strings.Contains(got[0].Text, "Kim") || strings.Contains(got[0].Text, why) {
		t.Errorf("letters %+v, want one to Sam that does not say what it is about", got)
	}
	w := o.waits(sam)
	if !w.MayDecide || w.Own || w.Deciders != 1 || w.Detail["name"] != "Kim" || w.Reason != why {
		t.Errorf("Sam sees %+v", w)
	}
	_, err := o.desk().Approve(t.Context(), o.at, o.robin, w.ID)
	o.wants(err, approval.ErrSamePerson, "approve what one asked for")
	_, err = o.desk().Approve(t.Context(), o.at, kim, w.ID)
	o.wants(err, authz.ErrForbidden, "approve as an analyst")
	done, err := o.desk().Approve(t.Context(), o.at, sam, w.ID)
	if err != nil || !done || !o.isOwner("Kim") {
		t.Errorf("approved: done %v, %v", done, err)
	}
	_, err = o.desk().Approve(t.Context(), o.at, sam, w.ID)
	o.wants(err, approval.ErrDecided, "approve twice")

	var seconds []string
	for _, e := range o.entries("member:roles") {
		seconds = append(seconds, string(e.Detail))
	}
	if len(seconds) != 2 || !strings.Contains(seconds[1], "none: there was one owner") || !strings.Contains(seconds[0], "Robin asked, Sam approved") {
		t.Errorf("the log says %q", seconds)
	}
}

func (o *office) entries(action string) (list []audit.Entry) {
	o.t.Helper()
	err := o.Portal.In(o.t.Context(), o.at.ID, func(tx *tenant.Tx) (err error) {
		list, err = audit.Find(o.t.Context(), tx, audit.Filter{Action: action}, 100)
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// No way around: neither by roles, removal, invitation, file or directory, nor by putting
// the other owners out first.
func TestNoWayAroundTheSecondPerson(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	kim := o.hire("Kim", authz.Analyst)
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, o.robin, id(kim), []authz.Role{authz.Owner}), member.ErrOwnerChange, "give the role")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, o.robin, id(sam), []authz.Role{authz.Analyst}), member.ErrOwnerChange, "take the role")
	o.wants(o.staff.Remove(t.Context(), o.at, o.robin, id(sam)), member.ErrOwnerChange, "remove an owner")
	new := member.Invitee{Name: "Lee", Email: "lee@health.example", Roles: []authz.Role{authz.Owner}}
	o.wants(o.staff.Invite(t.Context(), o.at, o.robin, new), member.ErrOwnerChange, "invite an owner")
	list, _, err := o.staff.Import(t.Context(), o.at, o.robin, []byte("name,email,roles\nLee,lee@health.example,owner\n"))
	o.wants(err, member.ErrRoster, "import an owner")
	if len(list.Rows) != 1 || !slices.Contains(list.Rows[0].Problems, member.ProblemGrant) {
		t.Errorf("rows %+v", list.Rows)
	}
	key := authz.Subject{Kind: authz.APIKey, ID: uuid.NewString(), Roles: []authz.Role{authz.KeySCIM}}
	scim := member.NewProvisioner(o.Portal, o.policies, idp, o.Now)
	o.wants(scim.DeleteUser(t.Context(), o.at, key, id(sam), func(member.User) error { return nil }), member.ErrOwnerChange, "delete an owner by SCIM")
	o.changes(key, id(kim), true, false, authz.ErrForbidden, "ask as a key")
	o.changes(o.hire("Ada", authz.Administrator), id(kim), true, false, authz.ErrForbidden, "ask as an administrator")

	// Whoever puts the other owners out is not the only one.
	o.wants(o.staff.Suspend(t.Context(), o.at, o.robin, id(sam)), nil, "suspend an owner")
	o.changes(o.robin, id(kim), true, true, nil, "with the other owner suspended")
	_, err = o.desk().Approve(t.Context(), o.at, sam, o.waits(o.robin).ID)
	o.wants(err, authz.ErrForbidden, "approve while suspended")
	if o.isOwner("Kim") {
		t.Error("one person made an owner")
	}
}

// Letters to owners go out when the second person has approved.
func TestInvitationOfAnOwner(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	lee := member.Invitee{Name: "Lee", Email: "Lee@health.example", Roles: []authz.Role{authz.Owner, authz.Caseworker}}
	asked, err := o.staff.InviteOwner(t.Context(), o.at, o.robin, lee, why)
	if err != nil || !asked || len(o.mail.To("lee@health.example")) != 0 || len(o.board().Invitations) != 0 {
		t.Fatalf("asked %v, %v, letters %v", asked, err, o.mail.Letters())
	}
	done, err := o.desk().Approve(t.Context(), o.at, sam, o.waits(sam).ID)
	if err != nil || !done {
		t.Fatal(done, err)
	}
	o.wants(o.accept("Lee", o.link("Lee")), nil, "accept")
	if !o.isOwner("Lee") {
		t.Error("Lee is no owner")
	}
}

// The only owner invites one second owner, not many.
func TestOneInvitationAlone(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	var all sync.WaitGroup
	results := make(chan bool, 4)
	for _, name := range []string{"Ann", "Ben", "Cleo", "Dan"} {
		all.Go(func() {
			asked, err := o.staff.InviteOwner(t.Context(), o.at, o.robin, member.Invitee{Name: name, Email: who(name).Email, Roles: []authz.Role{authz.Owner}}, why)
			if err != nil {
				t.Error(err)
			}
			results <- asked
		})
	}
	all.Wait()
	close(results)
	alone := 0
	for asked := range results {
		if !asked {
			alone++
		}
	}
	if alone != 1 || len(o.board().Invitations) != 1 {
		t.Errorf("%d were invited by one person alone, want 1", alone)
	}
	kim := o.hire("Kim", authz.Analyst)
	o.changes(o.robin, id(kim), true, true, nil, "while an owner is invited")
}

// What is approved is what was asked for: if anything about the person has changed, no.
func TestOwnerChangeIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	kim := o.hire("Kim", authz.Analyst)
	o.changes(o.robin, id(kim), true, true, nil, "ask")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, o.robin, id(kim), []authz.Role{authz.Caseworker}), nil, "change her roles")
	w := o.waits(sam)
	_, err := o.desk().Approve(t.Context(), o.at, sam, w.ID)
	o.wants(err, approval.ErrNotApproved, "approve what has changed")
	if got := o.waits(sam); got.State != approval.Pending {
		t.Errorf("the request is %s", got.State)
	}
	o.wants(o.staff.Suspend(t.Context(), o.at, o.robin, id(kim)), nil, "suspend her")
	_, err = o.desk().Approve(t.Context(), o.at, sam, w.ID)
	o.wants(err, member.ErrOwnerInactive, "approve somebody suspended")
	o.wants(o.desk().Withdraw(t.Context(), o.at, o.robin, w.ID), nil, "withdraw")
	o.changes(o.robin, id(kim), true, false, member.ErrOwnerInactive, "ask for somebody suspended")
	o.changes(o.robin, id(sam), true, false, member.ErrOwnerAlready, "ask for an owner")
	o.changes(o.robin, id(kim), false, false, member.ErrOwnerAlready, "take what she has not")
}

// Two people take the role away; then one can remove her. The last owner keeps it.
func TestTakingTheRole(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	only := o.hire("Only", authz.Owner)
	o.changes(o.robin, id(only), false, true, nil, "take")
	_, err := o.desk().Approve(t.Context(), o.at, sam, o.waits(sam).ID)
	o.wants(err, nil, "approve")
	if p, _ := o.staff.Board(t.Context(), o.at, o.robin); o.isOwner("Only") || len(p.People) != 3 {
		t.Errorf("people %+v", p.People)
	}
	o.wants(o.staff.Remove(t.Context(), o.at, o.robin, id(only)), nil, "remove")

	o.changes(o.robin, id(o.robin), false, true, nil, "give it up")
	o.wants(o.staff.Suspend(t.Context(), o.at, sam, id(o.robin)), nil, "suspend")
	_, err = o.desk().Approve(t.Context(), o.at, sam, o.waits(sam).ID)
	o.wants(err, approval.ErrRequesterGone, "approve for who is out")
	o.wants(o.staff.Resume(t.Context(), o.at, sam, id(o.robin)), nil, "resume")
	_, err = o.desk().Approve(t.Context(), o.at, sam, o.waits(sam).ID)
	o.wants(err, nil, "approve")
	o.changes(sam, id(sam), false, true, nil, "the last one asks")
}

// Those who run the platform help an authority that has one owner left who can act; both
// logs tell.
func TestBrokenGlass(t *testing.T) {
	t.Parallel()
	o, sam := second(t)
	o.wants(o.staff.Suspend(t.Context(), o.at, o.robin, id(sam)), nil, "suspend")
	o.hire("Kim", authz.Analyst)
	make := func(email string) error {
		return o.Operator.In(t.Context(), o.at.ID, func(tx *tenant.Tx) error {
			by := authz.Subject{Kind: authz.System, ID: "operator"}
			return member.MakeOwner(t.Context(), tx, o.at, by, idp, email, "Sam has died.", o.Now())
		})
	}
	o.wants(make("nobody@health.example"), member.ErrNoSuchMember, "nobody")
	o.wants(make("Kim@health.example"), nil, "Kim")
	acts, err := platform.Acts(t.Context(), o.Operator, "north", 0, 10)
	if !o.isOwner("Kim") || len(o.entries("member:make-owner")) != 1 || err != nil || len(acts) != 1 {
		t.Errorf("entries %v, %v, %v", o.entries("member:make-owner"), acts, err)
	}
}
