package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

var switcher = authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}

// Who is refused by which switch (verification protocol §0.4, last column).
func TestMaintenance(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north.Tenant, `batch_issue = true`)
	ask := func(path, key string, body object) answer { return f.post(t, f.north.Tenant, path, key, body) }
	for i, test := range []struct {
		name          string
		platform, own bool
		state         tenant.State
	}{
		{"no switch", false, false, tenant.Active},
		{"the tenant's switch", false, true, tenant.Active},
		{"the platform's switch", true, false, tenant.Active},
		{"suspended", false, false, tenant.Suspended},
		{"leaving", false, false, tenant.Leaving},
	} {
		if err := tenant.SetMaintenance(t.Context(), f.world.Operator, switcher, false, tenanttest.Start); err != nil {
			t.Fatal(err)
		}
		f.set(t, f.north.Tenant, `maintenance = false`)
		f.put(t, f.north.Tenant, tenant.Active)
		f.start(t)
		code, uuid := f.issue(t, f.north, nil)
		token := f.token(t, f.north, nil)
		if err := tenant.SetMaintenance(t.Context(), f.world.Operator, switcher, test.platform, tenanttest.Start); err != nil {
			t.Fatal(err)
		}
		if test.own {
			f.set(t, f.north.Tenant, `maintenance = true`)
		}
		f.put(t, f.north.Tenant, test.state)
		f.start(t)
		verifying := test.platform || test.state != tenant.Active
		issuing := verifying || test.own
		for _, r := range []struct {
			path, key string
			body      object
			closed    bool
		}{
			{"/api/issue", f.north.admin, object{"testType": "confirmed"}, issuing},
			{"/api/issue", f.north.admin, object{"unknown": "member"}, issuing}, // before the body is read
			{"/api/user-report", f.north.device, own(fmt.Sprintf("+1206555010%d", i)), issuing},
			{"/api/user-report", f.north.device, object{"unknown": "member"}, issuing},
			{"/api/batch-issue", f.north.admin, object{"codes": []object{{"testType": "confirmed"}}}, issuing},
			{"/api/codes/resend", f.north.admin, object{"uuid": uuid, "phone": "+12065550199"}, issuing},
			{"/api/codes/resend", f.north.admin, object{"unknown": "member"}, issuing},
			{"/api/verify", f.north.device, object{"code": "00000000"}, verifying},
			{"/api/verify", f.north.device, object{"unknown": "member"}, verifying},
			{"/api/verify", f.north.device, object{"code": code}, verifying},
			{"/api/certificate", f.north.device, object{"token": token, "ekeyhmac": base64.StdEncoding.EncodeToString(randomBytes(32))}, false},
			{"/api/checkcodestatus", f.north.admin, object{"uuid": uuid}, false},
			{"/api/expirecode", f.north.admin, object{"uuid": uuid}, false},
		} {
			a := ask(r.path, r.key, r.body)
			if (a.StatusCode == http.StatusTooManyRequests) != r.closed {
				t.Errorf("%s, %s %v: %v, want closed: %v", test.name, r.path, r.body, a, r.closed)
			}
			if r.closed {
				wantRefusal(t, test.name+" "+r.path, a, http.StatusTooManyRequests, "maintenance_mode", "server is read-only for maintenance")
			}
		}
		if a := ask("/v1/publish", "", object{"unknown": "member"}); (a.StatusCode == http.StatusTooManyRequests) != verifying {
			t.Errorf("%s, publish: %v", test.name, a)
		} else if want := `{"error":"please try again later"}`; verifying && (string(a.body) != want || a.Header.Get("Content-Type") != "application/json") {
			t.Errorf("%s, publish: %v, want %s", test.name, a, want)
		}
		if a := ask("/api/issue", f.north.device, object{}); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, wrong key: %v, want 401", test.name, a)
		}
		if a := f.post(t, f.south.Tenant, "/api/issue", f.south.admin, object{"testType": "confirmed"}); (a.StatusCode == http.StatusTooManyRequests) != test.platform {
			t.Errorf("%s, another tenant: %v", test.name, a)
		}
		var health struct {
			Maintenance *bool `json:"maintenance_mode"`
			Status      string
		}
		for _, path := range []string{"/health", "/health?service=database"} {
			a := f.ask(t, http.MethodGet, path, nil, "")
			if err := json.Unmarshal(a.body, &health); err != nil || a.StatusCode != http.StatusOK || *health.Maintenance != test.platform || health.Status != "ok" {
				t.Errorf("%s, %s: %v", test.name, path, a)
			}
		}
	}
}

// Without its database a process is healthy until it is asked for the database.
func TestHealthWithoutDatabase(t *testing.T) {
	t.Parallel()
	f := setUp(t, func(f *fixture, c *api.Config) {
		db := f.world.Open("carillon_device")
		c.Directory, c.Ready = tenant.NewDirectory(db), db.Ping
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if a := f.ask(t, http.MethodGet, "/health", nil, ""); a.StatusCode != http.StatusOK || a.member("maintenance_mode") != false {
		t.Errorf("health: %v", a)
	}
	if a := f.ask(t, http.MethodGet, "/health?service=database", nil, ""); a.StatusCode != http.StatusInternalServerError {
		t.Errorf("health of the database: %v, want 500", a)
	}
}
