package app_test

import (
	"net/url"
	"strings"
	"testing"

	"carillon/tenant/app"
)

const (
	onAndroid  = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36"
	onIPhone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)"
	onMac      = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
	onIPad     = "Mozilla/5.0 (iPad; CPU OS 12_0 like Mac OS X)"
	elsewhere  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
	iosStore   = "https://ios.test.app"
	playStore  = "https://android.test.app/details?id=org.wa.exposure"
	playQuoted = "https%3A%2F%2Fandroid.test.app%2Fdetails%3Fid%3Dorg.wa.exposure"
	about      = "https://health.example/about"
	nowhere    = ""
)

var (
	iosApp     = app.Record{OS: app.IOS, Name: "WA", ID: "TEAMID.org.wa.exposure", StoreURL: iosStore}
	androidApp = app.Record{OS: app.Android, Name: "WA", ID: "org.wa.exposure", StoreURL: playStore, Fingerprints: []string{fingerprint}}
)

func changed(r app.Record, change func(*app.Record)) app.Record {
	change(&r)
	return r
}

func headless(r *app.Record)  { r.Headless = true }
func kept(r *app.Record)      { r.DisableRedirect = true }
func storeless(r *app.Record) { r.StoreURL = "" }

// Every row of the table in the verification protocol §7.5, and the order of its rules.
func TestRedirectIsTheTable(t *testing.T) {
	t.Parallel()
	served := func(apps ...app.Record) app.Site {
		return app.Site{Region: "US-WA", Served: true, Apps: apps, ENX: true, Information: about}
	}
	both := served(iosApp, androidApp)
	custom := both
	custom.ENX = false
	customNoApp := served(androidApp)
	customNoApp.ENX = false
	intent := "intent://v?c=abc123&r=US-WA#Intent;scheme=ens;package=org.wa.exposure;action=android.intent.action.VIEW;" +
		"category=android.intent.category.BROWSABLE;S.browser_fallback_url=" + playQuoted + ";end"
	type want struct{ bare, link string } // without and with a query
	for _, test := range []struct {
		name  string
		site  app.Site
		agent string
		want  want
	}{
		{"no region, Android", app.Site{Information: about}, onAndroid, want{"ensonboarding://picker", "ensonboarding://picker"}},
		{"no region, iPhone", app.Site{Information: about}, onIPhone, want{"ens://onboarding", "ens://onboarding"}},
		{"no region, Mac", app.Site{Information: about}, onMac, want{"ens://onboarding", "ens://onboarding"}},
		{"no region, other", app.Site{Information: about}, elsewhere, want{nowhere, nowhere}},
		{"nobody serves it, Android", app.Site{Region: "US-WA", Information: about}, onAndroid, want{nowhere, nowhere}},
		{"nobody serves it, iPhone", app.Site{Region: "US-WA", Information: about}, onIPhone, want{nowhere, nowhere}},
		{"nobody serves it, other", app.Site{Region: "US-WA", Information: about}, elsewhere, want{nowhere, nowhere}},
		{"Android, first app is headless", served(changed(androidApp, headless), androidApp), onAndroid, want{"ensonboarding://picker/us-wa", "ensonboarding://picker/us-wa"}},
		{"Android, app", both, onAndroid, want{playStore, intent}},
		{"Android, app without ENX", custom, onAndroid, want{playStore, intent}},
		{"Android, app behind one that gets no links", served(changed(androidApp, func(r *app.Record) { r.ID, r.DisableRedirect = "org.other", true }), androidApp), onAndroid, want{playStore, intent}},
		{"Android, only an app that gets no links", served(changed(androidApp, kept), iosApp), onAndroid, want{"ensonboarding://picker/us-wa", "ensonboarding://picker/us-wa"}},
		{"Android, app without a store", served(changed(androidApp, storeless)), onAndroid, want{"ensonboarding://picker/us-wa", "ensonboarding://picker/us-wa"}},
		{"Android, none", served(iosApp), onAndroid, want{"ensonboarding://picker/us-wa", "ensonboarding://picker/us-wa"}},
		{"iPhone, app", both, onIPhone, want{iosStore, iosStore}},
		{"Mac, app", custom, onMac, want{iosStore, iosStore}},
		{"iPhone, none, ENX", served(androidApp), onIPhone, want{"ens://onboarding", "ens://v?c=abc123&r=US-WA"}},
		{"iPhone, only an app that gets no links", served(changed(iosApp, kept)), onIPhone, want{"ens://onboarding", "ens://v?c=abc123&r=US-WA"}},
		{"iPhone, none, no ENX", customNoApp, onIPhone, want{"ens://onboarding", nowhere}},
		{"other", both, elsewhere, want{about, nowhere}},
		{"no user agent", both, "", want{about, nowhere}},
		{"a tablet that says so is another computer", both, onIPad, want{about, nowhere}},
		{"Android is looked for first", both, onIPhone + " ANDROID", want{playStore, intent}},
		{"in capitals", both, "IPHONE", want{iosStore, iosStore}},
	} {
		for query, want := range map[string]string{"": test.want.bare, "c=abc123": test.want.link} {
			got, found := app.Redirect(test.site, app.Link{Path: "/v", Query: query, UserAgent: test.agent})
			if found != (want != nowhere) || (found && got != want) {
				t.Errorf("%s, query %q: %q, %v, want %q", test.name, query, got, found, want)
			}
		}
	}
}

func TestDeepLinks(t *testing.T) {
	t.Parallel()
	site := app.Site{Region: "US-ZZ", Served: true, ENX: true}
	for _, test := range []struct{ path, query, want string }{
		{"/V", "c=abc123&x=1", "ens://v?c=abc123&r=US-ZZ&x=1"},
		{"/v", "r=us-aa&c=abc123", "ens://v?c=abc123&r=US-ZZ"},
		{"/v", "r=a&r=b&c=1&c=2", "ens://v?c=1&c=2&r=US-ZZ"},
		{"/", "c=1", "ens://?c=1&r=US-ZZ"},
		{"", "c=1", "ens://?c=1&r=US-ZZ"},
		{"/a/B", "c=%20%26", "ens://a/b?c=+%26&r=US-ZZ"},
		{"/v%23", "c=#x", "ens://v%23?c=%23x&r=US-ZZ"},
		{"/v", "%zz;", "ens://v?r=US-ZZ"},
	} {
		if got, _ := app.Redirect(site, app.Link{Path: test.path, Query: test.query, UserAgent: onIPhone}); got != test.want {
			t.Errorf("%s?%s: %q, want %q", test.path, test.query, got, test.want)
		}
	}
}

// Whatever is asked, the answer is one of the few kinds of link, has the host's region
// and no other, and carries nothing that would end its query or begin an intent's
// part.
func FuzzRedirect(f *testing.F) {
	for _, query := range []string{"", "c=abc123", "r=US-AA&c=1", "c=#Intent;package=evil;end", "c=%23Intent%3Bend", "a=b;c=d", "\r\nX: y", "%zz", "&&&"} {
		for _, path := range []string{"/", "/V", "/v;end", "/v%23Intent;", "//evil.example/"} {
			f.Add(path, query, onAndroid)
			f.Add(path, query, onIPhone)
		}
	}
	full := app.Site{Region: "US-WA", Served: true, Apps: []app.Record{androidApp}, ENX: true, Information: about}
	f.Fuzz(func(t *testing.T, path, query, agent string) {
		escaped := (&url.URL{Path: "/" + strings.TrimPrefix(path, "/")}).EscapedPath() // as a server hands it over
		location, found := app.Redirect(full, app.Link{Path: escaped, Query: query, UserAgent: agent})
		if !found {
			return
		}
		if strings.ContainsAny(location, " \r\n\t\x00\"<>") {
			t.Fatalf("not a URL: %q", location)
		}
		if location == playStore || location == about {
			return
		}
		link, fragment, _ := strings.Cut(location, "#")
		scheme, rest, _ := strings.Cut(link, "://")
		_, asked, _ := strings.Cut(rest, "?")
		values, err := url.ParseQuery(asked)
		if err != nil {
			t.Errorf("query of %q: %v", location, err)
		}
		wantFragment := ""
		switch scheme {
		case "intent":
			wantFragment = "Intent;scheme=ens;package=org.wa.exposure;action=android.intent.action.VIEW;category=android.intent.category.BROWSABLE;S.browser_fallback_url=" + playQuoted + ";end"
		case "ens", "ensonboarding":
		default:
			t.Errorf("another kind of link: %q", location)
		}
		if fragment != wantFragment {
			t.Errorf("another end: %q", location)
		}
		if asked != "" && (len(values["r"]) != 1 || values.Get("r") != full.Region) {
			t.Errorf("another region: %q", location)
		}
	})
}
