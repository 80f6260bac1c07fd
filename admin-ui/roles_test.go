package adminui_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

const rolesPath = "/portal/north-shore/roles"

// rolesWorld is a portal whose roles are in a real database.
type rolesWorld struct {
	*world
	db    *tenanttest.World
	north *tenant.Tenant
}

func newRolesWorld(t *testing.T) *rolesWorld {
	t.Helper()
	db := tenanttest.New(t)
	w := &rolesWorld{db: db, north: db.Create("north-shore")}
	w.world = newWorld(t, func(c *adminui.Config) {
		c.Roles, c.Policies = role.NewStaff(db.Portal, db.Now), role.NewPolicies(db.Portal)
	})
	w.staff.Tenants[0].ID = w.north.ID
	err := db.Operator.In(t.Context(), w.north.ID, func(tx *tenant.Tx) error {
		return member.Add(t.Context(), tx, member.Member{Issuer: "https://login.example", Email: "ada@north.example", Name: "Ada", Roles: []authz.Role{authz.Caseworker, "tracer"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// again is what the form on a page says, with changes.
func again(p *page, changes ...string) url.Values {
	form := url.Values{}
	for n := range p.all("input") {
		if attr(n, "type") != "radio" || has(n, "checked") {
			form.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	for i := 0; i+1 < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return form
}

func TestARoleIsMadeChangedAndDeletedInTwoSteps(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	w.signIn(owner)
	list := w.get(rolesPath).wants(200, "Roles").contains("What each role allows").contains("Codes for people who tested positive")
	if strings.Contains(list.body, rolesPath+"/owner/") {
		t.Error("the owner can be changed")
	}
	form := w.get(list.link("Make a role")).wants(200, "Make a role")
	made := again(form, "role", "tracer", "description", "Calls people", "rule_stats_read", "allow", "rule_code_bulk_issue", "deny")
	plan := w.post(form.url.Path, made).wants(200, "Save the role tracer?")
	plan.contains("See statistics").contains("Issue many codes at once").contains("Ada").contains("within a second")
	w.get(rolesPath).lacks("Calls people")

	back := w.post(form.url.Path, again(plan, "again", "yes")).wants(200, "Make a role")
	if back.value("role") != "tracer" || again(back).Get("rule_stats_read") != "allow" || again(back).Get("rule_code_bulk_issue") != "deny" {
		t.Error("what was entered is lost")
	}
	w.post(form.url.Path, again(plan, "confirm", "yes")).wants(200, "Roles").contains("The role tracer was saved.").contains("Calls people").contains("Never, your rule")

	edit := w.get(rolesPath+"/tracer/edit").wants(200, "Change the role tracer")
	w.post(edit.url.Path, again(edit)).wants(422, "Change the role tracer").contains("Nothing is different from before")
	plan = w.post(edit.url.Path, again(edit, "rule_stats_read", "")).wants(200, "Save the role tracer?").contains("Nothing said")
	w.post(edit.url.Path, again(plan, "confirm", "yes")).wants(200, "Roles").contains("was saved")

	gone := w.get(rolesPath+"/tracer/delete").wants(200, "Delete the role tracer?").contains("Take it away from them first").contains("Ada")
	w.post(gone.url.Path, url.Values{"version": {w.get(rolesPath + "/tracer/edit").value("version")}}).wants(409, "Somebody still has this role")
	if _, err := w.db.Database.Super().ExecContext(t.Context(), `update member set roles = '{caseworker}' where name = 'Ada'`); err != nil {
		t.Fatal(err)
	}
	gone = w.get(gone.url.Path).wants(200, "Delete the role tracer?").lacks("Ada")
	w.post(gone.url.Path, again(gone)).wants(200, "Roles").contains("The role tracer was deleted.").lacks("Calls people")
	w.post(gone.url.Path, again(gone)).wants(404, "There is no such role")
	w.get(rolesPath+"/owner/edit").wants(404, "There is no such role")
}

// Nobody overwrites what she has not seen, and nothing that she entered is lost.
func TestTwoChangeTheSameRole(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	w.signIn(owner)
	path := rolesPath + "/caseworker/edit"
	mine, theirs := w.get(path).wants(200, "Change the role Caseworker"), w.get(path)
	plan := w.post(path, again(mine, "rule_stats_read", "allow")).wants(200, "Save the role Caseworker?").contains("Ada")
	w.post(path, again(w.post(path, again(theirs, "rule_code_expire", "deny")), "confirm", "yes")).wants(200, "Roles").contains("Built in, changed by you")

	p := w.post(path, again(plan, "confirm", "yes")).wants(409, "Change the role Caseworker").contains("Somebody else has changed this role")
	if again(p).Get("rule_stats_read") != "allow" {
		t.Error("what was entered is lost")
	}
	// What she saves now undoes what the other did, but she is shown that.
	p = w.post(path, again(p)).wants(200, "Save the role Caseworker?").contains("End codes").contains("See statistics")
	w.post(path, again(p, "confirm", "yes")).wants(200, "Roles").contains("Yes, your rule").lacks("Never, your rule")
}

func TestProblemsOfARole(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	w.signIn(owner)
	path := rolesPath + "/new"
	good := again(w.get(path), "role", "helper", "rule_code_issue", "allow")
	for field, c := range map[string]struct{ name, value, text string }{
		"role":                 {"role", "Contact Tracer", "Enter a name of 2 to 40"},
		"role taken":           {"role", "analyst", "Another role has this name"},
		"description":          {"description", strings.Repeat("x", 201), "Enter one line"},
		"rule_code_issue none": {"rule_code_issue", "", "Choose something that the role allows"},
	} {
		form := maps.Clone(good)
		form.Set(c.name, c.value)
		p := w.post(path, form).wants(422, "Make a role").contains(c.text)
		if id, _, _ := strings.Cut(field, " "); !strings.Contains(p.body, `href="#`+id+`"`) {
			t.Errorf("the summary does not lead to %s", id)
		}
	}
	odd := maps.Clone(good)
	odd.Set("rule_code_issue", "perhaps")
	w.post(path, odd).wants(400, "The form could not be read")
	w.post(rolesPath+"/analyst/edit", good).wants(400, "The form could not be read") // without a version
}

// Who may change roles cannot give by that what she may not do herself.
func TestAnEditorIsToldWhatSheLacks(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	err := role.NewStaff(w.db.Portal, w.db.Now).Save(t.Context(), w.north, authz.Subject{Kind: authz.Person, Roles: []authz.Role{authz.Owner}},
		role.Role{Name: "editor", Allowed: []authz.Action{authz.RoleWrite, authz.MemberRead, authz.CodeIssue}})
	if err != nil {
		t.Fatal(err)
	}
	w.staff.Roles["editor@north-shore.example"] = map[tenant.Slug][]authz.Role{"north-shore": {"editor"}}
	w.signIn("editor@north-shore.example")
	path := rolesPath + "/editor/edit"
	form := again(w.get(path), "rule_key_approve_rotation", "allow", "rule_code_expire", "deny")
	p := w.post(path, form).wants(422, "Change the role editor").contains("You cannot give what you may not do yourself: Put a new signing key to use")
	if !strings.Contains(p.body, `href="#rule_key_approve_rotation"`) {
		t.Error("the summary does not lead to what she lacks")
	}
	form.Set("confirm", "yes")
	w.post(path, form).wants(422, "Change the role editor").contains("You cannot give")
	w.get(rolesPath).wants(200, "Roles").lacks("Never, your rule")
}

func TestADecisionIsExplained(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	w.db.Key(w.north, client.Stats)
	w.signIn(auditor)
	p := w.get(rolesPath).wants(200, "Roles").lacks("Make a role")
	p = w.get(p.link("Why may somebody do something?")).wants(200, "Why may somebody do something?").contains("(API key)")
	ask := func(name, action string) *page {
		for n := range p.all("option") {
			if strings.HasPrefix(textOf(n), name) {
				return w.get(p.url.Path+"?"+url.Values{"who": {attr(n, "value")}, "action": {action}}.Encode()).wants(200, "Why may somebody do something?")
			}
		}
		t.Fatalf("nobody is called %s", name)
		return nil
	}
	ask("Ada", "code:issue").contains("Ada may: Issue codes").contains("role caseworker allows code:issue (built in)").contains("tracer")
	ask("Ada", "audit:read").contains("Ada may not: Read the audit log").contains("no rule gives audit:read")
	ask("stats", "stats:read").contains("may: See statistics").contains("key-stats")
	w.get(p.url.Path + "?who=nobody&action=code:issue").lacks("may: ").lacks("may not: ")
	w.get(p.url.Path + "?action=code:forge").lacks("may not: ")
}

func TestRolesAreForThoseWhomThePolicyAllows(t *testing.T) {
	t.Parallel()
	w := newRolesWorld(t)
	w.signIn(caseworker)
	w.get(rolesPath).wants(403, "You may not do this")
	w.get(rolesPath+"/explain").wants(403, "You may not do this")
	w.get("/portal/north-shore/codes/new").lacks("Settings")
	w.signIn(auditor)
	w.get(rolesPath).wants(200, "Roles").contains("Settings").lacks("/edit")
	for _, path := range []string{"/new", "/caseworker/edit", "/tracer/delete"} {
		w.get(rolesPath+path).wants(403, "You may not do this")
		w.post(rolesPath+path, url.Values{"confirm": {"yes"}}).wants(403, "You may not do this")
	}
	w.signIn(owner)
	w.get("/portal/river-valley/roles").wants(404, "Page not found")
}
