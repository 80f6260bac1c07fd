// Package enx knows the configuration that Apple and Google hold for a health authority's
// region: its keys with their types, limits and marks (protocol/enx-config.md sections 1,
// 2 and 6), what makes a whole of them complete, and the two forms in which they go out.
//
// It is rules only: it knows no database, no tenant and no key that signs. One table,
// [Keys], decides for forms, checks, files and differences alike.
package enx

import (
	"math"
	"slices"
	"strconv"
)

// Kind is how a value is written by people and on the wire.
type Kind int

// The kinds.
const (
	// Text is sent as it is.
	Text Kind = iota
	// URL is an absolute https address.
	URL
	// Number is a whole number.
	Number
	// Flag is yes or no.
	Flag
	// Color is #rrggbb, on the wire three numbers from 0.0 to 1.0.
	Color
	// Date is a day as 2026-12-01, on the wire the seconds of its beginning in UTC.
	Date
	// Days is the 64-bit map of infectiousness by days from onset, as 0x and 16
	// hexadecimal digits, also on the wire: JSON numbers cannot carry it.
	Days
)

// Step is the part of the wizard in which a value is entered.
type Step string

// The steps. What has [Filled] is not entered: the service knows it.
const (
	Region   Step = "region"
	Branding Step = "branding"
	Risk     Step = "risk"
	Classes  Step = "classes"
	Texts    Step = "texts"
	Links    Step = "links"
	Android  Step = "android"
	Filled   Step = ""
)

// Steps lists those in which something is entered, in the order of the wizard: classes come
// before texts, because each has texts of its own.
func Steps() []Step { return []Step{Region, Branding, Risk, Classes, Texts, Links, Android} }

// Way is how a value reaches Apple.
type Way int

// The ways.
const (
	// Never: Apple has no use for it.
	Never Way = iota
	// Told: phones need it, but the spelling of Apple's key is not documented: a person
	// tells Apple (section 1.9).
	Told
	// InFiles: Apple delivers it, but its table lacks it, so that the change call might
	// refuse it (section 1.8, 1.9).
	InFiles
	// Listed: it is in Apple's table, so that the change call takes it.
	Listed
)

// Key is one key of a region's configuration.
type Key struct {
	// Name is the key on the wire, without the numbers of classes and languages.
	Name string
	// Label is what Apple's form calls it (appendix), or what we do; Meaning is one line
	// for people.
	Label, Meaning string
	Kind           Kind
	Step           Step
	// Limit is how many characters a text or address may have, as people see them.
	Limit int
	// Min and Max bound a number.
	Min, Max int
	// Required: without it a region does not go live.
	Required bool
	// Local: it has a value in each language.
	Local bool
	// Class: it has a value for each class of exposure, 1 to 4.
	Class bool
	// Minutes: a threshold that is entered in minutes. Google takes seconds, Apple, as far
	// as is known, minutes (section 1.6).
	Minutes bool
	Apple   Way
	Google  bool
	// Default is sent where nothing was entered: what Apple and Google take for unset
	// differs, so that nothing is left to them.
	Default string
}

// MaxClasses is how many classes of exposure there can be.
const MaxClasses = 4

const (
	// Values of our own that are no keys.
	authorityName = "signAuthorityName"
	classCount    = "classes"

	longestURL = 500
	// longestOwn bounds texts for which no source names a limit.
	longestOwn = 20_000
	maxWeight  = 250
	maxByte    = 255
	// maxMinutes is what still fits into 32 bits as seconds.
	maxMinutes = math.MaxUint32 / 60
	maxDays    = 14
	dayMinutes = 1440
)

// Keys is the table, in the order of Apple's form.
func Keys() []Key {
	return slices.Concat(regionKeys(), brandingKeys(), signingKeys(), riskKeys(), classKeys(), revocationKeys(), serverKeys(), unlistedKeys(), googleKeys())
}

func regionKeys() []Key {
	return []Key{
		{Name: "agencyDisplayName", Label: "PHA Name", Meaning: "Name of the health authority, in the header and in the phone's settings", Step: Texts, Limit: 50, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: authorityName, Label: "Registered name", Meaning: "Name of the health authority exactly as Apple registered it; it is what the change call signs", Step: Region, Limit: 200, Required: true},
		{Name: "regionIdentifier", Label: "Region", Meaning: "ISO 3166 code of the region", Step: Filled, Limit: 10, Required: true, Apple: Listed, Google: true},
		{Name: "enVersion", Label: "EN version", Meaning: "Generation of the framework; ENX needs 2", Kind: Number, Step: Filled, Min: 2, Max: 2, Required: true, Apple: Listed, Google: true, Default: "2"},
		{Name: "goLiveDate", Label: "Go Live Date", Meaning: "Day from which Apple serves the region; Android ignores it", Kind: Date, Step: Region, Required: true, Apple: Listed, Google: true},
		{Name: "agencyRegionName", Label: "Region", Meaning: "Name of the region, below that of the authority", Step: Texts, Limit: 50, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "agencyWebsiteURL", Label: "Agency Website URL", Meaning: "The authority's own page about exposure notifications", Kind: URL, Step: Region, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "exposureMatching", Label: "Is exposure matching enabled?", Meaning: "Whether phones in the region compare keys", Kind: Flag, Step: Region, Apple: Listed, Google: true, Default: "yes"},
		{Name: "appBundleId", Label: "App Bundle ID (Optional)", Meaning: "Bundle ID of the authority's own app, if the region has one", Step: Region, Limit: 155, Apple: Listed},
		{Name: "legalConsentVersion", Label: "Legal Consent Version", Meaning: "Version of the consent text: a number such as 2 or 2.1.0, which only grows; a new one asks people again", Step: Region, Limit: 25, Required: true, Apple: Listed, Google: true},
		{Name: "agencyMessage", Label: "Message Body", Meaning: "Summary below the header, when somebody switches notifications on", Step: Texts, Limit: 3000, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "legalConsentText", Label: "Legal Consent Text", Meaning: "What people agree to, as plain text", Step: Texts, Limit: longestOwn, Required: true, Local: true, Apple: Listed, Google: true},
	}
}

func brandingKeys() []Key {
	return []Key{
		{Name: "agencyHeaderStyle", Label: "Header Style", Meaning: "0 name and icon, 1 icon in the middle, 2 icon left, 3 icon right", Kind: Number, Step: Branding, Max: 3, Apple: Listed, Google: true, Default: "0"},
		{Name: "agencyHeaderTextColor", Label: "Text Color", Meaning: "Color of the header's text", Kind: Color, Step: Branding, Required: true, Apple: Listed, Google: true},
		{Name: "agencyColor", Label: "Header Color", Meaning: "Color of the header", Kind: Color, Step: Branding, Required: true, Apple: Listed, Google: true},
		{Name: "agencyImage", Label: "Image URL", Meaning: "Logo in the header", Kind: URL, Step: Branding, Limit: longestURL, Apple: Listed, Google: true},
	}
}

func signingKeys() []Key {
	return []Key{
		{Name: "publicKey", Label: "Public Key", Meaning: "Export signing key, base64 on one line", Step: Filled, Limit: 200, Required: true, Apple: Listed, Google: true},
		{Name: "publicKeyVersion", Label: "Public Key Version", Meaning: "Version of that key as every export names it", Step: Filled, Limit: 20, Required: true, Apple: Listed, Google: true},
	}
}

func riskKeys() []Key {
	weight := func(name, label, meaning, preset string) Key {
		return Key{Name: name, Label: label + " (0-250%)", Meaning: meaning, Kind: Number, Step: Risk, Max: maxWeight, Apple: Listed, Google: true, Default: preset}
	}
	bound := func(name, label, meaning, preset string) Key {
		return Key{Name: name, Label: label + " (0-255)", Meaning: meaning, Kind: Number, Step: Risk, Max: maxByte, Apple: Listed, Google: true, Default: preset}
	}
	return []Key{
		weight("attenuationImmediateWeight", "Attenuation Immediate Weight", "Weight of minutes very near, in percent", "175"),
		weight("attenuationNearWeight", "Attenuation Near Weight", "Weight of minutes near", "100"),
		weight("attenuationMedWeight", "Attenuation Medium Weight", "Weight of minutes at medium distance", "33"),
		weight("attenuationOtherWeight", "Attenuation Other Weight", "Weight of minutes far away", "0"),
		bound("attenuationImmediateNearThreshold", "Attenuation Immediate Near Threshold", "Attenuation in dB at which very near becomes near", "55"),
		bound("attenuationNearMedThreshold", "Attenuation Immediate Med Threshold", "Attenuation at which near becomes medium; the form’s label is misleading", "67"),
		bound("attenuationMedFarThreshold", "Attenuation Med Far Threshold", "Attenuation at which medium becomes far", "75"),
		{Name: "symptomOnsetToInfectiousnessMap", Label: "Infectiousness to Symptom Onset Map", Meaning: "How infectious somebody is on each day from onset: 0x and 16 hexadecimal digits", Kind: Days, Step: Risk, Apple: Listed, Google: true, Default: "0x0400005AAA500000"},
		weight("infectiousnessStandardWeight", "Infectiousness Standard Weight", "Weight of days of standard infectiousness", "30"),
		weight("infectiousnessHighWeight", "Infectiousness High Weight", "Weight of days of high infectiousness", "100"),
		weight("reportTypeConfirmedTestWeight", "Report Type Confirmed Test Weight", "Weight of results confirmed by a laboratory", "100"),
		weight("reportTypeConfirmedClinicalDiagnosisWeight", "Report Type Confirmed Clinical Diagnosis Weight", "Weight of clinical diagnoses", "100"),
		weight("reportTypeSelfReportWeight", "Report Type Self Report Weight", "Weight of what people reported themselves", "100"),
		{Name: "reportTypeNoneMap", Label: "Report Type None Map", Meaning: "What a key without report type counts as: 0 nothing, 1 confirmed test, 2 clinical diagnosis, 3 self report", Kind: Number, Step: Risk, Max: 3, Apple: Listed, Google: true, Default: "3"},
		{Name: "daysSinceExposureThreshold", Label: "Days Since Exposure Threshold (0-14)", Meaning: "How many days of exposures count", Kind: Number, Step: Risk, Max: maxDays, Apple: Listed, Google: true, Default: "14"},
	}
}

func classKeys() []Key {
	threshold := func(name, label, meaning string) Key {
		return Key{Name: name, Label: label, Meaning: meaning + ", in minutes; 0 switches it off", Kind: Number, Step: Classes, Max: maxMinutes, Class: true, Minutes: true, Apple: Listed, Google: true, Default: "0"}
	}
	return []Key{
		{Name: classCount, Label: "Number of classes", Meaning: "How many classes of exposure you use, 1 to 4. Phones take the first whose threshold is reached", Kind: Number, Step: Classes, Min: 1, Max: MaxClasses, Required: true},
		{Name: "classificationName", Label: "Classification Name", Meaning: "Internal name; it must be a new one whenever thresholds of the class change", Step: Classes, Limit: 25, Required: true, Class: true, Apple: Listed, Google: true},
		{Name: "notificationSubject", Label: "Notification Subject", Meaning: "Title of the notification", Step: Texts, Limit: 50, Required: true, Local: true, Class: true, Apple: Listed, Google: true},
		{Name: "notificationBody", Label: "Notification Body", Meaning: "Text of the notification", Step: Texts, Limit: 256, Required: true, Local: true, Class: true, Apple: Listed, Google: true},
		{Name: "exposureDetailsBodyText", Label: "Exposure Details Body", Meaning: "Text of the page about the exposure", Step: Texts, Limit: 1500, Required: true, Local: true, Class: true, Apple: Listed, Google: true},
		{Name: "classificationURL", Label: "Classification URL", Meaning: "Page that says what to do next", Kind: URL, Step: Classes, Limit: longestURL, Required: true, Class: true, Apple: Listed, Google: true},
		threshold("confirmedTestPerDaySumERVThreshold", "Confirmed Test Per Day Sum ERV Threshold", "Exposure in a day to confirmed tests"),
		threshold("clinicalDiagnosisPerDaySumERVThreshold", "Clinical Diagnosis Per Day Sum ERV Threshold", "Exposure in a day to clinical diagnoses"),
		threshold("selfReportPerDaySumERVThreshold", "Self Report Per Day Sum ERV Threshold", "Exposure in a day to self reports"),
		threshold("recursivePerDaySumERVThreshold", "Recursive Per Day Sum ERV Threshold", "Exposure in a day to recursive reports, a type that is reserved"),
		threshold("perDaySumERVThreshold", "Per Day Sum ERV Threshold", "Exposure in a day to all types together"),
		threshold("perDayMaxERVThreshold", "Per Day Max ERV Threshold", "Longest single exposure of a day"),
		threshold("weightedDurationAtAttenuationThreshold", "Weighted Duration At Attenuation Threshold", "Duration weighted by distance alone"),
	}
}

func revocationKeys() []Key {
	return []Key{
		{Name: "revokedNotificationSubject", Label: "Notification Subject", Meaning: "Title when an earlier exposure is withdrawn", Step: Texts, Limit: 50, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "revokedNotificationBody", Label: "Notification Body", Meaning: "Text when an earlier exposure is withdrawn", Step: Texts, Limit: 256, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "revokedDetailsBodyText", Label: "Revoked Details Body", Meaning: "Text of the page about the withdrawal", Step: Texts, Limit: 1500, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "revokedURL", Label: "Revoked URL", Meaning: "Page about withdrawn exposures", Kind: URL, Step: Links, Limit: longestURL, Required: true, Apple: Listed, Google: true},
	}
}

func serverKeys() []Key {
	return []Key{
		{Name: "tekLocalDownloadIndexFile", Label: "TEK Local Download Index File", Meaning: "Address of the index of exports", Kind: URL, Step: Filled, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "tekLocalDownloadBasePath", Label: "TEK Local Download Base Path", Meaning: "What precedes each line of the index; ends with a slash", Kind: URL, Step: Filled, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "tekPublishInterval", Label: "TEK Publish Interval in Hours", Meaning: "How often new exports appear, in hours: 2, 4, 8 or 24", Kind: Number, Step: Links, Min: 2, Max: 24, Required: true, Apple: Listed, Google: true},
		{Name: "callbackIntervalInMin", Label: "Callback Interval in Minutes", Meaning: "How often iPhones look for new exports, in minutes", Kind: Number, Step: Links, Min: 1, Max: dayMinutes, Apple: InFiles, Google: true, Default: "240"},
		{Name: "tekUploadURL", Label: "TEK Upload URL", Meaning: "Where phones publish keys", Kind: URL, Step: Filled, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "testVerificationIntroMessage", Label: "Test Verification Intro Message", Meaning: "Shown before people share a result", Step: Texts, Limit: 1000, Required: true, Local: true, Apple: Listed, Google: true},
		{Name: "verificationCodeLearnMoreURL", Label: "Verification Learn More URL", Meaning: "Help about verification codes", Kind: URL, Step: Links, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "testVerificationURL", Label: "Test Verification URL", Meaning: "Where phones exchange a code for a token", Kind: URL, Step: Filled, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "testVerificationCertificateURL", Label: "Test Verification Certificate URL", Meaning: "Where phones exchange a token for a certificate", Kind: URL, Step: Filled, Limit: longestURL, Required: true, Apple: Listed, Google: true},
		{Name: "testVerificationAPIKey", Label: "Test Verification API Key", Meaning: "An API key of kind device. Every phone gets it, so that it is an identifier and no secret", Step: Links, Limit: 256, Required: true, Apple: Listed, Google: true},
	}
}

// unlistedKeys are missing from Apple's table (section 1.9).
func unlistedKeys() []Key {
	return []Key{
		{Name: "agencyHeaderSubtitle", Label: "Header Subtitle", Meaning: "Second line of the header, where it is not the region’s name", Step: Texts, Limit: 50, Local: true, Apple: InFiles, Google: true},
		{Name: "healthAuthorityID", Label: "Health Authority ID", Meaning: "What phones send when they publish; on Android also the package name. It can never change", Step: Filled, Limit: 256, Required: true, Apple: Told, Google: true},
		{Name: "symptomsOnsetDescription", Label: "Symptoms Onset Description", Meaning: "Help for choosing the day of onset", Step: Texts, Limit: 8000, Required: true, Local: true, Apple: Told, Google: true},
		{Name: "traveledQuestionText", Label: "Traveled Question", Meaning: "Question whether somebody has traveled", Step: Texts, Limit: 1000, Required: true, Local: true, Apple: Told, Google: true},
		{Name: "vaccinationQuestionText", Label: "Vaccination Question", Meaning: "Question about vaccination; empty leaves it out", Step: Texts, Limit: 1000, Local: true, Apple: Told, Google: true},
		{Name: "testVerificationNotificationBody", Label: "Test Verification Notification Body", Meaning: "Notification after a signed text message has come", Step: Texts, Limit: 256, Local: true, Google: true},
		{Name: "enableTextMessageVerification", Label: "Text Message Verification", Meaning: "Whether text messages are signed", Kind: Flag, Step: Filled, Apple: Told, Google: true, Default: "no"},
		{Name: "webReportURL", Label: "Web Report URL", Meaning: "Page on which people report themselves", Kind: URL, Step: Filled, Limit: longestURL, Apple: Told, Google: true},
		{Name: "testVerificationUserReportURL", Label: "User Report URL", Meaning: "Where apps ask for a code for people who report themselves", Kind: URL, Step: Filled, Limit: longestURL, Google: true},
	}
}

// googleKeys are for the app that Google builds and for private analytics (sections 6.2 and 8).
func googleKeys() []Key {
	return []Key{
		{Name: "agencyPrivacyPolicy", Label: "Privacy Policy", Meaning: "The authority’s privacy policy", Kind: URL, Step: Android, Limit: longestURL, Required: true, Google: true},
		{Name: "appTitle", Label: "App Title", Meaning: "Name below the app’s icon; 12 characters stay visible", Step: Android, Limit: 50, Google: true},
		{Name: "playStoreAppTitle", Label: "Play Store Title", Meaning: "Name in the store; better no more than 30 characters", Step: Android, Limit: 50, Google: true},
		{Name: "playStoreShortDescription", Label: "Play Store Short Description", Meaning: "One sentence for the store", Step: Android, Limit: 80, Google: true},
		{Name: "playStoreFullDescription", Label: "Play Store Full Description", Meaning: "The store’s text", Step: Android, Limit: 4000, Google: true},
		{Name: "playStoreAppIcon", Label: "Play Store Icon", Meaning: "PNG of 512 by 512 pixels", Kind: URL, Step: Android, Limit: longestURL, Google: true},
		{Name: "playStoreEmailContact", Label: "Play Store Contact", Meaning: "Address that the store publishes", Step: Android, Limit: 254, Google: true},
		{Name: "playStoreDefaultLocale", Label: "Play Store Default Locale", Meaning: "The default language", Step: Filled, Limit: 35, Google: true},
		{Name: "appLinkHost", Label: "App Link Host", Meaning: "Host of links in text messages", Step: Filled, Limit: 255, Google: true},
		{Name: "enableENPA", Label: "Private Analytics", Meaning: "Whether people are asked to take part in private analytics", Kind: Flag, Step: Android, Google: true, Default: "no"},
		{Name: "enpaConsentText", Label: "Private Analytics Consent", Meaning: "What people agree to who take part in private analytics", Step: Texts, Limit: longestOwn, Local: true, Google: true},
		{Name: "enpaConsentVersion", Label: "Private Analytics Consent Version", Meaning: "Version of that text", Step: Android, Limit: 25, Google: true},
		{Name: "enpaRemoteConfigURL", Label: "Private Analytics Settings", Meaning: "Where Google’s service has its settings", Kind: URL, Step: Android, Limit: longestURL, Google: true},
	}
}

// Slot is a place for one value: a key, of a class if it has classes.
type Slot struct {
	Key
	// No is the class, 1 to 4; 0 if the key has none.
	No int
}

// ID names the slot, on the wire and in forms: notificationBody_2.
func (s Slot) ID() string {
	if s.No == 0 {
		return s.Name
	}
	return s.Name + "_" + strconv.Itoa(s.No)
}

// Slots lists all there are, in the order of Apple's form: what has classes class by class.
func Slots() []Slot {
	var list, ofClasses []Slot
	at := 0
	for _, k := range Keys() {
		if k.Class {
			ofClasses = append(ofClasses, Slot{Key: k})
			continue
		}
		list = append(list, Slot{Key: k})
		if k.Name == classCount {
			at = len(list)
		}
	}
	var classes []Slot
	for no := 1; no <= MaxClasses; no++ {
		for _, s := range ofClasses {
			s.No = no
			classes = append(classes, s)
		}
	}
	return slices.Insert(list, at, classes...)
}

// StepSlots lists those of a step.
func StepSlots(step Step) []Slot {
	return slices.DeleteFunc(Slots(), func(s Slot) bool { return s.Step != step })
}

// find returns the slot with an ID.
func find(id string) (Slot, bool) {
	list := Slots()
	at := slices.IndexFunc(list, func(s Slot) bool { return s.ID() == id })
	if at < 0 {
		return Slot{}, false
	}
	return list[at], true
}
