package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/signing/certificate"
	"carillon/tenant/stats"
)

// The agents are those of the two systems' own clients.
const (
	iosAgent     = "Health/1 CFNetwork/1240 Darwin/20.6.0"
	androidAgent = "Dalvik/2.1.0 (Linux; U; Android 12)"
)

// week scripts six days and today for north: the same on each run, and as small as
// will show every column.
type week struct {
	*fixture
	robin, sam, key uuid.UUID
}

func newWeek(t *testing.T, f *fixture) *week {
	t.Helper()
	w := &week{
		fixture: f, robin: uuid.MustParse("00000000-0a01-4000-8000-000000000001"),
		sam: uuid.MustParse("00000000-0a02-4000-8000-000000000002"), key: uuid.MustParse("00000000-0b01-4000-8000-000000000003"),
	}
	for id, name := range map[uuid.UUID]string{w.robin: "Robin", w.sam: "Sam, MD"} {
		f.sql(t, `
insert into member (tenant_id, member_id, issuer, email, name, roles)
values ($1, $2, 'https://idp.example', split_part(lower($3), ',', 1) || '@north.example', $3, '{caseworker}')`, f.north.ID, id, name)
	}
	f.sql(t, `
insert into api_key (tenant_id, api_key_id, kind, name, digest, preview) values ($1, $2, 'admin', 'Laboratory', sha256('lab'), 'abc')`, f.north.ID, w.key)
	for d := 6; d >= 0; d-- {
		w.day(t, d)
	}
	return w
}

// day scripts one of them; today, day 0, is the same as the others.
func (w *week) day(t *testing.T, daysAgo int) {
	t.Helper()
	at := w.world.Now().Truncate(24*time.Hour).AddDate(0, 0, -daysAgo).Add(9 * time.Hour)
	code := func(testType, kind, issuer, external string, claimedAfter time.Duration, message string) {
		id, claimed := uuid.New(), any(nil)
		if claimedAfter > 0 {
			claimed = at.Add(claimedAfter)
		}
		w.sql(t, `
insert into verification_code (tenant_id, code_id, test_type, issued_at, expires_at, long_expires_at, claimed_at, issuer_kind, issuer_id, external_issuer_id)
values ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9)`, w.north.ID, id, testType, at, at.Add(24*time.Hour), claimed, kind, issuer, external)
		if message != "" {
			w.sql(t, `
insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at) values ($1, $2, $3, $4, $5)`,
				w.north.ID, id, message, at, at.Add(30*time.Second))
		}
		if claimed != nil && daysAgo != 2 { // on one day nobody goes on
			w.sql(t, `
insert into verification_token (tenant_id, token_digest, expires_at, used_at, tekmac_digest, code_day, test_type, seconds_to_use)
values ($1, $2, $3, $4, sha256(''), $5, $6, 70)`,
				w.north.ID, randomBytes(32), at.Add(48*time.Hour), at.Add(claimedAfter+70*time.Second), at, testType)
		}
	}
	code("confirmed", "person", w.robin.String(), "", 40*time.Second, "delivered")
	code("likely", "person", w.sam.String(), "", 0, "sent")
	code("confirmed", "api-key", w.key.String(), "clinic \"7\"", 2*time.Hour, "failed")
	if daysAgo%2 == 0 {
		code("user-report", "system", "", "", 3*time.Minute, "delivered")
		w.sql(t, `insert into message_error (tenant_id, day, error_code, count) values ($1, $2, '30007', 2)`, w.north.ID, at)
	}
	w.counted(t, at)
}

// counted flushes what leaves no row on the day, in the name of a process of that time.
func (w *week) counted(t *testing.T, at time.Time) {
	t.Helper()
	c := stats.NewCounter(func() time.Time { return at })
	lab := stats.Caller{APIKey: w.key.String(), Platform: stats.Android}
	c.CodeInvalid(w.north.ID, lab, true)
	c.CodeInvalid(w.north.ID, stats.Caller{APIKey: w.key.String(), Platform: stats.IOS}, false)
	c.CodeClaimed(w.north.ID, lab)
	c.TokenClaimed(w.north.ID, lab)
	c.TokenInvalid(w.north.ID, lab)
	c.Uploaded(w.north.ID, stats.Upload{Platform: stats.IOS, Certified: at.Add(-2 * time.Minute), Inserted: 14, OldestDays: 14, OnsetDays: 3})
	c.Uploaded(w.north.ID, stats.Upload{Platform: stats.Unknown, Certified: at, Inserted: 1, OldestDays: 40, OnsetDays: 40, MissingOnset: true})
	c.Uploaded(w.north.ID, stats.Upload{Platform: stats.Android, Certified: at, Revised: 9, OldestDays: 9, OnsetDays: 9, MissingOnset: true})
	if err := c.Flush(t.Context(), w.world.Publish); err != nil {
		t.Fatal(err)
	}
}

var reports = []string{
	"realm", "realm/composite", "realm/users", "realm/users/2561", "realm/api-keys/2817",
	"realm/external-issuers", "realm/sms-errors", "realm/key-server", "funnel",
}

func (f *fixture) statistics(t *testing.T, of account, path string) answer {
	t.Helper()
	return f.ask(t, http.MethodGet, "/t/"+string(of.Slug)+"/api/stats/"+path, header{"X-API-Key": of.stats, "Accept": "application/json"}, "")
}

// A scripted week in every report and form, before and after it is rolled up.
func TestStatisticsAreGolden(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	newWeek(t, f)
	f.rollup(t)
	for _, path := range reports {
		for _, form := range []string{"json", "csv"} {
			a := f.statistics(t, f.north, path+"."+form)
			wantGolden(t, filepath.Join("testdata", "stats", strings.ReplaceAll(path, "/", "-")+"."+form), shown(t, a, form))
		}
	}
	before := f.everyReport(t)
	for range 2 {
		f.rollup(t)
		if diff := cmp.Diff(before, f.everyReport(t)); diff != "" {
			t.Fatalf("after another roll-up (-before +after):\n%s", diff)
		}
	}
}

func (f *fixture) rollup(t *testing.T) {
	t.Helper()
	if _, err := stats.Rollup(t.Context(), f.world.Jobs, f.north.ID, f.world.Now()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) everyReport(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range reports {
		all[path] = string(f.statistics(t, f.north, path+".json").body)
	}
	return all
}

// shown is an answer as the golden files have it: its headers of interest, the first
// eight days and the number of those left out.
func shown(t *testing.T, a answer, form string) string {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", a.Request.URL.Path, a)
	}
	var b strings.Builder
	for _, name := range []string{"Content-Type", "Content-Disposition", "Cache-Control"} {
		fmt.Fprintf(&b, "%s: %s\n", name, a.Header.Get(name))
	}
	b.WriteString("\n")
	var lines []string
	if form == "csv" {
		lines = strings.SplitAfter(string(a.body), "\n")
	} else {
		lines = jsonLines(t, a.body)
	}
	const shownLines = 19
	b.WriteString(strings.Join(lines[:min(len(lines), shownLines)], ""))
	fmt.Fprintf(&b, "… and %d lines\n", max(0, len(lines)-shownLines))
	return b.String()
}

// jsonLines breaks a report before each of its days.
func jsonLines(t *testing.T, body []byte) []string {
	t.Helper()
	if !json.Valid(body) {
		t.Fatalf("not JSON: %s", body)
	}
	text := regexp.MustCompile(`\{"(date|day)":"2026`).ReplaceAllString(string(body), "\n$0")
	return strings.SplitAfter(text+"\n", "\n")
}

func wantGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), go test ./api -update rewrites it:\n%s", file, diff)
	}
}

// A tenant of which nothing is known has all days, or nothing where the list is of
// things that there are none of (§8.1).
func TestStatisticsOfAnIdleTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for path, want := range map[string]string{
		"realm/composite": "{}", "realm/users": "{}", "realm/external-issuers": "{}", "realm/sms-errors": "{}", "realm/key-server": "[]",
	} {
		if a := f.statistics(t, f.north, path+".json"); a.StatusCode != http.StatusOK || string(a.body) != want {
			t.Errorf("%s.json: %v, want %s", path, a, want)
		}
		if a := f.statistics(t, f.north, path+".csv"); a.StatusCode != http.StatusOK || len(a.body) != 0 {
			t.Errorf("%s.csv: %v, want nothing", path, a)
		}
	}
	for _, path := range []string{"realm", "funnel"} {
		days, _ := f.statistics(t, f.north, path+".json").member("statistics").([]any)
		if len(days) != stats.Days {
			t.Fatalf("%s: %d days, want %d", path, len(days), stats.Days)
		}
		first, _ := days[0].(map[string]any)
		last, _ := days[90].(map[string]any)
		if first["date"] != "2026-11-25T00:00:00Z" || last["date"] != "2026-08-27T00:00:00Z" {
			t.Errorf("%s: from %v back to %v", path, first["date"], last["date"])
		}
	}
}

// Statistics are for keys of their own kind and tenant, and know nobody else's members
// and keys.
func TestStatisticsAreGuarded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	w := newWeek(t, f)
	for name, key := range map[string]string{
		"none": "", "device": f.north.device, "admin": f.north.admin, "another tenant's": f.south.stats, "unknown": unknownKey(),
	} {
		for _, path := range reports {
			a := f.ask(t, http.MethodGet, "/t/north/api/stats/"+path+".json", header{"X-API-Key": key, "Accept": "application/json"}, "")
			if a.StatusCode != http.StatusUnauthorized || a.text("error") != "unauthorized" {
				t.Errorf("%s key at %s: %v, want 401", name, path, a)
			}
		}
	}
	for _, id := range []string{w.robin.String(), "2561", uuid.NewString(), "1", "x", "-1", ""} {
		for _, kind := range []string{"users", "api-keys"} {
			if a := f.statistics(t, f.south, "realm/"+kind+"/"+id+".json"); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("south asks for %s %q: %v, want 401", kind, id, a)
			}
		}
	}
	if a := f.statistics(t, f.north, "realm/users/"+w.robin.String()+".json"); a.text("user_name") != "Robin" {
		t.Errorf("by UUID: %v", a)
	}
	for _, path := range []string{"realm", "realm/users/2561", "realm/users/2561.xml", "realm.xml", "realm/nothing.json"} {
		if a := f.statistics(t, f.north, path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v, want 404", path, a)
		}
	}
}

// What phones do over HTTP shows in the statistics of their tenant and in no other's:
// each outcome in its own column.
func TestDeviceRequestsAreCounted(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	phone := func(path, agent string, body object) answer {
		text, _ := json.Marshal(body)
		h := jsonWith(f.north.device)
		h["User-Agent"] = agent
		return f.ask(t, http.MethodPost, "/t/north"+path, h, string(text))
	}
	code, _ := f.issue(t, f.north, nil)
	f.issue(t, f.north, object{"testType": "user-report", "phone": "+12065550100"})
	f.issue(t, f.north, object{"testType": "likely"})
	phone("/api/verify", iosAgent, object{"code": "99999999"})
	phone("/api/verify", androidAgent, object{"code": "88888888"})
	phone("/api/verify", "curl", object{"code": "77777777"})
	phone("/api/verify", iosAgent, object{"code": code, "accept": []string{"sausage"}}) // not a wrong code
	f.world.Advance(90 * time.Second)
	token := must(t, phone("/api/verify", iosAgent, object{"code": code})).text("token")
	phone("/api/verify", iosAgent, object{"code": code}) // claimed before: not counted
	mac := object{"token": token, "ekeyhmac": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
	phone("/api/certificate", iosAgent, object{"token": "no token", "ekeyhmac": mac["ekeyhmac"]})
	must(t, phone("/api/certificate", iosAgent, mac))
	phone("/api/certificate", iosAgent, mac.with("ekeyhmac", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")) // used before

	upload := f.upload(t, f.north, f.teks(3), nil)
	for range 2 { // the second changes nothing, and does not count
		text, _ := json.Marshal(upload)
		f.ask(t, http.MethodPost, "/t/north/v1/publish", header{"Content-Type": "application/json", "User-Agent": "bluetoothd CFNetwork"}, string(text))
	}
	if err := f.counter.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}

	composite := f.today(t, f.north)
	want := map[string]any{
		"codes_issued": 4., "codes_claimed": 2., "codes_invalid": 3., "tokens_claimed": 2., "tokens_invalid": 1.,
		"codes_invalid_by_os": map[string]any{"unknown_os": 1., "ios": 1., "android": 1.},
		"user_reports_issued": 1., "user_reports_claimed": 0., "user_report_tokens_claimed": 0.,
		"code_claim_mean_age_seconds": 45., "total_publish_requests": 1., "total_teks_published": 3.,
		"publish_requests":        map[string]any{"unknown": 0., "ios": 1., "android": 0.},
		"requests_with_revisions": 0., "requests_missing_onset_date": 1.,
	}
	for name, value := range want {
		if diff := cmp.Diff(value, composite[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if a := f.statistics(t, f.south, "realm/composite.json"); string(a.body) != "{}" {
		t.Errorf("south: %v", a)
	}
}

// today is the composite's newest day.
func (f *fixture) today(t *testing.T, of account) map[string]any {
	t.Helper()
	days, _ := f.statistics(t, of, "realm/composite.json").member("statistics").([]any)
	if len(days) != 1 {
		t.Fatalf("%d days, want today alone", len(days))
	}
	first, _ := days[0].(map[string]any)
	data, _ := first["data"].(map[string]any)
	return data
}

// Counting costs no round trip, and cover traffic counts nowhere.
func TestCountingIsFree(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	upload := f.upload(t, f.north, []certificate.TEK{f.teks(1)[0]}, nil)
	if err := f.counter.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}
	before := f.everyReport(t)
	h := jsonWith(f.north.device)
	h["X-Chaff"] = "1"
	for _, path := range []string{"/api/verify", "/api/certificate", "/v1/publish"} {
		text, _ := json.Marshal(upload)
		f.ask(t, http.MethodPost, "/t/north"+path, h, string(text))
	}
	if err := f.counter.Flush(t.Context(), f.world.Device); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, f.everyReport(t)); diff != "" {
		t.Errorf("cover traffic was counted:\n%s", diff)
	}
}
