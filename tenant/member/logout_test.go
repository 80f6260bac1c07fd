package member_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/tenanttest"
)

// What a tenant's own provider says opens that tenant alone: two tenants may well have
// the same provider, and the same person.
func TestOneTenantsProviderIsNobodyElses(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	for _, at := range []*tenant.Tenant{north, south} {
		add(t, w, at, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Owner}})
	}
	atNorth := robin
	atNorth.Realm, atNorth.Provider = north.ID.String(), uuid.NewString()
	if _, err := member.Authenticate(t.Context(), w.Portal, north, atNorth); err != nil {
		t.Errorf("at home: %v", err)
	}
	refused(t, w, south, atNorth, "north's word at south")
	nowhere := atNorth
	nowhere.Realm = "north"
	refused(t, w, north, nowhere, "a realm that is none")

	want := []member.Membership{{Tenant: north.ID, Slug: "north", Name: north.Name, Region: north.Region}}
	if diff := cmp.Diff(want, memberships(t, w.Portal, atNorth)); diff != "" {
		t.Errorf("memberships (-want +got):\n%s", diff)
	}
	var bound int
	if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from member where subject is not null`).Scan(&bound); err != nil || bound != 1 {
		t.Errorf("%d rows are bound (%v), want north's", bound, err)
	}
}

// Roles that follow from claims are added, once each, and never that of an owner.
func TestRolesFromClaims(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	add(t, w, north, member.Member{Issuer: idp, Email: robin.Email, Name: "Robin", Roles: []authz.Role{authz.Analyst}})
	who := robin
	who.Roles = []string{"owner", "caseworker", "analyst"}
	got, err := member.Authenticate(t.Context(), w.Portal, north, who)
	if diff := cmp.Diff([]authz.Role{authz.Analyst, authz.Caseworker}, got.Roles); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	who.Email = "nobody@health.example" // whom no list of staff knows: claims make no member
	refused(t, w, north, who, "roles without membership")
}

func packed(t *testing.T, o member.Owner, data string) []byte {
	t.Helper()
	b, err := member.Pack(o, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(member.Unpack(b)); got != data {
		t.Errorf("unpacked %q, want %q", got, data)
	}
	return b
}

func TestEnd(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s, elsewhere := member.NewSessions(w.Portal, w.Now), member.NewSessions(w.Open("carillon_portal"), w.Now)
	ours, theirs := uuid.NewString(), uuid.NewString()
	owners := map[string]member.Owner{
		"first":    {Provider: ours, Subject: "robin", SID: "1"},
		"second":   {Provider: ours, Subject: "robin", SID: "2"},
		"unnamed":  {Provider: ours, Subject: "robin"},
		"sam":      {Provider: ours, Subject: "sam", SID: "3"},
		"theirs":   {Provider: theirs, Subject: "robin", SID: "1"},
		"platform": {Subject: "robin", SID: "1"},
		"nobody":   {},
	}
	for name, c := range map[string]struct {
		provider string
		logout   oidc.Logout
		want     []string
	}{
		"a person":               {ours, oidc.Logout{Subject: "robin"}, []string{"first", "second", "unnamed"}},
		"a session":              {ours, oidc.Logout{SID: "1"}, []string{"first"}},
		"a person's session":     {ours, oidc.Logout{Subject: "robin", SID: "2"}, []string{"second", "unnamed"}},
		"another's session":      {ours, oidc.Logout{Subject: "sam", SID: "1"}, nil},
		"at another provider":    {theirs, oidc.Logout{Subject: "robin"}, []string{"theirs"}},
		"at the platform's":      {"", oidc.Logout{Subject: "robin", SID: "1"}, []string{"platform"}},
		"whom nobody knows":      {ours, oidc.Logout{Subject: "nobody"}, nil},
		"neither person nor sid": {ours, oidc.Logout{}, nil},
	} {
		for id, o := range owners {
			commit(t, s, name+id, packed(t, o, id), w.Now().Add(time.Hour))
		}
		c.logout.ID, c.logout.Expires = name, w.Now().Add(time.Hour)
		if err := s.End(t.Context(), c.provider, c.logout); err != nil {
			t.Fatal(err)
		}
		for id := range owners {
			_, found, err := elsewhere.FindCtx(t.Context(), name+id)
			if err != nil || found == slices.Contains(c.want, id) {
				t.Errorf("%s: %s: found %v, %v", name, id, found, err)
			}
			if err := s.DeleteCtx(t.Context(), name+id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A token ends sessions once, also when it comes twice at the same moment, and what was
// begun since is left alone.
func TestLogoutTokensServeOnce(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	owner := member.Owner{Subject: "robin"}
	said := oidc.Logout{Subject: "robin", ID: "token", Expires: w.Now().Add(time.Hour)}
	var taken, spent atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch err := s.End(t.Context(), "", said); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, member.ErrSpent):
				spent.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 || spent.Load() != 7 {
		t.Errorf("taken %d times, refused %d times", taken.Load(), spent.Load())
	}
	commit(t, s, "later", packed(t, owner, "later"), w.Now().Add(time.Hour))
	if err := s.End(t.Context(), "", said); !errors.Is(err, member.ErrSpent) {
		t.Errorf("again: %v, want ErrSpent", err)
	}
	holds(t, s, "later", string(packed(t, owner, "later")))
	if err := s.End(t.Context(), uuid.NewString(), said); err != nil {
		t.Errorf("another provider's token of the same name: %v", err)
	}

	w.Advance(time.Hour)
	if err := member.DeleteExpired(t.Context(), w.Jobs, w.Now()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from spent_logout`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d tokens are remembered (%v)", left, err)
	}
}

// A request that was under way when its session was ended does not bring it back.
func TestEndedSessionsStayEnded(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	provider := uuid.New()
	owner := member.Owner{Provider: provider.String(), Subject: "robin"}
	commit(t, s, "digest", packed(t, owner, "data"), w.Now().Add(time.Hour))
	err := w.Portal.In(t.Context(), w.Create("north").ID, func(tx *tenant.Tx) error {
		return member.EndAt(context.Background(), tx, provider, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, "digest", packed(t, owner, "more"), w.Now().Add(time.Hour))
	lacks(t, s, "digest")
}
