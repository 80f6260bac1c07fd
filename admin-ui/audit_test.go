package adminui_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	adminui "carillon/admin-ui"
	"carillon/tenant"
	"carillon/tenant/audit"
)

// auditWorld is a portal whose first authority has so many entries.
func auditWorld(t *testing.T, entries int, changes ...func(*adminui.Config)) *world {
	t.Helper()
	w := newWorld(t, changes...)
	w.audit.Entries = map[tenant.ID][]audit.Entry{}
	north := w.staff.Tenants[0].ID
	for n := entries; n > 0; n-- {
		w.audit.Entries[north] = append(w.audit.Entries[north], audit.Entry{
			No: int64(n), At: noon, ActorKind: "person", ActorID: "77aa", ActorName: "Robin <Doe>",
			Action: "code:issue", Target: "0b6c4b7e", Detail: json.RawMessage(`{"state": "active", "a": "é"}`),
			Request: "R1", Because: "role owner allows code:issue (built in)",
		})
	}
	return w
}

func TestAuditLogIsShownPageByPage(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 120)
	w.signIn(auditor).wants(200, "Choose a health authority")
	p := w.get("/portal/north-shore/audit").wants(200, "Audit log").contains("Robin <Doe>").
		contains("role owner allows code:issue (built in)").contains("November 26, 2026, 04:00 PST")
	rows := 0
	for older := 2; older > 0; older-- {
		rows += strings.Count(p.body, "<tr>") - 1
		p = w.get(p.link("Older entries"))
	}
	rows += strings.Count(p.body, "<tr>") - 1
	if rows != 120 {
		t.Errorf("%d entries on three pages, want 120", rows)
	}
	if strings.Contains(p.body, "Older entries") {
		t.Error("the last page leads on")
	}
	w.get(p.link("Back to the newest")).wants(200, "Audit log").lacks("Back to the newest")
	w.get("/portal/north-shore/audit?before=1").contains("There are no older entries")
}

func TestAuditLogIsFiltered(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 60)
	w.signIn(auditor)
	p := w.get("/portal/north-shore/audit?"+url.Values{
		"who": {" Robin\x00 "}, "action": {"code:"}, "target": {"0b6c"}, "from": {"2026-11-01"}, "until": {"2026-11-30"}, "before": {"nonsense"},
	}.Encode()).wants(200, "Audit log")
	want := audit.Filter{
		Who: "Robin", Action: "code:", Target: "0b6c",
		From: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, w.audit.Asked); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
	older, err := url.Parse(p.link("Older entries"))
	if err != nil || older.Query().Get("action") != "code:" || older.Query().Get("before") != "11" {
		t.Errorf("older entries are at %v, %v", older, err)
	}
	if p.value("target") != "0b6c" || p.value("until") != "2026-11-30" {
		t.Error("what was asked for is not in the form")
	}
	w.get(p.link("Show all entries")).lacks("Show all entries")
}

func TestAuditLogSaysWhatIsWrongOrMissing(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 0)
	w.signIn(auditor)
	w.get("/portal/north-shore/audit?from=yesterday&until=2026-11-30").wants(http.StatusUnprocessableEntity, "Audit log").
		contains("Enter a date with day, month and year").lacks("No entry is like that")
	w.get("/portal/north-shore/audit").wants(200, "Audit log").contains("No entry is like that")
	w.get("/portal/north-shore/audit?who="+strings.Repeat("é", 2000)).wants(200, "Audit log")
	w.get("/portal/north-shore/audit?who=a"+strings.Repeat("é", 2000)).wants(200, "Audit log")
	if len(w.audit.Asked.Who) > 200 || !utf8.ValidString(w.audit.Asked.Who) {
		t.Errorf("a search of %d bytes", len(w.audit.Asked.Who))
	}
	w.audit.Fail = errors.New("broken")
	w.get("/portal/north-shore/audit").wants(500, "Something went wrong")
}

// Whoever may not read the log, or belongs elsewhere, does not.
func TestAuditLogIsForThoseWhoMayReadIt(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/audit", "/audit/log"} {
		w := auditWorld(t, 1)
		w.signIn(caseworker)
		w.get("/portal/north-shore"+path).wants(403, "You may not do this").lacks("0b6c4b7e")
		w.get("/portal/river-valley"+path).wants(404, "Page not found")
		w.get("/portal/nowhere"+path).wants(404, "Page not found")
	}
}

func TestAuditLogIsDownloaded(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 1)
	w.signIn(auditor)
	w.audit.Head = 300_000
	p := w.get(w.get("/portal/north-shore/audit").link("Download the whole log"))
	if p.status != 200 || len(p.body) != 300_000 || p.header.Get("Cache-Control") != "no-store" ||
		p.header.Get("Content-Disposition") != `attachment; filename="audit-north-shore-20261126-1200.jsonl"` {
		t.Errorf("%d, %d bytes, %v", p.status, len(p.body), p.header)
	}
}

// A download that fails is an error page, however late, and never a part of a file.
func TestBrokenDownloadIsNotTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 1)
	w.signIn(auditor)
	w.audit.Fail = errors.New("broken")
	for _, w.audit.Head = range []int{0, 100, 300_000} {
		w.get("/portal/north-shore/audit/log").wants(500, "Something went wrong")
	}
}

// A long log has more time than a request has, and not without end.
func TestALongLogHasTime(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 1)
	w.signIn(auditor)
	w.get("/portal/north-shore/audit/log")
	if got := time.Duration(w.audit.Time.Load()); got < 4*time.Minute || got > 5*time.Minute {
		t.Errorf("%v", got)
	}
}

// unread asks for the log and reads nothing of the answer.
func (w *world) unread() *http.Response {
	w.t.Helper()
	resp, err := w.client.Do(w.request(http.MethodGet, "/portal/north-shore/audit/log", nil))
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// Whoever reads slowly does not keep the log from being read out, nor a connection to
// the database; and there are only so many.
func TestSlowReadersOfTheAuditLog(t *testing.T) {
	t.Parallel()
	w := auditWorld(t, 1, func(c *adminui.Config) { c.NoLimits = true })
	w.signIn(auditor)
	w.audit.Head = 32 << 20 // more than buffers on the way could take
	slow := []*http.Response{w.unread(), w.unread()}
	if n := w.audit.Making.Load(); n != 0 {
		t.Errorf("%d files are still being made while nobody reads them", n)
	}
	w.get("/portal/north-shore/audit/log").wants(http.StatusTooManyRequests, "Too many requests")
	for _, r := range slow {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != int64(w.audit.Head) || r.ContentLength != n {
			t.Errorf("%d bytes of %d, %v", n, r.ContentLength, err)
		}
		_ = r.Body.Close()
	}
	for served := false; !served; { // until the server has noticed that all was read
		again := w.unread()
		served = again.StatusCode == http.StatusOK
		_ = again.Body.Close()
	}
}
