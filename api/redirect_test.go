package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/client"
)

var fingerprint = strings.Repeat("AB:", 31) + "CD"

// addApps gives a tenant the apps of the acceptance fixtures (verification protocol
// §12.1).
func (f *fixture) addApps(t *testing.T, of account) {
	t.Helper()
	for _, r := range []app.Record{
		{OS: app.IOS, Name: "e2e", ID: "TEAMID.org.e2e.app", StoreURL: "https://ios.test.app"},
		{OS: app.Android, Name: "e2e", ID: "org.e2e.app", StoreURL: "https://android.test.app", Fingerprints: []string{fingerprint}},
	} {
		err := f.world.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error {
			return app.Add(t.Context(), tx, authz.Subject{Kind: authz.System}, r, f.world.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func regionHost(of account) string { return strings.ToLower(of.Region) + "." + linkDomain }

func (f *fixture) follow(t *testing.T, host, path, agent string) answer {
	t.Helper()
	return f.ask(t, http.MethodGet, path, header{"Host": host, "User-Agent": agent}, "")
}

// The redirect scenario of Google's acceptance client (verification protocol §12.4).
func TestRedirectAcceptance(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.addApps(t, f.north)
	host := regionHost(f.north)

	var links []struct {
		Target struct {
			PackageName string `json:"package_name"`
		}
	}
	a := f.follow(t, host, "/.well-known/assetlinks.json", "en/e2e-client")
	if err := json.Unmarshal(a.body, &links); err != nil || len(links) == 0 || links[0].Target.PackageName == "" {
		t.Errorf("asset links: %v (%v)", a, err)
	}
	var association struct {
		AppLinks struct{ Details []any }
	}
	a = f.follow(t, host, "/.well-known/apple-app-site-association", "en/e2e-client")
	if err := json.Unmarshal(a.body, &association); err != nil || len(association.AppLinks.Details) == 0 {
		t.Errorf("association: %v (%v)", a, err)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("association is %q", got)
	}
	for agent, want := range map[string]string{
		"android": "android.test.app", "iphone": "ios.test.app", "unknown": "https://www.google.com/covid19/exposurenotifications",
	} {
		a := f.follow(t, host, "/", agent)
		if location := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || !strings.Contains(location, want) {
			t.Errorf("%s: %v to %q, want %q", agent, a, location, want)
		}
	}
}

// The link of a text message leads where it should, and its host is all that says for
// whom.
func TestLinksByHost(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.addApps(t, f.north)
	f.sql(t, `insert into directory_host (host, tenant) values ('en.north.example', $1), ('portal.example', $1)`, f.north.ID.String())
	f.set(t, f.south.Tenant, `enx = true`)
	closed := f.open(t, "closed")
	f.put(t, closed.Tenant, tenant.Erased)
	f.start(t)
	const (
		android, iphone = "Android", "iPhone"
		code            = "/V?c=abc123&x=1&r=US-AA"
	)
	north, south := regionHost(f.north), regionHost(f.south)
	fallback := "#Intent;scheme=ens;package=org.e2e.app;action=android.intent.action.VIEW;category=android.intent.category.BROWSABLE;S.browser_fallback_url=https%3A%2F%2Fandroid.test.app;end"
	intent := "intent://v?c=abc123&r=" + f.north.Region + "&x=1" + fallback
	for _, test := range []struct {
		host, path, agent string
		want              string // empty is 404
	}{
		{north, code, android, intent},
		{north + ":8443", code, android, intent},
		{strings.ToUpper(north) + ".", code, android, intent},
		{strings.Replace(north, linkDomain, "other.example", 1), code, android, intent},
		{"en.north.example", code, android, intent},
		{"en.north.example", "/", iphone, "https://ios.test.app"},
		{north, code, iphone, "https://ios.test.app"},
		{south, code, iphone, "ens://v?c=abc123&r=" + f.south.Region + "&x=1"},
		{south, code, android, "ensonboarding://picker/" + strings.ToLower(f.south.Region)},
		{south, "/", iphone, "ens://onboarding"},
		{south, "/no/such/path", "", app.InformationURL},
		{south, "/t/north/jwks", iphone, "ens://onboarding"}, // no path form here
		{south, code, "", ""},
		{regionHost(closed), code, android, ""},
		{regionHost(closed), "/", iphone, ""},
		{"zz-zz." + linkDomain, "/", android, ""}, // a region without an authority
		{linkDomain, "/", android, "ensonboarding://picker"},
		{linkDomain, code, iphone, "ens://onboarding"},
		{linkDomain, "/", "", ""},
		{"www." + linkDomain, code, android, "ensonboarding://picker"},
		{"a." + north, code, iphone, "ens://onboarding"},
		{"nowhere.example", code, android, ""},
		{portalHost, "/v?c=abc123", android, ""}, // people's pages, though it is north's too
		{"not" + linkDomain, code, android, ""},
	} {
		a := f.follow(t, test.host, test.path, test.agent)
		want := http.StatusSeeOther
		if test.want == "" {
			want = http.StatusNotFound
		}
		if got := a.Header.Get("Location"); a.StatusCode != want || got != test.want {
			t.Errorf("%s%s for %q: %d to %q, want %d to %q", test.host, test.path, test.agent, a.StatusCode, got, want, test.want)
		}
		if a.StatusCode == http.StatusSeeOther && a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s%s may be kept", test.host, test.path)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if a := f.ask(t, method, "/v?c=1", header{"Host": north}, ""); a.StatusCode != http.StatusMethodNotAllowed || len(a.body) > 0 {
			t.Errorf("%s: %v", method, a)
		}
	}
	if a := f.ask(t, http.MethodHead, code, header{"Host": north, "User-Agent": android}, ""); a.Header.Get("Location") != intent {
		t.Errorf("HEAD: %v", a)
	}
	if log := f.log.String(); strings.Contains(log, "abc123") || strings.Contains(f.metricsText(t), "abc123") {
		t.Error("a code was logged or counted")
	}
}

// A region's host has the tenant's other URLs too; the probes and people's pages are
// not links.
func TestHostsOfLinksServeTheRest(t *testing.T) {
	t.Parallel()
	f := setUp(t, func(_ *fixture, c *api.Config) {
		c.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "a page", http.StatusTeapot) })
	})
	north := regionHost(f.north)
	for path, want := range map[string]int{
		"/health": http.StatusOK, "/jwks": http.StatusOK, "/.well-known/jwks.json": http.StatusOK,
		"/report": http.StatusTeapot, "/report/issue": http.StatusTeapot, "/assets/x.css": http.StatusTeapot,
		"/reported": http.StatusSeeOther,
	} {
		if a := f.follow(t, north, path, "iphone"); a.StatusCode != want {
			t.Errorf("%s: %v, want %d", path, a, want)
		}
	}
	for _, host := range []string{linkDomain, portalHost, "nowhere.example"} {
		if a := f.follow(t, host, "/report", "iphone"); a.StatusCode != http.StatusTeapot {
			t.Errorf("%s: %v", host, a)
		}
	}
	h := jsonWith(f.north.device)
	h["Host"] = north
	if a := f.ask(t, http.MethodPost, "/api/verify", h, `{"code":"00000000"}`); a.text("errorCode") != "code_invalid" {
		t.Errorf("verify at the region's host: %v", a)
	}
	h["X-API-Key"] = f.south.device
	if a := f.ask(t, http.MethodPost, "/api/verify", h, `{"code":"00000000"}`); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("another tenant's key at the region's host: %v", a)
	}
}

func TestAssociationsThatAreNot(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.addApps(t, f.north)
	for _, path := range []string{"/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"} {
		for host, want := range map[string]string{
			linkDomain:            `{"error":"request is missing region"}`,
			"nowhere.example":     `{"error":"request is missing region"}`,
			"zz-zz." + linkDomain: `{"error":"no realm exists for region \"ZZ-ZZ\""}`,
			regionHost(f.south):   `{"error":"no apps are registered"}`,
			"www.x." + linkDomain: `{"error":"request is missing region"}`,
		} {
			a := f.follow(t, host, path, "")
			if a.StatusCode != http.StatusNotFound || string(a.body) != want || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s%s: %v, want %s", host, path, a, want)
			}
		}
	}
}

// A directory that does not answer is an error of ours, not a link to nowhere.
func TestLinksWithoutADatabase(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := errors.Join(f.world.Device.Close(), f.world.Publish.Close()); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{regionHost(f.north), "en.north.example"} {
		for _, path := range []string{"/v?c=1", "/.well-known/assetlinks.json"} {
			if a := f.follow(t, host, path, "android"); a.StatusCode != http.StatusInternalServerError {
				t.Errorf("%s%s: %v, want 500", host, path, a)
			}
		}
	}
}

// Links cost no round trip once the directory and the apps are known, and the path
// form never asks for its host.
func TestLinksCostNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.addApps(t, f.north)
	key := f.world.Key(f.north.Tenant, client.Device)
	ask := func() {
		f.follow(t, regionHost(f.north), "/v?c=1", "android")
		f.ask(t, http.MethodPost, "/t/north/api/verify", jsonWith(key), "not JSON")
	}
	ask()
	if trips := f.world.Trips(ask); trips != 0 {
		t.Errorf("%d round trips", trips)
	}
}
