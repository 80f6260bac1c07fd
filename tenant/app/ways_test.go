package app_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/app"
)

// A person whose link no app has opened is told what her device can do, and never sent
// where the code is lost without a word.
func TestWays(t *testing.T) {
	t.Parallel()
	const code = "abcd1234efgh5678"
	served := func(enx bool, apps ...app.Record) app.Site {
		return app.Site{Region: "US-WA", Served: true, Apps: apps, ENX: enx, Information: about}
	}
	deep := "ens://v?c=" + code + "&r=US-WA"
	intent := "intent://v?c=" + code + "&r=US-WA#Intent;scheme=ens;package=org.wa.exposure;action=android.intent.action.VIEW;" +
		"category=android.intent.category.BROWSABLE;S.browser_fallback_url=" + playQuoted + ";end"
	for _, test := range []struct {
		name  string
		site  app.Site
		agent string
		want  app.Ways
	}{
		{"iPhone, ENX", served(true), onIPhone, app.Ways{Device: app.IOS, Way: app.Opens, Location: deep, ENX: true}},
		{"iPhone, app", served(false, iosApp), onIPhone, app.Ways{Device: app.IOS, Way: app.Installs, Location: iosStore, AppStore: iosStore}},
		{"iPhone, nothing", served(false, androidApp), onIPhone, app.Ways{Device: app.IOS, Way: app.Nowhere, PlayStore: playStore}},
		{"Android, app", served(true, androidApp), onAndroid, app.Ways{Device: app.Android, Way: app.Opens, Location: intent, PlayStore: playStore, ENX: true}},
		{"Android, no app of its own", served(true, changed(androidApp, headless)), onAndroid, app.Ways{Device: app.Android, Way: app.Activates, Location: "ensonboarding://picker/us-wa", ENX: true}},
		{"Android, none", served(false), onAndroid, app.Ways{Device: app.Android, Way: app.Activates, Location: "ensonboarding://picker/us-wa"}},
		{"Mac, or a tablet that says it is one", served(true, iosApp), onMac, app.Ways{Way: app.Nowhere, AppStore: iosStore, ENX: true}},
		{"tablet", served(true), onIPad, app.Ways{Way: app.Nowhere, ENX: true}},
		{"computer", served(true, iosApp, androidApp), elsewhere, app.Ways{Way: app.Nowhere, AppStore: iosStore, PlayStore: playStore, ENX: true}},
		{"an app that gets no links is not offered", served(true, changed(iosApp, kept), changed(androidApp, kept)), elsewhere, app.Ways{Way: app.Nowhere, ENX: true}},
	} {
		test.want.Code = code
		got := app.WaysOf(test.site, app.Link{Path: "/v", Query: "c=" + code, UserAgent: test.agent})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCodeOfLink(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"c=12345678": "12345678", "x=1&c=abcd1234efgh5678&r=US-WA": "abcd1234efgh5678",
		"": "", "c=": "", "c=12345": "", "c=" + strings.Repeat("a", 33): "", "c=%3Cb%3E12345": "", "C=12345678": "", "c=12345678%00": "", "%zz": "",
	} {
		if got := (app.Link{Path: "/v", Query: query}).Code(); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}
