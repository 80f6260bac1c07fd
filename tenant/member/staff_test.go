package member_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/mail"
	"carillon/tenant/mail/mailtest"
	"carillon/tenant/member"
	"carillon/tenant/tenanttest"
)

// office is an authority with an owner, Robin, and what staff do there.
type office struct {
	*tenanttest.World
	t        *testing.T
	at       *tenant.Tenant
	mail     mailtest.Recorder
	policies *authz.Policies
	staff    *member.Staff
	robin    authz.Subject
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{World: tenanttest.New(t), t: t}
	o.at = o.Create("north")
	o.policies = authz.NewPolicies(nil)
	o.staff = member.NewStaff(member.StaffConfig{
		DB: o.Portal, Policies: o.policies, Mail: &o.mail, Platform: idp, BaseURL: "https://portal.example",
		Now: o.Now,
	})
	o.robin = o.hire("Robin", authz.Owner)
	return o
}

// who is a person as the provider names her.
func who(name string) oidc.Identity {
	first := strings.ToLower(name)
	return oidc.Identity{Issuer: idp, Subject: "sub-" + first, Email: first + "@health.example", Name: name}
}

// hire makes a member who has signed in.
func (o *office) hire(name string, roles ...authz.Role) authz.Subject {
	o.t.Helper()
	add(o.t, o.World, o.at, member.Member{Issuer: idp, Email: who(name).Email, Name: name, Roles: roles})
	s, err := member.Authenticate(o.t.Context(), o.Portal, o.at, who(name))
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

func id(s authz.Subject) uuid.UUID { return uuid.MustParse(s.ID) }

func (o *office) board() member.Board {
	o.t.Helper()
	b, err := o.staff.Board(o.t.Context(), o.at, o.robin)
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

// actions lists what the audit log has, oldest first.
func (o *office) actions() (list []string) {
	o.t.Helper()
	err := o.Portal.In(o.t.Context(), o.at.ID, func(tx *tenant.Tx) error {
		entries, err := audit.List(o.t.Context(), tx, 1000)
		for _, e := range entries {
			if strings.HasPrefix(e.Action, "member:") || strings.HasPrefix(e.Action, "group:") {
				list = append([]string{e.Action}, list...)
			}
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// invite has somebody invited and returns what the letter's link carries.
func (o *office) invite(name string, roles ...authz.Role) []byte {
	o.t.Helper()
	err := o.staff.Invite(o.t.Context(), o.at, o.robin, member.Invitee{Name: name, Email: who(name).Email, Roles: roles})
	if err != nil {
		o.t.Fatal(err)
	}
	return o.link(name)
}

// link is the digest of the newest link that somebody was sent.
func (o *office) link(name string) []byte {
	o.t.Helper()
	letters := o.mail.To(who(name).Email)
	if len(letters) == 0 {
		o.t.Fatalf("no letter to %s", name)
	}
	link := mailtest.Link(letters[len(letters)-1])
	token, found := strings.CutPrefix(link, "https://portal.example/join/north?token=")
	if !found {
		o.t.Errorf("the letter's link is %s", link)
	}
	return member.Digest(token)
}

func (o *office) accept(name string, digest []byte) error {
	return o.staff.Accept(o.t.Context(), o.at, who(name), digest, "request")
}

func (o *office) wants(err, want error, what string) {
	o.t.Helper()
	if !errors.Is(err, want) {
		o.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// An invitation is in the authority's language and time zone.
func TestAnInvitationSpeaksTheAuthoritysLanguage(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.at.Settings.Language, o.at.Settings.TimeZone = "es-419", "America/Puerto_Rico"
	o.invite("Sam", authz.Caseworker)
	got := o.mail.Letters()
	if len(got) != 1 || got[0].Subject != "Únase al personal de Health of north" || !strings.Contains(got[0].Text, "2 de diciembre de 2026, 11:04 AST (15:04 UTC)") {
		t.Errorf("letters %+v", got)
	}
}

// An authority invites in its own words; what it is called does not become a mark.
func TestAnInvitationInOwnWords(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.at.Name, o.at.Settings.InviteLetter = "North [invitelink]", "Come to [realmname].\n\n[invitelink]\n\nBring a pen."
	o.invite("Sam", authz.Caseworker)
	got := o.mail.Letters()
	if len(got) != 1 || !strings.HasPrefix(got[0].Text, "Come to North [invitelink].\n\nhttps://portal.example/join/north?token=") || !strings.HasSuffix(got[0].Text, "\n\nBring a pen.\n") {
		t.Errorf("letters %+v", got)
	}
}

func TestAnInvitationMakesAMember(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	digest := o.invite("Sam", authz.Caseworker, authz.Analyst)
	if got := o.mail.Letters(); len(got) != 1 || !strings.Contains(got[0].Text, "Health of north") || !strings.Contains(got[0].Text, "December 2, 2026, 15:04 UTC") {
		t.Errorf("letters %+v", got)
	}
	refused(t, o.World, o.at, who("Sam"), "before she accepted")

	offered, err := o.staff.Offered(t.Context(), o.at, who("Sam"), digest)
	if err != nil || offered.Name != "Sam" || len(offered.Roles) != 2 {
		t.Errorf("offered %+v, %v", offered, err)
	}
	o.wants(o.accept("Sam", digest), nil, "accept")
	s, err := member.Authenticate(t.Context(), o.Portal, o.at, who("Sam"))
	if err != nil || s.Name != "Sam" || len(s.Roles) != 2 {
		t.Errorf("subject %v, %v", s, err)
	}
	heir := who("Sam")
	heir.Subject = "somebody else"
	refused(t, o.World, o.at, heir, "another person with the address")

	o.wants(o.accept("Sam", digest), member.ErrInvitationUsed, "a second time")
	o.wants(o.staff.Invite(t.Context(), o.at, o.robin, member.Invitee{Name: "Sam", Email: "SAM@health.example", Roles: []authz.Role{authz.Analyst}}),
		member.ErrAlreadyMember, "invite a member")
	if diff := cmp.Diff([]string{"member:invite", "member:join"}, o.actions()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

func TestLinksThatDoNotWork(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	south := o.Create("south")
	digest := o.invite("Sam", authz.Caseworker)

	o.wants(o.accept("Sam", member.Digest("made up")), member.ErrInvitationUnknown, "made up")
	o.wants(o.accept("Kim", digest), member.ErrInvitationOther, "somebody else")
	elsewhere := who("Sam")
	elsewhere.Realm = south.ID.String()
	o.wants(o.staff.Accept(t.Context(), o.at, elsewhere, digest, ""), member.ErrInvitationOther, "another tenant's provider")
	o.wants(o.staff.Accept(t.Context(), south, who("Sam"), digest, ""), member.ErrInvitationUnknown, "another tenant")

	first := o.board().Invitations[0].ID
	o.Advance(member.InvitationLife)
	o.wants(o.accept("Sam", digest), member.ErrInvitationExpired, "too late")
	o.wants(o.staff.Resend(t.Context(), o.at, o.robin, first), nil, "resend")
	o.wants(o.accept("Sam", digest), member.ErrInvitationUnknown, "the link before the newest")
	digest = o.link("Sam")
	o.wants(o.staff.Revoke(t.Context(), o.at, o.robin, first), nil, "revoke")
	o.wants(o.accept("Sam", digest), member.ErrInvitationRevoked, "revoked")
	o.wants(o.accept("Kim", digest), member.ErrInvitationOther, "revoked, and somebody else's")
	o.wants(o.staff.Revoke(t.Context(), o.at, o.robin, first), member.ErrNoInvitation, "revoke twice")
	o.wants(o.staff.Resend(t.Context(), o.at, o.robin, first), member.ErrNoInvitation, "resend a revoked one")

	digest = o.invite("Kim", authz.Caseworker)
	kim := o.board().Invitations[0].ID
	o.wants(o.staff.Resend(t.Context(), south, o.robin, kim), member.ErrNoInvitation, "resend another tenant's")
	o.wants(o.staff.Revoke(t.Context(), south, o.robin, kim), member.ErrNoInvitation, "revoke another tenant's")
	o.wants(o.accept("Kim", digest), nil, "Kim's")
	if n := len(o.board().People); n != 2 {
		t.Errorf("%d people, want Robin and Kim", n)
	}
}

func TestAnInvitationIsAcceptedOnceByMany(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	digest := o.invite("Sam", authz.Caseworker)
	results := make(chan error, 12)
	var all sync.WaitGroup
	for range cap(results) {
		all.Go(func() { results <- o.accept("Sam", digest) })
	}
	all.Wait()
	close(results)
	joined := 0
	for err := range results {
		if err == nil {
			joined++
		} else if !errors.Is(err, member.ErrInvitationUsed) {
			t.Error(err)
		}
	}
	if n := len(o.board().People); joined != 1 || n != 2 {
		t.Errorf("%d joined, %d people", joined, n)
	}
}

// The database has no token from which a link could be made, and the log none at all.
func TestTheTokenIsKeptNowhere(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.invite("Sam", authz.Caseworker)
	link := mailtest.Link(o.mail.Letters()[0])
	token := link[strings.Index(link, "token=")+len("token="):]
	if len(token) < 40 {
		t.Fatalf("token of %d characters", len(token))
	}
	for _, table := range []string{"staff_invitation", "audit_entry"} {
		var n int
		if err := o.Database.Super().QueryRowContext(t.Context(), `select count(*) from `+table+` r where strpos(r::text, $1) > 0`, token).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v", table, n, err)
		}
	}
}

func TestALetterThatDidNotGoIsSentAgain(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.mail.Break(mail.ErrUnavailable)
	sam := member.Invitee{Name: "Sam", Email: who("Sam").Email, Roles: []authz.Role{authz.Caseworker}}
	o.wants(o.staff.Invite(t.Context(), o.at, o.robin, sam), mail.ErrUnavailable, "invite")
	if b := o.board(); len(b.Invitations) != 1 || b.Invitations[0].Sent {
		t.Errorf("invitations %+v", b.Invitations)
	}
	o.wants(o.staff.Invite(t.Context(), o.at, o.robin, sam), member.ErrAlreadyInvited, "invite again")
	sent, left, err := o.staff.SendUnsent(t.Context(), o.at, o.robin)
	if sent != 0 || left != 1 || err != nil {
		t.Errorf("%d sent, %d left, %v", sent, left, err)
	}
	o.mail.Break(nil)
	sent, left, err = o.staff.SendUnsent(t.Context(), o.at, o.robin)
	if sent != 1 || left != 0 || err != nil || !o.board().Invitations[0].Sent {
		t.Errorf("%d sent, %d left, %v", sent, left, err)
	}
	o.wants(o.accept("Sam", o.link("Sam")), nil, "the letter that went")
}

func TestInviteRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	admin, caseworker := o.hire("Alex", authz.Administrator), o.hire("Casey", authz.Caseworker)
	good := member.Invitee{Name: "Sam", Email: "sam@health.example", Roles: []authz.Role{authz.Caseworker}}
	for name, c := range map[string]struct {
		by     authz.Subject
		change func(*member.Invitee)
		want   error
	}{
		"no right":               {caseworker, func(*member.Invitee) {}, authz.ErrForbidden},
		"more than she holds":    {admin, func(i *member.Invitee) { i.Roles = []authz.Role{authz.Owner} }, authz.ErrForbidden},
		"among what she holds":   {admin, func(i *member.Invitee) { i.Roles = []authz.Role{authz.Analyst, authz.KeyCustodian} }, authz.ErrForbidden},
		"a role of the platform": {o.robin, func(i *member.Invitee) { i.Roles = []authz.Role{authz.Operator} }, authz.ErrForbidden},
		"no such role":           {o.robin, func(i *member.Invitee) { i.Roles = []authz.Role{"janitor"} }, authz.ErrForbidden},
		"no role":                {o.robin, func(i *member.Invitee) { i.Roles = nil }, member.ErrRoles},
		"no name":                {o.robin, func(i *member.Invitee) { i.Name = " " }, member.ErrName},
		"long name":              {o.robin, func(i *member.Invitee) { i.Name = strings.Repeat("x", 101) }, member.ErrName},
		"name of two lines":      {o.robin, func(i *member.Invitee) { i.Name = "Sam\nBcc: all" }, member.ErrName},
		"name turned around":     {o.robin, func(i *member.Invitee) { i.Name = "Sam\u202e" }, member.ErrName},
		"no address":             {o.robin, func(i *member.Invitee) { i.Email = "sam" }, member.ErrEmail},
		"two addresses":          {o.robin, func(i *member.Invitee) { i.Email = "a@b.example, c@d.example" }, member.ErrEmail},
		"a second header":        {o.robin, func(i *member.Invitee) { i.Email = "a@b.example\r\nBcc: c@d.example" }, member.ErrEmail},
		"letters of elsewhere":   {o.robin, func(i *member.Invitee) { i.Email = "s\u0430m@health.example" }, member.ErrEmail},
		"a member":               {o.robin, func(i *member.Invitee) { i.Email = "Casey@health.example" }, member.ErrAlreadyMember},
	} {
		i := good
		c.change(&i)
		o.wants(o.staff.Invite(t.Context(), o.at, c.by, i), c.want, name)
	}
	if n := len(o.mail.Letters()); n != 0 {
		t.Errorf("%d letters", n)
	}
	if got := o.actions(); len(got) != 0 {
		t.Errorf("audit log %v", got)
	}
}

func TestRolesChange(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	sam := o.hire("Sam", authz.Caseworker)
	admin := o.hire("Alex", authz.Administrator)
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, admin, id(sam), []authz.Role{authz.Analyst}), nil, "give what she holds")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, admin, id(sam), []authz.Role{authz.Owner}), authz.ErrForbidden, "make an owner")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, admin, id(admin), []authz.Role{authz.Owner}), authz.ErrForbidden, "make herself an owner")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, admin, id(o.robin), []authz.Role{authz.Analyst}), authz.ErrForbidden, "lower an owner")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, sam, id(sam), []authz.Role{authz.Analyst}), authz.ErrForbidden, "without the right")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, o.robin, id(sam), nil), member.ErrRoles, "no role")
	o.wants(o.staff.ChangeRoles(t.Context(), o.at, o.robin, uuid.New(), []authz.Role{authz.Analyst}), member.ErrNoSuchMember, "nobody")
	o.wants(o.staff.ChangeRoles(t.Context(), o.Create("south"), o.robin, id(sam), []authz.Role{authz.Analyst}), member.ErrNoSuchMember, "another tenant's")
	got, err := member.Authenticate(t.Context(), o.Portal, o.at, who("Sam"))
	if err != nil || fmt.Sprint(got.Roles) != "[analyst]" {
		t.Errorf("roles %v, %v", got.Roles, err)
	}
	if diff := cmp.Diff([]string{"member:roles"}, o.actions()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

// Another process, which is another handle here, asks at the next request.
func TestSuspendedAndRemovedPeopleAreOutAtOnce(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	sam, other := o.hire("Sam", authz.Administrator), o.Open("carillon_portal")
	o.wants(o.staff.Invite(t.Context(), o.at, sam, member.Invitee{Name: "Kim", Email: who("Kim").Email, Roles: []authz.Role{authz.Caseworker}}), nil, "invite")
	o.wants(o.staff.Suspend(t.Context(), o.at, sam, id(o.robin)), authz.ErrForbidden, "an administrator suspends an owner")
	o.wants(o.staff.Remove(t.Context(), o.at, sam, id(o.robin)), authz.ErrForbidden, "an administrator removes an owner")

	o.wants(o.staff.Suspend(t.Context(), o.at, o.robin, id(sam)), nil, "suspend")
	_, err := member.Authenticate(t.Context(), other, o.at, who("Sam"))
	o.wants(err, member.ErrSuspended, "suspended")
	if list := memberships(t, other, who("Sam")); len(list) != 0 {
		t.Errorf("memberships %v", list)
	}
	o.wants(o.accept("Kim", o.link("Kim")), member.ErrInvitationRevoked, "whom she had invited")

	o.wants(o.staff.Resume(t.Context(), o.at, o.robin, id(sam)), nil, "resume")
	if _, err := member.Authenticate(t.Context(), other, o.at, who("Sam")); err != nil {
		t.Errorf("resumed: %v", err)
	}
	o.wants(o.staff.Remove(t.Context(), o.at, o.robin, id(sam)), nil, "remove")
	refused(t, o.World, o.at, who("Sam"), "removed")
	o.wants(o.staff.Remove(t.Context(), o.at, o.robin, id(sam)), member.ErrNoSuchMember, "remove twice")
	if diff := cmp.Diff([]string{"member:invite", "member:suspend", "member:resume", "member:remove"}, o.actions()); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	try := map[string]func(authz.Subject) error{
		"suspend": func(s authz.Subject) error { return o.staff.Suspend(t.Context(), o.at, s, id(s)) },
		"deactivate": func(s authz.Subject) error {
			_, err := o.Database.Super().ExecContext(t.Context(), `update member set state = 'deactivated' where member_id = $1`, s.ID)
			if tenant.Violates(err, "member_owner_kept") {
				return member.ErrLastOwner
			}
			return err
		},
	}
	for name, act := range try {
		o.wants(act(o.robin), member.ErrLastOwner, name)
	}
	if got := o.actions(); len(got) != 0 {
		t.Errorf("audit log %v", got)
	}
	// A suspended owner does not count.
	sam := o.hire("Sam", authz.Owner)
	o.wants(o.staff.Suspend(t.Context(), o.at, o.robin, id(sam)), nil, "suspend the second owner")
	for name, act := range try {
		o.wants(act(o.robin), member.ErrLastOwner, name+" with a suspended one")
	}
	o.wants(o.staff.Resume(t.Context(), o.at, o.robin, id(sam)), nil, "resume")
	o.wants(try["suspend"](o.robin), nil, "suspend with a second owner")
	o.wants(try["suspend"](sam), member.ErrLastOwner, "the one who is left")
}

// All owners but one can go, whoever acts at once.
func TestTheLastOwnerStaysWhenManyGoAtOnce(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	owners := []authz.Subject{o.robin}
	for i := range 5 {
		owners = append(owners, o.hire(fmt.Sprint("Owner", i), authz.Owner))
	}
	results := make(chan error, len(owners))
	var all sync.WaitGroup
	for i, s := range owners {
		victim := owners[(i+1)%len(owners)]
		all.Go(func() {
			results <- o.staff.Suspend(t.Context(), o.at, s, id(victim))
		})
	}
	all.Wait()
	close(results)
	kept := 0
	for err := range results {
		if errors.Is(err, member.ErrLastOwner) {
			kept++
		} else if err != nil {
			t.Error(err)
		}
	}
	var left int
	err := o.Database.Super().QueryRowContext(t.Context(), `select count(*) from member where state = 'active' and 'owner' = any (roles)`).Scan(&left)
	if err != nil || left != 1 || kept != 1 {
		t.Errorf("%d owners are left, %d refusals, %v", left, kept, err)
	}
}

func TestLastSeenIsWrittenSeldom(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.hire("Sam", authz.Caseworker)
	seen := func() time.Time {
		t.Helper()
		for _, p := range o.board().People {
			if p.Name == "Sam" && p.LastSeen != nil {
				return *p.LastSeen
			}
		}
		t.Fatal("Sam was never seen")
		return time.Time{}
	}
	first := seen()
	if first.Unix()%300 != 0 {
		t.Errorf("seen at %v, not cut to five minutes", first)
	}
	age := func(by string) {
		t.Helper()
		if _, err := o.Database.Super().ExecContext(t.Context(), `update member set last_seen_at = last_seen_at - $1::interval where name = 'Sam'`, by); err != nil {
			t.Fatal(err)
		}
		if _, err := member.Authenticate(t.Context(), o.Portal, o.at, who("Sam")); err != nil {
			t.Fatal(err)
		}
	}
	age("1 second")
	if got := seen(); !got.Equal(first.Add(-time.Second)) {
		t.Errorf("written again a moment later: %v", got)
	}
	age("1 hour")
	if got := seen(); got.Before(first) {
		t.Errorf("not written after an hour: %v", got)
	}
}

func TestBoardIsForThoseWhoMayRead(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	_, err := o.staff.Board(t.Context(), o.at, o.hire("Casey", authz.Caseworker))
	o.wants(err, authz.ErrForbidden, "a caseworker")
	if b, err := o.staff.Board(t.Context(), o.Create("south"), o.robin); err != nil || len(b.People) != 0 {
		t.Errorf("another tenant's: %+v, %v", b, err)
	}
}

// The pages of the staff have everybody once, by name, also when two have one name, and
// whoever goes on after somebody who has gone begins anew.
func TestStaffPageByPage(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for i := range 2*member.PageSize + 5 {
		add(t, o.World, o.at, member.Member{Issuer: idp, Email: fmt.Sprintf("p%03d@people.example", i), Name: fmt.Sprintf("Person %d", i/3), Roles: []authz.Role{authz.Caseworker}})
	}
	var got []member.Person
	after, pages := uuid.Nil, 0
	for {
		b, next, err := o.staff.Page(t.Context(), o.at, o.robin, after)
		if err != nil || (after != uuid.Nil && (b.Groups != nil || b.Invitations != nil)) {
			t.Fatalf("page %d: %+v, %v", pages, b, err)
		}
		got, pages = append(got, b.People...), pages+1
		if after = next; next == uuid.Nil {
			break
		}
	}
	want := o.board().People
	if pages != 3 || !slices.EqualFunc(got, want, func(a, b member.Person) bool { return a.ID == b.ID }) {
		t.Errorf("%d pages with %d people, want 3 with %d", pages, len(got), len(want))
	}
	gone, _, err := o.staff.Page(t.Context(), o.at, o.robin, uuid.New())
	if err != nil || len(gone.People) != member.PageSize || gone.People[0].ID != want[0].ID {
		t.Errorf("after nobody: %d people, %v", len(gone.People), err)
	}
	_, _, err = o.staff.Page(t.Context(), o.at, o.hire("Casey", authz.Caseworker), uuid.Nil)
	o.wants(err, authz.ErrForbidden, "a caseworker")
}

func TestOldInvitationsAreDeleted(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	digest := o.invite("Sam", authz.Caseworker)
	o.Advance(member.InvitationLife + member.KeepInvitations - time.Second)
	o.wants(member.Cleanup(t.Context(), o.Jobs, o.at.ID, o.Now()), nil, "clean up")
	o.wants(o.accept("Sam", digest), member.ErrInvitationExpired, "kept")
	o.Advance(time.Second)
	o.wants(member.Cleanup(t.Context(), o.Jobs, o.at.ID, o.Now()), nil, "clean up")
	o.wants(o.accept("Sam", digest), member.ErrInvitationUnknown, "deleted")
}
