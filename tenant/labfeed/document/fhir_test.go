package document_test

import (
	"fmt"
	"strings"
	"testing"

	"carillon/tenant/labfeed/document"
)

// bundleOf puts resources into a bundle; an entry's full URL may stand before its
// resource, with a blank between.
func bundleOf(entries ...string) string {
	var all []string
	for _, e := range entries {
		url, resource, found := strings.Cut(e, " {")
		if !found {
			url, resource = "", e
		} else {
			resource = "{" + resource
		}
		all = append(all, fmt.Sprintf(`{"fullUrl":%q,"resource":%s}`, url, resource))
	}
	return `{"resourceType":"Bundle","type":"message","entry":[` + strings.Join(all, ",") + `]}`
}

const (
	testCode = `"code":{"coding":[{"system":"http://loinc.org","code":"94500-6"}]}`
	positive = `"valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"260373001"}]}`
	patient  = `{"resourceType":"Patient","id":"p","name":[{"family":"Winterbourne"}],"telecom":[{"system":"phone","value":"+12065550142"}]}`
	// observed has no subject and no specimen.
	observed = `{"resourceType":"Observation","id":"o","status":"final",` + testCode + `,` + positive
)

func oneOf(t *testing.T, entries ...string) document.Result {
	t.Helper()
	d := read(t, document.FHIR, bundleOf(entries...))
	if len(d.Results) != 1 {
		t.Fatalf("%d results, want 1", len(d.Results))
	}
	return d.Results[0]
}

// Every way in which a reference may name the patient.
func TestFHIRReferences(t *testing.T) {
	t.Parallel()
	subject := func(to string) string { return observed + `,"subject":{"reference":"` + to + `"}}` }
	for name, entries := range map[string][]string{
		"relative": {patient, subject("Patient/p")},
		"full URL": {"urn:uuid:1 " + patient, subject("urn:uuid:1")},
		"absolute": {"https://lab.example/fhir/Patient/p " + patient, subject("https://lab.example/fhir/Patient/p")},
		"same server": {
			"https://other.example/fhir/Patient/p " + strings.Replace(patient, "5550142", "5550199", 1),
			"https://lab.example/fhir/Patient/p " + patient, "https://lab.example/fhir/Observation/o " + subject("Patient/p"),
		},
		"versioned": {patient, subject("Patient/p/_history/3")},
		"contained": {observed + `,"contained":[` + patient + `],"subject":{"reference":"#p"}}`},
		"by the report": {
			patient, observed + `}`,
			`{"resourceType":"DiagnosticReport","status":"final","result":[{"reference":"Observation/o"}],"subject":{"reference":"Patient/p"}}`,
		},
	} {
		if got := oneOf(t, entries...).Phone; got != "+12065550142" {
			t.Errorf("%s: phone %q", name, got)
		}
	}
	for name, entries := range map[string][]string{
		"nobody":             {patient, observed + `}`},
		"somebody else":      {patient, subject("Patient/q")},
		"another's contents": {patient, observed + `,"contained":[` + patient + `]}`, subject("#p")},
		"another server":     {"https://other.example/fhir/Patient/p " + patient, subject("https://lab.example/fhir/Patient/p")},
		"two of one name":    {patient, strings.Replace(patient, "5550142", "5550199", 1), subject("Patient/p")},
		"two of one URL":     {"urn:uuid:1 " + patient, "urn:uuid:1 " + patient, subject("urn:uuid:1")},
		"two without an ID": {
			strings.Replace(patient, `"id":"p",`, "", 1), subject("Patient/"),
		},
		"empty": {strings.Replace(patient, `"id":"p",`, "", 1), subject("")},
	} {
		for _, r := range read(t, document.FHIR, bundleOf(entries...)).Results {
			if r.Phone != "" {
				t.Errorf("%s: phone %q", name, r.Phone)
			}
		}
	}
}

func TestFHIRPhones(t *testing.T) {
	t.Parallel()
	for telecom, want := range map[string]string{
		`{"system":"phone","value":"1","use":"home"},{"system":"phone","value":"2","use":"mobile"}`: "2",
		`{"system":"phone","value":"1","rank":2},{"system":"phone","value":"2","rank":1}`:           "2",
		`{"system":"phone","value":"1"},{"system":"phone","value":"2"}`:                             "1",
		`{"system":"phone","value":"1","rank":1},{"system":"sms","value":"2"}`:                      "2",
		`{"system":"phone","value":"1","use":"old"},{"system":"email","value":"2"}`:                 "",
		`{"system":"fax","value":"1"},{"value":"2"}`:                                                "",
		`{"system":"phone","value":"tel:+12065550142"}`:                                             "+12065550142",
		`{"system":"phone"},{"system":"phone","value":" "}`:                                         "",
		`{"system":"phone","value":"1","rank":-1}`:                                                  "",
	} {
		p := `{"resourceType":"Patient","id":"p","telecom":[` + telecom + `]}`
		if got := oneOf(t, p, observed+`,"subject":{"reference":"Patient/p"}}`).Phone; got != want {
			t.Errorf("%s: %q, want %q", telecom, got, want)
		}
	}
}

// Accession and day from specimen, report and observation, in the mapping's order.
func TestFHIRPlaces(t *testing.T) {
	t.Parallel()
	const (
		specimen = `{"resourceType":"Specimen","id":"s","accessionIdentifier":{"system":"urn:lab","value":"S1"},"collection":{"collectedPeriod":{"start":"2026-11-23T23:00:00+09:00"}}}`
		report   = `{"resourceType":"DiagnosticReport","status":"final","identifier":[{"value":" "},{"system":"urn:rep","value":"R1"}],"result":[{"reference":"Observation/o"}],"effectiveDateTime":"2026-11-22"`
		own      = observed + `,"identifier":[{"value":"O1"}],"effectiveDateTime":"2026-11-24T10:00:00Z"`
	)
	for name, c := range map[string]struct {
		entries                  []string
		accession, assigner, day string
	}{
		"specimen":         {[]string{specimen, report + `}`, own + `,"specimen":{"reference":"Specimen/s"}}`}, "S1", "urn:lab", "2026-11-23"},
		"report's":         {[]string{specimen, report + `,"specimen":[{"reference":"Specimen/s"}]}`, own + `}`}, "S1", "urn:lab", "2026-11-23"},
		"report":           {[]string{report + `}`, own + `}`}, "R1", "urn:rep", "2026-11-24"},
		"observation":      {[]string{own + `}`}, "O1", "", "2026-11-24"},
		"report's day":     {[]string{report + `}`, observed + `}`}, "R1", "urn:rep", "2026-11-22"},
		"nothing":          {[]string{observed + `}`}, "", "", ""},
		"instant":          {[]string{observed + `,"effectiveInstant":"2026-11-21T00:00:00.000Z"}`}, "", "", "2026-11-21"},
		"missing specimen": {[]string{own + `,"specimen":{"reference":"Specimen/x"}}`}, "O1", "", "2026-11-24"},
	} {
		r := oneOf(t, c.entries...)
		if r.Accession != c.accession || r.Assigner != c.assigner || r.Collected.Day != c.day {
			t.Errorf("%s: %q of %q on %q, want %+v", name, r.Accession, r.Assigner, r.Collected.Day, c)
		}
	}
	for _, day := range []string{"2026", "2026-11", "24.11.2026", "2026-02-30", "2026-11-24X", "2026-11-24T10:00+xx"} {
		if got := oneOf(t, observed+`,"effectiveDateTime":"`+day+`"}`).Collected; !got.Unreadable || got.Day != "" {
			t.Errorf("%s: %+v", day, got)
		}
	}
}

func TestFHIRStatuses(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]document.Status{
		"final": document.Final, "amended": document.Final, "corrected": document.Final, "preliminary": document.Unfinished,
		"registered": document.Unfinished, "cancelled": document.Unfinished, "entered-in-error": document.Withdrawn, "FINAL": document.Unfinished,
	} {
		if got := oneOf(t, strings.Replace(observed, `"final"`, `"`+word+`"`, 1)+`}`).Status; got != want {
			t.Errorf("%s: %d, want %d", word, got, want)
		}
	}
}

// Values in all the forms that are read; and a report without observations speaks for
// itself.
func TestFHIROutcomes(t *testing.T) {
	t.Parallel()
	with := func(value string) string { return strings.Replace(observed, positive, value, 1) + `}` }
	const flag = `"interpretation":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation","code":"POS"}]}]`
	for entry, want := range map[string]string{
		with(positive):                               "[http://snomed.info/sct|260373001]",
		with(`"valueString":" Detected "`):           "[text|detected]",
		with(`"valueQuantity":{"value":23},` + flag): "[" + document.Interpretation + "|POS]",
		with(`"valueBoolean":true`):                  "[]",
		`{"resourceType":"DiagnosticReport","status":"final",` + testCode + `,"conclusionCode":[{"coding":[{"system":"http://snomed.info/sct","code":"10828004"}]}]}`: "[http://snomed.info/sct|10828004]",
	} {
		if got := fmt.Sprint(oneOf(t, entry).Values); got != want {
			t.Errorf("%s: %s, want %s", entry, got, want)
		}
	}
	report := `{"resourceType":"DiagnosticReport","status":"final",` + testCode + `,"conclusionCode":[{}],"result":[{"reference":"Observation/o"}]}`
	if r := oneOf(t, report, observed+`}`); r.Report != 1 {
		t.Errorf("the observation belongs to report %d", r.Report)
	}
}

// Resources of other kinds may have any form; broken JSON, repeated members and other
// documents are refused.
func TestFHIRRefusals(t *testing.T) {
	t.Parallel()
	d := read(t, document.FHIR, bundleOf(`{"resourceType":"ValueSet","identifier":7,"code":[1],"status":{"x":[]}}`, observed+`}`,
		strings.Replace(observed, "94500-6", "1-1", 1)+`}`))
	if len(d.Results) != 1 || d.Ignored != 1 {
		t.Errorf("%d results, %d ignored", len(d.Results), d.Ignored)
	}
	read(t, document.FHIR, `{"resourceType":"Bundle","entry":[{"request":{"method":"DELETE"}},{}]}`)
	good := bundleOf(patient, observed+`}`)
	for name, body := range map[string]string{
		"cut off": good[:len(good)-5], "two": good + good, "trailing": good + "]", "no object": `["Bundle"]`, "a text": `"Bundle"`, "blanks": "  \n",
		"a member twice": strings.Replace(good, `"status":"final"`, `"status":"preliminary","status":"final"`, 1),
		"wrong type":     strings.Replace(good, `"status":"final"`, `"status":["final"]`, 1),
		"wrong telecom":  strings.Replace(good, `[{"system":"phone"`, `{"system":"phone"`, 1), "a comma": strings.Replace(good, `"id"`, `,"id"`, 1),
		"wrong entry": `{"resourceType":"Bundle","entry":{}}`,
	} {
		wantRefused(t, name, document.FHIR, body, document.ErrMalformed)
	}
	for name, body := range map[string]string{"no bundle": observed + `}`, "nothing": `{}`, "another kind": `{"resourceType":"bundle"}`} {
		wantRefused(t, name, document.FHIR, body, document.ErrUnsupported)
	}
	wantRefused(t, "deep lists", document.FHIR, strings.Repeat("[", 100_000), document.ErrTooDeep)
	wantRefused(t, "deep objects", document.FHIR, strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40), document.ErrTooDeep)
	wantRefused(t, "too many entries", document.FHIR, `{"resourceType":"Bundle","entry":[`+strings.Repeat("{},", 50_001)+`{}]}`, document.ErrTooMany)
	wantRefused(t, "too many results", document.FHIR, bundleOf(repeat(observed+`}`, document.MaxResults+1)...), document.ErrTooMany)
}

func repeat(text string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = text
	}
	return all
}
