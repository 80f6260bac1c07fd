package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"carillon/api"
	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
	"carillon/tenant/key"
	"carillon/tenant/message/outbox"
	"carillon/tenant/verification"
)

const batches = "/t/north/api/codes/batches"

// asyncSetUp is a service with batches, for both tenants, and their worker.
func asyncSetUp(t *testing.T) (*fixture, *batch.Worker) {
	t.Helper()
	f := setUp(t)
	for _, of := range []account{f.north, f.south} {
		f.set(t, of.Tenant, "batch_issue = true")
	}
	var worker *batch.Worker
	f.start(t, func(f *fixture, c *api.Config) {
		db, now := f.world.Issuer, f.world.Now
		keys := key.NewRing(db, f.world.Root)
		c.Issuer = f.verification(db, func(v *verification.Config) { v.Outbox = outbox.New(keys, now) })
		c.Batches = batch.New(batch.Config{DB: db, Keys: keys, Policies: authz.NewPolicies(nil), Codes: c.Issuer, Now: now})
		worker = batch.NewWorker(batch.WorkerConfig{
			DB: db, Keys: keys, Directory: tenant.NewDirectory(db), Codes: c.Issuer, Log: c.Log, Now: now,
		})
	})
	return f, worker
}

func (f *fixture) turn(t *testing.T, w *batch.Worker) {
	t.Helper()
	north, err := tenant.NewDirectory(f.world.Issuer).ByID(t.Context(), f.north.ID)
	if err != nil {
		t.Fatal(err)
	}
	for {
		n, err := w.Turn(t.Context(), north)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func withKey(apiKey, contentType, idempotency string) header {
	h := jsonWith(apiKey)
	h["Content-Type"] = contentType
	if idempotency != "" {
		h["Idempotency-Key"] = idempotency
	}
	return h
}

func TestBatch(t *testing.T) {
	t.Parallel()
	f, worker := asyncSetUp(t)
	body, _ := json.Marshal(object{"codes": []object{
		// Google's client sends every member.
		{"testType": "confirmed", "symptomDate": "", "testDate": "", "tzOffset": 0, "phone": "", "padding": "", "uuid": "", "externalIssuerID": "", "onlyGenerateSMS": false, "smsTemplateLabel": ""},
		{"testType": "likely", "phone": "+12065550100"},
		{"testType": "confirmed", "phone": "+12065550100"},
		{"testType": "nonsense"},
	}})
	made := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/json", "monday"), string(body))
	id := made.text("id")
	if made.StatusCode != http.StatusCreated || made.Header.Get("Location") != batches+"/"+id || made.member("rows") != 4.0 || made.text("state") != "running" {
		t.Fatalf("create: %v", made)
	}
	again := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/json", "monday"), string(body))
	if again.StatusCode != http.StatusOK || again.text("id") != id {
		t.Errorf("again: %v", again)
	}
	other := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/json", "monday"), `{"codes":[{}]}`)
	if other.StatusCode != http.StatusConflict || other.text("errorCode") != "idempotency_key_reused" {
		t.Errorf("other content: %v", other)
	}
	f.turn(t, worker)
	p := must(t, f.ask(t, http.MethodGet, batches+"/"+id, jsonWith(f.north.admin), ""))
	if counts := fmt.Sprint(p.member("counts")); p.text("state") != "done" || counts != "map[cancelled:0 duplicate:1 failed:1 issued:2 pending:0]" {
		t.Errorf("progress: %v", p)
	}
	rows := rowsOf(must(t, f.ask(t, http.MethodGet, batches+"/"+id+"/rows", jsonWith(f.north.admin), "")))
	if len(rows) != 4 {
		t.Fatalf("rows: %v", rows)
	}
	for i, want := range []string{"issued ", "issued ", "duplicate duplicate_phone", "failed invalid_test_type"} {
		code, _ := rows[i]["errorCode"].(string)
		if got := fmt.Sprint(rows[i]["state"], " ", code); got != want {
			t.Errorf("row %d: %s, want %s", i+1, got, want)
		}
	}
	if rows[1]["code"] != nil {
		t.Error("a code that a message carries is shown")
	}
	must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": rows[0]["code"]}))
	must(t, f.post(t, f.north.Tenant, "/api/checkcodestatus", f.north.admin, object{"uuid": rows[1]["uuid"]}))
	if page := rowsOf(must(t, f.ask(t, http.MethodGet, batches+"/"+id+"/rows?after=3", jsonWith(f.north.admin), ""))); len(page) != 1 {
		t.Errorf("rows after the third: %v", page)
	}
	list := must(t, f.ask(t, http.MethodGet, batches, jsonWith(f.north.admin), ""))
	if all, _ := list.member("batches").([]any); len(all) != 1 {
		t.Errorf("list: %v", list)
	}
	if a := f.ask(t, http.MethodPost, batches+"/"+id+"/cancel", jsonWith(f.north.admin), ""); a.StatusCode != http.StatusConflict || a.text("errorCode") != "batch_finished" {
		t.Errorf("cancel what is done: %v", a)
	}
	for _, canary := range []string{"2065550100", "monday", fmt.Sprint(rows[0]["code"]), fmt.Sprint(rows[0]["uuid"])} {
		if strings.Contains(f.log.String(), canary) {
			t.Errorf("%s is in the log", canary)
		}
	}
}

func rowsOf(a answer) []map[string]any {
	list, _ := a.member("rows").([]any)
	rows := make([]map[string]any, len(list))
	for i, r := range list {
		rows[i], _ = r.(map[string]any)
	}
	return rows
}

func TestBatchOfLines(t *testing.T) {
	t.Parallel()
	f, _ := asyncSetUp(t)
	lines := strings.Repeat("{\"testType\":\"confirmed\"}\r\n\n", 3)
	made := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/x-ndjson; charset=utf-8", "k"), lines)
	if made.StatusCode != http.StatusCreated || made.member("rows") != 3.0 {
		t.Fatalf("create: %v", made)
	}
	// The same rows in the other form are the same batch.
	same := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/json", ""),
		`{"key":"k","codes":[{"testType":"confirmed"},{"testType":"confirmed","uuid":""},{"testType":"confirmed"}]}`)
	if same.StatusCode != http.StatusOK || same.text("id") != made.text("id") {
		t.Errorf("the same as an array: %v", same)
	}
	id := made.text("id")
	for _, step := range []struct{ do, want string }{{"pause", "paused"}, {"resume", "running"}, {"cancel", "cancelled"}} {
		if a := must(t, f.ask(t, http.MethodPost, batches+"/"+id+"/"+step.do, jsonWith(f.north.admin), "")); a.text("state") != step.want {
			t.Errorf("%s: %v", step.do, a)
		}
	}
}

func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	f, _ := asyncSetUp(t)
	const asJSON, asLines = "application/json", "application/x-ndjson"
	row := `{"testType":"confirmed"}`
	for name, c := range map[string]struct {
		contentType, key, body string
		status                 int
		code, text             string
	}{
		"another type":    {"text/csv", "k", row, 400, "unparsable_request", "content-type is neither application/json nor application/x-ndjson"},
		"no key":          {asLines, "", row, 400, "invalid_idempotency_key", ""},
		"no key in JSON":  {asJSON, "", `{"codes":[` + row + `],"key":"k"}`, 400, "invalid_idempotency_key", ""},
		"two keys":        {asJSON, "a", `{"key":"b","codes":[]}`, 400, "unparsable_request", "key and the header Idempotency-Key differ"},
		"key of no text":  {asJSON, "", `{"key":7,"codes":[]}`, 400, "unparsable_request", "key must be a string"},
		"empty":           {asJSON, "k", `{"codes":[]}`, 400, "unparsable_request", "the batch has no codes"},
		"no lines":        {asLines, "k", "\n\n", 400, "unparsable_request", "the batch has no codes"},
		"no codes":        {asJSON, "k", `{}`, 400, "unparsable_request", "codes are missing"},
		"an array":        {asJSON, "k", `[` + row + `]`, 400, "unparsable_request", "malformed json"},
		"nothing":         {asJSON, "k", ``, 400, "unparsable_request", "malformed json"},
		"cut off":         {asJSON, "k", `{"codes":[` + row + `,`, 400, "unparsable_request", "malformed json"},
		"not closed":      {asJSON, "k", `{"codes":[` + row + `]`, 400, "unparsable_request", "malformed json"},
		"more after":      {asJSON, "k", `{"codes":[` + row + `]}{}`, 400, "unparsable_request", "body must contain only one JSON object"},
		"other member":    {asJSON, "k", `{"batch":1}`, 400, "unparsable_request", "the members must be key, once, and then codes"},
		"malformed row":   {asLines, "k", row + "\n" + row + "\n{nonsense", 400, "unparsable_request", "row 3: malformed json at position 2"},
		"unknown member":  {asJSON, "k", `{"codes":[` + row + `,{"kode":1}]}`, 400, "unparsable_request", `row 2: unknown field "kode"`},
		"bad UUID":        {asLines, "k", row + "\n" + `{"uuid":"x"}`, 400, "unparsable_request", "row 2: uuid is not a valid UUID"},
		"only generate":   {asLines, "k", `{"onlyGenerateSMS":true}`, 400, "unparsable_request", "row 1: onlyGenerateSMS is not possible here"},
		"long line":       {asLines, "k", row + "\n" + `{"padding":"` + strings.Repeat("x", 20_000) + `"}`, 400, "unparsable_request", "row 2: is too long"},
		"long element":    {asJSON, "k", `{"codes":[` + row + `,{"padding":"` + strings.Repeat("x", 20_000) + `"}]}`, 400, "unparsable_request", "row 2: is too long"},
		"endless element": {asJSON, "k", `{"codes":[{"padding":"` + strings.Repeat("x", 2_000_000), 400, "unparsable_request", "row 1: is too long"},
	} {
		a := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, c.contentType, c.key), c.body)
		if a.StatusCode != c.status || a.text("errorCode") != c.code || c.text != "" && a.text("error") != c.text {
			t.Errorf("%s: %v", name, a)
		}
	}
	var left int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select (select count(*) from batch) + (select count(*) from batch_row)`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	f.set(t, f.north.Tenant, "batch_issue = false")
	f.start(t)
	if a := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, asLines, "k"), row); a.StatusCode != http.StatusBadRequest || a.text("error") != "bulk issuing is not enabled on this realm" {
		t.Errorf("turned off: %v", a)
	}
}

// Too many bytes or rows are refused while they come, without being kept.
func TestBatchTooLarge(t *testing.T) {
	t.Parallel()
	f, _ := asyncSetUp(t)
	for name, body := range map[string]io.Reader{
		"rows":  bytes.NewReader(bytes.Repeat([]byte("{}\n"), batch.MaxRows+1)),
		"bytes": io.LimitReader(blanks{}, 26<<20),
	} {
		a, err := f.request(t.Context(), http.MethodPost, batches, withKey(f.north.admin, "application/x-ndjson", "k"), body)
		if err != nil {
			continue // the connection was closed before the body's end
		}
		if a.StatusCode != http.StatusRequestEntityTooLarge && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", name, a)
		}
	}
	var left int
	if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from batch`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d batches are left, %v", left, err)
	}
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestBatchOfAnotherTenant(t *testing.T) {
	t.Parallel()
	f, _ := asyncSetUp(t)
	made := f.ask(t, http.MethodPost, batches, withKey(f.north.admin, "application/x-ndjson", "k"), "{}")
	id := made.text("id")
	for _, path := range []string{"", "/rows", "/pause", "/resume", "/cancel"} {
		method := http.MethodPost
		if path == "" || path == "/rows" {
			method = http.MethodGet
		}
		url := "/t/south/api/codes/batches/"
		foreign := f.ask(t, method, url+id+path, jsonWith(f.south.admin), "")
		wantSame(t, "north's batch at "+path, f.ask(t, method, url+uuid.NewString()+path, jsonWith(f.south.admin), ""), foreign)
		if foreign.StatusCode != http.StatusNotFound || foreign.text("errorCode") != "batch_not_found" {
			t.Errorf("north's batch at %s: %v", path, foreign)
		}
	}
	if p := must(t, f.ask(t, http.MethodGet, batches+"/"+id, jsonWith(f.north.admin), "")); p.text("state") != "running" {
		t.Errorf("the batch: %v", p)
	}
}
