package member_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
)

const ownIssuer = "https://idp.health.example"

// provider gives an authority one of its own, in some state.
func (o *office) provider(at *tenant.Tenant, issuer, state string) uuid.UUID {
	o.t.Helper()
	id := uuid.New()
	o.super(`insert into identity_provider (tenant_id, provider_id, name, issuer, client_id, proof, scopes, email_domains, trust_email,
	                                        role_claim, roles, acr, amr, state, changed_at)
	         values ($1, $2, gen_random_uuid()::text, $3, 'c', 'none', '{}', '{}', false, '', '[]', '{}', '{}', $4, now())`, at.ID, id, issuer, state)
	return id
}

func (o *office) super(query string, args ...any) {
	o.t.Helper()
	if _, err := o.Database.Super().ExecContext(o.t.Context(), query, args...); err != nil {
		o.t.Fatal(err)
	}
}

// atWork is a person as a provider of the authority names her.
func (o *office) atWork(name string, provider uuid.UUID) oidc.Identity {
	w := who(name)
	w.Issuer, w.Subject, w.Realm, w.Provider = ownIssuer, "work-"+name, o.at.ID.String(), provider.String()
	return w
}

// A member goes over to her authority's provider and stays who she is; what is open under the
// old account is shut. She can be brought back, and go back by herself.
func TestLink(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := o.provider(o.at, ownIssuer, "active")
	kim := o.hire("Kim", authz.Caseworker, authz.Analyst)
	south := o.Create("south")
	add(t, o.World, south, member.Member{Issuer: idp, Email: who("Kim").Email, Name: "Kim", Roles: []authz.Role{authz.Analyst}})
	work := o.atWork("Kim", p)

	if err := o.staff.Link(t.Context(), o.at, who("Kim"), work, "REQ"); err != nil {
		t.Fatal(err)
	}
	refused(t, o.World, o.at, who("Kim"), "the account before")
	if got := memberships(t, o.Portal, who("Kim")); len(got) != 1 {
		t.Errorf("with the account before she sees %v, want the other authority alone", got)
	}
	got, err := member.Authenticate(t.Context(), o.Portal, o.at, work)
	if diff := cmp.Diff(kim, got); err != nil || diff != "" {
		t.Errorf("at work: %v (-want +got):\n%s", err, diff)
	}
	other := work
	other.Subject = "somebody-else"
	refused(t, o.World, o.at, other, "another account with the address")
	if err := o.staff.Link(t.Context(), o.at, who("Kim"), work, "REQ"); !errors.Is(err, member.ErrNotMember) {
		t.Errorf("a second time: %v, want ErrNotMember", err)
	}
	if err := o.staff.Link(t.Context(), o.at, work, work, "REQ"); !errors.Is(err, member.ErrLinkSame) {
		t.Errorf("to what it is: %v, want ErrLinkSame", err)
	}

	if err := o.staff.BringBack(t.Context(), o.at, o.robin, id(kim)); err != nil {
		t.Fatal(err)
	}
	refused(t, o.World, o.at, work, "the account at work, when she was brought back")
	heir := who("Kim")
	heir.Subject = "heir-of-the-address"
	refused(t, o.World, o.at, heir, "an heir of the address")
	if got, err := member.Authenticate(t.Context(), o.Portal, o.at, who("Kim")); err != nil || got.ID != kim.ID {
		t.Errorf("brought back: %v %v", got, err)
	}
	if err := o.staff.BringBack(t.Context(), o.at, o.robin, id(kim)); !errors.Is(err, member.ErrNoPlatformLogin) {
		t.Errorf("brought back again: %v, want ErrNoPlatformLogin", err)
	}

	for _, step := range [][2]oidc.Identity{{who("Kim"), work}, {work, who("Kim")}} {
		if err := o.staff.Link(t.Context(), o.at, step[0], step[1], "REQ"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := member.Authenticate(t.Context(), o.Portal, o.at, who("Kim")); err != nil || got.ID != kim.ID {
		t.Errorf("back by herself: %v %v", got, err)
	}
	if i := slices.IndexFunc(o.board().People, func(p member.Person) bool { return p.Name == "Kim" }); o.board().People[i].Moved {
		t.Error("she counts as moved")
	}
	want := []string{"member:link", "member:bring-back", "member:link", "member:link"}
	if got := o.actions(); !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("audit %q, want %q at its end", got, want)
	}
}

// Who is refused stays as she was, and nothing is in the audit log.
func TestLinkRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	active, draft := o.provider(o.at, ownIssuer, "active"), o.provider(o.at, "https://draft.example", "draft")
	south := o.Create("south")
	atSouth := o.provider(south, ownIssuer, "active")
	o.hire("Kim", authz.Caseworker)
	sam := o.hire("Sam", authz.Caseworker)
	twin := o.hire("Twin", authz.Caseworker)
	add(t, o.World, o.at, member.Member{Issuer: ownIssuer, Email: who("Twin").Email, Name: "Twin at work", Roles: []authz.Role{authz.Analyst}})
	if err := o.staff.Suspend(t.Context(), o.at, o.robin, id(sam)); err != nil {
		t.Fatal(err)
	}
	before := o.actions()
	work := func(name string, change ...func(*oidc.Identity)) oidc.Identity {
		w := o.atWork(name, active)
		for _, c := range change {
			c(&w)
		}
		return w
	}
	for name, c := range map[string]struct {
		from, to oidc.Identity
		want     error
	}{
		"another address":              {who("Kim"), work("Robin"), member.ErrLinkOther},
		"a provider of another":        {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Realm, w.Provider = south.ID.String(), atSouth.String() }), member.ErrLinkOther},
		"another's under our name":     {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Provider = atSouth.String() }), member.ErrLinkOther},
		"a draft":                      {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Provider, w.Issuer = draft.String(), "https://draft.example" }), member.ErrLinkOther},
		"another issuer than it has":   {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Issuer = "https://evil.example" }), member.ErrLinkOther},
		"no provider":                  {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Provider = "x" }), member.ErrLinkOther},
		"no subject":                   {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Subject = "" }), member.ErrLinkOther},
		"a platform that is none":      {who("Kim"), work("Kim", func(w *oidc.Identity) { w.Realm, w.Provider = "", "" }), member.ErrLinkOther},
		"other account, same platform": {who("Kim"), oidc.Identity{Issuer: idp, Subject: "second", Email: who("Robin").Email}, member.ErrLinkOther},
		"two with one address":         {who("Twin"), work("Twin"), member.ErrLinkTwice},
		"suspended":                    {who("Sam"), work("Sam"), member.ErrSuspended},
		"a stranger":                   {who("Stranger"), work("Stranger"), member.ErrNotMember},
		"not the bound account":        {oidc.Identity{Issuer: idp, Subject: "heir", Email: who("Kim").Email}, work("Kim"), member.ErrNotMember},
		"from another's provider":      {oidc.Identity{Issuer: idp, Subject: who("Kim").Subject, Email: who("Kim").Email, Realm: south.ID.String(), Provider: atSouth.String()}, work("Kim"), member.ErrNotMember},
		"the only owner":               {who("Robin"), work("Robin"), member.ErrOutsideOwner},
	} {
		if err := o.staff.Link(t.Context(), o.at, c.from, c.to, "REQ"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := o.staff.Link(t.Context(), south, who("Kim"), work("Kim"), "REQ"); !errors.Is(err, member.ErrLinkOther) {
		t.Errorf("at another authority: %v, want ErrLinkOther", err)
	}
	// An account that is somebody's cannot become another's, whatever address it has got.
	o.super(`update member set subject = 'work-Kim' where tenant_id = $1 and name = 'Twin at work'`, o.at.ID)
	if err := o.staff.Link(t.Context(), o.at, who("Kim"), work("Kim"), "REQ"); !errors.Is(err, member.ErrLinkTwice) {
		t.Errorf("an account of two: %v, want ErrLinkTwice", err)
	}
	for _, name := range []string{"Kim", "Robin", "Twin"} {
		if _, err := member.Authenticate(t.Context(), o.Portal, o.at, who(name)); err != nil {
			t.Errorf("%s with her account as before: %v", name, err)
		}
	}
	if after := o.actions(); !slices.Equal(before, after) {
		t.Errorf("audit has %q more", after[len(before):])
	}
	administrator := o.hire("Ada", authz.Administrator)
	for name, c := range map[string]struct {
		by   authz.Subject
		whom uuid.UUID
		want error
	}{
		"by a caseworker":     {o.hire("Cara", authz.Caseworker), id(twin), authz.ErrForbidden},
		"an owner":            {administrator, id(o.robin), authz.ErrForbidden},
		"nobody":              {o.robin, uuid.New(), member.ErrNoSuchMember},
		"who never went over": {administrator, id(twin), member.ErrNoPlatformLogin},
	} {
		if err := o.staff.BringBack(t.Context(), o.at, c.by, c.whom); !errors.Is(err, c.want) {
			t.Errorf("bring back %s: %v, want %v", name, err, c.want)
		}
	}
}

// Of many owners who go over at the same time one stays who needs no provider of the
// authority's own, and nobody can take her away afterwards.
func TestAnOwnerStaysOutside(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := o.provider(o.at, ownIssuer, "active")
	const owners = 6
	for i := range owners - 1 {
		o.hire(fmt.Sprint("Owner", i), authz.Owner)
	}
	names := []string{"Robin"}
	for i := range owners - 1 {
		names = append(names, fmt.Sprint("Owner", i))
	}
	errs := make([]error, owners)
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() { errs[i] = o.staff.Link(t.Context(), o.at, who(name), o.atWork(name, p), "REQ") })
	}
	wait.Wait()
	outside := -1
	for i, err := range errs {
		switch {
		case errors.Is(err, member.ErrOutsideOwner) && outside < 0:
			outside = i
		case err != nil:
			t.Errorf("%s: %v", names[i], err)
		}
	}
	if outside < 0 {
		t.Fatal("nobody was refused")
	}
	inside := o.atWork(names[(outside+1)%owners], p)
	by, err := member.Authenticate(t.Context(), o.Portal, o.at, inside)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := member.Authenticate(t.Context(), o.Portal, o.at, who(names[outside]))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.staff.Suspend(t.Context(), o.at, by, id(stays)); !errors.Is(err, member.ErrOutsideOwner) {
		t.Errorf("suspend: %v, want ErrOutsideOwner", err)
	}
	// Without an active provider the others are as good.
	o.super(`update identity_provider set state = 'off' where tenant_id = $1`, o.at.ID)
	if err := o.staff.Suspend(t.Context(), o.at, by, id(stays)); err != nil {
		t.Errorf("with the provider off: %v", err)
	}
}
