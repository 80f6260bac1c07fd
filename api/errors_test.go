package api_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/api"
	"carillon/api/strictjson"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/key"
	"carillon/tenant/message/messagetest"
	"carillon/tenant/verification"
)

// wantRefusal checks an error of the verification half (§0.2): its form, no padding.
func wantRefusal(t *testing.T, name string, a answer, status int, code, text string) {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: content type %q", name, got)
	}
	members, _ := a.json()
	if a.StatusCode != status || len(members) != 3 || members["errorCode"] != code || members["error_code"] != code {
		t.Errorf("%s: %v, want %d with code %q", name, a, status, code)
	}
	if got, _ := members["error"].(string); text != "" && got != text || got == "" {
		t.Errorf("%s: text %q, want %q", name, got, text)
	}
}

const unparsable = "unparsable_request"

// Rows of §0.3 and §4.2 that issuing can reach.
func TestIssueRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	strict := f.open(t, "strict")
	f.set(t, strict.Tenant, `test_types = '{confirmed}', require_date = true, issue_user_report = false, sms_enabled = false`)
	_, used := f.issue(t, f.north, nil)
	for _, test := range []struct {
		name       string
		to         account
		body       object
		status     int
		code, text string
	}{
		{"no date", strict, object{"testType": "confirmed"}, 400, "missing_date", "missing either test or symptom date"},
		{"no such date", f.north, object{"testType": "confirmed", "symptomDate": "2026-02-30"}, 400, unparsable, ""},
		{"old date", f.north, object{"testType": "confirmed", "testDate": "2026-10-27"}, 400, "invalid_date", "test date must be on/after 2026-10-28 and on/before 2026-11-25. Received 2026-10-27"},
		{"no number", f.north, object{"testType": "confirmed", "phone": "call me"}, 400, "phone_number_invalid", ""},
		{"no number to generate for", f.north, object{"testType": "confirmed", "onlyGenerateSMS": true}, 400, "", "generated sms requested, but no phone number was provided"},
		{"no provider", strict, object{"testType": "confirmed", "testDate": "2026-11-25", "phone": "+12065550100"}, 400, "", "phone provided, but no sms provider is configured"},
		{"used UUID", f.north, object{"testType": "confirmed", "uuid": used}, 409, "uuid_already_exists", "code for " + used + " already exists"},
		{"no UUID", f.north, object{"testType": "confirmed", "uuid": "one"}, 400, unparsable, ""},
		{"no issuer ID", f.north, object{"testType": "confirmed", "externalIssuerID": "a\x00b"}, 400, unparsable, ""},
		{"long issuer ID", f.north, object{"testType": "confirmed", "externalIssuerID": strings.Repeat("x", 256)}, 400, unparsable, ""},
		{"user report", strict, object{"testType": "User-Report", "testDate": "2026-11-25"}, 400, "unsupported_test_type", ""},
		{"no such type", f.north, object{"testType": "maybe"}, 400, "invalid_test_type", "invalid test type"},
		{"no type", f.north, object{"testType": nil}, 400, "invalid_test_type", "invalid test type"},
		{"type not allowed", strict, object{"testType": "negative", "testDate": "2026-11-25"}, 400, "unsupported_test_type", "unsupported test type: negative"},
		{"no phone", f.north, object{"testType": "user-report"}, 400, "missing_phone", ""},
		{"no such template", f.north, object{"testType": "confirmed", "phone": "+12065550100", "smsTemplateLabel": "none"}, 400, "sms_failure", ""},
		{"no such template to generate", f.north, object{"testType": "confirmed", "phone": "+12065550100", "smsTemplateLabel": "none", "onlyGenerateSMS": true}, 500, "sms_failure", ""},
	} {
		wantRefusal(t, test.name, f.post(t, test.to.Tenant, "/api/issue", test.to.admin, test.body), test.status, test.code, test.text)
	}
	for fault, code := range map[messagetest.Fault]string{messagetest.Failed: "sms_failure", messagetest.QueueFull: "sms_queue_full"} {
		f.sms.Break(fault)
		wantRefusal(t, code, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed", "phone": "+12065550100"}), 400, code, "")
	}
}

func TestIssueWithoutMeans(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.start(t, func(f *fixture, c *api.Config) {
		c.Issuer = f.verification(f.world.Issuer, func(v *verification.Config) { v.Quota = budget(func(id tenant.ID) bool { return id == f.south.ID }) })
	})
	wantRefusal(t, "quota", f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed"}), 429, "quota_exceeded", "")
	f.issue(t, f.south, nil)
	f.start(t, func(f *fixture, c *api.Config) {
		c.Issuer = f.verification(f.world.Issuer, func(v *verification.Config) { v.Rand = zeros{} })
	})
	f.issue(t, f.north, object{"uuid": "00000000-0000-4000-8000-000000000001"})
	wantRefusal(t, "no free code", f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{
		"testType": "confirmed", "uuid": "00000000-0000-4000-8000-000000000002",
	}), 500, "internal_server_error", "failed to generate otp code, please try again")
	f.set(t, f.north.Tenant, `generate_sms = false`)
	f.start(t)
	wantRefusal(t, "may not generate", f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{
		"testType": "confirmed", "phone": "+12065550100", "onlyGenerateSMS": true,
	}), 400, unparsable, "realm is not permitted to use onlyGenerateSMS")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStatusRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const gone = "code not found, it may have expired and been removed"
	for _, path := range []string{"/api/checkcodestatus", "/api/expirecode"} {
		for _, uuid := range []any{"", nil, "one", "5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a", "a\x00"} {
			wantRefusal(t, path, f.post(t, f.north.Tenant, path, f.north.admin, object{"uuid": uuid}), 404, "code_not_found", gone)
		}
		wantRefusal(t, path, f.post(t, f.north.Tenant, path, f.north.admin, object{"uuid": 5}), 400, "", `invalid value "uuid" at position 9`)
	}
	code, uuid := f.issue(t, f.north, nil)
	must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code}))
	a := f.post(t, f.north.Tenant, "/api/expirecode", f.north.admin, object{"uuid": uuid})
	if want := `{"error":"bad request","errorCode":"","error_code":""}`; a.StatusCode != 400 || string(a.body) != want {
		t.Errorf("claimed code: %v, want %s", a, want)
	}
}

// Rows of §0.3, §1.2 and §2.2 that phones can reach.
func TestDeviceRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	verify := func(body object) answer { return f.post(t, f.north.Tenant, "/api/verify", f.north.device, body) }
	spent, _ := f.issue(t, f.north, nil)
	must(t, verify(object{"code": spent}))
	likely, _ := f.issue(t, f.north, object{"testType": "likely"})
	for _, test := range []struct {
		name       string
		body       object
		status     int
		code, text string
	}{
		{"no code", object{}, 400, "code_invalid", "verification code invalid"},
		{"unknown", object{"code": "no such code"}, 400, "code_invalid", "verification code invalid"},
		{"spent", object{"code": spent}, 400, "code_invalid", "verification code invalid"},
		{"unknown element", object{"code": likely, "accept": []string{"maybe"}}, 400, "invalid_test_type", "invalid accepted test type: maybe"},
		{"bad nonce", object{"code": likely, "nonce": "!"}, 400, unparsable, ""},
		{"unsupported", object{"code": likely, "accept": []string{"confirmed"}}, 412, "unsupported_test_type", "verification code has unsupported test type"},
	} {
		wantRefusal(t, test.name, verify(test.body), test.status, test.code, test.text)
	}
	must(t, verify(object{"code": likely, "accept": []string{"LIKELY"}})) // no refusal has burnt it
	old, _ := f.issue(t, f.north, nil)
	f.world.Advance(16 * time.Minute)
	wantRefusal(t, "expired", verify(object{"code": old}), 400, "code_expired", "verification code expired")
}

func TestCertificateRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ask := func(token, mac any) answer {
		return f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{"token": token, "ekeyhmac": mac})
	}
	mac := base64.StdEncoding.EncodeToString(randomBytes(32))
	token := f.token(t, f.north, nil)
	wantRefusal(t, "no token", ask(nil, mac), 400, "token_invalid", "invalid verification token")
	wantRefusal(t, "rubbish", ask(token+"x", mac), 400, "token_invalid", "")
	wantRefusal(t, "no base64", ask(token, "!"), 400, "hmac_invalid", "")
	wantRefusal(t, "short", ask(token, base64.StdEncoding.EncodeToString(randomBytes(31))), 400, "hmac_invalid", "exposure key HMAC is not the correct length, want: 32 got: 31")
	must(t, ask(token, mac))
	must(t, ask(token, mac)) // the phone may have lost the answer
	wantRefusal(t, "spent", ask(token, base64.StdEncoding.EncodeToString(randomBytes(32))), 400, "token_invalid", "verification token invalid")
	late := f.token(t, f.north, nil)
	f.world.Advance(25 * time.Hour)
	wantRefusal(t, "expired", ask(late, mac), 400, "token_expired", "verification token expired")
	wantRefusal(t, "wrong type", ask(5, mac), 400, unparsable, "")
}

// wantPublishRefusal checks an error of the key server half (§1.6): both codes, and
// padding.
func wantPublishRefusal(t *testing.T, name string, a answer, status int, code, text string) {
	t.Helper()
	wantPadding(t, a)
	if a.Header.Get("x-api-version") != "v1" {
		t.Errorf("%s: no version", name)
	}
	if a.StatusCode != status || a.text("code") != code || a.text("errorCode") != code || !strings.HasPrefix(a.text("error"), text) {
		t.Errorf("%s: %d %q %q, want %d %q %q", name, a.StatusCode, a.text("code"), a.text("error"), status, code, text)
	}
}

// Rows of the key server protocol §1.7.
func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	publish := func(body object) answer { return f.post(t, f.north.Tenant, "/v1/publish", "", body) }
	const invalidCertificate = "health_authority_verification_certificate_invalid"
	good := f.upload(t, f.north, f.teks(2), nil)
	for _, test := range []struct {
		name       string
		body       object
		status     int
		code, text string
	}{
		{"empty", object{}, 401, "unknown_health_authority_id", "unauthorized health authority: "},
		{"unknown", good.with("healthAuthorityID", "org.nobody"), 401, "unknown_health_authority_id", "unauthorized health authority: org.nobody"},
		{"NUL", good.with("healthAuthorityID", "org\x00nobody"), 401, "unknown_health_authority_id", "unauthorized health authority: orgnobody"},
		{"no certificate", good.with("verificationPayload", ""), 401, invalidCertificate, "unable to validate diagnosis verification: "},
		{"other secret", good.with("hmacKey", "AAAA"), 401, invalidCertificate, "unable to validate diagnosis verification: "},
		{"no keys", good.with("temporaryExposureKeys", nil), 401, invalidCertificate, ""},
		{"too many", f.upload(t, f.north, repeated(f.teks(1)[0], 31), nil), 400, "bad_request", "unable to read request data: too many exposure keys in publish: 31, max of 30 is allowed"},
		{"all bad", f.upload(t, f.north, repeated(certificate.TEK{Key: "AAAA", RollingStart: 1, RollingPeriod: 144}, 1), nil), 400, "bad_request", "unable to read request data: 1 error occurred:"},
	} {
		wantPublishRefusal(t, test.name, publish(test.body), test.status, test.code, test.text)
	}
	f.publishRevisions(t, publish)
}

// When nothing is left, the answer tells of keys that were dropped with a warning, too
// (key server protocol §1.4).
func TestPublishRefusalHasWarnings(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	keys := append(f.teks(1), certificate.TEK{Key: "AAAA", RollingStart: 1, RollingPeriod: 144})
	onset := f.world.Now().AddDate(0, 0, -20).Unix() / 600
	a := f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, keys, nil).with("symptomOnsetInterval", onset))
	wantPublishRefusal(t, "all dropped", a, 400, "bad_request", "unable to read request data: ")
	if warnings, ok := a.member("warnings").([]any); !ok || len(warnings) != 1 {
		t.Errorf("warnings: %v", a.member("warnings"))
	}
}

func repeated(k certificate.TEK, n int) []certificate.TEK {
	list := make([]certificate.TEK, n)
	for i := range list {
		list[i] = k
	}
	return list
}

func (f *fixture) publishRevisions(t *testing.T, publish func(object) answer) {
	t.Helper()
	teks := f.teks(2)
	as := func(testType string) object {
		return f.upload(t, f.north, teks, object{"testType": testType, "phone": "+12065550100"})
	}
	token := must(t, publish(as("likely"))).text("revisionToken")
	wantPublishRefusal(t, "no token", publish(as("confirmed")), 400, "missing_revision_token", "no revision token, but sent existing keys")
	wantPublishRefusal(t, "rubbish token", publish(as("confirmed").with("revisionToken", "AAAA")), 400, "invalid_revision_token", "revision token is invalid")
	wantPublishRefusal(t, "transition", publish(as("user-report").with("revisionToken", token)), 400, "invalid_report_type_transition", "invalid report type transition: cannot transition from ")
	token = must(t, publish(as("confirmed").with("revisionToken", token))).text("revisionToken")
	wantPublishRefusal(t, "twice", publish(as("negative").with("revisionToken", token)), 400, "key_already_revised", "key was already revised")
	partial := append(f.teks(1), certificate.TEK{Key: "AAAA", RollingStart: 1, RollingPeriod: 144})
	a := publish(f.upload(t, f.north, partial, nil))
	wantPublishRefusal(t, "partial", a, 200, "partial_failure", "1 error occurred:")
	if a.member("insertedExposures") != 1.0 || a.text("revisionToken") == "" {
		t.Errorf("partial failure: %v", a)
	}
}

// The verification half knows its clients' members; the key server half may meet newer
// clients than it knows (key server protocol §1.1).
func TestUnknownMembers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed", "isAdmin": true})
	wantRefusal(t, "issue", a, 400, unparsable, `unknown field "isAdmin"`)
	body := f.upload(t, f.north, f.teks(1), nil).with("isAdmin", map[string]any{"deep": []int{1}}).with("vaccinated", true)
	must(t, f.post(t, f.north.Tenant, "/v1/publish", "", body))
	again := f.ask(t, http.MethodPost, "/t/north/v1/publish", jsonWith(""), `{"x":1,"X":2}`)
	wantPublishRefusal(t, "repeated", again, 400, "bad_request", `error unmarshalling API call, code: 400: duplicate field "X"`)
}

// Bodies that are no request, at every endpoint that reads one.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	type endpoint struct{ path, key, code string }
	endpoints := []endpoint{
		{"/t/north/api/verify", f.north.device, unparsable},
		{"/t/north/api/certificate", f.north.device, unparsable},
		{"/t/north/api/issue", f.north.admin, unparsable},
		{"/t/north/api/checkcodestatus", f.north.admin, ""},
		{"/t/north/api/expirecode", f.north.admin, ""},
		{"/t/north/v1/publish", "", "bad_request"},
		{"/t/nowhere/v1/publish", "", "bad_request"},
	}
	for _, test := range []struct {
		name, contentType, body string
		publishStatus           int
		text                    string
	}{
		{"nothing", "application/json", "", 400, "body must not be empty"},
		{"truncated", "application/json", `{"padding":"x`, 400, "malformed json"},
		{"syntax", "application/json", `{"padding"}`, 400, "malformed json at position 11"},
		{"array", "application/json", `[]`, 400, `invalid value "" at position 1`},
		{"two", "application/json", `{}{}`, 400, "body must contain only one JSON object"},
		{"repeated", "application/json", `{"padding":1,"Padding":2}`, 400, `duplicate field "Padding"`},
		{"deep", "application/json", `{"padding":` + strings.Repeat("[", 20_000), 400, "malformed json at position 10011"},
		{"large", "application/json", `{"padding":"` + strings.Repeat("x", strictjson.MaxBody) + `"}`, 413, "http: request body too large"},
		{"binary", "application/json", "\x1f\x8b\x08\x00\x00", 400, "malformed json at position 1"},
		{"form", "application/x-www-form-urlencoded", `{}`, 415, "content-type is not application/json"},
		{"no type", "", `{}`, 415, "content-type is not application/json"},
		{"type in another case", "Application/JSON", `{}`, 415, "content-type is not application/json"},
		{"type behind a blank", "text/plain, application/json", `{}`, 415, "content-type is not application/json"},
	} {
		for _, e := range endpoints {
			h := header{"X-API-Key": e.key}
			if test.contentType != "" {
				h["Content-Type"] = test.contentType
			}
			a := f.ask(t, http.MethodPost, e.path, h, test.body)
			name := test.name + " at " + e.path
			if strings.HasSuffix(e.path, "publish") {
				wantPublishRefusal(t, name, a, test.publishStatus, e.code, fmt.Sprintf("error unmarshalling API call, code: %d: %s", test.publishStatus, test.text))
				continue
			}
			wantRefusal(t, name, a, 400, e.code, test.text)
		}
	}
	must(t, f.ask(t, http.MethodPost, "/t/north/api/issue", header{"X-API-Key": f.north.admin, "Content-Type": "application/json; charset=utf-8"}, `{"testType":"confirmed"}`))
}

// A body that stops on its way is the client's failure, told if it still listens.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte(`{"code":`))
		w.CloseWithError(io.ErrClosedPipe)
	}()
	if a, err := f.request(t.Context(), http.MethodPost, "/t/north/api/verify", jsonWith(f.north.device), r); err == nil {
		t.Errorf("half a body was answered: %v", a)
	}
	code, _ := f.issue(t, f.north, nil) // the service goes on
	must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code}))
}

// What fails here is a fixed text there, and one line in the log under the same ID.
func TestFailuresAreFixedTexts(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	w := f.world
	f.start(t, func(_ *fixture, c *api.Config) {
		device, issuer, publish := w.Open("carillon_device"), w.Open("carillon_issuer"), w.Open("carillon_publish")
		for _, db := range []interface{ Close() error }{device, issuer, publish} {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		c.Device = f.verification(device, nil)
		c.IssuerKeys = client.NewAuthenticator(issuer, nil, time.Now)
		c.PublicKeys = key.NewRing(publish, w.Root)
		c.Publisher = exposure.New(exposure.Config{DB: publish, Keys: c.PublicKeys, Limits: exposure.DefaultLimits(), Now: w.Now})
		c.Files = brokenStore{}
	})
	const want = "Internal Server Error"
	wantRefusal(t, "verify", f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "12345678"}), 500, "internal_server_error", want)
	failed := f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed"})
	wantRefusal(t, "issue", failed, 500, "internal_server_error", want)
	f2 := setUp(t)
	upload := f2.upload(t, f2.north, f2.teks(1), nil)
	wantPublishRefusal(t, "publish", f.post(t, f.north.Tenant, "/v1/publish", "", upload), 500, "internal_error", want)
	for _, path := range []string{"/t/north/jwks", "/t/north/exports/index.txt", "/t/north/exports/1-2-00001.zip"} {
		if a := f.ask(t, http.MethodGet, path, nil, ""); a.StatusCode != 500 || string(a.body) != want {
			t.Errorf("%s: %v, want %s", path, a, want)
		}
	}
	lines := 0
	for line := range strings.SplitSeq(f.log.String(), "\n") {
		if strings.Contains(line, `"request failed"`) && strings.Contains(line, failed.Header.Get("X-Request-ID")) {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d log lines for one failure", lines)
	}
}

type brokenStore struct{ export.Store }

func (brokenStore) Open(context.Context, string) (export.Object, error) {
	return nil, errors.New("disk on fire")
}

func TestPanicsAreFixedTexts(t *testing.T) {
	t.Parallel()
	const secret = "value that must not be logged"
	f := setUp(t, func(_ *fixture, c *api.Config) {
		c.NotFound = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(secret) })
	})
	a := f.ask(t, http.MethodGet, "/portal", header{"Accept": "application/json"}, "")
	wantRefusal(t, "panic", a, 500, "internal_server_error", "Internal Server Error")
	if log := f.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "panic: string") {
		t.Errorf("log: %s", log)
	}
}

// budget is a quota of which one code is left whenever has says so.
func budget(has func(tenant.ID) bool) func(context.Context, *tenant.Tenant) (func() bool, func(), error) {
	return func(_ context.Context, t *tenant.Tenant) (spend func() bool, release func(), err error) {
		return func() bool { return has(t.ID) }, func() {}, nil
	}
}
