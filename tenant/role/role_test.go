package role_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

func person(roles ...authz.Role) authz.Subject {
	return authz.Subject{Kind: authz.Person, ID: "77aa", Name: "Robin", Roles: roles, Because: "the test says so"}
}

var owner = person(authz.Owner)

type fixture struct {
	*role.Staff
	t     *testing.T
	world *tenanttest.World
	north *tenant.Tenant
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := tenanttest.New(t)
	return &fixture{Staff: role.NewStaff(w.Portal, w.Now), t: t, world: w, north: w.Create("north")}
}

// find is the role as it is.
func (f *fixture) find(name authz.Role) role.Role {
	f.t.Helper()
	b, err := f.Board(f.t.Context(), f.north, owner)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, r := range b.Roles {
		if r.Name == name {
			return r
		}
	}
	f.t.Fatalf("no role %s", name)
	return role.Role{}
}

func (f *fixture) save(r role.Role) {
	f.t.Helper()
	if err := f.Save(f.t.Context(), f.north, owner, r); err != nil {
		f.t.Fatalf("save %s: %v", r.Name, err)
	}
}

func (f *fixture) hire(name string, roles ...authz.Role) {
	f.t.Helper()
	err := f.world.Operator.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) error {
		return member.Add(f.t.Context(), tx, member.Member{Issuer: "https://login.example", Email: strings.ToLower(name) + "@north.example", Name: name, Roles: roles})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) log() []audit.Entry {
	f.t.Helper()
	var list []audit.Entry
	err := f.world.Portal.In(f.t.Context(), f.north.ID, func(tx *tenant.Tx) (err error) {
		list, err = audit.Find(f.t.Context(), tx, audit.Filter{Action: "role:"}, 10)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

var tracer = role.Role{
	Name: "tracer", Description: "Calls people",
	Allowed: []authz.Action{authz.StatsRead, authz.CodeIssue, authz.CodeIssue}, Denied: []authz.Action{authz.CodeBulkIssue},
}

func TestRolesAreMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	made := f.find("tracer")
	want := role.Role{Name: "tracer", Description: "Calls people", Allowed: []authz.Action{authz.CodeIssue, authz.StatsRead}, Denied: []authz.Action{authz.CodeBulkIssue}, Version: made.Version}
	if diff := cmp.Diff(want, made); diff != "" || made.Version == uuid.Nil {
		t.Error(diff)
	}
	changed := made
	changed.Allowed, changed.Denied = []authz.Action{authz.CodeIssue}, nil
	f.save(changed)
	if got := f.find("tracer"); got.Version == made.Version || len(got.Allowed) != 1 || len(got.Denied) != 0 {
		t.Errorf("changed to %+v", got)
	}
	f.save(f.find("tracer")) // nothing is different, so that nothing happens
	if err := f.Delete(t.Context(), f.north, owner, "tracer", f.find("tracer").Version); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Board(t.Context(), f.north, owner); err != nil || len(b.Roles) != len(authz.TenantRoles()) {
		t.Errorf("roles %v, %v", b.Roles, err)
	}
	var got []string
	for _, e := range f.log() {
		if e.ActorID != "77aa" || e.Because != "the test says so" {
			t.Errorf("entry by %s because %s", e.ActorID, e.Because)
		}
		got = append(got, e.Action+" "+e.Target+" "+string(e.Detail))
	}
	if diff := cmp.Diff([]string{
		`role:delete tracer {"code:issue": "allow -> nothing", "description": ""}`,
		`role:change tracer {"stats:read": "allow -> nothing", "code:bulk-issue": "deny -> nothing"}`,
		`role:create tracer {"code:issue": "nothing -> allow", "stats:read": "nothing -> allow", "description": "Calls people", "code:bulk-issue": "nothing -> deny"}`,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBuiltInRolesAreWidenedNarrowedAndRestored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.find(authz.Caseworker)
	if !r.BuiltIn || r.Version != uuid.Nil {
		t.Fatalf("at first: %+v", r)
	}
	r.Allowed, r.Denied = []authz.Action{authz.StatsRead}, []authz.Action{authz.CodeBulkIssue}
	f.save(r)
	b, err := f.Board(t.Context(), f.north, owner)
	if err != nil || !b.Policy.Allow(person(authz.Caseworker), authz.StatsRead) || b.Policy.Allow(person(authz.Caseworker), authz.CodeBulkIssue) {
		t.Errorf("the policy does not follow (%v)", err)
	}
	r = f.find(authz.Caseworker)
	r.Allowed, r.Denied = nil, nil
	f.save(r)
	if r = f.find(authz.Caseworker); r.Version != uuid.Nil {
		t.Errorf("restored: %+v", r)
	}
	if err := f.Delete(t.Context(), f.north, owner, authz.Caseworker, r.Version); !errors.Is(err, role.ErrUnknown) {
		t.Errorf("delete a built-in role: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	stored := f.find("tracer")
	with := func(change func(*role.Role)) role.Role {
		r := role.Role{Name: "new-role", Allowed: []authz.Action{authz.CodeIssue}}
		change(&r)
		return r
	}
	stale := stored
	stale.Version = uuid.New()
	for name, c := range map[string]struct {
		by   authz.Subject
		r    role.Role
		want error
	}{
		"by whom the rules do not allow": {person(authz.Administrator), with(func(*role.Role) {}), authz.ErrForbidden},
		"by an API key":                  {authz.Subject{Kind: authz.APIKey, Roles: []authz.Role{authz.KeyAdmin}}, with(func(*role.Role) {}), authz.ErrForbidden},
		"of the owner":                   {owner, with(func(r *role.Role) { r.Name, r.BuiltIn = authz.Owner, true }), role.ErrUnknown},
		"of the platform":                {owner, with(func(r *role.Role) { r.Name = authz.Operator }), role.ErrName},
		"of API keys":                    {owner, with(func(r *role.Role) { r.Name = authz.KeyAdmin }), role.ErrName},
		"no name":                        {owner, with(func(r *role.Role) { r.Name = "" }), role.ErrName},
		"capitals":                       {owner, with(func(r *role.Role) { r.Name = "Tracer" }), role.ErrName},
		"look-alike letters":             {owner, with(func(r *role.Role) { r.Name = "оwner" }), role.ErrName},
		"a new one called as built in":   {owner, with(func(r *role.Role) { r.Name = authz.Analyst }), role.ErrTaken},
		"a new one called as another":    {owner, with(func(r *role.Role) { r.Name = "tracer" }), role.ErrTaken},
		"one that is gone":               {owner, with(func(r *role.Role) { r.Version = uuid.New() }), role.ErrUnknown},
		"one that was changed":           {owner, stale, role.ErrChanged},
		"no rules":                       {owner, with(func(r *role.Role) { r.Allowed = nil }), role.ErrEmpty},
		"an action of phones":            {owner, with(func(r *role.Role) { r.Allowed = []authz.Action{authz.DeviceVerify} }), authz.ErrRule},
		"an unknown action":              {owner, with(func(r *role.Role) { r.Denied = []authz.Action{"code:forge"} }), authz.ErrRule},
		"allowed and denied":             {owner, with(func(r *role.Role) { r.Denied = []authz.Action{authz.CodeIssue} }), authz.ErrRule},
		"a description turned around":    {owner, with(func(r *role.Role) { r.Description = "a\u202eb" }), role.ErrDescription},
		"a long description":             {owner, with(func(r *role.Role) { r.Description = strings.Repeat("é", 201) }), role.ErrDescription},
		"a description of two lines":     {owner, with(func(r *role.Role) { r.Description = "a\nb" }), role.ErrDescription},
		"a description in no encoding":   {owner, with(func(r *role.Role) { r.Description = "\xff" }), role.ErrDescription},
	} {
		if err := f.Save(t.Context(), f.north, c.by, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if diff := cmp.Diff(stored, f.find("tracer")); diff != "" || len(f.log()) != 1 {
		t.Errorf("a refused change did something: %s, %d entries", diff, len(f.log()))
	}
}

// Each can be given as a whole or not at all: the editor holds what she gives.
func TestNobodyGivesWhatSheLacks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(role.Role{Name: "editor", Allowed: []authz.Action{authz.RoleWrite, authz.CodeIssue}, Denied: []authz.Action{authz.CodeExpire}})
	f.save(role.Role{Name: "muzzle", Denied: []authz.Action{authz.CodeIssue, authz.StatsRead}})
	editor := person("editor", authz.Caseworker) // she may read codes, but not end them

	for name, c := range map[string]struct {
		of     authz.Role
		change func(*role.Role)
		want   error
	}{
		"an action that she has":               {authz.Analyst, func(r *role.Role) { r.Allowed = []authz.Action{authz.CodeRead} }, nil},
		"one that she lacks":                   {authz.Analyst, func(r *role.Role) { r.Allowed = []authz.Action{authz.AuditRead} }, role.ErrLacking},
		"one that is denied to her":            {authz.Analyst, func(r *role.Role) { r.Allowed = []authz.Action{authz.CodeExpire} }, role.ErrLacking},
		"to a role that she has":               {"editor", func(r *role.Role) { r.Allowed = append(r.Allowed, authz.KeyApproveRotation) }, role.ErrLacking},
		"by ending a denial of what she has":   {"muzzle", func(r *role.Role) { r.Denied = []authz.Action{authz.StatsRead} }, nil},
		"by ending a denial of what she lacks": {"muzzle", func(r *role.Role) { r.Denied = []authz.Action{authz.CodeIssue} }, role.ErrLacking},
		"by ending her own denial":             {"editor", func(r *role.Role) { r.Denied = nil }, role.ErrLacking},
		"a denial":                             {authz.Administrator, func(r *role.Role) { r.Denied = []authz.Action{authz.KeyRead} }, nil},
	} {
		r := f.find(c.of)
		c.change(&r)
		p, err := f.Plan(t.Context(), f.north, editor, r)
		if err != nil || (len(p.Lacking) > 0) != (c.want != nil) {
			t.Errorf("%s: the plan lacks %v, %v", name, p.Lacking, err)
		}
		if err := f.Save(t.Context(), f.north, editor, r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if r := f.find(c.of); c.want == nil { // as it was, for the next
			r.Allowed, r.Denied = nil, nil
			if c.of == "muzzle" {
				r.Denied = []authz.Action{authz.CodeIssue, authz.StatsRead}
			}
			f.save(r)
		}
	}
	if err := f.Delete(t.Context(), f.north, editor, "muzzle", f.find("muzzle").Version); !errors.Is(err, role.ErrLacking) {
		t.Errorf("delete a role that denies what she lacks: %v", err)
	}
}

func TestAPlanTellsForWhomWhatChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	f.hire("Ada", "tracer")
	f.hire("Bea", "tracer", authz.Analyst) // may read statistics anyway
	f.hire("Cyd", authz.Caseworker)        // has another role
	f.hire("Dot", authz.Owner, "tracer")   // may do everything anyway
	r := f.find("tracer")
	r.Allowed, r.Denied = []authz.Action{authz.CodeIssue, authz.CodeExpire}, []authz.Action{authz.CodeRead}
	p, err := f.Plan(t.Context(), f.north, owner, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]role.Difference{
		{authz.CodeBulkIssue, authz.Denied, ""},
		{authz.CodeRead, "", authz.Denied},
		{authz.CodeExpire, "", authz.Allowed},
		{authz.StatsRead, authz.Allowed, ""},
	}, p.Differences); diff != "" {
		t.Error(diff)
	}
	type line struct {
		Name         string
		Gains, Loses []authz.Action
	}
	var got []line
	for _, e := range p.Effects {
		got = append(got, line{e.Member.Name, e.Gains, e.Loses})
	}
	if diff := cmp.Diff([]line{
		{"Ada", []authz.Action{authz.CodeExpire}, []authz.Action{authz.StatsRead}},
		{"Bea", []authz.Action{authz.CodeExpire}, nil},
	}, got); diff != "" {
		t.Error(diff)
	}
	if len(p.Holders) != 3 || len(p.Lacking) != 0 {
		t.Errorf("holders %v, lacking %v", p.Holders, p.Lacking)
	}
	if got := f.find("tracer"); got.Version != r.Version {
		t.Error("planning has changed the role")
	}

	if p, err := f.PlanDeletion(t.Context(), f.north, owner, "tracer"); err != nil || len(p.Holders) != 3 {
		t.Errorf("plan of a deletion: %v, %v", p.Holders, err)
	}
	if err := f.Delete(t.Context(), f.north, owner, "tracer", r.Version); !errors.Is(err, role.ErrHeld) {
		t.Errorf("delete what people have: %v", err)
	}
}

// A role may come from groups, and may be promised to people who are not there yet.
func TestRolesComeFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	f.hire("Ada", authz.Analyst)
	for _, query := range []string{
		`insert into staff_group (tenant_id, group_id, name, role) values ($1, '5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a', 'Tracers', 'tracer')`,
		`insert into staff_group_member (tenant_id, group_id, member_id) select $1, '5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a', member_id from member where tenant_id = $1`,
		`insert into staff_invitation (tenant_id, invitation_id, digest, email, name, roles, invited_by, invited_at, expires_at)
		 values ($1, gen_random_uuid(), sha256('t'), 'bea@north.example', 'Bea', '{caseworker,tracer}', 'x', now(), now() + interval '1 day')`,
		`insert into identity_provider (tenant_id, provider_id, name, issuer, client_id, proof, scopes, email_domains, trust_email, role_claim, roles, acr, amr, changed_at)
		 values ($1, gen_random_uuid(), 'Login', 'https://login.example', 'c', 'none', '{openid}', '{}', false, 'groups', '[{"value": "t", "role": "tracer"}]', '{}', '{}', now())`,
	} {
		if _, err := f.world.Database.Super().ExecContext(t.Context(), query, f.north.ID.String()); err != nil {
			t.Fatal(err)
		}
	}
	r := f.find("tracer")
	r.Allowed = []authz.Action{authz.CodeIssue, authz.AuditRead}
	p, err := f.Plan(t.Context(), f.north, owner, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Effects) != 1 || p.Effects[0].Member.Name != "Ada" {
		t.Errorf("effects %v", p.Effects)
	}
	want := []role.Use{{Kind: role.Group, Name: "Tracers", Role: "tracer"}, {Kind: role.Invitation, Name: "Bea", Role: "tracer"}, {Kind: role.Provider, Name: "Login", Role: "tracer"}}
	if diff := cmp.Diff(want, p.Uses); diff != "" {
		t.Error(diff)
	}
	if _, err := f.world.Database.Super().ExecContext(t.Context(), `delete from staff_group_member where tenant_id = $1`, f.north.ID.String()); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), f.north, owner, "tracer", r.Version); !errors.Is(err, role.ErrHeld) {
		t.Errorf("delete what is promised: %v", err)
	}
}

func TestOtherAuthoritiesRolesAreOutOfReach(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	r := f.find("tracer")
	south := f.world.Create("south")
	if b, err := f.Board(t.Context(), south, owner); err != nil || len(b.Roles) != len(authz.TenantRoles()) {
		t.Errorf("south has %v, %v", b.Roles, err)
	}
	if err := f.Save(t.Context(), south, owner, r); !errors.Is(err, role.ErrUnknown) {
		t.Errorf("save for south: %v", err)
	}
	if err := f.Delete(t.Context(), south, owner, "tracer", r.Version); !errors.Is(err, role.ErrUnknown) {
		t.Errorf("delete for south: %v", err)
	}
	if _, err := f.PlanDeletion(t.Context(), south, owner, "tracer"); !errors.Is(err, role.ErrUnknown) {
		t.Errorf("plan for south: %v", err)
	}
	f.save(role.Role{Name: "tracer-2", Allowed: []authz.Action{authz.CodeIssue}})
	if err := role.NewPolicies(f.world.Device).Check(t.Context(), south.ID.String(), person("tracer-2"), authz.CodeIssue); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a role of north in south: %v", err)
	}
}

// Of many who change the same version one succeeds, and no change is lost.
func TestOnlyOneOfManyChangesAVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.save(tracer)
	r := f.find("tracer")
	errs := make(chan error)
	const editors = 8
	for i := range editors {
		go func() {
			mine := r
			mine.Description = strings.Repeat("x", i+1)
			errs <- f.Save(t.Context(), f.north, owner, mine)
		}()
	}
	won := 0
	for range editors {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, role.ErrChanged):
			t.Error(err)
		}
	}
	if won != 1 || len(f.log()) != 2 {
		t.Errorf("%d have won, with %d entries", won, len(f.log()))
	}
	// Deleted and made again, it is another role, although it says the same.
	if err := f.Delete(t.Context(), f.north, owner, "tracer", f.find("tracer").Version); err != nil {
		t.Fatal(err)
	}
	f.save(tracer)
	if err := f.Save(t.Context(), f.north, owner, r); !errors.Is(err, role.ErrChanged) {
		t.Errorf("save what was deleted and made again: %v", err)
	}
}

func TestRolesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 50 {
		f.save(role.Role{Name: authz.Role("role-" + string(rune('a'+i/26)) + string(rune('a'+i%26))), Allowed: []authz.Action{authz.CodeIssue}})
	}
	if err := f.Save(t.Context(), f.north, owner, tracer); !errors.Is(err, role.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if b, err := f.Board(t.Context(), f.north, owner); err != nil || len(b.Roles) != 56 {
		t.Errorf("%d roles, %v", len(b.Roles), err)
	}
}

func TestTheCastIsStaffAndKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hire("Ada", authz.Caseworker)
	f.world.Key(f.north, client.Admin)
	c, err := f.Cast(t.Context(), f.north, person(authz.Auditor))
	if err != nil || len(c.Subjects) != 2 {
		t.Fatalf("%v, %v", c.Subjects, err)
	}
	if s := c.Subjects[0]; s.Name != "Ada" || !c.Policy.Allow(s, authz.CodeIssue) {
		t.Errorf("Ada: %v", s)
	}
	if s := c.Subjects[1]; s.Kind != authz.APIKey || !c.Policy.Allow(s, authz.CodeIssue) || c.Policy.Allow(s, authz.StatsRead) {
		t.Errorf("key: %v", s)
	}
	if _, err := f.Cast(t.Context(), f.north, person(authz.Caseworker)); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("to somebody who may not see the staff: %v", err)
	}
}
