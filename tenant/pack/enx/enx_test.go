package enx_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/pack/demo"
	"carillon/tenant/pack/enx"
)

const region = "US-WA"

var now = time.Date(2026, time.November, 25, 15, 0, 0, 0, time.UTC)

// complete is a configuration with which nothing is wrong, with what the service fills in.
func complete() enx.Config {
	c := demo.Config("Washington State Department of Health", "carillon_device_x")
	for id, value := range map[string]string{
		"regionIdentifier": region, "publicKey": "MFkw", "publicKeyVersion": "v1", "healthAuthorityID": "gov.wa.doh",
		"tekLocalDownloadIndexFile": "https://keys.example/t/wa/exports/index.txt", "tekLocalDownloadBasePath": "https://keys.example/t/wa/exports/",
		"tekUploadURL": "https://keys.example/t/wa/v1/publish", "testVerificationURL": "https://keys.example/t/wa/api/verify",
		"testVerificationCertificateURL": "https://keys.example/t/wa/api/certificate", "playStoreDefaultLocale": "en", "appLinkHost": "us-wa.en.example",
	} {
		c.Values[id] = value
	}
	return c
}

func facts() enx.Facts {
	return enx.Facts{Region: region, Period: 4 * time.Hour, KeyVersion: "v1", Now: now}
}

func TestNothingIsWrongWithTheExample(t *testing.T) {
	t.Parallel()
	if problems := enx.Check(complete(), facts()); len(problems) != 0 {
		t.Errorf("%+v", problems)
	}
}

// set changes one value; "es/…" one of a text in Spanish.
func set(c enx.Config, id, value string) enx.Config {
	c = c.Clone()
	if lang, slot, local := strings.Cut(id, "/"); local {
		c.Texts[lang][slot] = value
	} else {
		c.Values[id] = value
	}
	return c
}

// Each rule, broken alone, gives exactly one problem, at the slot that is to be put right.
func TestEachRule(t *testing.T) {
	t.Parallel()
	last := complete()
	long := func(n int) string { return strings.Repeat("é", n) }
	for name, test := range map[string]struct {
		id, value string
		at        string // the slot with the problem, if it is another one
		change    func(*enx.Facts)
		fine      bool
	}{
		"a name as long as it may be":     {id: "en/agencyDisplayName", value: long(50), fine: true},
		"a name too long":                 {id: "en/agencyDisplayName", value: long(51)},
		"letters of two marks are one":    {id: "en/agencyDisplayName", value: strings.Repeat("e\u0301", 50), fine: true},
		"families are one character":      {id: "es/notificationSubject_1", value: strings.Repeat("👩‍👩‍👧", 50), fine: true},
		"a subject too long":              {id: "es/notificationSubject_2", value: long(51)},
		"a body too long":                 {id: "en/notificationBody_1", value: long(257)},
		"details too long":                {id: "en/exposureDetailsBodyText_1", value: long(1501)},
		"a message too long":              {id: "en/agencyMessage", value: long(3001)},
		"onset too long":                  {id: "en/symptomsOnsetDescription", value: long(8001)},
		"no default text":                 {id: "en/agencyMessage", value: " "},
		"a language lacks a text":         {id: "es/revokedNotificationBody", value: ""},
		"only one language has it":        {id: "en/vaccinationQuestionText", value: "Were you vaccinated?", at: "vaccinationQuestionText"},
		"control characters":              {id: "en/agencyMessage", value: "a\x07b"},
		"characters that were lost":       {id: "en/agencyMessage", value: "caf\uFFFD"},
		"no website":                      {id: "agencyWebsiteURL", value: ""},
		"a website without encryption":    {id: "agencyWebsiteURL", value: "http://health.example"},
		"a website with a password":       {id: "agencyWebsiteURL", value: "https://a:b@health.example"},
		"no address at all":               {id: "agencyWebsiteURL", value: "https://"},
		"this machine":                    {id: "revokedURL", value: "http://127.0.0.1:8080/x"},
		"this machine, for development":   {id: "revokedURL", value: "http://127.0.0.1:8080/x", change: func(f *enx.Facts) { f.Loopback = true }, fine: true},
		"an address too long":             {id: "classificationURL_2", value: "https://health.example/" + strings.Repeat("x", 478)},
		"an address as long as it may be": {id: "classificationURL_2", value: "https://health.example/" + strings.Repeat("x", 477), fine: true},
		"weight above 250":                {id: "attenuationNearWeight", value: "251"},
		"weight below 0":                  {id: "attenuationNearWeight", value: "-1"},
		"weight with a dot":               {id: "infectiousnessHighWeight", value: "100.0"},
		"threshold above 255":             {id: "attenuationMedFarThreshold", value: "256"},
		"thresholds equal":                {id: "attenuationNearMedThreshold", value: "55"},
		"thresholds fall":                 {id: "attenuationMedFarThreshold", value: "60"},
		"days above 14":                   {id: "daysSinceExposureThreshold", value: "15"},
		"a map too short":                 {id: "symptomOnsetToInfectiousnessMap", value: "0x0400005AAA50000"},
		"a map of small letters":          {id: "symptomOnsetToInfectiousnessMap", value: "0x0400005aaa500000"},
		"a map with 11":                   {id: "symptomOnsetToInfectiousnessMap", value: "0x0400005AAA500003"},
		"a map beyond its days":           {id: "symptomOnsetToInfectiousnessMap", value: "0x1400005AAA500000"},
		"classes that never apply":        {id: "perDaySumERVThreshold_2", value: "0", at: "confirmedTestPerDaySumERVThreshold_2"},
		"no classes":                      {id: "classes", value: "0"},
		"five classes":                    {id: "classes", value: "5"},
		"names of classes twice":          {id: "classificationName_2", value: "ALERT-1"},
		"name of a class too long":        {id: "classificationName_1", value: long(26)},
		"a threshold beyond 32 bits":      {id: "perDaySumERVThreshold_1", value: "71582789"},
		"header that cannot be read":      {id: "agencyHeaderTextColor", value: "#808080"},
		"a color that is none":            {id: "agencyColor", value: "blue"},
		"style 4":                         {id: "agencyHeaderStyle", value: "4"},
		"six hours":                       {id: "tekPublishInterval", value: "6"},
		"exports more seldom":             {id: "tekPublishInterval", value: "2"},
		"exports that do not fit":         {id: "tekPublishInterval", value: "4", change: func(f *enx.Facts) { f.Period = 3 * time.Hour }},
		"no exports":                      {id: "tekPublishInterval", value: "4", change: func(f *enx.Facts) { f.Period = 0 }},
		"base path without a slash":       {id: "tekLocalDownloadBasePath", value: "https://keys.example/t/wa/exports"},
		"another key version":             {id: "publicKeyVersion", value: "v2"},
		"a consent version of words":      {id: "legalConsentVersion", value: "first"},
		"a consent version too long":      {id: "legalConsentVersion", value: "1.0000000000000000000000000"},
		"a consent version that falls":    {id: "legalConsentVersion", value: "0.9", change: func(f *enx.Facts) { f.Last = &last }},
		"a consent version that grows":    {id: "legalConsentVersion", value: "1.0.1", change: func(f *enx.Facts) { f.Last = &last }, fine: true},
		"new consent, old version":        {id: "es/legalConsentText", value: "Otro texto", at: "legalConsentVersion", change: func(f *enx.Facts) { f.Last = &last }},
		"new thresholds, old name":        {id: "perDayMaxERVThreshold_2", value: "7", at: "classificationName_2", change: func(f *enx.Facts) { f.Last = &last }},
		"another authority":               {id: "healthAuthorityID", value: "gov.wa.other", change: func(f *enx.Facts) { f.Last = &last }},
		"no authority":                    {id: "healthAuthorityID", value: ""},
		"a key of the API too long":       {id: "testVerificationAPIKey", value: long(257)},
		"no day":                          {id: "goLiveDate", value: "2026-02-30"},
		"a title for the store too long":  {id: "appTitle", value: long(51)},
	} {
		f := facts()
		if test.change != nil {
			test.change(&f)
		}
		var got []string
		for _, p := range enx.Check(set(complete(), test.id, test.value), f) {
			if !p.Advice {
				got = append(got, p.Slot)
			}
		}
		var want []string
		if !test.fine {
			_, slot, local := strings.Cut(test.id, "/")
			if !local {
				slot = test.id
			}
			want = []string{slot}
			if test.at != "" {
				want = []string{test.at}
			}
		}
		// A number that is none is also not in order with its neighbors.
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: problems at %q, want %q", name, got, want)
		}
	}
}

func TestAdviceKeepsNothingFromBeingDone(t *testing.T) {
	t.Parallel()
	f := facts()
	f.Period = time.Minute
	problems := enx.Check(set(complete(), "goLiveDate", "2026-11-24"), f)
	if len(problems) != 2 || !enx.Ready(problems) {
		t.Errorf("%+v", problems)
	}
}

func TestLanguages(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"en": "en", "en, es-MX\nzh-Hant": "en es-MX zh-Hant", "EN pt-br": "en pt-BR"} {
		got, err := enx.ParseLanguages(text, region)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ",", "english", "es es-419", "zh-Hans zh-Hant", "haw", "en en", "<b>", strings.Repeat("en ", 100)} {
		if got, err := enx.ParseLanguages(text, region); !errors.Is(err, enx.ErrLanguage) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for tag, want := range map[string]string{"en": "_EN_US", "fr-CA": "_FR_CA", "es-419": "_ES_US", "zh-Hant": "_ZH_US"} {
		if got, err := enx.Suffix(tag, region); err != nil || got != want {
			t.Errorf("%s: %q, %v", tag, got, err)
		}
	}
	if got, err := enx.Suffix("mi", "NZ"); err != nil || got != "_MI_NZ" {
		t.Errorf("%q, %v", got, err)
	}
}

// The protocol's own reading of Google's default (section 1.5).
func TestDayMap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0x0401555AA9400000": "standard -3 to -2, +4 to +10; high -1 to +3; unknown onset standard",
		"0x0800001AAA400000": "standard -3, +4; high -2 to +3; unknown onset high",
		"0x0400556AAA940000": "standard -5 to -4, +5 to +9; high -3 to +4; unknown onset standard",
		"0x0400005AAA500000": "standard -4 to -3, +4 to +5; high -2 to +3; unknown onset standard",
		"0x0000000000000000": "standard never; high never; unknown onset dropped",
	} {
		if m, err := enx.ParseDays(text); err != nil || m.String() != want {
			t.Errorf("%s: %q, %v", text, m, err)
		}
	}
}

// What goes out differs by platform in the unit of thresholds, and in what each knows.
func TestForms(t *testing.T) {
	t.Parallel()
	c := set(complete(), "perDaySumERVThreshold_3", "99") // of a class that is not in use
	apple, err := enx.Apple(c, region)
	if err != nil {
		t.Fatal(err)
	}
	document, err := enx.Google(c, region)
	if err != nil {
		t.Fatal(err)
	}
	google, _ := document["config"].(map[string]any)
	for _, test := range []struct {
		form map[string]any
		key  string
		want any
	}{
		{apple, "perDaySumERVThreshold_1", 15},
		{google, "perDaySumERVThreshold_1", 900},
		{apple, "perDaySumERVThreshold_3", 0},
		{apple, "weightedDurationAtAttenuationThreshold_4", 0},
		{google, "confirmedTestPerDaySumERVThreshold_4", 0},
		{apple, "classificationName_3", nil},
		{apple, "notificationBody_2_EN_US", "You were near somebody who tested positive. See what to do."},
		{apple, "agencyRegionName_ES_US", "Costa Norte"},
		{apple, "agencyRegionName", nil},
		{apple, "symptomOnsetToInfectiousnessMap", "0x0400005AAA500000"},
		{apple, "enVersion", 2},
		{apple, "goLiveDate", int64(1799625600)},
		{apple, "exposureMatching", true},
		{apple, "callbackIntervalInMin", 240},
		{apple, "healthAuthorityID", nil},
		{google, "healthAuthorityID", "gov.wa.doh"},
		{apple, "signAuthorityName", nil},
		{google, "classes", nil},
		{google, "appLinkHost", "us-wa.en.example"},
		{apple, "appLinkHost", nil},
		{google, "enableTextMessageVerification", false},
	} {
		if got := test.form[test.key]; got != test.want {
			t.Errorf("%s: %v (%T), want %v", test.key, got, got, test.want)
		}
	}
	if got := fmt.Sprint(apple["agencyColor"]); got != "[0.102 0.267 0.502]" {
		t.Errorf("color %s", got)
	}
}

// No form has a key that only the platforms set (section 1.10).
func TestNoKeyOfThePlatforms(t *testing.T) {
	t.Parallel()
	for _, k := range enx.Keys() {
		for _, theirs := range []string{"status", "enEnabled", "isTestRegion", "serverConfigVersion", "hasStateRegions", "stateRegionConfigs", "reportTypeRecursiveWeight", "V1Enable", "enableChaff"} {
			if k.Name == theirs {
				t.Errorf("%s is in the table", k.Name)
			}
		}
	}
}

func TestTheSmallestChange(t *testing.T) {
	t.Parallel()
	before := complete()
	after := set(set(set(before, "es/agencyMessage", "Otro"), "callbackIntervalInMin", "60"), "es/traveledQuestionText", "¿Sí?")
	changes, err := enx.AppleChanges(before, after, region)
	if err != nil {
		t.Fatal(err)
	}
	// Apple's table lacks the other two, so that the call would be refused.
	if diff := cmp.Diff(map[string]any{"agencyMessage_ES_US": "Otro"}, changes); diff != "" {
		t.Error(diff)
	}
	if changes, err = enx.AppleChanges(before, before, region); err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changes, err)
	}
	all, err := enx.AppleChanges(enx.Config{}, after, region)
	if err != nil || all["publicKeyVersion"] != "v1" || all["callbackIntervalInMin"] != nil || all["agencyHeaderSubtitle_EN_US"] != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	a := complete()
	b := set(set(a, "attenuationOtherWeight", "0"), "en/agencyRegionName", "Seattle") // the first is what is sent anyway
	b.Languages = []string{"en"}
	var got []string
	for _, d := range enx.Differences(a, b) {
		if d.Language == "es" && d.After != "" {
			t.Errorf("%+v", d)
		}
		if d.Language != "es" {
			got = append(got, d.ID+": "+d.Before+" → "+d.After)
		}
	}
	if diff := cmp.Diff([]string{"agencyRegionName: North Shore → Seattle", "languages: en, es → en"}, got); diff != "" {
		t.Error(diff)
	}
	if same := enx.Differences(a, a.Clone()); len(same) != 0 {
		t.Errorf("%+v", same)
	}
}

func TestContrast(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want float64
	}{{"#000000", "#ffffff", 21}, {"#777777", "#ffffff", 4.48}, {"#767676", "#ffffff", 4.54}, {"#FFFFFF", "#1a4480", 9.62}} {
		a, errA := enx.ParseColor(test.a)
		b, errB := enx.ParseColor(test.b)
		if got := enx.Contrast(a, b); errA != nil || errB != nil || math.Abs(got-test.want) > 0.01 {
			t.Errorf("%s on %s: %.3f, want %.2f", test.a, test.b, got, test.want)
		}
	}
}

func TestTheOverride(t *testing.T) {
	t.Parallel()
	document, err := enx.Override(complete(), region)
	if err != nil {
		t.Fatal(err)
	}
	body, err := enx.JSON(document)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Subdivisions []string
		AppConfigs   []struct {
			CountryCode, State, PublicKeyVersion, SignAuthorityName string
			Config                                                  map[string]any
		}
	}
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatal(err)
	}
	app := read.AppConfigs[0]
	if app.CountryCode != "US" || app.State != "US-WA" || app.PublicKeyVersion != "v1" || app.SignAuthorityName != "Washington State Department of Health" || app.Config["enVersion"] != 2.0 {
		t.Errorf("%+v", app)
	}
	list, err := enx.Plist(document)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(list))
	for err == nil {
		_, err = d.Token()
	}
	for _, want := range []string{"<key>state</key>\n<string>US-WA</string>", "<integer>15</integer>", "<real>0.102</real>", "<true/>"} {
		if !strings.Contains(string(list), want) {
			t.Errorf("the list lacks %s", want)
		}
	}
}

func TestTranslationsGoOutAndComeBack(t *testing.T) {
	t.Parallel()
	c := complete()
	for i, text := range []string{"=1+1", "-5 °C", "'quoted", "+1 206", "@all", "two\nlines, \"quoted\""} {
		c = set(c, "es/"+[]string{"agencyMessage", "notificationBody_1", "notificationBody_2", "revokedDetailsBodyText", "agencyRegionName", "legalConsentText"}[i], text)
	}
	file, err := c.Translations()
	if err != nil {
		t.Fatal(err)
	}
	for _, marked := range [][]byte{file, append([]byte("\xEF\xBB\xBF"), file...)} {
		texts, err := c.ReadTranslations(marked)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.Texts, texts); diff != "" {
			t.Error(diff)
		}
	}
	if strings.Contains(string(file), ",=1+1") {
		t.Error("the file has a formula")
	}
}

func TestTranslationsAreRefused(t *testing.T) {
	t.Parallel()
	c := complete()
	for name, test := range map[string]struct{ file, want string }{
		"empty":             {"", "empty"},
		"no heading":        {"agencyMessage,x\n", "must begin"},
		"another language":  {"key,label,limit,fr\nagencyMessage,,,x\n", "none of your languages"},
		"a language twice":  {"key,label,limit,es,es\nagencyMessage,,,x,y\n", "twice"},
		"no language":       {"key,label,limit\nagencyMessage,,\n", "no column"},
		"an unknown key":    {"key,label,limit,es\nagencyColor,,,x\n", "no text with the key"},
		"a key twice":       {"key,label,limit,es\nagencyMessage,,,x\nagencyMessage,,,y\n", "twice"},
		"a formula":         {"key,label,limit,es\nagencyMessage,,,\"=HYPERLINK(\"\"x\"\")\"\n", "formula"},
		"too long":          {"key,label,limit,es\nagencyRegionName,,," + strings.Repeat("x", 51) + "\n", "may have 50"},
		"Latin-1":           {"key,label,limit,es\nagencyMessage,,,caf\xe9\n", "not in UTF-8"},
		"lost characters":   {"key,label,limit,es\nagencyMessage,,,caf\uFFFD\n", "lost characters"},
		"UTF-16":            {"\xFF\xFEk\x00e\x00y\x00", "UTF-16"},
		"columns that lack": {"key,label,limit,es\nagencyMessage\n", "wrong number of fields"},
		"a quote too many":  {"key,label,limit,es\nagencyMessage,,,a\"b\n", "bare"},
		"too large":         {strings.Repeat("x", enx.MaxTranslations+1), "more than"},
	} {
		if texts, err := c.ReadTranslations([]byte(test.file)); !errors.Is(err, enx.ErrTranslations) || !strings.Contains(err.Error(), test.want) || texts != nil {
			t.Errorf("%s: %v, %v; want %q", name, texts, err, test.want)
		}
	}
}

func FuzzReadTranslations(f *testing.F) {
	c := complete()
	file, err := c.Translations()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("key,label,limit,es\nagencyMessage,,,'=x\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		texts, err := c.ReadTranslations(file)
		if err != nil {
			return
		}
		for lang, of := range texts {
			for id, text := range of {
				c := set(c, lang+"/"+id, text)
				again, err := c.Translations()
				if err != nil {
					t.Fatal(err)
				}
				back, err := c.ReadTranslations(again)
				if err != nil || back[lang][id] != strings.ReplaceAll(text, "\r\n", "\n") {
					t.Errorf("%q came back as %q, %v", text, back[lang][id], err)
				}
			}
		}
	})
}
