package conformance_test

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"carillon/tenant/client"
	"carillon/tenant/message/messagetest"
)

func nonce(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// reportBody is a self-report that must succeed.
func reportBody() object {
	return object{"nonce": nonce(256), "phone": newPhone(), "testDate": "2026-11-24", "padding": "x"}
}

// reportRules are §5.1: people report themselves.
func reportRules() []rule {
	refused := func(change object, code string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.open, "/api/user-report", reportBody().merge(change)), refusal{status: bad, code: code, text: "…"})
		}
	}
	return []rule{
		{"5.1", "a tenant that has no self-report: 400 unsupported_test_type", "documents say invalid_test_type", func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.strict, "/api/user-report", reportBody()),
				refusal{status: bad, code: "unsupported_test_type", text: "user initiated report is not enabled"})
		}},
		{"5.1", "a nonce that is no base64 is 400", "", refused(object{"nonce": "*"}, unparsable)},
		{"5.1", "no nonce is missing_nonce", "", refused(object{"nonce": ""}, "missing_nonce")},
		{"5.1", "a nonce that has not 256 bytes is missing_nonce", "200, and nothing is issued", refused(object{"nonce": nonce(255)}, "missing_nonce")},
		{"5.1", "no telephone number is missing_phone", "", refused(object{"phone": ""}, "missing_phone")},
		{"5.1", "what is no telephone number is phone_number_invalid", "", refused(object{"phone": "x"}, "phone_number_invalid")},
		{"5.1", "dates and tzOffset count as they do for codes", "tzOffset is ignored", func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.open, "/api/user-report", reportBody().merge(object{"testDate": w.day(-29)})),
				refusal{status: bad, code: "invalid_date", text: "test date must be…"})
			w.must(t, w.open, "/api/user-report", reportBody().merge(object{"testDate": w.day(-29), "tzOffset": -60}))
		}},
		{"5.1", "a tenant that asks for a date refuses a report without any", "", func(t *testing.T, w *world) {
			of := w.newcomer()
			of.device = w.Key(of.Tenant, client.Device)
			w.set(t, of.Tenant, map[string]string{"self-report": "on", "sms": "on", "test-types": "confirmed,user-report"})
			wantRefusal(t, w.post(t, of, "/api/user-report", reportBody().merge(object{"testDate": ""})),
				refusal{status: bad, code: "missing_date", text: "missing either test or symptom date"})
		}},
		{"5.1", "the answer has the short code's end and padding; the code comes by message alone", "", reportAnswer},
		{"5.1", "the code is verified with its nonce; another, or none, is code_invalid and burns nothing", "", reportNonce},
		{"5.1", "a number that reported before gets the same answer, and no message", "200 with an empty end tells", repeatedReport},
		{"5.1", "another tenant does not know that the number reported", "one list for all tenants", func(t *testing.T, w *world) {
			body := reportBody()
			w.must(t, w.open, "/api/user-report", body)
			before := w.sms.Attempts()
			w.must(t, w.other, "/api/user-report", body)
			if w.sms.Attempts() != before+1 {
				t.Error("the other tenant sent no message")
			}
		}},
		{"5.1", "if the message fails, the number may report again", "", func(t *testing.T, w *world) {
			body := reportBody()
			w.sms.Break(messagetest.Failed)
			a := w.post(t, w.open, "/api/user-report", body)
			w.sms.Break(messagetest.None)
			wantRefusal(t, a, refusal{status: bad, code: "sms_failure", text: "failed to send sms"})
			before := w.sms.Attempts()
			w.must(t, w.open, "/api/user-report", body)
			if w.sms.Attempts() != before+1 {
				t.Error("no message the second time")
			}
		}},
		{"1.2", "a user-report that a back end issued needs no nonce, and ignores one", "", func(t *testing.T, w *world) {
			for _, n := range []string{"", nonce(256)} {
				code := w.issue(t, w.open, object{"testType": "user-report", "phone": newPhone()}).text("code")
				if got := w.must(t, w.open, "/api/verify", object{"code": code, "nonce": n}).text("testtype"); got != "user-report" {
					t.Errorf("testtype %q", got)
				}
			}
		}},
	}
}

func (w *world) lastMessage(t *testing.T) string {
	t.Helper()
	sent := w.sms.Delivered()
	if len(sent) == 0 {
		t.Fatal("no message was sent")
	}
	return sent[len(sent)-1].Body
}

func (w *world) reportedCode(t *testing.T) string {
	t.Helper()
	return w.codeIn(t, w.lastMessage(t))
}

// codeIn is the code in a message.
func (w *world) codeIn(t *testing.T, body string) string {
	t.Helper()
	for _, word := range strings.FieldsFunc(body, notInCode) {
		if len(word) == w.open.Settings.CodeDigits && strings.Trim(word, "0123456789") == "" || len(word) == w.open.Settings.LongCodeLength {
			return word
		}
	}
	t.Fatal("the message has no code")
	return ""
}

func reportAnswer(t *testing.T, w *world) {
	a := w.must(t, w.open, "/api/user-report", reportBody())
	end := w.Now().UTC().Truncate(time.Second).Add(w.open.Settings.CodeLife)
	if a.text("expiresAt") != end.Format(time.RFC1123) || a.number("expiresAtTimestamp") != end.Unix() || len(a.members()) != 3 {
		t.Errorf("%d members, end %q, want %q", len(a.members()), a.text("expiresAt"), end.Format(time.RFC1123))
	}
}

func reportNonce(t *testing.T, w *world) {
	body := reportBody()
	w.must(t, w.open, "/api/user-report", body)
	code := w.reportedCode(t)
	for _, n := range []string{"", nonce(256), nonce(16)} {
		wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code, "nonce": n}), codeInvalid)
	}
	wantRefusal(t, w.post(t, w.open, "/api/verify", object{"code": code, "nonce": nonce(256), "accept": []string{"confirmed"}}),
		refusal{status: 412, code: "unsupported_test_type", text: "verification code has unsupported test type"})
	if got := w.must(t, w.open, "/api/verify", object{"code": code, "nonce": body["nonce"]}).text("testtype"); got != "user-report" {
		t.Errorf("testtype %q", got)
	}
}

func repeatedReport(t *testing.T, w *world) {
	body := reportBody()
	first := w.must(t, w.open, "/api/user-report", body)
	before := w.sms.Attempts()
	second := w.must(t, w.open, "/api/user-report", body.merge(object{"nonce": nonce(256)}))
	if w.sms.Attempts() != before {
		t.Error("a second message was sent")
	}
	for _, name := range []string{"expiresAt", "expiresAtTimestamp"} {
		if first.members()[name] != second.members()[name] {
			t.Errorf("%s is %v, then %v", name, first.members()[name], second.members()[name])
		}
	}
	if len(first.members()) != len(second.members()) || first.Header.Get("Content-Type") != second.Header.Get("Content-Type") {
		t.Error("the two answers differ in form")
	}
}
