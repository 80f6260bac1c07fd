package support_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/member"
	"carillon/tenant/platform"
	"carillon/tenant/support"
	"carillon/tenant/tenanttest"
)

const idp = "https://login.example"

var helper = oidc.Identity{Issuer: idp, Subject: "sub-helper", Email: "helper@platform.example"}

type fixture struct {
	*tenanttest.World
	north, south *tenant.Tenant
	desk         *support.Desk
	owner        authz.Subject
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	f := &fixture{World: w, north: w.Create("north"), south: w.Create("south")}
	f.desk = support.NewDesk(w.Portal, authz.NewPolicies(nil), w.Now)
	for _, name := range []string{"owner", "second"} {
		err := w.Operator.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
			return member.Add(t.Context(), tx, member.Member{Issuer: idp, Email: name + "@north.example", Name: name, Roles: []authz.Role{authz.Owner}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	f.owner, err = member.Authenticate(t.Context(), w.Portal, f.north, oidc.Identity{Issuer: idp, Subject: "sub-owner", Email: "owner@north.example"})
	if err != nil {
		t.Fatal(err)
	}
	operator := platform.Operator{Issuer: idp, Email: helper.Email, Name: "Helper", Role: authz.Support}
	if err := platform.Add(t.Context(), w.Operator, f.owner, operator, w.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := platform.Authenticate(t.Context(), w.Operator, helper); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) invite(t *testing.T, hours int) {
	t.Helper()
	if err := f.desk.Invite(t.Context(), f.north, f.owner, " Helper@Platform.example", authz.Auditor, hours); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) refused(t *testing.T, what string, of *tenant.Tenant, who oidc.Identity) {
	t.Helper()
	if got, err := f.desk.Enter(t.Context(), of, who); !errors.Is(err, support.ErrNotInvited) {
		t.Errorf("%s: %v, %v", what, got, err)
	}
}

func (f *fixture) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := f.Database.Super().ExecContext(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// Support enters where it was invited, as what it was invited, until the time is over; and
// both logs tell.
func TestInvitation(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.refused(t, "without an invitation", f.north, helper)
	f.invite(t, 2)
	for range 2 {
		got, err := f.desk.Enter(t.Context(), f.north, helper)
		if err != nil || len(got.Roles) != 1 || got.Roles[0] != authz.Auditor || got.Kind != authz.Person || got.Name != "Helper" {
			t.Fatalf("subject %v, %v", got, err)
		}
	}
	f.refused(t, "at another tenant", f.south, helper)
	for what, change := range map[string]func(*oidc.Identity){
		"another person":            func(i *oidc.Identity) { i.Subject = "sub-heir" },
		"another provider":          func(i *oidc.Identity) { i.Issuer = "https://evil.example" },
		"the tenant's own provider": func(i *oidc.Identity) { i.Realm = f.north.ID.String() },
		"another address":           func(i *oidc.Identity) { i.Email = "other@platform.example" },
		"nobody the platform knows": func(i *oidc.Identity) { i.Email, i.Subject = "", "" },
	} {
		who := helper
		change(&who)
		f.refused(t, what, f.north, who)
	}
	places, err := support.Places(t.Context(), f.Operator, helper, f.Now())
	if err != nil || len(places) != 1 || places[0].Slug != "north" {
		t.Errorf("places %v, %v", places, err)
	}
	want := map[string]int{"support:invite": 1, "support:enter": 1}
	got := map[string]int{}
	err = f.Portal.In(t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		entries, err := audit.List(t.Context(), tx, 100)
		for _, e := range entries {
			got[e.Action]++
		}
		return err
	})
	acts, failed := platform.Acts(t.Context(), f.Operator, "north", 0, 10)
	for action, n := range want {
		if got[action] != n {
			t.Errorf("%d entries of %s in the tenant's log, %v", got[action], action, err)
		}
	}
	if failed != nil || len(acts) != 2 || acts[0].Action != "support:enter" {
		t.Errorf("the platform's log has %+v, %v", acts, failed)
	}
	f.Advance(2 * time.Hour)
	f.refused(t, "after its time", f.north, helper)
}

func TestWhatEndsAnInvitation(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*testing.T, *fixture){
		"revoked": func(t *testing.T, f *fixture) {
			t.Helper()
			list, err := f.desk.List(t.Context(), f.north, f.owner)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			if err := f.desk.Revoke(t.Context(), f.south, f.owner, list[0].ID); !errors.Is(err, support.ErrNoGrant) {
				t.Errorf("revoked at another tenant: %v", err)
			}
			if err := f.desk.Revoke(t.Context(), f.north, f.owner, list[0].ID); err != nil {
				t.Fatal(err)
			}
			if err := f.desk.Revoke(t.Context(), f.north, f.owner, list[0].ID); !errors.Is(err, support.ErrNoGrant) {
				t.Errorf("revoked twice: %v", err)
			}
		},
		"removed from the platform": func(t *testing.T, f *fixture) {
			t.Helper()
			if err := platform.Remove(t.Context(), f.Operator, f.owner, idp, helper.Email, f.Now()); err != nil {
				t.Fatal(err)
			}
		},
		"its maker is suspended": func(t *testing.T, f *fixture) {
			t.Helper()
			f.exec(t, `update member set state = 'suspended' where email = 'owner@north.example'`)
		},
		"its maker may less": func(t *testing.T, f *fixture) {
			t.Helper()
			f.exec(t, `update member set roles = '{caseworker}' where email = 'owner@north.example'`)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.invite(t, 24)
			if _, err := f.desk.Enter(t.Context(), f.north, helper); err != nil {
				t.Fatal(err)
			}
			end(t, f)
			f.refused(t, what, f.north, helper)
		})
	}
}

func TestWhatCannotBeInvited(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	caseworker := authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Roles: []authz.Role{authz.Caseworker}}
	for name, c := range map[string]struct {
		by    authz.Subject
		email string
		role  authz.Role
		hours int
		want  error
	}{
		"no address":           {f.owner, "helper", authz.Auditor, 1, support.ErrEmail},
		"a role that writes":   {f.owner, helper.Email, authz.Caseworker, 1, support.ErrRole},
		"an owner":             {f.owner, helper.Email, authz.Owner, 1, support.ErrRole},
		"no time":              {f.owner, helper.Email, authz.Auditor, 0, support.ErrTime},
		"more than a day":      {f.owner, helper.Email, authz.Auditor, 25, support.ErrTime},
		"by who may not":       {caseworker, helper.Email, authz.Auditor, 1, authz.ErrForbidden},
		"by support, for more": {authz.Subject{Kind: authz.Person, ID: uuid.NewString(), Roles: []authz.Role{authz.Auditor}}, helper.Email, authz.Auditor, 1, authz.ErrForbidden},
	} {
		if err := f.desk.Invite(t.Context(), f.north, c.by, c.email, c.role, c.hours); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Who may invite only because her identity provider, or a group, says so is told that
// nobody could come in.
func TestBorrowedRolesDoNotInvite(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.exec(t, `update member set roles = '{analyst}' where email = 'owner@north.example'`)
	if err := f.desk.Invite(t.Context(), f.north, f.owner, "helper@platform.example", authz.Auditor, 1); !errors.Is(err, support.ErrBorrowed) {
		t.Errorf("Invite = %v, want ErrBorrowed", err)
	}
	list, err := f.desk.List(t.Context(), f.north, f.owner)
	if err != nil || len(list) != 0 {
		t.Errorf("invitations: %v, %v", list, err)
	}
}
