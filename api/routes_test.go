package api_test

import (
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/api"
	"carillon/authz"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestRoutesAreTheGoldenList(t *testing.T) {
	t.Parallel()
	const golden = "testdata/routes.golden"
	got := authz.Table(setUp(t).routes)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("routes (-want +got), go test ./api -update rewrites them:\n%s", diff)
	}
}

// Every role's routes, and no others, exist where only that role is played.
func TestRolesHaveTheirRoutes(t *testing.T) {
	t.Parallel()
	keep := func(role string) func(*fixture, *api.Config) {
		return func(_ *fixture, c *api.Config) {
			all := *c
			c.Stats, c.Shared, c.Reporter = nil, nil, nil
			c.Device, c.DeviceKeys, c.Issuer, c.IssuerKeys, c.Receipts, c.Publisher, c.PublicKeys, c.Files, c.Links, c.LabFeed = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
			switch role {
			case "device":
				c.Device, c.DeviceKeys = all.Device, all.DeviceKeys
			case "report":
				c.Reporter, c.DeviceKeys = all.Reporter, all.DeviceKeys
			case "issuer":
				c.Issuer, c.IssuerKeys, c.Receipts = all.Issuer, all.IssuerKeys, all.Receipts
			case "lab feed":
				c.LabFeed, c.IssuerKeys = all.LabFeed, all.IssuerKeys
			case "publish":
				c.Publisher = all.Publisher
			case "exports":
				c.PublicKeys, c.Files = all.PublicKeys, all.Files
			}
		}
	}
	f := setUp(t)
	for role, want := range map[string]string{
		"device": "/api/verify /api/certificate",
		"report": "/api/user-report",
		"issuer": "/api/issue /api/batch-issue /api/checkcodestatus /api/expirecode /api/codes/resend /api/codes/delivery " +
			"/api/codes/batches /api/codes/batches /api/codes/batches/:batch /api/codes/batches/:batch/rows " +
			"/api/codes/batches/:batch/pause /api/codes/batches/:batch/resume /api/codes/batches/:batch/cancel /api/receipts/status /api/receipts/errors",
		"lab feed": "/api/lab-feed /api/lab-feed/submissions/:submission /api/lab-feed/dead-letters /api/lab-feed/dead-letters/:letter/retry" +
			" /api/lab-feed/dead-letters/:letter/discard /api/lab-feed/mapping /api/lab-feed/mapping",
		"publish": "/v1/publish",
		"exports": "/exports/index.txt /exports/index.txt /exports/:entry /exports/:entry " +
			"/exports/:entry/index.txt /exports/:entry/index.txt /exports/:entry/:file /exports/:entry/:file /jwks /.well-known/jwks.json",
		"none": "",
	} {
		f.start(t, keep(role))
		var got []string
		for _, r := range f.routes {
			if path, ok := strings.CutPrefix(r.Path, "/t/:tenant"); ok && path != "/openapi.json" && path != "/docs" { // they are every role's
				got = append(got, path)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("role %s has %v, want %s", role, got, want)
		}
		if a := f.ask(t, http.MethodGet, "/health", nil, ""); a.StatusCode != http.StatusOK {
			t.Errorf("role %s: health: %v", role, a)
		}
	}
	f.start(t, keep("issuer"))
	if a := f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "12345678"}); a.StatusCode != http.StatusNotFound {
		t.Errorf("verify where nobody plays device: %v, want 404", a)
	}
}

func TestNewRefusesHalfARole(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for name, change := range map[string]func(*api.Config){
		"device without keys":       func(c *api.Config) { c.DeviceKeys = nil },
		"shared without keys":       func(c *api.Config) { c.PublicKeys, c.Files = nil, nil },
		"statistics without keys":   func(c *api.Config) { c.Issuer, c.IssuerKeys = nil, nil },
		"report without keys":       func(c *api.Config) { c.Device, c.DeviceKeys = nil, nil },
		"issuer without keys":       func(c *api.Config) { c.IssuerKeys = nil },
		"links without apps":        func(c *api.Config) { c.Links = &api.Links{} },
		"no policies":               func(c *api.Config) { c.Policies = nil },
		"no directory":              func(c *api.Config) { c.Directory = nil },
		"no clock":                  func(c *api.Config) { c.Now = nil },
		"no log":                    func(c *api.Config) { c.Log = nil },
		"nowhere to register count": func(c *api.Config) { c.Metrics = nil },
	} {
		var broken api.Config
		f.start(t, func(_ *fixture, c *api.Config) { broken = *c })
		change(&broken)
		if _, err := api.New(broken); err == nil {
			t.Errorf("%s: New succeeded", name)
		}
	}
}

// A path's other methods are 405 without a body, even for cover traffic and without a
// key; other paths are 404 (verification protocol §0.2).
func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	methods := map[string][]string{}
	for _, r := range f.routes {
		methods[r.Path] = append(methods[r.Path], r.Method)
	}
	delete(methods, "/*path") // every other path, at hosts of links
	for path, allowed := range methods {
		url := strings.NewReplacer(":tenant", "north", ":entry/", "travelers/", ":entry", "1-2-00001.zip", ":file", "1-2-00001.zip").Replace(path)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "MADEUP"} {
			if strings.Contains(strings.Join(allowed, " "), method) {
				continue
			}
			a := f.ask(t, method, url, header{"X-Chaff": "1", "Accept": "application/json"}, "")
			if a.StatusCode != http.StatusMethodNotAllowed || len(a.body) > 0 {
				t.Errorf("%s %s: %v, want 405 without a body", method, path, a)
			}
		}
	}
	for _, path := range []string{
		"/", "/t", "/t/north", "/t/north/", "/t/north/api", "/t/north/api/verify/", "/t/north/v1/publish/", "/api/verify", "/v1/publish",
		"/t/north/API/verify", "/t/north/exports/", "/t/north/exports/..%2f..%2fetc", "/t/north/jwks/", "/metrics",
	} {
		a := f.ask(t, http.MethodPost, path, jsonWith(f.north.device), "{}")
		if a.StatusCode != http.StatusNotFound || string(a.body) != "404 page not found\n" {
			t.Errorf("%s: %v, want 404", path, a)
		}
	}
}

func TestEveryAnswerHasSecurityHeaders(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ids := map[string]bool{}
	for _, a := range []answer{
		f.ask(t, http.MethodGet, "/health", nil, ""),
		f.ask(t, http.MethodGet, "/nowhere", nil, ""),
		f.ask(t, http.MethodGet, "/t/north/api/verify", nil, ""),
		f.ask(t, http.MethodGet, "/t/north/jwks", header{"X-Request-ID": "mine"}, ""),
		f.post(t, f.north.Tenant, "/api/verify", "", object{}),
		f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{}),
		f.post(t, f.north.Tenant, "/v1/publish", "", object{}),
	} {
		for name, want := range map[string]string{
			"Strict-Transport-Security": "max-age=315360000; includeSubDomains; preload",
			"X-Content-Type-Options":    "nosniff",
			"Referrer-Policy":           "strict-origin-when-cross-origin",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", a.Request.URL.Path, name, got, want)
			}
		}
		id := a.Header.Get("X-Request-ID")
		if len(id) != 36 || ids[id] {
			t.Errorf("%s: request ID %q, want a fresh one", a.Request.URL.Path, id)
		}
		ids[id] = true
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	f := setUp(t, func(f *fixture, c *api.Config) { c.Ready = f.world.Device.Ping })
	for path, want := range map[string]string{
		"/health":                  `{"maintenance_mode":false,"status":"ok"}`,
		"/health?service=database": `{"maintenance_mode":false,"status":"ok"}`,
		"/ready":                   `{"status":"ok"}`,
	} {
		if a := f.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusOK || string(a.body) != want {
			t.Errorf("%s: %v, want %s", path, a, want)
		}
	}
	if err := f.world.Device.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/health": 200, "/health?service=database": 500, "/ready": 503} {
		if a := f.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != want {
			t.Errorf("%s without a database: %v, want %d", path, a, want)
		}
	}
}

func TestHostForm(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sql(t, `insert into directory_host (host, tenant) values ('north.example', $1)`, f.north.ID.String())
	code, _ := f.issue(t, f.north, nil)
	h := jsonWith(f.north.device)
	h["Host"] = "North.Example:8443"
	must(t, f.ask(t, http.MethodPost, "/api/verify", h, `{"code":"`+code+`"}`))
	h["X-API-Key"] = f.south.device
	if a := f.ask(t, http.MethodPost, "/api/verify", h, `{"code":"`+code+`"}`); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("another tenant's key under a host: %v, want 401", a)
	}
	for path, want := range map[string]int{
		"/jwks": 200, "/.well-known/jwks.json": 200, "/health": 200, "/exports/index.txt": 404, "/exports/1-2-00001.zip": 404, "/exports/travelers/index.txt": 404, "/exports/travelers/1-2-00001.zip": 404,
		"/t/south/jwks": 200, "/portal": 303, // a link, as every other path
	} {
		if a := f.ask(t, http.MethodGet, path, header{"Host": "north.example"}, ""); a.StatusCode != want {
			t.Errorf("%s: %v, want %d", path, a, want)
		}
	}
	if a := f.ask(t, http.MethodGet, "/api/verify", header{"Host": "north.example"}, ""); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, want 405", a)
	}
	if a := f.ask(t, http.MethodGet, "/jwks", header{"Host": "south.example"}, ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("a host of nobody: %v, want 404", a)
	}
}
