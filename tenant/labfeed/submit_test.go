package labfeed

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant/client"
	"carillon/tenant/labfeed/document"
)

func example(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile("../../deploy/docs/examples/lab-feed/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The three examples of the manual become codes with messages, on behalf of whoever
// handed them in.
func TestExamplesBecomeCodes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, e := range []struct {
		format document.Format
		file   string
		want   Counts
	}{
		{document.HL7, "positive.hl7", Counts{Queued: 1}},
		{document.FHIR, "positive.fhir.json", Counts{Queued: 1}},
		{document.CSV, "results.csv", Counts{Queued: 2, Ignored: 1}},
	} {
		r, err := f.feed.Submit(t.Context(), f.north, f.lab, e.format, example(t, e.file))
		if err != nil {
			t.Fatalf("%s: %v", e.file, err)
		}
		f.wantCounts(e.file, r, e.want)
		f.turn()
	}
	const codesSQL = `
select count(*) from verification_code
 where issuer_kind = 'api-key' and issuer_id = $1 and external_issuer_id = 'lab-feed' and test_type = $2`
	if confirmed, likely := f.number(codesSQL, f.lab.ID, "confirmed"), f.number(codesSQL, f.lab.ID, "likely"); confirmed != 3 || likely != 1 {
		t.Errorf("%d confirmed and %d likely codes, want 3 and 1", confirmed, likely)
	}
	if n := f.number(`select count(*) from message_queue`); n != 4 {
		t.Errorf("%d messages queued, want 4", n)
	}
	if n := f.number(`select count(*) from verification_code where test_date = '2026-11-24' and symptom_date = '2026-11-22'`); n != 3 {
		t.Errorf("%d codes with both dates, want 3", n)
	}
	if n := f.number(`select count(*) from lab_result where sealed is not null`); n != 0 {
		t.Errorf("%d results are still sealed somewhere", n)
	}
}

// The same document again changes nothing, before and after its codes are issued.
func TestSameDocumentTwice(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	lines := []string{result("A1"), result("A2", "phone", ""), result("A3", "result", "999")}
	first := f.submit(lines...)
	for range 2 {
		again := f.submit(lines...)
		if again.ID != first.ID || !again.Repeated || again.Counts != first.Counts {
			t.Errorf("the second receipt is %v %+v, the first %v %+v", again.ID, again.Counts, first.ID, first.Counts)
		}
		f.turn()
	}
	if diff := cmp.Diff(map[string]int{"issued": 1, "dead phone_missing": 1, "dead result_unknown": 1}, f.states()); diff != "" {
		t.Error(diff)
	}
	if n := f.codes(); n != 1 {
		t.Errorf("%d codes, want 1", n)
	}
}

// One accession in other documents, in other spellings, at the same time: one code.
func TestOneCodeForEachAccession(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var group sync.WaitGroup
	phones := []string{"+12065550100", "(206) 555-0100", "206.555.0100", "+1 206 555 0100", "1-206-555-0100"}
	for i, phone := range phones {
		group.Go(func() {
			body := table(result("A1", "phone", phone), result(fmt.Sprint("other", i), "test", "1-1"))
			if _, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, []byte(body)); err != nil {
				t.Error(err)
			}
			if err := f.feed.Turn(t.Context(), f.north.ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if diff := cmp.Diff(map[string]int{"issued": 1}, f.states()); diff != "" {
		t.Error(diff)
	}
	if n := f.codes(); n != 1 {
		t.Errorf("%d codes, want 1", n)
	}
}

// Two laboratories may use the same numbers.
func TestAccessionsAreTheirAssigners(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r := f.submit(result("A1"), strings.Replace(result("A1"), "Harbor", "Hill", 1))
	f.wantCounts("two laboratories", r, Counts{Queued: 2})
}

// The rule for corrections: what a later result does to an earlier one, before and
// after its code is issued.
func TestCorrections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		first, second string
		issued        bool // between the two
		want          map[string]int
		codes         int
	}{
		{"another number in time", result("A"), result("A", "phone", "+12065550199"), false, map[string]int{"superseded": 1, "issued": 1}, 1},
		{"another number too late", result("A"), result("A", "phone", "+12065550199"), true, map[string]int{"issued": 1, "dead corrected_after_issue": 1}, 1},
		{"negative in time", result("A"), result("A", "result", notDetected), false, map[string]int{"superseded": 1}, 0},
		{"negative too late", result("A"), result("A", "result", notDetected), true, map[string]int{"issued": 1, "dead corrected_after_issue": 1}, 1},
		{"withdrawn in time", result("A"), result("A", "status", "entered-in-error"), false, map[string]int{"superseded": 1}, 0},
		{"withdrawn too late", result("A"), result("A", "status", "entered-in-error"), true, map[string]int{"issued": 1, "dead withdrawn_after_issue": 1}, 1},
		{"graver in time", result("A", "test", antigen), result("A"), false, map[string]int{"superseded": 1, "issued": 1}, 1},
		{"graver later", result("A", "test", antigen), result("A"), true, map[string]int{"issued": 2}, 2},
		{"less grave later", result("A"), result("A", "test", antigen), true, map[string]int{"issued": 1, "dead corrected_after_issue": 1}, 1},
		{"repaired", result("A", "phone", "none"), result("A"), true, map[string]int{"superseded": 1, "issued": 1}, 1},
		{"negative first", result("A", "result", notDetected), result("A"), true, map[string]int{"issued": 1}, 1},
		{"preliminary first", result("A", "status", "preliminary"), result("A"), true, map[string]int{"issued": 1}, 1},
		{"preliminary again", result("A"), result("A", "status", "preliminary"), false, map[string]int{"issued": 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			f.submit(c.first)
			if c.issued {
				f.turn()
			}
			f.submit(c.second)
			f.turn()
			if diff := cmp.Diff(c.want, f.states()); diff != "" {
				t.Error(diff)
			}
			f.submit(c.first, c.second) // as another document: nothing new
			f.turn()
			if n := f.codes(); n != c.codes {
				t.Errorf("%d codes, want %d", n, c.codes)
			}
			for _, l := range f.letters() {
				if l.Reason == CorrectedAfterIssue && (l.EarlierCode == nil ||
					f.number(`select count(*) from verification_code where code_id = $1`, *l.EarlierCode) != 1) {
					t.Errorf("the dead letter names the code %v", l.EarlierCode)
				}
			}
		})
	}
}

// Lines of one table follow each other; results of one report are one examination.
func TestGravestOfAReportCounts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	obx := func(gene, code string) string {
		return fmt.Sprintf("OBX|1|CWE|%s^gene^LN||%s^x^SCT||||||F\r", gene, code)
	}
	const geneN, geneRdRp = "94533-7", "94534-5"
	head := "MSH|^~\\&|S|L|C|H|20261125||ORU^R01|1|P|2.5.1\rPID|1||||||||||||^PRN^CP^^1^206^5550100\rOBR|1||A1^L|94500-6^x^LN|||20261124\r"
	for name, message := range map[string]string{
		"gravest first": head + obx(geneN, detected) + obx(geneRdRp, notDetected),
		"gravest last":  head + obx(geneN, "419984006") + obx(geneRdRp, detected),
	} {
		lines, counts, err := f.feed.Rehearse(t.Context(), f.north, f.lab, document.HL7, []byte(message))
		if err != nil || counts != (Counts{Queued: 1}) || len(lines) != 1 || lines[0].TestType != "confirmed" {
			t.Errorf("%s: %+v %+v, %v", name, lines, counts, err)
		}
	}
	lines, _, err := f.feed.Rehearse(t.Context(), f.north, f.lab, document.CSV, []byte(table(result("A"), result("A", "result", notDetected))))
	want := []Line{
		{Number: 1, Fate: Queued, TestType: "confirmed", TestDate: "2026-11-24"},
		{Number: 2, Fate: TakenBack, TestType: "negative", TestDate: "2026-11-24"},
	}
	if diff := cmp.Diff(want, lines); diff != "" || err != nil {
		t.Errorf("%v, lines (-want +got):\n%s", err, diff)
	}
}

// Every reason for which a result cannot be used, told on arrival.
func TestDeadLetterReasons(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	lines := []string{
		result(""), result("A1", "phone", ""), result("A2", "phone", "no number"), result("A3", "result", "123"),
		result("A4", "collected", "24.11.2026"), result("A5", "onset", "2026-13-01"), result("A6", "collected", ""),
		result("A7", "collected", "2026-10-27"), result("A8", "collected", "2026-11-26"), result("A9", "collected", "2026-10-28"),
	}
	want := []Reason{AccessionMissing, PhoneMissing, PhoneInvalid, ResultUnknown, DateUnreadable, DateUnreadable, DateMissing, DateOutOfWindow, DateOutOfWindow, ""}
	plan, counts, err := f.feed.Rehearse(t.Context(), f.north, f.lab, document.CSV, []byte(table(lines...)))
	if err != nil {
		t.Fatal(err)
	}
	var got []Reason
	for _, l := range plan {
		got = append(got, l.Reason)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("foretold (-want +got):\n%s", diff)
	}
	if n := f.number(`select (select count(*) from lab_submission) + (select count(*) from lab_result) + (select count(*) from lab_secret)`); n != 0 {
		t.Errorf("the rehearsal left %d rows", n)
	}
	f.wantCounts("submitted", f.submit(lines...), counts)
	got = nil
	for _, l := range f.letters() {
		got = append(got, l.Reason)
	}
	slices.Sort(got)
	want = want[:len(want)-1]
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// What the tenant's own settings forbid is told on arrival, too.
func TestTenantsSettingsCount(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const open = `
update tenant_setting
   set sms_enabled = true, sms_country = 'US', time_zone = 'UTC', test_types = '{confirmed,likely,negative}'`
	for setting, want := range map[string]Reason{
		`sms_enabled = false`:           NoSMSProvider,
		`test_types = '{likely}'`:       TestTypeNotAllowed,
		`time_zone = 'Asia/Kolkata'`:    "",
		`sms_country = 'DE'`:            "",
		`test_types = '{confirmed}'`:    "",
		`time_zone = 'America/Chicago'`: "",
	} {
		f.sql(open)
		f.sql(`update tenant_setting set ` + setting)
		lines, _, err := f.feed.Rehearse(t.Context(), f.find(f.north.ID), f.lab, document.CSV, []byte(table(result("A"))))
		if err != nil || len(lines) != 1 || lines[0].Reason != want {
			t.Errorf("%s: %+v, %v, want %q", setting, lines, err, want)
		}
	}
	// It is 20:34 in India already, so a test of tomorrow is still a mistake there; in
	// Auckland tomorrow has begun.
	for zone, want := range map[string]Reason{"Asia/Kolkata": DateOutOfWindow, "Pacific/Auckland": ""} {
		f.sql(open)
		f.sql(`update tenant_setting set time_zone = $1`, zone)
		lines, _, err := f.feed.Rehearse(t.Context(), f.find(f.north.ID), f.lab, document.CSV, []byte(table(result("A", "collected", "2026-11-26"))))
		if err != nil || len(lines) != 1 || lines[0].Reason != want {
			t.Errorf("%s: %+v, %v, want %q", zone, lines, err, want)
		}
	}
}

func TestWhoMaySubmit(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, kind := range []client.Kind{client.Device, client.Stats} {
		by := f.subject(f.north, kind)
		if _, err := f.feed.Submit(t.Context(), f.north, by, document.CSV, []byte(table(result("A")))); !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s key: %v", kind, err)
		}
		if _, err := f.feed.SetMapping(t.Context(), f.north, by, DefaultMapping()); !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s key changes the mapping: %v", kind, err)
		}
	}
}

// What one tenant handed in, another knows nothing of, even with the same numbers.
func TestTenantsDoNotMeet(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	mine := f.submit(result("A"), result("B", "phone", ""))
	other := f.subject(f.south, client.Admin)
	r, err := f.feed.Submit(t.Context(), f.south, other, document.CSV, []byte(table(result("A"), result("B", "phone", ""))))
	if err != nil {
		t.Fatal(err)
	}
	f.wantCounts("the other tenant's", r, Counts{Queued: 1, DeadLetters: 1})
	if r.ID == mine.ID || r.Repeated {
		t.Error("both tenants have the same receipt")
	}
	letter := f.letters()[0].ID.String()
	if _, err := f.feed.Progress(t.Context(), f.south, other, mine.ID.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's submission: %v", err)
	}
	if _, err := f.feed.Retry(t.Context(), f.south, other, letter); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's dead letter, retried: %v", err)
	}
	if err := f.feed.Discard(t.Context(), f.south, other, letter); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's dead letter, discarded: %v", err)
	}
	if n := f.number(`select count(distinct accession_digest) from lab_result where accession_digest is not null`); n != 4 {
		t.Errorf("%d digests of two numbers at two tenants, want 4", n)
	}
}

// A refused document leaves nothing behind.
func TestRefusedDocumentsLeaveNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, body := range []string{"", "test_code\n1\n", table(result("A"), `"`)} {
		_, err := f.feed.Submit(t.Context(), f.north, f.lab, document.CSV, []byte(body))
		if !errors.Is(err, document.ErrMalformed) {
			t.Errorf("%q: %v", body, err)
		}
	}
	if n := f.number(`select (select count(*) from lab_submission) + (select count(*) from lab_result)`); n != 0 {
		t.Errorf("%d rows", n)
	}
}
