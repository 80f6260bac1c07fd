package conformance_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant/message/messagetest"
)

var phones atomic.Int64

// newPhone is a number that was not used before.
func newPhone() string { return fmt.Sprintf("+1206555%04d", phones.Add(1)%10000) }

const someUUID = "3e9f1c80-8f5e-4b2f-9a43-0d7f5b0f2a11"

// issueRules are §4.1 to §4.3: codes.
func issueRules() []rule {
	refused := func(body object, code, text string) func(*testing.T, *world) {
		return refuses(open, "/api/issue", refusal{body: object{"testType": "confirmed"}.merge(body), status: bad, code: code, text: text})
	}
	return []rule{
		{"4.2", "3: a tenant that asks for a date refuses a code without any", "", refuses(strict, "/api/issue", refusal{
			body: object{"testType": "confirmed"}, status: bad, code: "missing_date", text: "missing either test or symptom date",
		})},
		{"4.2", "4: a symptom date that is none", "", refused(object{"symptomDate": "2021-13-01", "testDate": "x"}, unparsable, "failed to process symptom onset date: …")},
		{"4.2", "4: a test date that is none", "", refused(object{"testDate": "06/15/2021"}, unparsable, "failed to process test date: …")},
		{"4.2", "5: dates are today to 28 days ago, both included", "", dateWindow},
		{"4.2", "5: a time zone west of Greenwich widens the window by the day before; a fraction of a minute does not", "", west},
		{"4.2", "5: a time zone east of Greenwich admits tomorrow once it is tomorrow there", "never: a local date that is tomorrow in UTC is refused", east},
		{"4.2", "6: a telephone number that is none", "", refused(object{"phone": "x"}, "phone_number_invalid", "…")},
		{"4.2", "7: a message's text only for tenants that may have it", "", refuses(strict, "/api/issue", refusal{
			body:   object{"testType": "confirmed", "symptomDate": "2026-11-20", "onlyGenerateSMS": true, "phone": "+12065550100"},
			status: bad, code: unparsable, text: "realm is not permitted to use onlyGenerateSMS",
		})},
		{"4.2", "8: a message's text needs a number", "", refused(object{"onlyGenerateSMS": true}, "", "generated sms requested, but no phone number was provided")},
		{"4.2", "9: a number needs a provider", "", refuses(strict, "/api/issue", refusal{
			body:   object{"testType": "confirmed", "symptomDate": "2026-11-20", "phone": "+12065550100"},
			status: bad, code: "", text: "phone provided, but no sms provider is configured",
		})},
		{"4.2", "10: a UUID is used once by a tenant; again it is 409, and no message goes out", "200 with blank members", repeatedUUID},
		{"4.2", "10: another tenant may use the same UUID", "500", func(t *testing.T, w *world) {
			id := "7f0a3a52-26a0-4c1d-8d0e-5b8f6c2f1e77"
			w.issue(t, w.open, object{"uuid": id})
			w.issue(t, w.other, object{"uuid": id})
		}},
		{"4.2", "10: a UUID in braces, without dashes or in capitals is read, and answered in the canonical form", "echoed as sent", uuidForms},
		{"4.2", "10: what is no UUID is 400", "500", refused(object{"uuid": "my-id"}, unparsable, "uuid is not a valid UUID")},
		{"4.1", "externalIssuerID of more than 255 bytes, or with a NUL, is 400", "500", func(t *testing.T, w *world) {
			for _, id := range []string{strings.Repeat("x", 256), "a\x00b"} {
				wantRefusal(t, w.post(t, w.open, "/api/issue", object{"testType": "confirmed", "externalIssuerID": id}),
					refusal{status: bad, code: unparsable, text: "externalIssuerID must be at most 255 bytes of text"})
			}
			w.issue(t, w.open, object{"externalIssuerID": strings.Repeat("x", 255)})
		}},
		{"4.2", "11: an admin key issues user-report only if the tenant lets it, however the type is spelled", "User-Report slips past", func(t *testing.T, w *world) {
			for _, kind := range []string{"user-report", "User-Report"} {
				wantRefusal(t, w.post(t, w.strict, "/api/issue", object{"testType": kind, "symptomDate": "2026-11-20"}),
					refusal{status: bad, code: "unsupported_test_type", text: "unsupported test type: " + kind})
			}
		}},
		{"4.2", "12: an unknown test type, or none", "", func(t *testing.T, w *world) {
			for _, kind := range []string{"", "positive"} {
				wantRefusal(t, w.post(t, w.open, "/api/issue", object{"testType": kind}), refusal{status: bad, code: "invalid_test_type", text: "invalid test type"})
			}
		}},
		{"4.2", "13: a test type that the tenant does not issue is 400", "documents say 412", refuses(strict, "/api/issue", refusal{
			body: object{"testType": "negative", "symptomDate": "2026-11-20"}, status: bad, code: "unsupported_test_type", text: "unsupported test type: negative",
		})},
		{"4.2", "15: user-report needs a number", "", refused(object{"testType": "user-report"}, "missing_phone", "…")},
		{"4.2", "18: if the message fails, the code is gone and its UUID free again", "", messageFails},
		{"4.2", "18: if the text cannot be built, the code is gone, too", "the code is kept", func(t *testing.T, w *world) {
			body := object{"testType": "confirmed", "phone": newPhone(), "smsTemplateLabel": "no such", "uuid": "9a3c6a1e-5d3f-4f24-8d6c-1f9fd4c2a901"}
			wantRefusal(t, w.post(t, w.open, "/api/issue", body), refusal{status: bad, code: "sms_failure", text: "failed to build sms…"})
			w.issue(t, w.open, object{"uuid": body["uuid"]})
		}},
		{"4.1", "the test type may be in any case", "", func(t *testing.T, w *world) {
			code := w.issue(t, w.open, object{"testType": "LIKELY"}).text("code")
			if got := w.must(t, w.open, "/api/verify", object{"code": code}).text("testtype"); got != "likely" {
				t.Errorf("testtype %q", got)
			}
		}},
		{"4.1", "a template is chosen by its label; the main one has a label, too", "", func(t *testing.T, w *world) {
			w.issue(t, w.open, object{"phone": newPhone(), "smsTemplateLabel": "Default SMS template"})
		}},
		{"4.2", "16: a number that reported before: 200, and an answer like the first one, without a code; no message", "200 with blank members", func(t *testing.T, w *world) {
			body := object{"testType": "user-report", "phone": newPhone()}
			first := w.issue(t, w.open, body)
			before := w.sms.Attempts()
			second := w.must(t, w.open, "/api/issue", body)
			if second.text("code") != "" || second.number("expiresAtTimestamp") != first.number("expiresAtTimestamp") || w.sms.Attempts() != before {
				t.Errorf("%v", second)
			}
		}},
		{"4.3", "the answer has UUID, code and both ends; the ends are equal without a message", "", issueAnswer},
		{"4.3", "with a message, the long code lives longer; for user-report it does not", "", longEnds},
		{"4.3", "a generated message has the text and the number, and is not sent", "", generated},
		{"6.1", "codes have the length and the alphabet that the tenant chose", "", codeShape},
	}
}

func (w *world) day(days int) string { return w.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }

func dateWindow(t *testing.T, w *world) {
	for _, name := range []string{"symptomDate", "testDate"} {
		for _, days := range []int{0, -1, -28} {
			w.issue(t, w.open, object{name: w.day(days)})
		}
		for _, days := range []int{1, -29} {
			what := map[string]string{"symptomDate": "symptom onset date", "testDate": "test date"}[name]
			wantRefusal(t, w.post(t, w.open, "/api/issue", object{"testType": "confirmed", name: w.day(days)}), refusal{
				status: bad, code: "invalid_date",
				text: fmt.Sprintf("%s must be on/after %s and on/before %s. Received %s", what, w.day(-28), w.day(0), w.day(days)),
			})
		}
	}
}

func west(t *testing.T, w *world) {
	w.issue(t, w.open, object{"symptomDate": w.day(-29), "tzOffset": -1})
	for _, offset := range []float64{-0.5, 0, 1} {
		a := w.post(t, w.open, "/api/issue", object{"testType": "confirmed", "symptomDate": w.day(-29), "tzOffset": offset})
		wantRefusal(t, a, refusal{status: bad, code: "invalid_date", text: "symptom onset date must be on/after " + w.day(-28) + "…"})
	}
	a := w.post(t, w.open, "/api/issue", object{"testType": "confirmed", "symptomDate": w.day(-30), "tzOffset": -600})
	wantRefusal(t, a, refusal{status: bad, code: "invalid_date", text: "…"})
}

func east(t *testing.T, w *world) {
	left := w.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1).Sub(w.Now().UTC())
	turned := int(left.Minutes()) + 1
	if turned > 14*60 {
		t.Fatalf("it is not tomorrow anywhere yet at %v", w.Now())
	}
	w.issue(t, w.open, object{"testDate": w.day(1), "tzOffset": turned})
	a := w.post(t, w.open, "/api/issue", object{"testType": "confirmed", "testDate": w.day(1), "tzOffset": turned - 10})
	wantRefusal(t, a, refusal{status: bad, code: "invalid_date", text: "test date must be…"})
}

func repeatedUUID(t *testing.T, w *world) {
	phone := newPhone()
	body := object{"uuid": someUUID, "phone": phone}
	w.issue(t, w.open, body)
	before := w.sms.Attempts()
	wantRefusal(t, w.post(t, w.open, "/api/issue", object{"testType": "confirmed"}.merge(body)),
		refusal{status: http.StatusConflict, code: "uuid_already_exists", text: "code for " + someUUID + " already exists"})
	if w.sms.Attempts() != before {
		t.Error("a message went out for a UUID that was used before")
	}
}

func uuidForms(t *testing.T, w *world) {
	for sent, want := range map[string]string{
		"{0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0001}":  "0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0001",
		"0d3c1c0e6a534b4e8f4b5a1b1f0c0002":        "0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0002",
		"0D3C1C0E-6A53-4B4E-8F4B-5A1B1F0C0003":    "0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0003",
		" 0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0004\n": "0d3c1c0e-6a53-4b4e-8f4b-5a1b1f0c0004",
	} {
		if got := w.issue(t, w.open, object{"uuid": sent}).text("uuid"); got != want {
			t.Errorf("%q is answered as %q, want %q", sent, got, want)
		}
	}
}

func messageFails(t *testing.T, w *world) {
	const id = "51a7d1de-2b1c-4d0b-93b6-7f0c5b6ad702"
	body := object{"testType": "confirmed", "phone": newPhone(), "uuid": id}
	for fault, code := range map[messagetest.Fault]string{messagetest.Failed: "sms_failure", messagetest.QueueFull: "sms_queue_full"} {
		w.sms.Break(fault)
		a := w.post(t, w.open, "/api/issue", body)
		w.sms.Break(messagetest.None)
		wantRefusal(t, a, refusal{status: bad, code: code, text: "failed to send sms…"})
		wantRefusal(t, w.post(t, w.open, "/api/checkcodestatus", object{"uuid": id}), notFound)
	}
	w.issue(t, w.open, body)
}

func issueAnswer(t *testing.T, w *world) {
	a := w.issue(t, w.open, nil)
	end := w.Now().UTC().Truncate(time.Second).Add(w.open.Settings.CodeLife)
	for name, want := range map[string]any{
		"expiresAt": end.Format(time.RFC1123), "longExpiresAt": end.Format(time.RFC1123),
		"expiresAtTimestamp": float64(end.Unix()), "longExpiresAtTimestamp": float64(end.Unix()),
	} {
		if got := a.members()[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if len(a.text("uuid")) != 36 || a.text("code") == "" || len(a.members()) != 7 {
		t.Errorf("%d members, UUID %q", len(a.members()), a.text("uuid"))
	}
}

func longEnds(t *testing.T, w *world) {
	for kind, life := range map[string]time.Duration{"confirmed": w.open.Settings.LongCodeLife, "user-report": w.open.Settings.CodeLife} {
		a := w.issue(t, w.open, object{"testType": kind, "phone": newPhone()})
		if got, want := a.number("longExpiresAtTimestamp"), w.Now().Add(life).Unix(); got != want {
			t.Errorf("%s: the long code ends at %d, want %d", kind, got, want)
		}
		if a.text("code") == "" {
			t.Errorf("%s: no code in the answer", kind)
		}
	}
}

func generated(t *testing.T, w *world) {
	before := w.sms.Attempts()
	a := w.issue(t, w.open, object{"phone": "206 555 0199", "onlyGenerateSMS": true})
	if a.text("phone") != "+12065550199" || len(a.text("generatedSMS")) < w.open.Settings.LongCodeLength {
		t.Errorf("phone %q, text of %d bytes", a.text("phone"), len(a.text("generatedSMS")))
	}
	if w.sms.Attempts() != before {
		t.Error("the message was sent")
	}
}

func codeShape(t *testing.T, w *world) {
	issued, long := w.longCode(t, nil)
	short := issued.text("code")
	if len(short) != w.open.Settings.CodeDigits || strings.Trim(short, "0123456789") != "" {
		t.Errorf("short code of %d characters, %d digits wanted", len(short), w.open.Settings.CodeDigits)
	}
	if len(long) != w.open.Settings.LongCodeLength {
		t.Errorf("long code of %d characters, want %d", len(long), w.open.Settings.LongCodeLength)
	}
}
