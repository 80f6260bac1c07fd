package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func elements(t *testing.T, a answer) []map[string]any {
	t.Helper()
	list, _ := a.member("codes").([]any)
	codes := make([]map[string]any, len(list))
	for i, e := range list {
		codes[i], _ = e.(map[string]any)
	}
	return codes
}

func batchSetUp(t *testing.T) *fixture {
	t.Helper()
	f := setUp(t)
	f.set(t, f.north.Tenant, "batch_issue = true")
	f.start(t)
	return f
}

func TestBatchIssue(t *testing.T) {
	t.Parallel()
	f := batchSetUp(t)
	id := uuid.NewString()
	a := must(t, f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"padding": "x", "codes": []object{
		{"testType": "confirmed", "uuid": id, "padding": "y"}, {"testType": "likely", "phone": "+12065550100"},
	}}))
	codes := elements(t, a)
	if len(codes) != 2 || codes[0]["uuid"] != id || len(f.sms.Delivered()) != 1 {
		t.Fatalf("answer %v", a)
	}
	for i, c := range codes {
		if c["padding"] != "" || c["error"] != nil || c["errorCode"] != nil || c["longExpiresAtTimestamp"] == nil {
			t.Errorf("element %d: %v", i, c)
		}
		must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": c["code"]}))
	}
	if n := len(a.text("padding")); n < 1368 || n > 2732 {
		t.Errorf("padding of %d characters", n)
	}
	for _, absent := range []string{"error", "errorCode", "error_code"} {
		if a.member(absent) != nil {
			t.Errorf("a success has %s", absent)
		}
	}
}

// Status and code are the first failed element's, the text sums up, and what was
// issued is in the answer nevertheless.
func TestBatchIssuePartly(t *testing.T) {
	t.Parallel()
	f := batchSetUp(t)
	id := uuid.NewString()
	a := f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": []object{
		{"testType": "confirmed", "uuid": id}, {"testType": "confirmed", "uuid": id}, {"testType": "no"}, {"testType": "likely"},
	}})
	codes := elements(t, a)
	if a.StatusCode != http.StatusConflict || a.text("errorCode") != "uuid_already_exists" || len(codes) != 4 {
		t.Fatalf("answer %v", a)
	}
	if want := "Failed to issue 2 codes. Issued 2 codes successfully.See each error status in the codes array."; a.text("error") != want {
		t.Errorf("error %q", a.text("error"))
	}
	for i, want := range []string{"", "uuid_already_exists", "invalid_test_type", ""} {
		c := codes[i]
		got, _ := c["errorCode"].(string)
		if got != want {
			t.Errorf("element %d: %q, want %q", i, got, want)
		}
		if want != "" && (c["uuid"] != "" || c["code"] != "" || c["expiresAt"] != "" || c["expiresAtTimestamp"] != 0.0 || c["error"] == "") {
			t.Errorf("element %d: %v", i, c)
		}
	}
	none := f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": []object{{"testType": "no"}}})
	if none.StatusCode != http.StatusBadRequest || none.text("error") != "Failed to issue 1 codes.See each error status in the codes array." {
		t.Errorf("nothing issued: %v", none)
	}
}

// A fault of ours is 500 for its element and for the whole, and stays out of the
// answer.
func TestBatchIssueFault(t *testing.T) {
	t.Parallel()
	f := batchSetUp(t)
	f.sql(t, `update signing_key set state = 'verify-only' where tenant_id = $1 and purpose = 'code-mac'`, f.north.ID.String())
	f.start(t)
	a := f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": []object{{"testType": "likely"}}})
	codes := elements(t, a)
	if a.StatusCode != http.StatusInternalServerError || len(codes) != 1 || codes[0]["errorCode"] != "internal_server_error" ||
		a.text("errorCode") != "internal_server_error" || strings.Contains(string(a.body), "usable key") {
		t.Errorf("answer %v", a)
	}
	if !strings.Contains(f.log.String(), "no usable key") {
		t.Error("the log does not tell why")
	}
}

func TestBatchIssueRefusals(t *testing.T) {
	t.Parallel()
	f := batchSetUp(t)
	many := make([]object, 11)
	for i := range many {
		many[i] = object{"testType": "confirmed"}
	}
	if a := f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": many}); a.StatusCode != http.StatusBadRequest ||
		a.text("error") != "batch size limit [10] exceeded" || a.member("errorCode") != "" {
		t.Errorf("eleven: %v", a)
	}
	// Before the body is read, so whatever is in it.
	for _, body := range []string{`{"codes":[]}`, `nonsense`, strings.Repeat(" ", 70_000)} {
		a := f.ask(t, http.MethodPost, "/t/south/api/batch-issue", jsonWith(f.south.admin), body)
		if a.StatusCode != http.StatusBadRequest || a.text("error") != "bulk issuing is not enabled on this realm" || a.member("errorCode") != "" {
			t.Errorf("turned off: %v", a)
		}
	}
	a := f.ask(t, http.MethodPost, "/t/north/api/batch-issue", jsonWith(f.north.admin), `{"codes":[{"testType":"confirmed","kode":1}]}`)
	if a.StatusCode != http.StatusBadRequest || a.text("errorCode") != "unparsable_request" {
		t.Errorf("an unknown member: %v", a)
	}
	for name, key := range map[string]string{"device": f.north.device, "stats": f.north.stats, "another's": f.south.admin} {
		if a := f.post(t, f.north.Tenant, "/api/batch-issue", key, object{}); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s key: %v", name, a)
		}
	}
	empty := f.post(t, f.north.Tenant, "/api/batch-issue", f.north.admin, object{"codes": []object{}})
	members, _ := empty.json()
	if empty.StatusCode != http.StatusOK || len(members) != 1 || members["padding"] == "" {
		t.Errorf("an empty batch: %v", empty)
	}
}
