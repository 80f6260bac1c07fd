package conformance_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"carillon/deploy/service"
	"carillon/tenant/client"
)

// at tries something at a service that is started anew with other settings; the world
// is as before after it.
func (w *world) at(t *testing.T, change func(*service.Config), try func()) {
	t.Helper()
	before := w.running
	w.start(t, change)
	try()
	w.running = before
}

// limitRules are what §0.1 and §0.2 say of callers, and §0.4 of maintenance.
func limitRules() []rule {
	status := func(w *world, t *testing.T, of account, h header) answer {
		t.Helper()
		all := header{"Content-Type": jsonType, "X-API-Key": of.admin}
		for name, value := range h {
			all[name] = value
		}
		return w.ask(t, http.MethodPost, "/t/"+string(of.Slug)+"/api/checkcodestatus", all, `{"uuid":"x"}`)
	}
	return []rule{
		{"0.1", "health is 200 with maintenance_mode and status, asked for the database, too", "", func(t *testing.T, w *world) {
			for _, path := range []string{"/health", "/health?service=database"} {
				a := w.ask(t, http.MethodGet, path, nil, "")
				if a.StatusCode != http.StatusOK || string(a.body) != `{"maintenance_mode":false,"status":"ok"}` {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"0.2", "a disabled key is 401, as an unknown one", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			of.admin, of.device = w.Key(of.Tenant, client.Admin), w.Key(of.Tenant, client.Device)
			w.sql(t, `update api_key set disabled_at = now() where tenant_id = $1`, of.ID)
			for _, path := range programPaths {
				if a := w.post(t, of, path, object{}); a.StatusCode != http.StatusUnauthorized || string(a.body) != unauthorized {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"0.2", "a caller has 120 requests a minute and is told where it stands; more is 429 with Retry-After in seconds", "Retry-After is a date in a form that strict clients refuse", func(t *testing.T, w *world) {
			w.at(t, func(c *service.Config) { c.NoLimits = false }, func() {
				for i := 1; i <= 121; i++ {
					a := status(w, t, w.open, nil)
					left, err := strconv.Atoi(a.Header.Get("X-RateLimit-Remaining"))
					reset, err2 := time.Parse(http.TimeFormat, a.Header.Get("X-RateLimit-Reset"))
					if a.Header.Get("X-RateLimit-Limit") != "120" || err != nil || err2 != nil || left != max(0, 120-i) || reset.Before(w.Now().Truncate(time.Second)) {
						t.Fatalf("request %d: %v", i, a.Header)
					}
					if i <= 120 && a.StatusCode != http.StatusNotFound {
						t.Fatalf("request %d: %v", i, a)
					}
					if i > 120 {
						wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
						if a.StatusCode != http.StatusTooManyRequests || string(a.body) != "Too Many Requests" || err != nil || wait < 1 {
							t.Errorf("%v, Retry-After %q", a, a.Header.Get("Retry-After"))
						}
					}
				}
				if a := w.post(t, w.other, "/api/checkcodestatus", object{"uuid": "x"}); a.StatusCode != http.StatusNotFound {
					t.Errorf("at another tenant: %v", a)
				}
				chaff := w.ask(t, http.MethodPost, "/t/open/api/verify", header{"Content-Type": jsonType, "X-API-Key": w.open.device, "X-Chaff": "1"}, "")
				if chaff.StatusCode != http.StatusOK || chaff.Header.Get("X-RateLimit-Limit") != "120" {
					t.Errorf("cover traffic, which does not count: %v", chaff)
				}
			})
		}},
		{"0.2", "X-Forwarded-For is believed of trusted proxies alone", "the last but one address is believed of everybody", func(t *testing.T, w *world) {
			w.at(t, func(c *service.Config) { c.NoLimits = false }, func() {
				for i := range 121 {
					a := status(w, t, w.open, header{"X-Forwarded-For": "198.51.100." + strconv.Itoa(i) + ", 203.0.113.9"})
					if i == 120 && a.StatusCode != http.StatusTooManyRequests {
						t.Errorf("%v", a)
					}
				}
			})
		}},
		{"0.2", "from outside a tenant's list of networks it is 401, cover traffic too", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			of.admin, of.device = w.Key(of.Tenant, client.Admin), w.Key(of.Tenant, client.Device)
			w.set(t, of.Tenant, map[string]string{"device-networks": "198.51.100.0/24", "admin-networks": "2001:db8::/32"})
			for _, path := range programPaths {
				if a := w.post(t, of, path, object{}); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: %v", path, a)
				}
			}
			chaff := w.ask(t, http.MethodPost, "/t/"+string(of.Slug)+"/api/verify", header{"X-API-Key": of.device, "X-Chaff": "1"}, "")
			if chaff.StatusCode != http.StatusUnauthorized {
				t.Errorf("cover traffic: %v", chaff)
			}
		}},
		{"0.4", "under maintenance of the whole service verify is 429, as issuing, and certificates go on", "documents say that certificates do not", func(t *testing.T, w *world) {
			token := w.token(t, w.open, nil)
			w.at(t, func(c *service.Config) { c.Maintenance = true }, func() {
				for path, body := range map[string]object{
					"/api/verify": {"code": "1"}, "/api/issue": {"testType": "confirmed"}, "/api/batch-issue": {"codes": someOrders(1)},
					"/api/user-report": reportBody(),
				} {
					wantRefusal(t, w.post(t, w.open, path, body), maintenance)
				}
				w.must(t, w.open, "/api/certificate", object{"token": token, "ekeyhmac": someHMAC(9)})
				if a := w.ask(t, http.MethodGet, "/health", nil, ""); a.members()["maintenance_mode"] != true {
					t.Errorf("health: %v", a)
				}
			})
		}},
		{"11.4", "a tenant's codes beyond its quota are quota_exceeded, of each kind of issuing", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			of.admin = w.Key(of.Tenant, client.Admin)
			w.set(t, of.Tenant, map[string]string{"quota-enforced": "on", "require-date": "off", "batch-issue": "on"})
			w.must(t, of, "/api/batch-issue", object{"codes": someOrders(9)})
			w.issue(t, of, nil)
			exceeded := refusal{status: http.StatusTooManyRequests, code: "quota_exceeded", text: "…"}
			wantRefusal(t, w.post(t, of, "/api/issue", object{"testType": "confirmed"}), exceeded)
			a := w.post(t, of, "/api/batch-issue", object{"codes": []object{{"testType": "confirmed"}}})
			if a.StatusCode != exceeded.status || a.text("errorCode") != exceeded.code {
				t.Errorf("in a batch: %v", a)
			}
			bad := w.post(t, of, "/api/issue", object{"testType": "x"})
			wantRefusal(t, bad, refusal{status: http.StatusBadRequest, code: "invalid_test_type", text: "invalid test type"}) // comes first
		}},
	}
}
