package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"carillon/api"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/member"
)

const scimIssuer = "https://login.example"

// directory is an identity provider that keeps the staff of north by SCIM.
type directory struct {
	*fixture
	t     *testing.T
	key   string
	staff *member.Staff
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	d := &directory{t: t}
	d.fixture = setUp(t, func(f *fixture, c *api.Config) {
		provisioned(f, c)
		d.staff = member.NewStaff(member.StaffConfig{DB: f.world.Portal, Policies: c.Policies, Now: f.world.Now})
	})
	d.key = d.world.Key(d.north.Tenant, client.SCIM)
	return d
}

// provisioned lets identity providers keep staff.
func provisioned(f *fixture, c *api.Config) {
	c.Provisioner = member.NewProvisioner(f.world.Portal, c.Policies, scimIssuer, f.world.Now)
	c.StaffKeys = client.NewAuthenticator(f.world.Portal, f.counter, f.world.Now)
}

// resource is an answer of SCIM, of either kind.
type resource struct {
	ID           string `json:"id"`
	UserName     string
	DisplayName  string
	ExternalID   string
	Active       bool
	Members      []struct{ Value string }
	Meta         struct{ Version, Location string }
	TotalResults int
	StartIndex   int
	Resources    []resource
	ScimType     string
	Detail       string
}

func (d *directory) do(method, path, body string, headers ...string) (status int, r resource) {
	d.t.Helper()
	h := header{"Authorization": "Bearer " + d.key, "Content-Type": "application/scim+json"}
	for i := 0; i+1 < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	a := d.ask(d.t, method, "/t/north/scim/v2"+path, h, body)
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &r); err != nil {
			d.t.Fatalf("%s %s: %d %.200s", method, path, a.StatusCode, a.body)
		}
	}
	return a.StatusCode, r
}

func (d *directory) wants(status int, method, path, body string, headers ...string) resource {
	d.t.Helper()
	got, r := d.do(method, path, body, headers...)
	if got != status {
		d.t.Errorf("%s %s: %d %s %s, want %d", method, path, got, r.ScimType, r.Detail, status)
	}
	return r
}

func user(name, more string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%s@north.example","displayName":"%s"%s}`, strings.ToLower(name), name, more)
}

func patch(operations string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operations + `]}`
}

func (d *directory) authenticate(name string) (authz.Subject, error) {
	return member.Authenticate(d.t.Context(), d.world.Portal, d.north.Tenant, oidc.Identity{
		Issuer: scimIssuer, Subject: name, Email: strings.ToLower(name) + "@north.example",
	})
}

// hire makes a member who was not made by the provider.
func (d *directory) hire(name string, roles ...authz.Role) authz.Subject {
	d.t.Helper()
	err := d.world.Operator.In(d.t.Context(), d.north.ID, func(tx *tenant.Tx) error {
		return member.Add(d.t.Context(), tx, member.Member{Issuer: scimIssuer, Email: strings.ToLower(name) + "@north.example", Name: name, Roles: roles})
	})
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := d.authenticate(name)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func TestAProviderKeepsUsersAndGroups(t *testing.T) {
	t.Parallel()
	d := newDirectory(t)
	owner := d.hire("Olga", authz.Owner)

	sam := d.wants(201, "POST", "/Users", user("Sam", `,"externalId":"x-1","active":true`))
	if sam.UserName != "sam@north.example" || sam.DisplayName != "Sam" || sam.ExternalID != "x-1" || !sam.Active || !strings.HasSuffix(sam.Meta.Location, "/t/north/scim/v2/Users/"+sam.ID) {
		t.Errorf("created %+v", sam)
	}
	if r := d.wants(409, "POST", "/Users", user("Sam", "")); r.ScimType != "uniqueness" {
		t.Errorf("twice: %+v", r)
	}
	if s, err := d.authenticate("Sam"); err != nil || len(s.Roles) != 0 {
		t.Errorf("a user without a group: %v, %v", s.Roles, err)
	}

	group := d.wants(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Nurses","members":[{"value":"`+sam.ID+`"}]}`)
	if len(group.Members) != 1 || group.Members[0].Value != sam.ID {
		t.Errorf("group %+v", group)
	}
	if s, _ := d.authenticate("Sam"); len(s.Roles) != 0 {
		t.Errorf("a group without a role gives %v", s.Roles)
	}
	if err := d.staff.MapGroup(t.Context(), d.north.Tenant, owner, scimUUID(t, group.ID), authz.Caseworker); err != nil {
		t.Fatal(err)
	}
	if s, err := d.authenticate("Sam"); err != nil || fmt.Sprint(s.Roles) != "[caseworker]" {
		t.Errorf("in the group: %v, %v", s.Roles, err)
	}

	found := d.wants(200, "GET", `/Users?filter=userName+eq+%22SAM@north.example%22`, "")
	if found.TotalResults != 1 || found.Resources[0].ID != sam.ID {
		t.Errorf("filter: %+v", found)
	}
	d.wants(201, "POST", "/Users", user("Kim", ""))
	page := d.wants(200, "GET", "/Users?startIndex=2&count=1", "")
	if page.TotalResults != 3 || len(page.Resources) != 1 || page.StartIndex != 2 {
		t.Errorf("page: %+v", page)
	}

	d.wants(200, "PATCH", "/Groups/"+group.ID, patch(`{"op":"remove","path":"members[value eq \"`+sam.ID+`\"]"}`))
	if s, _ := d.authenticate("Sam"); len(s.Roles) != 0 {
		t.Errorf("out of the group: %v", s.Roles)
	}
	d.wants(200, "PATCH", "/Groups/"+group.ID, patch(`{"op":"add","path":"members","value":[{"value":"`+sam.ID+`"}]}`))
	d.wants(200, "PATCH", "/Users/"+sam.ID, patch(`{"op":"replace","value":{"active":false}}`))
	if _, err := d.authenticate("Sam"); err == nil {
		t.Error("a deactivated user is let in")
	}
	if u := d.wants(200, "PATCH", "/Users/"+sam.ID, patch(`{"op":"replace","path":"active","value":true}`)); !u.Active {
		t.Errorf("activated: %+v", u)
	}
	renamed := d.wants(200, "PUT", "/Users/"+sam.ID, user("Samuel", ""))
	if renamed.UserName != "samuel@north.example" || renamed.ExternalID != "" || !renamed.Active {
		t.Errorf("replaced: %+v", renamed)
	}
	d.wants(204, "DELETE", "/Groups/"+group.ID, "")
	d.wants(404, "GET", "/Groups/"+group.ID, "")
	d.wants(204, "DELETE", "/Users/"+sam.ID, "")
	d.wants(404, "DELETE", "/Users/"+sam.ID, "")
	for _, path := range []string{"/ServiceProviderConfig", "/Schemas", "/ResourceTypes", "/ResourceTypes/User"} {
		d.wants(200, "GET", path, "")
	}
}

func TestAProviderIsRefused(t *testing.T) {
	t.Parallel()
	d := newDirectory(t)
	olga := d.hire("Olga", authz.Owner)
	sam := d.wants(201, "POST", "/Users", user("Sam", ""))
	group := d.wants(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Nurses"}`)

	d.wants(403, "DELETE", "/Users/"+olga.ID, "")
	d.wants(403, "PATCH", "/Users/"+olga.ID, patch(`{"op":"replace","path":"active","value":false}`))
	if r := d.wants(400, "PATCH", "/Users/"+olga.ID, patch(`{"op":"replace","path":"userName","value":"mallory@north.example"}`)); r.ScimType != "mutability" {
		t.Errorf("an owner's address: %+v", r)
	}
	if err := d.staff.MapGroup(t.Context(), d.north.Tenant, olga, scimUUID(t, group.ID), authz.Owner); err == nil {
		t.Error("a group makes owners")
	}
	if err := d.staff.Suspend(t.Context(), d.north.Tenant, olga, scimUUID(t, sam.ID)); err != nil {
		t.Fatal(err)
	}
	if u := d.wants(200, "PATCH", "/Users/"+sam.ID, patch(`{"op":"replace","path":"active","value":true}`)); u.Active {
		t.Error("the provider lets in whom staff suspended")
	}
	tag := d.wants(200, "GET", "/Users/"+sam.ID, "").Meta.Version
	d.wants(412, "PUT", "/Users/"+sam.ID, user("Other", ""), "If-Match", `W/"1"`)
	d.wants(412, "DELETE", "/Groups/"+group.ID, "", "If-Match", `W/"1"`)
	d.wants(200, "PUT", "/Users/"+sam.ID, user("Sam", `,"externalId":"new"`), "If-Match", tag)

	for name, c := range map[string]struct {
		status             int
		method, path, body string
	}{
		"no JSON":             {400, "POST", "/Users", `{`},
		"no name":             {400, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]}`},
		"no address":          {400, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"kim"}`},
		"look-alike address":  {400, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"s\u0430m@north.example"}`},
		"invisible name":      {400, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"kim@north.example","displayName":"Kim\u202e"}`},
		"too long":            {413, "POST", "/Users", `{"userName":"` + strings.Repeat("x", 600<<10) + `"}`},
		"unknown filter":      {400, "GET", `/Users?filter=userName+sw+%22a%22`, ""},
		"broken filter":       {400, "GET", `/Users?filter=userName+eq`, ""},
		"no such ID":          {404, "GET", "/Users/7", ""},
		"SQL for an ID":       {404, "GET", "/Users/'%20or%20true--", ""},
		"stranger in a group": {404, "PATCH", "/Groups/" + group.ID, patch(`{"op":"add","path":"members","value":[{"value":"7"}]}`)},
		"unknown operation":   {400, "PATCH", "/Users/" + sam.ID, patch(`{"op":"move","path":"active","value":true}`)},
	} {
		if got, r := d.do(c.method, c.path, c.body); got != c.status {
			t.Errorf("%s: %d %s %s, want %d", name, got, r.ScimType, r.Detail, c.status)
		}
	}
}

// Other keys, other tenants' keys and none are all the same, and so is another tenant's
// user to a key that is good elsewhere.
func TestSCIMKeysWorkUnderTheirOwnTenantOnly(t *testing.T) {
	t.Parallel()
	d := newDirectory(t)
	sam := d.wants(201, "POST", "/Users", user("Sam", ""))
	south := d.world.Key(d.south.Tenant, client.SCIM)
	for name, key := range map[string]string{"none": "", "another tenant's": south, "admin": d.north.admin, "device": d.north.device, "made up": "carillon_scim_x"} {
		for _, path := range []string{"/Users", "/Users/" + sam.ID} {
			a := d.ask(t, "GET", "/t/north/scim/v2"+path, header{"Authorization": "Bearer " + key}, "")
			if a.StatusCode != http.StatusUnauthorized || strings.Contains(string(a.body), "sam") {
				t.Errorf("%s: %s: %v", name, path, a)
			}
		}
	}
	for method, body := range map[string]string{"GET": "", "DELETE": "", "PUT": user("Sam", "")} {
		a := d.ask(t, method, "/t/south/scim/v2/Users/"+sam.ID, header{"Authorization": "Bearer " + south}, body)
		if a.StatusCode != http.StatusNotFound {
			t.Errorf("%s of another tenant's user: %v", method, a)
		}
	}
	a := d.ask(t, "GET", "/t/south/scim/v2/Users", header{"Authorization": "Bearer " + south}, "")
	if a.StatusCode != http.StatusOK || strings.Contains(string(a.body), "sam") {
		t.Errorf("another tenant's list: %v", a)
	}
	if strings.Contains(d.log.String(), "sam@") || strings.Contains(d.log.String(), d.key) {
		t.Error("the log has an address or the key")
	}
}

func scimUUID(t *testing.T, text string) uuid.UUID {
	t.Helper()
	id, err := uuid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
