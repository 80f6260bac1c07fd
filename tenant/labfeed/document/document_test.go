package document_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant/labfeed/document"
)

func code(text string) document.Code {
	var c document.Code
	if err := c.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return c
}

func ref(text string) document.Reference {
	var r document.Reference
	if err := r.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return r
}

// fields are those of the default mapping, for two tests.
func fields() document.Fields {
	wanted := map[document.Code]bool{code("http://loinc.org|94500-6"): true, code("http://loinc.org|94558-4"): true}
	return document.Fields{
		Wanted: func(c document.Code) bool { return wanted[c] },
		Onset:  []document.Code{code("http://loinc.org|65222-2")},
		HL7: document.HL7Fields{
			Phone:     []document.Reference{ref("PID-13"), ref("PID-14")},
			Accession: []document.Reference{ref("OBR-3"), ref("SPM-2.2")},
			Collected: []document.Reference{ref("SPM-17"), ref("OBR-7"), ref("OBX-14")},
		},
		FHIR: document.FHIRFields{
			Accession: []document.FHIRIdentifier{document.SpecimenAccession, document.ReportIdentifier, document.ObservationIdentifier},
			Collected: []document.FHIRTime{document.SpecimenCollected, document.ObservationEffective, document.ReportEffective},
		},
		CSV: document.CSVColumns{
			Test: "test_code", Result: "result", Phone: "phone", Accession: "accession", Assigner: "laboratory",
			Collected: "collected", Onset: "onset", Status: "status",
			TestSystem: document.LOINC, ResultSystem: document.SNOMED,
		},
	}
}

func example(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile("../../../deploy/docs/examples/lab-feed/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// read reads a document that must be readable.
func read(t *testing.T, format document.Format, body string) *document.Document {
	t.Helper()
	d, err := document.Read(format, []byte(body), fields())
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return d
}

// wantRefused checks a refusal, whose words must repeat nothing of the document.
func wantRefused(t *testing.T, name string, format document.Format, body string, kind error) {
	t.Helper()
	d, err := document.Read(format, []byte(body), fields())
	var p *document.Problem
	if !errors.Is(err, kind) || !errors.As(err, &p) {
		t.Errorf("%s: %v, want %v", name, err, kind)
		return
	}
	if len(d.Results) != 0 {
		t.Errorf("%s: %d results of a refused document", name, len(d.Results))
	}
	for _, canary := range []string{"Winterbourne", "5550", "ACC-2026", "P-3008"} {
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error repeats %q: %v", name, canary, err)
		}
	}
}

func wantResults(t *testing.T, name string, d *document.Document, want ...document.Result) {
	t.Helper()
	plain := func(r document.Result) string { b, _ := json.Marshal(r); return string(b) } // the type hides itself from cmp
	var got, wanted []string
	for _, r := range d.Results {
		got = append(got, plain(r))
	}
	for _, r := range want {
		wanted = append(wanted, plain(r))
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func local(day string, offset int) document.Date {
	return document.Date{Day: day, Offset: offset, HasOffset: true}
}

// The three examples of the manual say the same of three people.
func TestExamples(t *testing.T) {
	t.Parallel()
	pcr := []document.Code{code("http://loinc.org|94500-6")}
	wantResults(t, "HL7", read(t, document.HL7, string(example(t, "positive.hl7"))), document.Result{
		Report: 1, Accession: "ACC-2026-004711", Assigner: "2.999.1", Phone: "+12065550142", Tests: pcr,
		Values: []document.Code{code("http://snomed.info/sct|260373001"), code(document.Interpretation + "|A")},
		Status: document.Final, Collected: local("2026-11-24", -480), Onset: document.Date{Day: "2026-11-22"},
	})
	wantResults(t, "FHIR", read(t, document.FHIR, string(example(t, "positive.fhir.json"))), document.Result{
		Report: 1, Accession: "ACC-2026-004712", Assigner: "urn:oid:2.999.1", Phone: "+1 206 555 0143", Tests: pcr,
		Values: []document.Code{code("http://snomed.info/sct|260373001")},
		Status: document.Final, Collected: local("2026-11-24", -480), Onset: document.Date{Day: "2026-11-22"},
	})
	table := read(t, document.CSV, string(example(t, "results.csv")))
	if len(table.Results) != 3 {
		t.Fatalf("%d results in the table, want 3", len(table.Results))
	}
	wantResults(t, "CSV", &document.Document{Results: table.Results[:1]}, document.Result{
		Report: 1, Accession: "ACC-2026-004713", Assigner: "Harbor Lab", Phone: "+1 206 555 0144", Tests: pcr,
		Values: []document.Code{code("http://snomed.info/sct|260373001"), code("text|260373001")},
		Status: document.Final, Collected: document.Date{Day: "2026-11-24"}, Onset: document.Date{Day: "2026-11-22"},
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, format := range document.Formats() {
		wantRefused(t, "too large", format, strings.Repeat(" ", document.MaxSize+1), document.ErrTooLarge)
		wantRefused(t, "not UTF-8", format, "MSH|^~\\&|\xff\xfe", document.ErrEncoding)
		wantRefused(t, "empty", format, "", document.ErrMalformed)
	}
	wantRefused(t, "no format", "xml", "<x/>", document.ErrUnsupported)
	row := "94500-6,260373001,+12065550144,ACC-2026-1\n"
	table := "test_code,result,phone,accession\n" + strings.Repeat(row, document.MaxResults)
	if d := read(t, document.CSV, table); len(d.Results) != document.MaxResults {
		t.Errorf("%d results", len(d.Results))
	}
	wantRefused(t, "too many", document.CSV, table+row, document.ErrTooMany)
}

func TestResultsHideThemselves(t *testing.T) {
	t.Parallel()
	r := document.Result{Phone: "+12065550142", Accession: "ACC-2026"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, r); strings.Contains(got, "5550142") || strings.Contains(got, "ACC") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := r.LogValue().String(); strings.Contains(got, "5550142") {
		t.Errorf("logs %s", got)
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"LN|94500-6": "http://loinc.org|94500-6", "SCT| 10828004 ": "http://snomed.info/sct|10828004",
		"urn:oid:2.16.840.1.113883.6.1|94500-6": "http://loinc.org|94500-6", "HL70078|POS": document.Interpretation + "|POS",
		"L|covid": "L|covid", "text|Not   Detected": "text|not detected",
	} {
		if got := code(in).String(); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	for _, bad := range []string{"", "94500-6", "|x", "LN|", "LN|" + strings.Repeat("9", 101)} {
		var c document.Code
		if err := c.UnmarshalText([]byte(bad)); !errors.Is(err, document.ErrCode) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"PID-13", "SPM-2.2", "OBX-14"} {
		if got := ref(good).String(); got != good {
			t.Errorf("%s became %s", good, got)
		}
	}
	for _, bad := range []string{"", "PID", "PID-0", "PID-13.0", "NK1-5", "PID-13.1.1", "pid-13", "PID-100"} {
		var r document.Reference
		if err := r.UnmarshalText([]byte(bad)); !errors.Is(err, document.ErrReference) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzHL7(f *testing.F) {
	f.Add(example(f, "positive.hl7"))
	f.Add([]byte("FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|A|B|||20260101||ORU^R01|1|P|2.5.1\rBTS|1\rFTS|1\r"))
	f.Add([]byte("MSH#*!@+#A#B###2026##ORU*R01#1#P#2.5.1\rPID#1##########*1*CP****206*5550142\rOBR#1\rOBX#1#ST#94500-6**LN##a@F@b######F\r"))
	fuzz(f, document.HL7)
}

func FuzzFHIR(f *testing.F) {
	f.Add(example(f, "positive.fhir.json"))
	f.Add([]byte(`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"DiagnosticReport","status":"final","contained":[{"resourceType":"Patient","id":"p"}],"subject":{"reference":"#p"},"code":{"coding":[{"system":"http://loinc.org","code":"94500-6"}]},"conclusionCode":[{}]}}]}`))
	fuzz(f, document.FHIR)
}

func FuzzCSV(f *testing.F) {
	f.Add(example(f, "results.csv"))
	f.Add([]byte("\ufefftest_code,result,phone,accession\r\n94500-6,\"De\"\"tected\",x,y\r\n"))
	fuzz(f, document.CSV)
}

// fuzz checks what holds for any bytes: refused with words and without results, or
// read within bounds, and twice alike.
func fuzz(f *testing.F, format document.Format) {
	f.Helper()
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		d, err := document.Read(format, body, fields())
		if !bytes.Equal(before, body) {
			t.Fatal("the document was changed")
		}
		if err != nil {
			var p *document.Problem
			if !errors.As(err, &p) || len(d.Results) > 0 {
				t.Fatalf("%T with %d results", err, len(d.Results))
			}
			return
		}
		if len(d.Results) > document.MaxResults || d.Ignored < 0 {
			t.Fatalf("%d results", len(d.Results))
		}
		for _, r := range d.Results {
			if r.Report < 1 || len(r.Tests) == 0 || len(r.Phone) > 250 || len(r.Accession) > 250 {
				t.Fatalf("report %d with %d tests", r.Report, len(r.Tests))
			}
			if r.Collected.Day != "" && len(r.Collected.Day) != len("2006-01-02") {
				t.Fatalf("day %q", r.Collected.Day)
			}
		}
		again, err := document.Read(format, body, fields())
		if err != nil {
			t.Fatal(err)
		}
		wantResults(t, "read again", again, d.Results...)
	})
}
