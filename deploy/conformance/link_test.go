package conformance_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/client"
)

const (
	redirectDomain = "links.example"
	fingerprint    = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"
	information    = "https://www.google.com/covid19/exposurenotifications/"
)

// addApps gives a tenant the apps of the reference's own redirect test (§12.1).
func (w *world) addApps(t *testing.T, to account) {
	t.Helper()
	err := w.Operator.In(t.Context(), to.ID, func(tx *tenant.Tx) error {
		for _, r := range []app.Record{
			{Name: "phone app", OS: app.IOS, ID: "ABCDE12345.test.ios", StoreURL: "https://ios.test.app"},
			{Name: "phone app", OS: app.Android, ID: "test.android", StoreURL: "https://android.test.app", Fingerprints: []string{fingerprint}},
		} {
			if err := app.Add(t.Context(), tx, authz.Subject{Kind: authz.System, ID: "test"}, r, w.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func regionHost(a account) string { return strings.ToLower(a.Region) + "." + redirectDomain }

// linkRules are §7.4 to §7.6 and §12.4: where links lead.
func linkRules() []rule {
	// leads checks where a path of a region's host leads a device; empty means 404.
	leads := func(host func(*world) string, path, device, want string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodGet, path, header{"Host": host(w), "User-Agent": device}, "")
			status := http.StatusSeeOther
			if want == "" {
				status = http.StatusNotFound
			}
			got := a.Header.Get("Location")
			got = strings.ReplaceAll(strings.ReplaceAll(got, w.open.Region, "REGION"), strings.ToLower(w.strict.Region), "region")
			got = strings.ReplaceAll(got, w.strict.Region, "REGION")
			if a.StatusCode != status || got != want {
				t.Errorf("%d %q, want %d %q", a.StatusCode, got, status, want)
			}
		}
	}
	apps := func(w *world) string { return regionHost(w.open) }
	none := func(w *world) string { return regionHost(w.strict) }
	nobody := func(*world) string { return redirectDomain }
	empty := func(*world) string { return "zz-zz." + redirectDomain }
	const android, iphone, mac, other = "Mozilla (Linux; Android 12)", "Mozilla (iPhone; CPU)", "Mozilla (Macintosh)", "curl"
	return []rule{
		{"7.5", "a host of no region, Android: the region picker", "", leads(nobody, "/v?c=x", android, "ensonboarding://picker")},
		{"7.5", "a host of no region, iPhone: onboarding", "", leads(nobody, "/v?c=x", iphone, "ens://onboarding")},
		{"7.5", "a host of no region, Mac: onboarding", "", leads(nobody, "/", mac, "ens://onboarding")},
		{"7.5", "a host of no region, other: 404", "", leads(nobody, "/", other, "")},
		{"7.5", "a region that nobody serves: 404", "", leads(empty, "/v?c=x", android, "")},
		{"7.5", "no query, Android, with an app: its store", "", leads(apps, "/", android, "https://android.test.app")},
		{"7.5", "no query, Android, without an app: the picker with the region", "", leads(none, "/", android, "ensonboarding://picker/region")},
		{"7.5", "no query, iPhone, with an app: its store", "", leads(apps, "/", iphone, "https://ios.test.app")},
		{"7.5", "no query, iPhone, without an app: onboarding", "", leads(none, "/", iphone, "ens://onboarding")},
		{"7.5", "no query, other: the information page", "", leads(apps, "/", other, information)},
		{"7.5", "with a query, Android, with an app: an intent with the region and the store behind it", "", leads(apps, "/V?c=abc123&x=1", android,
			"intent://v?c=abc123&r=REGION&x=1#Intent;scheme=ens;package=test.android;action=android.intent.action.VIEW;category=android.intent.category.BROWSABLE;S.browser_fallback_url=https%3A%2F%2Fandroid.test.app;end")},
		{"7.5", "with a query, iPhone, with an app: its store", "", leads(apps, "/v?c=abc123", iphone, "https://ios.test.app")},
		{"7.5", "with a query, Android, without an app: the picker with the region", "", leads(none, "/v?c=abc123", android, "ensonboarding://picker/region")},
		{"7.5", "with a query, iPhone, without an app: 404", "", leads(none, "/v?c=abc123", iphone, "")},
		{"7.5", "with a query, iPhone, without an app, of an ENX tenant: the link that iOS opens, with the region", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			w.set(t, of.Tenant, map[string]string{"enx": "on"})
			a := w.ask(t, http.MethodGet, "/V?x=1&c=abc123&r=XX", header{"Host": regionHost(of), "User-Agent": iphone}, "")
			if want := "ens://v?c=abc123&r=" + of.Region + "&x=1"; a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want {
				t.Errorf("%d %q, want %q", a.StatusCode, a.Header.Get("Location"), want)
			}
		}},
		{"7.5", "an iPad is another device; Android goes before iPhone", "", func(t *testing.T, w *world) {
			leads(apps, "/", "Mozilla (iPad; CPU OS 12)", information)(t, w)
			leads(apps, "/", "Android iPhone", "https://android.test.app")(t, w)
		}},
		{"7.4", "a message of an ENX tenant has the link of its region's host, with the long code", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			of.admin = w.Key(of.Tenant, client.Admin)
			w.set(t, of.Tenant, map[string]string{"enx": "on", "sms": "on", "require-date": "off"})
			w.issue(t, of, object{"phone": newPhone()})
			if text := w.lastMessage(t); !strings.Contains(text, "https://"+regionHost(of)+"/v?c=") {
				t.Errorf("%q", text)
			}
		}},
		{"7.5", "with a query, other: 404", "", leads(apps, "/v?c=abc123", other, "")},
		{"7.6", "the association file of iOS lists the tenant's apps, as JSON, without a redirect", "", func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodGet, "/.well-known/apple-app-site-association", header{"Host": regionHost(w.open)}, "")
			want := `{"applinks":{"apps":[],"details":[{"appID":"ABCDE12345.test.ios","paths":["*"]}]}}`
			if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != jsonType || strings.TrimSpace(string(a.body)) != want {
				t.Errorf("%v", a)
			}
		}},
		{"7.6", "the association file of Android lists package and fingerprints", "", func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodGet, "/.well-known/assetlinks.json", header{"Host": regionHost(w.open)}, "")
			var links []struct {
				Relation []string
				Target   map[string]any
			}
			if err := json.Unmarshal(a.body, &links); err != nil || len(links) != 1 {
				t.Fatalf("%v, %v", a, err)
			}
			l := links[0]
			if l.Relation[0] != "delegate_permission/common.handle_all_urls" || l.Target["namespace"] != "android_app" || l.Target["package_name"] != "test.android" {
				t.Errorf("%v", l)
			}
		}},
		{"7.6", "a tenant without apps, and an unknown region, is 404", "", func(t *testing.T, w *world) {
			for _, host := range []string{regionHost(w.strict), "zz-zz." + redirectDomain} {
				for _, path := range []string{"/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"} {
					a := w.ask(t, http.MethodGet, path, header{"Host": host}, "")
					if a.StatusCode != http.StatusNotFound || a.text("error") == "" {
						t.Errorf("%s at %s: %v", path, host, a)
					}
				}
			}
		}},
	}
}

// keyRules are §9: the keys that key servers verify certificates with.
func keyRules() []rule {
	return []rule{
		{"9", "/jwks is a bare array of P-256 keys; /.well-known/jwks.json is RFC 7517's set of the same", "no set", func(t *testing.T, w *world) {
			bare := w.ask(t, http.MethodGet, "/t/open/jwks", nil, "")
			set := w.ask(t, http.MethodGet, "/t/open/.well-known/jwks.json", nil, "")
			var keys []map[string]string
			if err := json.Unmarshal(bare.body, &keys); err != nil || len(keys) == 0 {
				t.Fatalf("%v, %v", bare, err)
			}
			for _, name := range []string{"kid", "kty", "crv", "x", "y"} {
				if keys[0][name] == "" {
					t.Errorf("a key has no %s", name)
				}
			}
			if got, want := string(set.body), `{"keys":`+string(bare.body)+`}`; got != want {
				t.Errorf("set %s, want %s", got, want)
			}
		}},
		{"9", "an unknown tenant's keys are 404, not an empty list", "", func(t *testing.T, w *world) {
			for _, path := range []string{"/t/nowhere/jwks", "/t/nowhere/.well-known/jwks.json"} {
				if a := w.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != http.StatusNotFound {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
	}
}

// chaffRules are §10: cover traffic.
func chaffRules() []rule {
	devicePaths := []string{"/api/verify", "/api/certificate", "/api/user-report"}
	chaff := func(t *testing.T, w *world, path, key string) answer {
		t.Helper()
		return w.ask(t, http.MethodPost, "/t/open"+path, header{"Content-Type": jsonType, "X-API-Key": key, "X-Chaff": "1"}, `{"not":"a request"}`)
	}
	return []rule{
		{"10", "cover traffic is 200 and JSON, with the headers of a real success", "text/plain, and no rate limit's headers", func(t *testing.T, w *world) {
			real := w.must(t, w.open, "/api/verify", object{"code": w.issue(t, w.open, nil).text("code")})
			for _, path := range devicePaths {
				a := chaff(t, w, path, w.open.device)
				if a.StatusCode != http.StatusOK || a.text("padding") == "" {
					t.Errorf("%s: %v", path, a)
				}
				for name := range real.Header {
					if a.Header.Get(name) == "" {
						t.Errorf("%s: no header %s", path, name)
					}
				}
			}
		}},
		{"10", "cover traffic needs a key", "", func(t *testing.T, w *world) {
			for _, path := range devicePaths {
				if a := chaff(t, w, path, "x.y.z"); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: %v", path, a)
				}
			}
		}},
		{"10", "cover traffic needs no body that can be read, and claims no code", "", func(t *testing.T, w *world) {
			code := w.issue(t, w.open, nil).text("code")
			a := w.ask(t, http.MethodPost, "/t/open/api/verify",
				header{"Content-Type": jsonType, "X-API-Key": w.open.device, "X-Chaff": "1"}, object{"code": code}.String())
			if a.StatusCode != http.StatusOK || a.text("token") != "" {
				t.Errorf("%v", a)
			}
			w.must(t, w.open, "/api/verify", object{"code": code})
		}},
	}
}
