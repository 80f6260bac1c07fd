package conformance_test

import (
	"fmt"
	"net/http"
	"testing"
)

// batchRules are §4.4: up to ten codes in one request.
func batchRules() []rule {
	return []rule{
		{"4.4", "a tenant without batches is told so before the body is read", "", func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodPost, "/t/strict/api/batch-issue", header{"Content-Type": jsonType, "X-API-Key": w.strict.admin}, `{`)
			wantRefusal(t, a, refusal{status: bad, code: "", text: "bulk issuing is not enabled on this realm"})
		}},
		{"4.4", "ten codes are issued, in the order of the request", "", func(t *testing.T, w *world) {
			a := w.must(t, w.open, "/api/batch-issue", object{"codes": someOrders(10), "padding": "x"})
			codes := elements(a)
			if len(codes) != 10 {
				t.Fatalf("%d codes", len(codes))
			}
			for i, c := range codes {
				if c["uuid"] != orderUUID(i) || c["code"] == "" || c["padding"] != "" {
					t.Errorf("element %d is for %v, with padding %q", i, c["uuid"], c["padding"])
				}
			}
			if a.text("padding") == "" {
				t.Error("the whole answer has no padding")
			}
		}},
		{"4.4", "eleven are refused as a whole", "", func(t *testing.T, w *world) {
			a := w.post(t, w.open, "/api/batch-issue", object{"codes": someOrders(11)})
			wantRefusal(t, a, refusal{status: bad, code: "", text: "batch size limit [10] exceeded"})
		}},
		{"4.4", "none is 200 with padding alone", "", func(t *testing.T, w *world) {
			a := w.must(t, w.open, "/api/batch-issue", object{"codes": []object{}})
			if len(a.members()) != 1 || a.text("padding") == "" {
				t.Errorf("%d members", len(a.members()))
			}
		}},
		{"4.4", "each code is for itself: status and code of the first failure outside, a summary as error", "documents say the first error's text", func(t *testing.T, w *world) {
			a := w.post(t, w.open, "/api/batch-issue", object{"codes": []object{
				{"testType": "confirmed"}, {"testType": "x"}, {"testType": "confirmed", "symptomDate": "x"}, {"testType": "likely"},
			}})
			m, codes := a.members(), elements(a)
			if a.StatusCode != bad || m["errorCode"] != "invalid_test_type" || len(codes) != 4 {
				t.Fatalf("%v", a)
			}
			want := "Failed to issue 2 codes. Issued 2 codes successfully.See each error status in the codes array."
			if m["error"] != want {
				t.Errorf("error %q, want %q", m["error"], want)
			}
			for i, code := range []any{nil, "invalid_test_type", unparsable, nil} {
				failed := codes[i]["code"] == "" && codes[i]["uuid"] == "" && codes[i]["expiresAtTimestamp"] == 0.0
				if codes[i]["errorCode"] != code || failed != (code != nil) {
					t.Errorf("element %d: %v, %v", i, codes[i]["errorCode"], codes[i]["error"])
				}
			}
		}},
		{"4.4", "a UUID that was used before is 409, also twice in one batch", "", func(t *testing.T, w *world) {
			id := "c1a3a5b2-0b8e-4f7e-a9a5-3f0d7b1e9d01"
			a := w.post(t, w.open, "/api/batch-issue", object{"codes": []object{{"testType": "confirmed", "uuid": id}, {"testType": "confirmed", "uuid": id}}})
			if a.StatusCode != http.StatusConflict || elements(a)[1]["errorCode"] != "uuid_already_exists" || elements(a)[0]["code"] == "" {
				t.Errorf("%v", a)
			}
		}},
		{"4.4", "messages go out in a batch, with the template of self-reports for user-report", "the template is not applied in batches", func(t *testing.T, w *world) {
			before := len(w.sms.Delivered())
			w.must(t, w.open, "/api/batch-issue", object{"codes": []object{
				{"testType": "confirmed", "phone": newPhone()}, {"testType": "user-report", "phone": newPhone()},
			}})
			if got := len(w.sms.Delivered()) - before; got != 2 {
				t.Errorf("%d messages, want 2", got)
			}
		}},
		{"4.4", "a number that reported before is user_report_try_later, 409", "", func(t *testing.T, w *world) {
			order := object{"testType": "user-report", "phone": newPhone()}
			a := w.post(t, w.open, "/api/batch-issue", object{"codes": []object{order, order}})
			if a.StatusCode != http.StatusConflict || elements(a)[1]["errorCode"] != "user_report_try_later" || elements(a)[0]["code"] == "" {
				t.Errorf("%v", a)
			}
		}},
		{"0.2", "the answer to ten codes fits into the 65,536 bytes that clients read", "", func(t *testing.T, w *world) {
			orders := make([]object, 10)
			for i := range orders {
				orders[i] = object{"testType": "confirmed", "phone": newPhone(), "onlyGenerateSMS": true}
			}
			if a := w.must(t, w.open, "/api/batch-issue", object{"codes": orders}); len(a.body) > 65_536 {
				t.Errorf("%d bytes", len(a.body))
			}
		}},
		{"0.4", "under maintenance no message goes out again: 429", "", func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.shut, "/api/codes/resend", object{"uuid": someUUID, "phone": newPhone()}), maintenance)
		}},
		{"0.4", "under maintenance no batch is issued: 429", "not checked for the switch of a tenant", func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.shut, "/api/batch-issue", object{"codes": someOrders(1)}), maintenance)
		}},
		{"0.4", "under maintenance no code is issued: 429", "", refuses(shut, "/api/issue", refusal{
			body: object{"testType": "confirmed"}, status: maintenance.status, code: maintenance.code, text: maintenance.text,
		})},
		{"0.4", "under maintenance nobody may report: 429", "not checked for the switch of a tenant", func(t *testing.T, w *world) {
			wantRefusal(t, w.post(t, w.shut, "/api/user-report", reportBody()), maintenance)
		}},
	}
}

var maintenance = refusal{
	status: http.StatusTooManyRequests, code: "maintenance_mode", text: "server is read-only for maintenance",
}

func shut(w *world) account { return w.shut }

func orderUUID(i int) string { return fmt.Sprintf("8b7d1f60-1c43-4c0e-b9b3-00000000%04d", i) }

func someOrders(n int) []object {
	list := make([]object, n)
	for i := range list {
		list[i] = object{"testType": "confirmed", "uuid": orderUUID(i)}
	}
	return list
}

func elements(a answer) []map[string]any {
	list, _ := a.members()["codes"].([]any)
	codes := make([]map[string]any, len(list))
	for i, e := range list {
		codes[i], _ = e.(map[string]any)
	}
	return codes
}
