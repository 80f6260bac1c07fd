package pack_test

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// field is what the protocol's tables say of a key (protocol/enx-config.md 1.2 to 1.9 and
// 6.2), written down once more, by hand and apart from the table under test.
type field struct {
	name string
	// form is text, url, int, bool, color or days; limit the characters of a text or URL
	// or the greatest number.
	form  string
	limit int
	// suffixed: with language and country; classes: _1 to _4.
	suffixed, classes bool
	// need: a region does not go live without it.
	need          bool
	apple, google bool
}

const largest = math.MaxUint32

var fields = []field{
	{"enVersion", "int", 2, false, false, true, true, true},
	{"agencyDisplayName", "text", 50, true, false, true, true, true},
	{"regionIdentifier", "text", 6, false, false, true, true, true},
	{"goLiveDate", "int", largest, false, false, true, true, true},
	{"agencyRegionName", "text", 50, true, false, true, true, true},
	{"agencyWebsiteURL", "url", 500, false, false, true, true, true},
	{"agencyHeaderStyle", "int", 3, false, false, true, true, true},
	{"agencyHeaderTextColor", "color", 0, false, false, true, true, true},
	{"agencyColor", "color", 0, false, false, true, true, true},
	{"agencyImage", "url", 500, false, false, false, true, true},
	{"agencyMessage", "text", 3000, true, false, true, true, true},
	{"legalConsentText", "text", 100_000, true, false, true, true, true},
	{"legalConsentVersion", "text", 25, false, false, true, true, true},
	{"exposureMatching", "bool", 0, false, false, true, true, true},
	{"appBundleId", "text", 155, false, false, false, true, false},
	{"publicKey", "text", 200, false, false, true, true, true},
	{"publicKeyVersion", "text", 20, false, false, true, true, true},
	{"attenuationImmediateWeight", "int", 250, false, false, true, true, true},
	{"attenuationNearWeight", "int", 250, false, false, true, true, true},
	{"attenuationMedWeight", "int", 250, false, false, true, true, true},
	{"attenuationOtherWeight", "int", 250, false, false, true, true, true},
	{"attenuationImmediateNearThreshold", "int", 255, false, false, true, true, true},
	{"attenuationNearMedThreshold", "int", 255, false, false, true, true, true},
	{"attenuationMedFarThreshold", "int", 255, false, false, true, true, true},
	{"symptomOnsetToInfectiousnessMap", "days", 0, false, false, true, true, true},
	{"infectiousnessStandardWeight", "int", 250, false, false, true, true, true},
	{"infectiousnessHighWeight", "int", 250, false, false, true, true, true},
	{"reportTypeConfirmedTestWeight", "int", 250, false, false, true, true, true},
	{"reportTypeConfirmedClinicalDiagnosisWeight", "int", 250, false, false, true, true, true},
	{"reportTypeSelfReportWeight", "int", 250, false, false, true, true, true},
	{"reportTypeNoneMap", "int", 3, false, false, true, true, true},
	{"daysSinceExposureThreshold", "int", 14, false, false, true, true, true},
	{"classificationName", "text", 25, false, true, true, true, true},
	{"notificationSubject", "text", 50, true, true, true, true, true},
	{"notificationBody", "text", 256, true, true, true, true, true},
	{"exposureDetailsBodyText", "text", 1500, true, true, true, true, true},
	{"classificationURL", "url", 500, false, true, true, true, true},
	{"confirmedTestPerDaySumERVThreshold", "int", largest, false, true, true, true, true},
	{"clinicalDiagnosisPerDaySumERVThreshold", "int", largest, false, true, true, true, true},
	{"selfReportPerDaySumERVThreshold", "int", largest, false, true, true, true, true},
	{"recursivePerDaySumERVThreshold", "int", largest, false, true, true, true, true},
	{"perDaySumERVThreshold", "int", largest, false, true, true, true, true},
	{"perDayMaxERVThreshold", "int", largest, false, true, true, true, true},
	{"weightedDurationAtAttenuationThreshold", "int", largest, false, true, true, true, true},
	{"revokedNotificationSubject", "text", 50, true, false, true, true, true},
	{"revokedNotificationBody", "text", 256, true, false, true, true, true},
	{"revokedDetailsBodyText", "text", 1500, true, false, true, true, true},
	{"revokedURL", "url", 500, false, false, true, true, true},
	{"tekLocalDownloadIndexFile", "url", 500, false, false, true, true, true},
	{"tekLocalDownloadBasePath", "url", 500, false, false, true, true, true},
	{"tekPublishInterval", "int", 24, false, false, true, true, true},
	{"callbackIntervalInMin", "int", 1440, false, false, true, true, true},
	{"tekUploadURL", "url", 500, false, false, true, true, true},
	{"testVerificationIntroMessage", "text", 1000, true, false, true, true, true},
	{"verificationCodeLearnMoreURL", "url", 500, false, false, true, true, true},
	{"testVerificationURL", "url", 500, false, false, true, true, true},
	{"testVerificationCertificateURL", "url", 500, false, false, true, true, true},
	{"testVerificationAPIKey", "text", 256, false, false, true, true, true},
	{"agencyHeaderSubtitle", "text", 50, true, false, false, true, true},
	{"healthAuthorityID", "text", 256, false, false, true, false, true},
	{"symptomsOnsetDescription", "text", 8000, true, false, true, false, true},
	{"traveledQuestionText", "text", 1000, true, false, true, false, true},
	{"agencyPrivacyPolicy", "url", 500, false, false, true, false, true},
	{"appTitle", "text", 50, false, false, false, false, true},
	{"playStoreDefaultLocale", "text", 35, false, false, true, false, true},
	{"appLinkHost", "text", 255, false, false, true, false, true},
	{"enableENPA", "bool", 0, false, false, true, false, true},
	{"enableTextMessageVerification", "bool", 0, false, false, true, false, true},
}

// judge says what is wrong with a value of the field; empty if nothing is.
func (f field) judge(value any) string {
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch f.form {
	case "text":
		if !isText || text == "" || utf8.RuneCountInString(text) > f.limit {
			return "no text of 1 to " + strconv.Itoa(f.limit) + " characters"
		}
	case "url":
		if !isText || !strings.HasPrefix(text, "https://") || utf8.RuneCountInString(text) > f.limit {
			return "no https URL of up to 500 characters"
		}
	case "int":
		if !isNumber || number != math.Trunc(number) || number < 0 || number > float64(f.limit) {
			return "no whole number up to " + strconv.Itoa(f.limit)
		}
	case "bool":
		if _, ok := value.(bool); !ok {
			return "neither true nor false"
		}
	case "color":
		list, ok := value.([]any)
		outside := slices.ContainsFunc(list, func(c any) bool { n, ok := c.(float64); return !ok || n < 0 || n > 1 })
		if !ok || len(list) != 3 || outside {
			return "not three numbers from 0 to 1"
		}
	case "days":
		if !regexp.MustCompile(`^0x[0-9A-F]{16}$`).MatchString(text) {
			return "not 0x and 16 digits"
		}
	}
	return ""
}

// names are what the field is called in a region of two languages and two classes.
func (f field) names(country string) []string {
	names := []string{f.name}
	if f.classes {
		last := 2
		if strings.HasSuffix(f.name, "Threshold") {
			last = 4 // also of classes that are not in use
		}
		names = nil
		for no := 1; no <= last; no++ {
			names = append(names, fmt.Sprintf("%s_%d", f.name, no))
		}
	}
	if !f.suffixed {
		return names
	}
	var all []string
	for _, n := range names {
		all = append(all, n+"_EN_"+country, n+"_ES_"+country)
	}
	return all
}

// The pack of a demo tenant, opened and checked field by field by a list of its own.
func TestThePackFieldByField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	files := f.files(f.made(false).ID)
	country := f.tenant.Region[:2]
	apple := document(t, files["apple-config.json"])
	outer := document(t, files["google-config.json"])
	google, _ := outer["config"].(map[string]any)
	if len(outer) != 1 {
		t.Errorf("Google's file has more than config: %d members", len(outer))
	}
	for platform, config := range map[string]map[string]any{"apple": apple, "google": google} {
		left := map[string]bool{}
		for key := range config {
			left[key] = true
		}
		for _, field := range fields {
			wanted := platform == "apple" && field.apple || platform == "google" && field.google
			for _, name := range field.names(country) {
				value, found := config[name]
				switch {
				case found && !wanted:
					t.Errorf("%s has %s", platform, name)
				case !found && wanted && field.need:
					t.Errorf("%s lacks %s", platform, name)
				case found && field.judge(value) != "":
					t.Errorf("%s: %s: %s", platform, name, field.judge(value))
				}
				delete(left, name)
			}
		}
		for key := range left {
			t.Errorf("%s has %s, of which the protocol says nothing", platform, key)
		}
		wantUnits(t, platform, config)
	}
	override := document(t, files["apple-override-staging.json"])
	apps, _ := override["appConfigs"].([]any)
	app, _ := apps[0].(map[string]any)
	if app["state"] != f.tenant.Region || app["countryCode"] != country || app["publicKey"] != apple["publicKey"] || app["config"] == nil {
		t.Errorf("override: %v %v", app["state"], app["countryCode"])
	}
}

// wantUnits holds the values that differ by platform, and those of classes that are unused.
func wantUnits(t *testing.T, platform string, config map[string]any) {
	t.Helper()
	unit := map[string]float64{"apple": 1, "google": 60}[platform]
	if config["perDaySumERVThreshold_1"] != 15*unit || config["perDaySumERVThreshold_2"] != 5*unit {
		t.Errorf("%s: thresholds %v and %v", platform, config["perDaySumERVThreshold_1"], config["perDaySumERVThreshold_2"])
	}
	for name, value := range config {
		unused := strings.Contains(name, "Threshold_3") || strings.Contains(name, "Threshold_4")
		if unused && value != 0.0 {
			t.Errorf("%s: %s is %v", platform, name, value)
		}
	}
	near, medium, far := config["attenuationImmediateNearThreshold"].(float64), config["attenuationNearMedThreshold"].(float64), config["attenuationMedFarThreshold"].(float64)
	if near >= medium || medium >= far {
		t.Errorf("%s: thresholds of attenuation do not grow", platform)
	}
	if base, _ := config["tekLocalDownloadBasePath"].(string); !strings.HasSuffix(base, "/") {
		t.Errorf("%s: base path %q", platform, base)
	}
}
