package labfeed

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/certificate"
	"carillon/tenant/client"
	"carillon/tenant/labfeed/document"
)

// The built-in mapping makes sense, and survives being written down.
func TestDefaultMapping(t *testing.T) {
	t.Parallel()
	m := DefaultMapping()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseMapping(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	r := m.rules()
	for values, want := range map[string]verdict{
		"http://snomed.info/sct|260373001": {meaning: issue, testType: certificate.Confirmed},
		"SCT|10828004":                     {meaning: issue, testType: certificate.Confirmed},
		"text|DETECTED":                    {meaning: issue, testType: certificate.Confirmed},
		"HL70078|POS":                      {meaning: issue, testType: certificate.Confirmed},
		"SCT|720735008":                    {meaning: issue, testType: certificate.Likely},
		"SCT|260415000":                    {meaning: takeBack, testType: certificate.Negative, reason: CorrectedAfterIssue},
		"text|not detected":                {meaning: takeBack, testType: certificate.Negative, reason: CorrectedAfterIssue},
		"SCT|419984006":                    {meaning: nothing},
		"HL70078|A":                        {meaning: bury, reason: ResultUnknown},
		"L|260373001":                      {meaning: bury, reason: ResultUnknown},
	} {
		x := remains{Phone: "+12065550100", Status: document.Final, Tests: list(document.LOINC, "94500-6")}
		var c document.Code
		if err := c.UnmarshalText([]byte(values)); err != nil {
			t.Fatal(err)
		}
		x.Values = []document.Code{{System: "L", Code: "no idea"}, c}
		if got := r.judge(x); got != want {
			t.Errorf("%s: %+v, want %+v", values, got, want)
		}
	}
	x := remains{Phone: "+12065550100", Status: document.Final, Tests: list(document.LOINC, "94558-4"), Values: list(document.SNOMED, detected)}
	if got := r.judge(x); got.testType != certificate.Likely {
		t.Errorf("a positive antigen test is %s", got.testType)
	}
}

// LOINC codes end with a check digit, which catches what was mistyped.
func TestCheckDigits(t *testing.T) {
	t.Parallel()
	m := DefaultMapping()
	codes := m.Onset
	for _, test := range m.Tests {
		codes = append(codes, test.Code)
	}
	for _, c := range codes {
		digits, check, _ := strings.Cut(c.Code, "-")
		sum := 0
		for i := range digits {
			n := int(digits[len(digits)-1-i] - '0')
			if i%2 == 0 {
				n *= 2
			}
			sum += n/10 + n%10
		}
		if want := strconv.Itoa((10 - sum%10) % 10); check != want {
			t.Errorf("%s ends with %s, want %s", c, check, want)
		}
	}
}

func TestMappingsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Mapping){
		"no tests":           func(m *Mapping) { m.Tests = nil },
		"a test twice":       func(m *Mapping) { m.Tests = append(m.Tests, m.Tests[0]) },
		"a test without":     func(m *Mapping) { m.Tests = append(m.Tests, Test{}) },
		"negative positive":  func(m *Mapping) { m.Tests[0].Positive = certificate.Negative },
		"user report":        func(m *Mapping) { m.Issue = []certificate.ReportType{certificate.UserReport} },
		"nothing to issue":   func(m *Mapping) { m.Issue = nil },
		"issue twice":        func(m *Mapping) { m.Issue = append(m.Issue, m.Issue[0]) },
		"two meanings":       func(m *Mapping) { m.Outcomes.Negative = append(m.Outcomes.Negative, m.Outcomes.Positive[0]) },
		"no outcome":         func(m *Mapping) { m.Outcomes.Positive, m.Outcomes.Likely = nil, nil },
		"too many":           func(m *Mapping) { m.Onset = make([]document.Code, maxCodes+1) },
		"no phone":           func(m *Mapping) { m.HL7.Phone = nil },
		"an empty reference": func(m *Mapping) { m.HL7.Phone = make([]document.Reference, 1) },
		"no accession":       func(m *Mapping) { m.FHIR.Accession = nil },
		"no such place":      func(m *Mapping) { m.FHIR.Accession[0] = "patient.name" },
		"no such time":       func(m *Mapping) { m.FHIR.Collected[0] = "patient.birthDate" },
		"a column twice":     func(m *Mapping) { m.CSV.Phone = " Accession " },
		"no column":          func(m *Mapping) { m.CSV.Result = " " },
		"no system":          func(m *Mapping) { m.CSV.TestSystem = "" },
	} {
		m := DefaultMapping()
		change(&m)
		if err := m.Check(); !errors.Is(err, ErrMapping) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "{", "[]", `{"tests":["x"]}`, `{"hl7":{"phone":["PID"]}}`, `{"names":true}`} {
		if _, err := ParseMapping([]byte(text)); !errors.Is(err, ErrMapping) {
			t.Errorf("%s: %v", text, err)
		}
	}
	text, _ := json.Marshal(DefaultMapping())
	if _, err := ParseMapping(append(text, '1')); !errors.Is(err, ErrMapping) {
		t.Errorf("something after it: %v", err)
	}
}

// Of many who change one version, one succeeds; the others must look again. Another
// tenant's mapping is not touched.
func TestMappingVersions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var won atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			v, err := f.feed.SetMapping(t.Context(), f.north, f.lab, DefaultMapping())
			switch {
			case err == nil && v == 1:
				won.Add(1)
			case !errors.Is(err, ErrMappingChanged):
				t.Errorf("version %d, %v", v, err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d changed the same version", won.Load())
	}
	m, err := f.feed.Mapping(t.Context(), f.north, f.lab)
	if err != nil || m.Version != 1 {
		t.Fatalf("version %d, %v", m.Version, err)
	}
	m.Issue = []certificate.ReportType{certificate.Negative}
	if v, err := f.feed.SetMapping(t.Context(), f.north, f.lab, m); v != 2 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if m, err := f.feed.Mapping(t.Context(), f.south, f.subject(f.south, client.Admin)); m.Version != 0 || err != nil {
		t.Errorf("the other tenant has version %d, %v", m.Version, err)
	}
}

// Other columns, other codes: what a tenant says counts, from the next document on,
// also for a document that came before.
func TestMappingCounts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	m := DefaultMapping()
	m.CSV = document.CSVColumns{
		Test: "Test", Result: "Ergebnis", Phone: "Telefon", Accession: "Auftrag", TestSystem: "L", ResultSystem: "L",
	}
	m.Tests = []Test{{Code: document.Code{System: "L", Code: "COV"}, Positive: certificate.Likely}}
	m.Outcomes.Positive = list("L", "pos")
	f.sql(`update tenant_setting set require_date = false`)
	f.north = f.find(f.north.ID)
	body := []byte("Name;x,Test,Ergebnis,Telefon,Auftrag\nWinterbourne,COV,pos,+12065550100,17\n")
	if _, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, body); !errors.Is(err, document.ErrMalformed) {
		t.Fatalf("under the built-in mapping: %v", err)
	}
	if _, err := f.feed.SetMapping(t.Context(), f.north, f.lab, m); err != nil {
		t.Fatal(err)
	}
	r, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, body)
	if err != nil || r.Counts != (Counts{Queued: 1}) {
		t.Fatalf("%+v, %v", r.Counts, err)
	}
	f.feed = f.service(f.world.Issuer, nil)
	f.turn()
	if n := f.number(`select count(*) from verification_code where test_type = 'likely' and test_date is null`); n != 1 {
		t.Errorf("%d codes, want 1; %v", n, f.states())
	}
	if strings.Contains(f.dump(), "Winterbourne") {
		t.Error("a column that is not named was kept")
	}
}
