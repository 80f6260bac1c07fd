package conformance_test

import (
	"testing"
)

// acceptanceRules are §12: what the reference's own client does and demands.
func acceptanceRules() []rule {
	return []rule{
		{"12.2", "a code for confirmed, a token, its status, a certificate and fourteen keys from today on", "", func(t *testing.T, w *world) {
			w.acceptance(t, "confirmed", w.todays(14), "", 14)
		}},
		{"12.2", "likely becomes confirmed with the token of the first upload, and a fifteenth key that starts as today's does", "", func(t *testing.T, w *world) {
			keys := w.todays(14)
			token := w.acceptance(t, "likely", keys, "", 14)
			w.acceptance(t, "confirmed", append(keys, newTEK(w.midnight(0), dayIntervals)), token, 1)
		}},
		{"12.3", "a user-report by an admin key, with a number, is verified without a nonce and published", "", func(t *testing.T, w *world) {
			w.acceptance(t, "user-report", w.todays(14), "", 14)
		}},
	}
}

// todays are n keys of whole days, the newest of today.
func (w *world) todays(n int) []tek {
	list := w.teks(n)
	for i := range list {
		list[i].start += dayIntervals
	}
	return list
}

// acceptance is the sequence of §12.2, every member sent, as that client does. It
// returns the revision token.
func (w *world) acceptance(t *testing.T, report string, keys []tek, token string, inserted int) string {
	t.Helper()
	issued := w.must(t, w.open, "/api/issue", object{
		"symptomDate": w.day(-2), "testDate": "", "testType": report, "tzOffset": 0, "phone": newPhone(), "smsTemplateLabel": "",
		"uuid": "", "externalIssuerID": "", "onlyGenerateSMS": false, "padding": "x",
	})
	verified := w.must(t, w.open, "/api/verify", object{"code": issued.text("code"), "accept": nil, "padding": "x"})
	if w.must(t, w.open, "/api/checkcodestatus", object{"uuid": issued.text("uuid")}).members()["claimed"] != true {
		t.Error("the code is not claimed")
	}
	d := w.draft(t, w.open, report, keys)
	vouched := w.must(t, w.open, "/api/certificate", object{"token": verified.text("token"), "ekeyhmac": d.claims["tekmac"], "padding": "x"})
	d.body["verificationPayload"], d.body["revisionToken"] = vouched.text("certificate"), token
	return wantReceipt(t, w.send(t, w.open, d.body.String()), inserted)
}
