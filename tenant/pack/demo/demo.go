// Package demo is the configuration of a health authority that does not exist, complete
// in two languages, for the development stack and for tests.
package demo

import (
	"strconv"

	"carillon/tenant/pack/enx"
)

// Config returns it, as people would have entered it: without what the service fills in.
// name is the authority's, deviceKey an API key of kind device.
func Config(name, deviceKey string) enx.Config {
	const site = "https://health.north-shore.example/"
	c := enx.Config{
		Languages: []string{"en", "es"},
		Values: map[string]string{
			"signAuthorityName": name, "goLiveDate": "2027-01-11", "agencyWebsiteURL": site + "notify", "exposureMatching": "yes",
			"legalConsentVersion":   "1",
			"agencyHeaderTextColor": "#ffffff", "agencyColor": "#1a4480", "agencyImage": site + "logo.png",
			"classes":              "2",
			"classificationName_1": "alert-1", "classificationURL_1": site + "alert", "perDaySumERVThreshold_1": "15",
			"classificationName_2": "advisory-1", "classificationURL_2": site + "advisory", "perDaySumERVThreshold_2": "5",
			"revokedURL": site + "withdrawn", "tekPublishInterval": "4", "verificationCodeLearnMoreURL": site + "codes",
			"testVerificationAPIKey": deviceKey, "agencyPrivacyPolicy": site + "privacy", "appTitle": "Notify",
		},
		Texts: map[string]map[string]string{"en": english(name), "es": spanish(name)},
	}
	for _, p := range enx.Presets()[:1] {
		for id, value := range p.Values {
			c.Values[id] = value
		}
	}
	return c
}

func english(name string) map[string]string {
	texts := map[string]string{
		"agencyDisplayName": cut(name), "agencyRegionName": "North Shore",
		"agencyMessage":              "Your phone can tell you when you were near somebody who later tested positive. Nobody learns who or where.",
		"legalConsentText":           "Taking part is voluntary. Your phone exchanges random codes with phones nearby. You can stop at any time.",
		"revokedNotificationSubject": "An earlier exposure was withdrawn", "revokedNotificationBody": "A result that you were notified of was wrong.",
		"revokedDetailsBodyText":       "The result of the person near you was wrong. There is nothing that you need to do.",
		"testVerificationIntroMessage": "You need the code that we sent you or read to you.",
		"symptomsOnsetDescription":     "Choose the first day on which you had a fever, a cough or a sore throat.",
		"traveledQuestionText":         "Were you outside of North Shore in the last 14 days?",
	}
	classes(texts, "You may have been exposed", "You were near somebody who tested positive. See what to do.", "Stay at home if you can, and get a test on the fifth day.")
	return texts
}

func spanish(name string) map[string]string {
	texts := map[string]string{
		"agencyDisplayName": cut(name), "agencyRegionName": "Costa Norte",
		"agencyMessage":              "Su teléfono puede avisarle si estuvo cerca de alguien que después dio positivo. Nadie sabe quién ni dónde.",
		"legalConsentText":           "Participar es voluntario. Su teléfono intercambia códigos aleatorios con otros. Puede dejarlo cuando quiera.",
		"revokedNotificationSubject": "Se retiró una exposición anterior", "revokedNotificationBody": "Un resultado del que le avisamos era erróneo.",
		"revokedDetailsBodyText":       "El resultado de la persona cercana era erróneo. No tiene que hacer nada.",
		"testVerificationIntroMessage": "Necesita el código que le enviamos o le leímos.",
		"symptomsOnsetDescription":     "Elija el primer día con fiebre, tos o dolor de garganta.",
		"traveledQuestionText":         "¿Estuvo fuera de la Costa Norte en los últimos 14 días?",
	}
	classes(texts, "Es posible que haya estado expuesto", "Estuvo cerca de alguien que dio positivo. Vea qué hacer.", "Quédese en casa si puede y hágase una prueba el quinto día.")
	return texts
}

func classes(texts map[string]string, subject, body, details string) {
	for no := 1; no <= 2; no++ {
		n := "_" + strconv.Itoa(no)
		texts["notificationSubject"+n], texts["notificationBody"+n], texts["exposureDetailsBodyText"+n] = subject, body, details
	}
}

// cut keeps a name to what phones show.
func cut(name string) string {
	const longest = 50
	return string([]rune(name)[:min(len([]rune(name)), longest)])
}
