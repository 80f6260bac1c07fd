package verification_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key"
	"carillon/tenant/message"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/verification"
)

var app = authz.Subject{Kind: authz.APIKey, ID: "d00d", Name: "App", Roles: []authz.Role{authz.KeyDevice}}

// nonceOf is a phone's nonce: 256 bytes, each of the same value.
func nonceOf(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, verification.NonceSize))
}

// reporting is a fixture whose tenants allow self-reports, and what its reporter
// waited for.
type reporting struct {
	*fixture
	reporter *verification.Service
	waits    []time.Duration
}

func setUpReports(tb testing.TB) *reporting {
	tb.Helper()
	f := &reporting{fixture: setUp(tb)}
	f.north, f.south = selfReporting(f.north), selfReporting(f.south)
	f.reporter = f.service(f.world.Report, func(c *verification.Config) { c.Wait = f.wait })
	return f
}

func selfReporting(t *tenant.Tenant) *tenant.Tenant {
	return with(t, func(s *tenant.Settings) {
		s.SelfReport, s.IssueUserReport = true, false
		s.TestTypes = []string{"confirmed"} // self-reports do not ask it
	})
}

func (f *reporting) wait(_ context.Context, d time.Duration) error {
	f.waits = append(f.waits, d)
	return nil
}

func request(nonce byte) verification.ReportRequest {
	return verification.ReportRequest{Nonce: nonceOf(nonce), Phone: phone}
}

// report reports, which must succeed, and returns the code of the message.
func (f *reporting) report(tb testing.TB, to *tenant.Tenant, r verification.ReportRequest) string {
	tb.Helper()
	sent := len(f.sms.Delivered())
	if _, err := f.reporter.Report(tb.Context(), to, app, r); err != nil {
		tb.Fatalf("Report: %v", explain(err))
	}
	all := f.sms.Delivered()
	if len(all) != sent+1 {
		tb.Fatalf("%d messages, want 1", len(all)-sent)
	}
	return codeIn(tb, all[sent].Message)
}

func codeIn(tb testing.TB, m message.Message) string {
	tb.Helper()
	_, rest, found := strings.Cut(m.Body, "code: ")
	code, _, ended := strings.Cut(rest, ".")
	if !found || !ended || len(code) != 8 {
		tb.Fatalf("a message of %d bytes without a code", len(m.Body))
	}
	return code
}

// masked reports again: the answer is that of a success, but there is no message.
func (f *reporting) masked(tb testing.TB, to *tenant.Tenant, r verification.ReportRequest) {
	tb.Helper()
	sent := f.sms.Attempts()
	expires, err := f.reporter.Report(tb.Context(), to, app, r)
	if err != nil {
		tb.Fatalf("Report: %v", explain(err))
	}
	if want := f.world.Now().UTC().Truncate(time.Second).Add(to.Settings.CodeLife); !expires.Equal(want) {
		tb.Errorf("a code that does not exist ends at %v, want %v", expires, want)
	}
	if f.sms.Attempts() != sent {
		tb.Error("a message was sent")
	}
}

func (f *reporting) countReports(tb testing.TB, of *tenant.Tenant) (n int) {
	tb.Helper()
	in(tb, f.world.Report, of.ID, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Get(ctx, &n, `select count(*) from user_report`)
	})
	return n
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	r := request(1)
	r.TestDate, r.SymptomDate = "2026-11-24", "2026-11-23"
	expires, err := f.reporter.Report(t.Context(), f.north, app, r)
	if err != nil {
		t.Fatal(explain(err))
	}
	if want := f.world.Now().UTC().Truncate(time.Second).Add(f.north.Settings.CodeLife); !expires.Equal(want) {
		t.Errorf("ends at %v, want %v", expires, want)
	}
	sent := f.sms.Delivered()
	if len(sent) != 1 || sent[0].To != phone || sent[0].Purpose != message.UserReport {
		t.Fatalf("%d messages, want one for a self-report", len(sent))
	}
	v, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: codeIn(t, sent[0].Message), Nonce: nonceOf(1)})
	if err != nil {
		t.Fatal(explain(err))
	}
	if v.TestType != "user-report" || v.TestDate != "2026-11-24" || v.SymptomDate != "2026-11-23" {
		t.Errorf("%s of %s, symptoms since %s", v.TestType, v.TestDate, v.SymptomDate)
	}
	if len(f.waits) != 0 {
		t.Error("a report that was sent waited")
	}
}

// Each row breaks one rule more than the row after it, so that the first rule in the
// protocol's order decides (§5.1).
func TestReportOrder(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	spent := true
	s := f.service(f.world.Report, func(c *verification.Config) { c.Quota = budget(func(tenant.ID) bool { return !spent }) })
	at := with(f.north, func(s *tenant.Settings) { s.SelfReport, s.RequireDate, s.SMSEnabled = false, true, false })
	r := verification.ReportRequest{Nonce: "%"}
	today := f.world.Now().UTC().Format(time.DateOnly)
	for _, step := range []struct {
		fix  func()
		want error
		text string
	}{
		{func() {}, verification.ErrUnsupportedTestType, "user initiated report is not enabled"},
		{func() { at.Settings.SelfReport = true }, verification.ErrUnparsable, ""},
		{func() { r.Nonce = "" }, verification.ErrMissingNonce, ""},
		{func() { r.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 255)) }, verification.ErrMissingNonce, ""},
		{func() { r.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 257)) }, verification.ErrMissingNonce, ""},
		{func() { r.Nonce = nonceOf(1) }, verification.ErrMissingPhone, ""},
		{func() { r.Phone = "x" }, verification.ErrMissingDate, ""},
		{func() { r.TestDate = "x" }, verification.ErrUnparsable, ""},
		{func() { r.TestDate = "2020-01-01" }, verification.ErrInvalidDate, ""},
		{func() { r.TestDate = today }, verification.ErrPhoneInvalid, ""},
		{func() { r.Phone = phone }, verification.ErrNoProvider, ""},
		{func() { at.Settings.SMSEnabled = true }, verification.ErrQuota, ""},
	} {
		step.fix()
		_, err := s.Report(t.Context(), at, app, r)
		wantProblem(t, err, step.want, step.text)
	}
	spent = false
	if _, err := s.Report(t.Context(), at, app, r); err != nil {
		t.Errorf("nothing is wrong any more: %v", explain(err))
	}
	if n := f.countReports(t, f.north); n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
}

func TestReportNeedsItsPermission(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	for _, by := range []authz.Subject{backEnd, caseworker, {}} {
		if _, err := f.reporter.Report(t.Context(), f.north, by, request(1)); !errors.Is(err, authz.ErrForbidden) {
			t.Errorf("%s: %v, want ErrForbidden", by.Name, err)
		}
	}
	if _, err := f.reporter.Issue(t.Context(), f.north, app, verification.IssueRequest{TestType: "confirmed"}); !errors.Is(err, authz.ErrForbidden) {
		t.Errorf("a phone issues: %v, want ErrForbidden", err)
	}
}

// A nonce is taken in every spelling of base64. The window of dates widens with the
// time zone, as it does for issues.
func TestReportIsTolerant(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	raw := bytes.Repeat([]byte{0xfb}, verification.NonceSize)
	for i, text := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		r := verification.ReportRequest{Nonce: text, Phone: fmt.Sprintf("(206) 555-01%02d", i+50)}
		code := f.report(t, f.north, r)
		if _, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: base64.StdEncoding.EncodeToString(raw)}); err != nil {
			t.Errorf("%.4s…: %v", text, explain(err))
		}
	}
	r := request(1)
	r.TestDate = f.world.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	_, err := f.reporter.Report(t.Context(), f.north, app, r)
	wantProblem(t, err, verification.ErrInvalidDate, "")
	r.TZOffset = 14 * 60
	f.report(t, f.north, r)
}

// A wrong nonce burns nothing, and reads like an unknown code.
func TestVerifyNonce(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	code := f.report(t, f.north, request(1))
	short := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, verification.NonceSize-1))
	for name, wrong := range map[string]string{"none": "", "another": nonceOf(2), "cut off": short} {
		_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: wrong})
		t.Log(name)
		wantProblem(t, err, verification.ErrCodeInvalid, "verification code invalid")
	}
	// A type that the phone cannot handle is told before the nonce is looked at.
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Accept: []string{"likely"}})
	wantProblem(t, err, verification.ErrUnsupportedTestType, "")
	_, err = f.device.Verify(t.Context(), f.south, verification.VerifyRequest{Code: code, Nonce: nonceOf(1)})
	wantProblem(t, err, verification.ErrCodeInvalid, "")
	if n := f.countTokens(t, f.north); n != 0 {
		t.Errorf("refused attempts left %d tokens", n)
	}
	right := verification.VerifyRequest{Code: code, Nonce: nonceOf(1)}
	if _, err := f.device.Verify(t.Context(), f.north, right); err != nil {
		t.Fatal(explain(err))
	}
	_, err = f.device.Verify(t.Context(), f.north, right)
	wantProblem(t, err, verification.ErrCodeInvalid, "")
}

// Another code does not ask for a nonce, and one of a back end for none either.
func TestVerifyIgnoresNonces(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, r := range []verification.IssueRequest{{TestType: "confirmed"}, {TestType: "user-report", Phone: phone}} {
		for range 2 {
			code := f.issue(t, f.north, r).Code
			if _, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: nonceOf(9)}); err != nil {
				t.Errorf("%s: %v", r.TestType, explain(err))
			}
			r.Phone = "" // the number has reported now
			if r.TestType == "user-report" {
				break
			}
		}
	}
}

// How long a number is taken (§5.1), and that it is taken for its own tenant only.
func TestRepeatedNumbers(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	first := f.report(t, f.north, request(1))
	f.masked(t, f.north, request(1))
	f.masked(t, f.north, request(2)) // and with another nonce
	spelt := request(3)
	spelt.Phone = "(206) 555-0100"
	f.masked(t, f.north, spelt)
	f.report(t, f.south, request(1))
	if c, r := f.countCodes(t, f.north), f.countReports(t, f.north); c != 1 || r != 1 {
		t.Errorf("%d codes, %d reports, want one each", c, r)
	}

	// An unclaimed report frees its number.
	f.world.Advance(time.Hour - time.Second)
	f.masked(t, f.north, request(2))
	f.world.Advance(time.Second)
	second := f.report(t, f.north, request(2))
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: first, Nonce: nonceOf(1)})
	wantProblem(t, err, verification.ErrCodeExpired, "")

	// A claimed one holds it for much longer.
	if _, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: second, Nonce: nonceOf(2)}); err != nil {
		t.Fatal(explain(err))
	}
	f.world.Advance(90*24*time.Hour - time.Second)
	f.masked(t, f.north, request(3))
	at := with(f.north, func(s *tenant.Settings) { s.SelfReportBlock = 30 * 24 * time.Hour })
	f.report(t, at, request(3))
	f.masked(t, f.north, request(4))
}

// A code that lives longer than the window holds its number for as long.
func TestUnclaimedReportHoldsItsNumberWhileItsCodeLives(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	at := with(f.north, func(s *tenant.Settings) { s.CodeLife = 2 * time.Hour })
	f.report(t, at, request(1))
	f.world.Advance(2*time.Hour - time.Second)
	f.masked(t, at, request(2))
	f.world.Advance(time.Second)
	f.report(t, at, request(2))
}

// A report knows its number under keys of before a rotation.
func TestRepeatedNumberAfterRotation(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	code := f.report(t, f.north, request(1))
	f.rotate(t, f.north, signing.PhoneMAC)
	f.reporter = f.service(f.world.Report, func(c *verification.Config) { c.Wait = f.wait })
	f.masked(t, f.north, request(2))
	f.world.Advance(time.Hour)
	f.report(t, f.north, request(2)) // the old row is over, though it is still there
	f.masked(t, f.north, request(3))
	if code == "" {
		t.Error("no code")
	}
}

// A message that fails takes code and report with it, so that the person may try
// again; one that did arrive is used.
func TestReportSendFails(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	for fault, want := range map[messagetest.Fault]error{
		messagetest.Failed: verification.ErrSMSFailed, messagetest.QueueFull: verification.ErrSMSQueueFull,
		messagetest.SaidFailed: verification.ErrSMSFailed,
	} {
		f.sms.Break(fault)
		_, err := f.reporter.Report(t.Context(), f.north, app, request(1))
		wantProblem(t, err, want, "")
		if c, r := f.countCodes(t, f.north), f.countReports(t, f.north); c != 0 || r != 0 {
			t.Errorf("fault %d: %d codes, %d reports, want none", fault, c, r)
		}
	}
	f.sms.Break(messagetest.None)
	f.report(t, f.north, request(1))
}

// A phone that verifies while its message counts as failed keeps what it has.
func TestReportClaimedBeforeItIsWithdrawn(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	s := f.service(f.world.Report, func(c *verification.Config) {
		c.Sender = senderFunc(func(ctx context.Context, to *tenant.Tenant, m message.Message) error {
			if _, err := f.device.Verify(ctx, to, verification.VerifyRequest{Code: codeIn(t, m), Nonce: nonceOf(1)}); err != nil {
				t.Error(explain(err))
			}
			return message.ErrFailed
		})
	})
	if _, err := s.Report(t.Context(), f.north, app, request(1)); err != nil {
		t.Errorf("the message arrived: %v", explain(err))
	}
	f.masked(t, f.north, request(1))
}

// What a user of this service could tell a repeated number by: the same statements
// are sent, and the answer takes as long as one of the tenant's last real reports
// did, whichever provider that has. (Rules of the wire are the surface's.)
func TestRepeatedNumberLooksTheSame(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	delays := map[string]time.Duration{"+12065550100": 300 * time.Millisecond, "+12065550101": 700 * time.Millisecond, "+12065550102": 900 * time.Millisecond}
	s := f.service(f.world.Report, func(c *verification.Config) {
		c.Wait = f.wait
		c.Sender = senderFunc(func(_ context.Context, _ *tenant.Tenant, m message.Message) error {
			f.world.Advance(delays[m.To])
			return nil
		})
	})
	report := func(at *tenant.Tenant, to string) int {
		return f.world.Trips(func() {
			if _, err := s.Report(t.Context(), at, app, verification.ReportRequest{Nonce: nonceOf(1), Phone: to}); err != nil {
				t.Error(explain(err))
			}
		})
	}
	report(f.north, phone) // warms the keys
	real := report(f.north, "+12065550101")
	report(f.south, "+12065550102") // another tenant's pace is its own
	const rounds = 64
	for range rounds {
		if trips := report(f.north, phone); trips != real {
			t.Errorf("%d round trips for a repeated number, %d for a new one", trips, real)
		}
	}
	seen := map[time.Duration]int{}
	for _, w := range f.waits {
		seen[w]++
	}
	if len(f.waits) != rounds || seen[300*time.Millisecond]+seen[700*time.Millisecond] != rounds || len(seen) != 2 {
		t.Errorf("waits %v, want %d, of the lengths of the tenant's two real reports", seen, rounds)
	}
}

// Before a process has sent anything, a repeated number waits all the same.
func TestRepeatedNumberWaitsFromTheFirst(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	f.report(t, f.north, request(1))
	f.reporter = f.service(f.world.Report, func(c *verification.Config) { c.Wait = f.wait })
	f.masked(t, f.north, request(1))
	if len(f.waits) != 1 || f.waits[0] < 100*time.Millisecond {
		t.Errorf("waits %v", f.waits)
	}
	gone := errors.New("gone")
	s := f.service(f.world.Report, func(c *verification.Config) {
		c.Wait = func(context.Context, time.Duration) error { return gone }
	})
	if _, err := s.Report(t.Context(), f.north, app, request(1)); !errors.Is(err, gone) {
		t.Errorf("whoever does not wait gets %v", err)
	}
}

func TestReportContended(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	f.reporter = f.service(f.world.Report, func(c *verification.Config) {
		c.Wait = func(context.Context, time.Duration) error { return nil }
	})
	errs := f.contend(t, `lock table user_report in exclusive mode`, func(int) error {
		_, err := f.reporter.Report(t.Context(), f.north, app, request(1))
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if c, r, m := f.countCodes(t, f.north), f.countReports(t, f.north), f.sms.Attempts(); c != 1 || r != 1 || m != 1 {
		t.Errorf("%d codes, %d reports, %d messages, want one each", c, r, m)
	}
}

func TestReportedCodeContended(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	code := f.report(t, f.north, request(1))
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: nonceOf(2)})
	wantProblem(t, err, verification.ErrCodeInvalid, "")
	errs := f.contend(t, `select code_id from verification_code for update`, func(int) error {
		_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: nonceOf(1)})
		return err
	})
	wantOneWinner(t, errs, verification.ErrCodeInvalid)
}

// Back ends share the numbers with phones (§4.2, rule 16), without a nonce. They and
// people are told.
func TestIssueForANumberThatReported(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	at := with(f.north, func(s *tenant.Settings) { s.IssueUserReport, s.TestTypes = true, []string{"user-report"} })
	f.report(t, at, request(1))
	r := verification.IssueRequest{TestType: "user-report", Phone: phone}
	for db, by := range map[*verification.Service]authz.Subject{f.issuer: backEnd, f.portal: caseworker} {
		_, err := db.Issue(t.Context(), at, by, r)
		var again *verification.Repeated
		if !errors.As(err, &again) || !errors.Is(err, verification.ErrReportedBefore) || !again.ExpiresAt.After(f.world.Now()) {
			t.Errorf("%s: %v, want Repeated", by.Name, explain(err))
		}
	}
	r.Phone = "+12065550101"
	if _, err := f.issuer.Issue(t.Context(), at, backEnd, r); err != nil {
		t.Fatal(explain(err))
	}
	f.masked(t, at, verification.ReportRequest{Nonce: nonceOf(1), Phone: r.Phone})
	if c := f.countCodes(t, f.north); c != 2 {
		t.Errorf("%d codes, want 2", c)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	keys := key.NewRing(f.world.Operator, f.world.Root)
	operator := authz.Subject{Kind: authz.System, ID: "operator", Name: "Operator"}
	purge := func(at *tenant.Tenant, number string) bool {
		found, err := verification.Purge(t.Context(), f.world.Operator, keys, at, operator, number, f.world.Now())
		if err != nil {
			t.Fatal(explain(err))
		}
		return found
	}
	code := f.report(t, f.north, request(1))
	elsewhere := f.report(t, f.south, request(1))
	if purge(f.north, "+12065550199") {
		t.Error("a number that never reported was found")
	}
	if !purge(f.north, "206 555 0100") || purge(f.north, phone) {
		t.Error("the number was not found once")
	}
	_, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: code, Nonce: nonceOf(1)})
	wantProblem(t, err, verification.ErrCodeExpired, "")
	again := verification.VerifyRequest{Code: f.report(t, f.north, request(2)), Nonce: nonceOf(2)}
	if _, err := f.device.Verify(t.Context(), f.north, again); err != nil {
		t.Fatal(explain(err))
	}
	if !purge(f.north, phone) { // a claimed one is freed, too
		t.Error("the number of a claimed report was not found")
	}
	f.report(t, f.north, request(3))
	f.masked(t, f.south, request(1))
	if _, err := f.device.Verify(t.Context(), f.south, verification.VerifyRequest{Code: elsewhere, Nonce: nonceOf(1)}); err != nil {
		t.Errorf("the other tenant's code: %v", explain(err))
	}
	_, err = verification.Purge(t.Context(), f.world.Operator, keys, f.north, operator, "x", f.world.Now())
	wantProblem(t, err, verification.ErrPhoneInvalid, "")
	f.wantPurgesAudited(t, 4)
}

func (f *reporting) wantPurgesAudited(t *testing.T, want int) {
	t.Helper()
	in(t, f.world.Operator, f.north.ID, func(ctx context.Context, tx *tenant.Tx) error {
		entries, err := audit.List(ctx, tx, 100)
		purges := 0
		for _, e := range entries {
			if e.Action == "report:purge-phone" {
				purges++
			}
			if strings.Contains(fmt.Sprint(e.Target, string(e.Detail)), "555") {
				t.Errorf("entry %d names the number", e.No)
			}
		}
		if purges != want {
			t.Errorf("%d purges in the log, want %d", purges, want)
		}
		return err
	})
}

func TestCleanupOfReports(t *testing.T) {
	t.Parallel()
	f := setUpReports(t)
	claimed := f.report(t, f.north, request(1))
	if _, err := f.device.Verify(t.Context(), f.north, verification.VerifyRequest{Code: claimed, Nonce: nonceOf(1)}); err != nil {
		t.Fatal(explain(err))
	}
	f.report(t, f.north, verification.ReportRequest{Nonce: nonceOf(1), Phone: "+12065550101"})
	f.report(t, f.south, request(1))
	start := f.world.Now().UTC().Truncate(time.Second)
	for _, s := range []struct {
		age  time.Duration
		want int
	}{
		{time.Hour - time.Second, 2},
		{time.Hour, 1},
		{90*24*time.Hour - time.Second, 1},
		{90 * 24 * time.Hour, 0},
	} {
		for range 2 {
			if err := verification.Cleanup(t.Context(), f.world.Jobs, f.north, start.Add(s.age)); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.countReports(t, f.north); n != s.want {
			t.Errorf("after %v: %d reports, want %d", s.age, n, s.want)
		}
	}
	if n := f.countReports(t, f.south); n != 1 {
		t.Errorf("the other tenant has %d reports, want 1", n)
	}
}

func TestReportsDoNotPrint(t *testing.T) {
	t.Parallel()
	r := request(1)
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{r, &r} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		log.Info("report", "value", v)
	}
	if strings.Contains(out.String(), "555") || strings.Contains(out.String(), r.Nonce[:8]) {
		t.Errorf("output shows the request: %s", out.String())
	}
}
