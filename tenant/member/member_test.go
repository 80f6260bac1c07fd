package member_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/tenanttest"
)

const idp = "https://login.example"

var robin = oidc.Identity{Issuer: idp, Subject: "sub-robin", Email: "robin@health.example", Name: "Robin at the provider"}

func TestFirstSignInBindsThePerson(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: "Robin@Health.Example", Name: "Robin", Roles: []authz.Role{authz.Caseworker, authz.Analyst}})

	want := authz.Subject{Kind: authz.Person, Name: "Robin", Roles: []authz.Role{authz.Caseworker, authz.Analyst}}
	var id string
	for range 2 {
		got, err := member.Authenticate(t.Context(), w.Portal, north, robin)
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(want, got, cmpopts.IgnoreFields(authz.Subject{}, "ID")) {
			t.Errorf("subject %v named %q", got, got.Name)
		}
		if id != "" && got.ID != id {
			t.Errorf("ID %s became %s", id, got.ID)
		}
		id = got.ID
	}
	heir := robin
	heir.Subject = "sub-heir-of-the-address"
	refused(t, w, north, heir, "somebody else with the same address")
	if got := memberships(t, w.Portal, heir); len(got) != 0 {
		t.Errorf("the heir of the address sees %v", got)
	}
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})

	otherIssuer, otherEmail, noEmail := robin, robin, robin
	otherIssuer.Issuer = "https://evil.example"
	otherEmail.Email = "sam@health.example"
	noEmail.Email = ""
	refused(t, w, north, otherIssuer, "the same address at another provider")
	refused(t, w, north, otherEmail, "another address")
	refused(t, w, north, noEmail, "no address")
	refused(t, w, north, oidc.Identity{}, "nobody")
	refused(t, w, south, robin, "under another tenant")
	refused(t, w, &tenant.Tenant{ID: tenant.NewID()}, robin, "under no tenant")
	for name, text := range map[string]string{"pattern": "%", "quotes": `'; drop table member; --`, "backslash": `\' or true --`} {
		odd := robin
		odd.Email = text
		refused(t, w, north, odd, name)
		if got := memberships(t, w.Portal, odd); len(got) != 0 {
			t.Errorf("%s: sees %v", name, got)
		}
	}
	// None of the refusals bound anything.
	if _, err := member.Authenticate(t.Context(), w.Portal, north, robin); err != nil {
		t.Errorf("the member herself: %v", err)
	}
}

// Roles count as of the request.
func TestChangeOfRolesIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Auditor}})
	if _, err := member.Authenticate(t.Context(), w.Portal, north, robin); err != nil {
		t.Fatal(err)
	}
	err := w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), `update member set roles = '{analyst}'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := member.Authenticate(t.Context(), w.Portal, north, robin)
	if err != nil || len(got.Roles) != 1 || got.Roles[0] != authz.Analyst {
		t.Errorf("roles = %v, %v", got.Roles, err)
	}
}

func TestAddTwice(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Analyst}})
	if _, err := member.Authenticate(t.Context(), w.Portal, north, robin); err != nil {
		t.Fatal(err)
	}
	add(t, w, north, member.Member{Issuer: idp, Email: "ROBIN@health.example", Name: "Usurper", Roles: []authz.Role{authz.Owner}})
	got, err := member.Authenticate(t.Context(), w.Portal, north, robin)
	if err != nil || got.Name != "Robin" || len(got.Roles) != 1 || got.Roles[0] != authz.Analyst {
		t.Errorf("subject %v named %q, %v: she does not stay as she was", got, got.Name, err)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	good := member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}}
	for name, c := range map[string]struct {
		change     func(*member.Member)
		constraint string
	}{
		"no address":   {func(m *member.Member) { m.Email = "robin" }, "member_email_form"},
		"long address": {func(m *member.Member) { m.Email = strings.Repeat("r", 250) + "@x" }, "member_email_form"},
		"no name":      {func(m *member.Member) { m.Name = "" }, "member_name_length"},
		"long name":    {func(m *member.Member) { m.Name = strings.Repeat("r", 101) }, "member_name_length"},
		"no role":      {func(m *member.Member) { m.Roles = nil }, "member_roles_present"},
	} {
		m := good
		c.change(&m)
		err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error { return member.Add(t.Context(), tx, m) })
		if !tenant.Violates(err, c.constraint) {
			t.Errorf("%s: %v, want a violation of %s", name, err, c.constraint)
		}
	}
}

func TestMemberships(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south, east, west := w.Create("north"), w.Create("south"), w.Create("east"), w.Create("west")
	for _, at := range []*tenant.Tenant{south, north, west} {
		add(t, w, at, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	}
	add(t, w, east, member.Member{Issuer: idp, Email: "sam@health.example", Name: "Sam", Roles: []authz.Role{authz.Owner}})
	add(t, w, east, member.Member{Issuer: "https://evil.example", Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	w.MarkErased(west)

	want := []member.Membership{
		{Tenant: north.ID, Slug: "north", Name: north.Name, Region: north.Region},
		{Tenant: south.ID, Slug: "south", Name: south.Name, Region: south.Region},
	}
	shouting := robin
	shouting.Email = strings.ToUpper(robin.Email)
	for _, who := range []oidc.Identity{robin, shouting} {
		if diff := cmp.Diff(want, memberships(t, w.Portal, who)); diff != "" {
			t.Errorf("memberships (-want +got):\n%s", diff)
		}
	}
	if got := memberships(t, w.Portal, oidc.Identity{}); len(got) != 0 {
		t.Errorf("nobody sees %v", got)
	}
}

// In a sign-in's transaction nothing of a tenant is seen but one's own memberships,
// and those cannot be changed.
func TestForLoginSeesNothingElse(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	for _, at := range []*tenant.Tenant{north, south} {
		add(t, w, at, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
		add(t, w, at, member.Member{Issuer: idp, Email: "sam@health.example", Name: "Sam", Roles: []authz.Role{authz.Owner}})
	}
	err := w.Portal.ForLogin(t.Context(), robin.Issuer, robin.Email, func(tx *tenant.Tx) error {
		for query, want := range map[string]int{
			`select count(*) from member`:                        2,
			`select count(*) from member where name <> 'Robin'`:  0,
			`select count(*) from tenant_setting`:                0,
			`select count(*) from api_key`:                       0,
			`select count(*) from audit_entry`:                   0,
			`select count(*) from signing_key`:                   0,
			`select count(*) from verification_code`:             0,
			`select count(*) from member where subject like '%'`: 0,
		} {
			var n int
			if err := tx.Get(t.Context(), &n, query); err != nil {
				return err
			}
			if n != want {
				t.Errorf("%s = %d, want %d", query, n, want)
			}
		}
		n, err := tx.Exec(t.Context(), `update member set roles = '{owner}', subject = 'mine'`)
		if n != 0 {
			t.Errorf("%d memberships changed", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The policy is the portal's alone.
	if got := memberships(t, w.Operator, robin); len(got) != 0 {
		t.Errorf("the operator sees %v", got)
	}
}

// A browser's first requests arrive together: all are the same person's.
func TestFirstSignInsOfOnePersonAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := member.Authenticate(t.Context(), w.Portal, north, robin); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Different people with the same address: the first is bound, all others are none.
func TestFirstSignInsOfManyPeopleAtOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	var bound atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			who := robin
			who.Subject = strings.Repeat("x", i+1)
			_, err := member.Authenticate(t.Context(), w.Portal, north, who)
			if err == nil {
				bound.Add(1)
			} else if !errors.Is(err, member.ErrNotMember) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := bound.Load(); n != 1 {
		t.Errorf("%d people are the one member", n)
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	authenticate := func() { _, _ = member.Authenticate(t.Context(), w.Portal, north, robin) }
	for i, want := range []int{4, 1, 1} { // find; then begin, bind and commit, once
		if got := w.Trips(authenticate); got != want {
			t.Errorf("request %d: %d round trips, want %d", i+1, got, want)
		}
	}
	if got := w.Trips(func() { memberships(t, w.Portal, robin) }); got != 3 {
		t.Errorf("memberships: %d round trips, want 3", got)
	}
}

func add(t *testing.T, w *tenanttest.World, at *tenant.Tenant, m member.Member) {
	t.Helper()
	err := w.Operator.In(t.Context(), at.ID, func(tx *tenant.Tx) error { return member.Add(t.Context(), tx, m) })
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, w *tenanttest.World, at *tenant.Tenant, who oidc.Identity, name string) {
	t.Helper()
	subject, err := member.Authenticate(t.Context(), w.Portal, at, who)
	if !errors.Is(err, member.ErrNotMember) || !cmp.Equal(authz.Subject{}, subject) {
		t.Errorf("%s: %v, %v, want ErrNotMember", name, subject, err)
	}
}

func memberships(t *testing.T, db *tenant.DB, who oidc.Identity) []member.Membership {
	t.Helper()
	list, err := member.Memberships(t.Context(), db, who)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
