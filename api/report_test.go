package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/tenant/message/messagetest"
	"carillon/tenant/verification"
)

// withoutWait answers repeated numbers at once.
func withoutWait(c *verification.Config) {
	c.Wait = func(context.Context, time.Duration) error { return nil }
}

func nonceOf(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, verification.NonceSize))
}

// own is a self-report that is in order.
func own(number string) object {
	return object{"nonce": nonceOf(1), "phone": number, "testDate": "2026-11-24", "symptomDate": "", "tzOffset": 0, "padding": "x"}
}

func (f *fixture) selfReport(t *testing.T, body object) answer {
	t.Helper()
	return f.post(t, f.north.Tenant, "/api/user-report", f.north.device, body)
}

// sentCode is the code in the newest message.
func (f *fixture) sentCode(t *testing.T) string {
	t.Helper()
	sent := f.sms.Delivered()
	_, rest, _ := strings.Cut(sent[len(sent)-1].Body, "code: ")
	return rest[:8]
}

func TestUserReport(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := must(t, f.selfReport(t, own("+12065550100")))
	expires := f.world.Now().Add(15 * time.Minute)
	members, _ := a.json()
	if len(members) != 3 || a.text("expiresAt") != expires.Format(time.RFC1123) || a.member("expiresAtTimestamp") != float64(expires.Unix()) {
		t.Errorf("%v", a)
	}
	if n := len(a.text("padding")); n < 1368 || n > 2732 {
		t.Errorf("padding of %d characters", n)
	}
	code := f.sentCode(t)
	verify := object{"code": code, "accept": []string{"user-report"}}
	for _, nonce := range []string{"", nonceOf(2)} {
		refused := f.post(t, f.north.Tenant, "/api/verify", f.north.device, verify.with("nonce", nonce))
		wantRefusal(t, "wrong nonce", refused, 400, "code_invalid", "verification code invalid")
	}
	v := must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, verify.with("nonce", nonceOf(1))))
	if v.text("testtype") != "user-report" || v.text("testDate") != "2026-11-24" {
		t.Errorf("verify: %v", v)
	}
	must(t, f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{
		"token": v.text("token"), "ekeyhmac": base64.StdEncoding.EncodeToString(randomBytes(32)),
	}))
}

// Every row of §5.1's order that the surface can tell.
func TestUserReportRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.set(t, f.south.Tenant, `self_report = false`)
	wantRefusal(t, "not enabled", f.post(t, f.south.Tenant, "/api/user-report", f.south.device, own("+12065550100").with("nonce", "%")),
		400, "unsupported_test_type", "user initiated report is not enabled")
	short := base64.StdEncoding.EncodeToString(make([]byte, 255))
	for _, c := range []struct {
		name string
		body object
		code string
	}{
		{"unknown member", own("+12065550100").with("code", "1"), "unparsable_request"},
		{"nonce no base64", own("").with("nonce", "%"), "unparsable_request"},
		{"no nonce", own("").with("nonce", ""), "missing_nonce"},
		{"nonce null", own("").with("nonce", nil), "missing_nonce"},
		{"short nonce", own("").with("nonce", short), "missing_nonce"},
		{"no phone", own("").with("testDate", "x"), "missing_phone"},
		{"no date", own("+12065550100").with("testDate", "x"), "unparsable_request"},
		{"old date", own("+12065550100").with("testDate", "2020-01-01"), "invalid_date"},
		{"tomorrow", own("+12065550100").with("testDate", "2026-11-26"), "invalid_date"},
		{"no such phone", own("1"), "phone_number_invalid"},
	} {
		a := f.selfReport(t, c.body)
		if a.StatusCode != 400 || a.text("errorCode") != c.code || a.text("error") == "" || a.text("padding") != "" {
			t.Errorf("%s: %v, want 400 %s", c.name, a, c.code)
		}
	}
	f.sms.Break(messagetest.Failed)
	wantRefusal(t, "message failed", f.selfReport(t, own("+12065550100")), 400, "sms_failure", "failed to send sms")
	f.sms.Break(messagetest.None)
	must(t, f.selfReport(t, own("+12065550100"))) // which did not use the number up
	// A time zone in which it is tomorrow already.
	must(t, f.selfReport(t, own("+12065550101").with("testDate", "2026-11-26").with("tzOffset", 840)))
}

// A repeated number has the answer of a new one: status, headers, members, and sizes
// from the same range.
func TestUserReportMasksNumbers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	first := must(t, f.selfReport(t, own("+12065550100")))
	shape := func(a answer) string {
		members, _ := a.json()
		members["padding"] = "any"
		return fmt.Sprint(a.StatusCode, members, headerShape(a))
	}
	sizes := map[int]int{}
	const rounds = 50
	for i := range rounds {
		a := must(t, f.selfReport(t, own("+12065550100").with("nonce", nonceOf(byte(i)))))
		if shape(a) != shape(first) {
			t.Fatalf("a repeated number: %s, want %s", shape(a), shape(first))
		}
		n := len(a.text("padding"))
		if n < 1368 || n > 2732 {
			t.Errorf("padding of %d characters", n)
		}
		sizes[n]++
	}
	if len(sizes) < rounds/2 {
		t.Errorf("only %d sizes in %d answers", len(sizes), rounds)
	}
	if f.sms.Attempts() != 1 {
		t.Errorf("%d messages, want 1", f.sms.Attempts())
	}
}

// A back end is told by the missing code, and by nothing that it could take for one
// (§4.3). In a batch the row is an error.
func TestIssueForAReportedNumber(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	must(t, f.selfReport(t, own("+12065550100")))
	body := object{"testType": "user-report", "phone": "+12065550100"}
	a := must(t, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, body))
	if a.text("code") != "" || a.text("uuid") != "" || a.member("expiresAtTimestamp") != float64(f.world.Now().Add(15*time.Minute).Unix()) || a.text("padding") == "" {
		t.Errorf("issue: %v", a)
	}
	f.set(t, f.north.Tenant, `batch_issue = true`)
	f.start(t)
	a = f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": []object{body}})
	if a.StatusCode != http.StatusConflict || a.text("errorCode") != "user_report_try_later" {
		t.Errorf("batch-issue: %v", a)
	}
}

// Cover traffic at user-report is like real reports (§10), which look like nothing
// else, and costs nothing.
func TestUserReportChaff(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	real := must(t, f.selfReport(t, own("+12065550100")))
	trips := f.world.Trips(func() {
		if a := f.chaff(t, "/api/user-report", f.north.device, ""); a.StatusCode != http.StatusOK || len(a.body) != len(real.body) {
			t.Errorf("%d bytes, want the %d of the only success", len(a.body), len(real.body))
		}
	})
	const key = 9 // of the API key and the directory, if their caches are cold
	if trips > key {
		t.Errorf("%d round trips", trips)
	}
	wantRefusal401(t, f.chaff(t, "/api/user-report", "none", ""))
}

func wantRefusal401(t *testing.T, a answer) {
	t.Helper()
	if a.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v, want 401", a)
	}
}

// Only a device key of the URL's tenant reports.
func TestUserReportNeedsADeviceKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, key := range []string{"", f.north.admin, f.north.stats, f.south.device} {
		wantRefusal401(t, f.post(t, f.north.Tenant, "/api/user-report", key, own("+12065550100")))
	}
	if f.sms.Attempts() != 0 {
		t.Error("a message was sent")
	}
	must(t, f.post(t, f.south.Tenant, "/api/user-report", f.south.device, own("+12065550100")))
}
