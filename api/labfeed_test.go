package api_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"carillon/tenant/labfeed/document"
)

func labExample(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile("../deploy/docs/examples/lab-feed/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const (
	fhir = "application/fhir+json"
	hl7  = "application/hl7-v2"
	csv  = "text/csv"
)

// feed hands in a document under north's URL.
func (f *fixture) feed(t *testing.T, kind, body string) answer {
	t.Helper()
	return f.ask(t, http.MethodPost, "/t/north/api/lab-feed", header{"X-API-Key": f.north.admin, "Content-Type": kind}, body)
}

func (f *fixture) labAsk(t *testing.T, method, path, body string) answer {
	t.Helper()
	return f.ask(t, method, "/t/north/api/lab-feed"+path, jsonWith(f.north.admin), body)
}

const labHeader = "test_code,result,phone,accession,collected\n"

// From the document to the receipt, the progress, the dead letters and their end.
func TestLabFeed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	document := labHeader +
		"94500-6,260373001,+12065550144,A1,2026-11-24\n94500-6,77,+12065550145,A2,2026-11-24\n94500-6,260373001,,A3,2026-11-24\n1-1,x,y,z,\n"
	plan := f.ask(t, http.MethodPost, "/t/north/api/lab-feed?dry-run=1", header{"X-API-Key": f.north.admin, "Content-Type": csv}, document)
	if plan.StatusCode != http.StatusOK || plan.member("dryRun") != true || plan.member("queued") != 1.0 || plan.member("deadLetters") != 2.0 ||
		len(plan.member("results").([]any)) != 3 {
		t.Fatalf("dry run: %v", plan)
	}
	for _, repeated := range []bool{false, true} {
		a := f.feed(t, csv+"; charset=UTF-8", document)
		if a.StatusCode != http.StatusAccepted || a.member("queued") != 1.0 || a.member("ignored") != 1.0 || a.member("repeated") != repeated ||
			a.Header.Get("Location") != "lab-feed/submissions/"+a.text("submission") {
			t.Fatalf("%v, Location %q", a, a.Header.Get("Location"))
		}
	}
	receipt := f.feed(t, csv, document).text("submission")
	progress := f.labAsk(t, http.MethodGet, "/submissions/"+receipt, "")
	if states, _ := progress.member("states").(map[string]any); states["dead"] != 2.0 || states["waiting"] != 1.0 || progress.text("format") != "csv" {
		t.Errorf("progress: %v", progress)
	}
	letters := f.labAsk(t, http.MethodGet, "/dead-letters", "").member("deadLetters").([]any)
	ids := map[string]string{}
	for _, l := range letters {
		m := l.(map[string]any)
		ids[m["reason"].(string)] = m["id"].(string)
	}

	mapping := f.labAsk(t, http.MethodGet, "/mapping", "")
	changed := strings.Replace(string(mapping.body), `"positive":["http://snomed.info/sct|260373001"`, `"positive":["SCT|77","http://snomed.info/sct|260373001"`, 1)
	if a := f.labAsk(t, http.MethodPut, "/mapping", changed); a.StatusCode != http.StatusOK || a.member("version") != 1.0 {
		t.Fatalf("mapping: %v", a)
	}
	wantRefusal(t, "mapping of an old version", f.labAsk(t, http.MethodPut, "/mapping", changed), 409, "mapping_changed", "")
	wantRefusal(t, "mapping with a stray member", f.labAsk(t, http.MethodPut, "/mapping", `{"tset":[]}`), 400, "invalid_mapping", "")
	wantRefusal(t, "empty mapping", f.labAsk(t, http.MethodPut, "/mapping", `{}`), 400, "invalid_mapping", "lab feed mapping cannot be used: tests must list 1 to 500 tests")
	wantRefusal(t, "mapping that is no JSON", f.ask(t, http.MethodPut, "/t/north/api/lab-feed/mapping", header{"X-API-Key": f.north.admin, "Content-Type": csv}, changed), 400, unparsable, "")

	if a := f.labAsk(t, http.MethodPost, "/dead-letters/"+ids["result_unknown"]+"/retry", ""); a.member("queued") != true {
		t.Errorf("retry under the new mapping: %v", a)
	}
	if a := f.labAsk(t, http.MethodPost, "/dead-letters/"+ids["phone_missing"]+"/retry", ""); a.member("queued") != false || a.text("reason") != "phone_missing" {
		t.Errorf("retry in vain: %v", a)
	}
	if a := f.labAsk(t, http.MethodPost, "/dead-letters/"+ids["phone_missing"]+"/discard", ""); a.member("discarded") != true {
		t.Errorf("discard: %v", a)
	}
	for _, again := range []string{"/discard", "/retry"} {
		wantRefusal(t, again, f.labAsk(t, http.MethodPost, "/dead-letters/"+ids["phone_missing"]+again, ""), 404, "not_found", "")
	}
	wantRefusal(t, "no submission", f.labAsk(t, http.MethodGet, "/submissions/1", ""), 404, "not_found", "")
	wantRefusal(t, "no page", f.labAsk(t, http.MethodGet, "/dead-letters?after=1", ""), 404, "not_found", "")
	if a := f.labAsk(t, http.MethodGet, "/dead-letters", ""); len(a.member("deadLetters").([]any)) != 0 {
		t.Errorf("dead letters are left: %v", a)
	}
}

func TestLabFeedRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	table := labHeader + "94500-6,260373001,+12065550144,A1,2026-11-24\n"
	deep := `{"resourceType":"Bundle","entry":[{"resource":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + `}]}`
	for name, c := range map[string]struct {
		kind, body string
		status     int
		code       string
	}{
		"no content type": {"", table, 400, unparsable},
		"JSON":            {"application/json", "{}", 400, unparsable},
		"XML":             {"application/fhir+xml", "<Bundle/>", 400, unparsable},
		"another charset": {csv + "; charset=iso-8859-1", table, 400, unparsable},
		"not UTF-8":       {csv, table + "\xff", 400, unparsable},
		"too deep":        {fhir, deep, 400, unparsable},
		"no bundle":       {fhir, `{"resourceType":"Patient"}`, 400, unparsable},
		"broken JSON":     {fhir, `{"resourceType":`, 400, unparsable},
		"no such column":  {csv, "a,b\n1,2\n", 400, unparsable},
		"too large":       {csv, strings.Repeat("x", document.MaxSize+1), 413, "document_too_large"},
		"too many":        {csv, labHeader + strings.Repeat("94500-6,x,y,z,\n", document.MaxResults+1), 413, "too_many_results"},
		"empty":           {csv, "", 400, unparsable},
	} {
		wantRefusal(t, name, f.feed(t, c.kind, c.body), c.status, c.code, "")
	}
	for _, query := range []string{"dryrun=1", "dry-run=yes", "dry-run=1&dry-run=0", "dry-run"} {
		a := f.ask(t, http.MethodPost, "/t/north/api/lab-feed?"+query, header{"X-API-Key": f.north.admin, "Content-Type": csv}, table)
		wantRefusal(t, query, a, 400, unparsable, "")
	}
	packed := f.ask(t, http.MethodPost, "/t/north/api/lab-feed", header{"X-API-Key": f.north.admin, "Content-Type": csv, "Content-Encoding": "gzip"}, table)
	wantRefusal(t, "packed", packed, 400, unparsable, "")
	for kind, key := range map[string]string{"device": f.north.device, "stats": f.north.stats, "south's": f.south.admin, "no": ""} {
		a := f.ask(t, http.MethodPost, "/t/north/api/lab-feed", header{"X-API-Key": key, "Content-Type": csv}, table)
		if a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s key: %v", kind, a)
		}
	}
	if a := f.labAsk(t, http.MethodGet, "", ""); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v", a)
	}
}

// segments of an answer to an HL7 message, cut at the given separator.
func segments(t *testing.T, a answer, separator string) map[string][]string {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != hl7+"; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	all := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSuffix(string(a.body), "\r"), "\r") {
		fields := strings.Split(line, separator)
		all[fields[0]] = fields
	}
	return all
}

// The sender of a message gets an ACK in its own encoding characters.
func TestLabFeedAcknowledges(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	message := labExample(t, "positive.hl7")
	for _, kind := range []string{hl7, "x-application/hl7-v2+er7; charset=utf-8"} {
		a := f.feed(t, kind, message)
		s := segments(t, a, "|")
		if a.StatusCode != http.StatusAccepted || strings.Join(s["MSA"], "|") != "MSA|AA|HL-000417" || s["ERR"] != nil ||
			s["MSH"][2] != "CARILLON" || s["MSH"][4] != "LABSYS^2.999.1.1^ISO" || s["MSH"][8] != "ACK^R01^ACK" ||
			!strings.HasPrefix(a.Header.Get("Location"), "lab-feed/submissions/") {
			t.Errorf("%s: %v", kind, a)
		}
	}
	if n := countRows(t, f, "lab_result"); n != 1 {
		t.Errorf("%d results, want 1", n)
	}
	other := "MSH#*!@+#S#L#C#H#20261125##ORU*R01#ctl@S@1#P#2.5.1\rPID#1\rOBR#1\r"
	a := f.feed(t, hl7, other)
	if s := segments(t, a, "#"); s["MSA"][1] != "AA" || s["MSA"][2] != "ctl@S@1" || s["MSH"][1] != "*!@+" {
		t.Errorf("other characters: %v", a)
	}
	batch := f.feed(t, hl7, "BHS|^~\\&|S\r"+strings.Replace(message, "HL-000417", "one", 1)+strings.Replace(message, "HL-000417", "two", 1)+"BTS|2\r")
	if got := string(batch.body); !strings.HasPrefix(got, "BHS|^~\\&\r") || !strings.Contains(got, "MSA|AA|one\r") || !strings.Contains(got, "MSA|AA|two\r") || !strings.HasSuffix(got, "BTS|2\r") {
		t.Errorf("batch: %q", got)
	}
	for name, c := range map[string]struct {
		body   string
		status int
		msa    string
	}{
		"no MSH":         {"PID|1\r", 400, "MSA|AR|"},
		"another event":  {strings.Replace(message, "ORU^R01^ORU_R01", "ADT^A01", 1), 400, "MSA|AR|HL-000417"},
		"training":       {strings.Replace(message, "|P|2.5.1", "|T|2.5.1", 1), 400, "MSA|AR|HL-000417"},
		"missing header": {"BHS|^~\\&\r" + message, 400, "MSA|AR|"},
		"too large":      {message + strings.Repeat("NTE|1\r", document.MaxSize/6), 413, "MSA|AR|"},
	} {
		a := f.feed(t, hl7, c.body)
		s := segments(t, a, "|")
		if got := strings.Join(s["MSA"], "|"); a.StatusCode != c.status || got != c.msa || len(s["ERR"]) < 9 {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.body)
		}
	}
}

// In maintenance nothing is taken in, and the sender is asked to come again.
func TestLabFeedInMaintenance(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.north.Tenant, `maintenance = true`)
	f.start(t)
	wantRefusal(t, "FHIR", f.feed(t, fhir, labExample(t, "positive.fhir.json")), 429, "maintenance_mode", "")
	a := f.feed(t, hl7, labExample(t, "positive.hl7"))
	if s := segments(t, a, "|"); a.StatusCode != http.StatusTooManyRequests || strings.Join(s["MSA"], "|") != "MSA|AE|HL-000417" {
		t.Errorf("HL7: %v", a)
	}
	if n := countRows(t, f, "lab_submission"); n != 0 {
		t.Errorf("%d submissions", n)
	}
}

// A message that fails on our side asks to be sent again, and says nothing of why.
func TestLabFeedFails(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sql(t, `revoke insert on lab_result from carillon_issuer`)
	a := f.feed(t, hl7, labExample(t, "positive.hl7"))
	if s := segments(t, a, "|"); a.StatusCode != http.StatusInternalServerError || s["MSA"][1] != "AE" || s["ERR"][8] != "try again later" {
		t.Errorf("%v", a)
	}
	if a := f.feed(t, fhir, labExample(t, "positive.fhir.json")); a.StatusCode != http.StatusInternalServerError {
		t.Errorf("%v", a)
	}
	if n := countRows(t, f, "lab_submission"); n != 0 {
		t.Errorf("%d submissions of failed requests", n)
	}
	for _, canary := range []string{"Winterbourne", "5550142", "ACC-2026"} {
		if strings.Contains(f.log.String(), canary) {
			t.Errorf("the log has %q", canary)
		}
	}
}

func countRows(t *testing.T, f *fixture, table string) (n int) {
	t.Helper()
	if err := f.world.Database.Super().QueryRowContext(t.Context(), fmt.Sprintf("select count(*) from %s", table)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
