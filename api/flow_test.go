package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/tenant"
	"carillon/tenant/export"
	"carillon/tenant/tenanttest"
)

// wantPadding checks that a member is base64 of 1024 to 2047 bytes (§0.2).
func wantPadding(t *testing.T, a answer) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(a.text("padding"))
	if err != nil || len(raw) < 1024 || len(raw) > 2047 {
		t.Errorf("%s: padding of %d bytes, %v", a.Request.URL.Path, len(raw), err)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: content type %q", a.Request.URL.Path, got)
	}
	if len(a.TransferEncoding) > 0 || a.ContentLength != int64(len(a.body)) {
		t.Errorf("%s: %d bytes announced, encoding %v, %d sent", a.Request.URL.Path, a.ContentLength, a.TransferEncoding, len(a.body))
	}
}

func members(t *testing.T, a answer) map[string]any {
	t.Helper()
	got, ok := a.json()
	if !ok {
		t.Fatalf("%s: no object: %v", a.Request.URL.Path, a)
	}
	wantPadding(t, a)
	delete(got, "padding")
	return got
}

// The sequence of the verification protocol §12.2, with a revision.
func TestFlow(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	issued := must(t, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{
		"testType": "likely", "symptomDate": "2026-11-23", "testDate": "", "tzOffset": 0, "phone": "", "smsTemplateLabel": "",
		"uuid": "", "externalIssuerID": "", "onlyGenerateSMS": false, "padding": "cGFk",
	}))
	short := tenanttest.Start.Add(15 * time.Minute)
	uuid, code := issued.text("uuid"), issued.text("code")
	if len(uuid) != 36 || len(code) != 8 {
		t.Errorf("UUID %q, code of %d digits", uuid, len(code))
	}
	want := map[string]any{
		"uuid": uuid, "code": code,
		"expiresAt": "Wed, 25 Nov 2026 15:19:05 UTC", "expiresAtTimestamp": float64(short.Unix()),
		"longExpiresAt": "Wed, 25 Nov 2026 15:19:05 UTC", "longExpiresAtTimestamp": float64(short.Unix()),
	}
	if diff := cmp.Diff(want, members(t, issued)); diff != "" {
		t.Errorf("issue (-want +got):\n%s", diff)
	}
	status := func() map[string]any {
		return members(t, must(t, f.post(t, f.north.Tenant, "/api/checkcodestatus", f.north.admin, object{"uuid": uuid, "padding": 1})))
	}
	if got := status()["claimed"]; got != false {
		t.Errorf("claimed is %v before verify", got)
	}
	verified := must(t, f.post(t, f.north.Tenant, "/api/verify", "  "+f.north.device+" ", object{"code": code, "accept": nil, "nonce": "", "padding": []int{1}}))
	token := verified.text("token")
	if diff := cmp.Diff(map[string]any{"testtype": "likely", "symptomDate": "2026-11-23", "token": token}, members(t, verified)); diff != "" {
		t.Errorf("verify (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"claimed": true, "expiresAtTimestamp": float64(short.Unix()), "longExpiresAtTimestamp": float64(short.Unix())}, status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	f.publishAndRevise(t)
}

func (f *fixture) publishAndRevise(t *testing.T) {
	t.Helper()
	teks := f.teks(14)
	first := must(t, f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, teks, object{"testType": "likely"})))
	if got := first.Header.Get("x-api-version"); got != "v1" {
		t.Errorf("version %q", got)
	}
	revision := first.text("revisionToken")
	if diff := cmp.Diff(map[string]any{"revisionToken": revision, "insertedExposures": 14.0}, members(t, first)); diff != "" || revision == "" {
		t.Errorf("publish (-want +got):\n%s", diff)
	}
	more := append(f.teks(15)[14:], teks...)
	second := must(t, f.post(t, f.north.Tenant, "/v1/publish", "",
		f.upload(t, f.north, more, object{"testType": "confirmed"}).with("revisionToken", revision)))
	if diff := cmp.Diff(map[string]any{"revisionToken": second.text("revisionToken"), "insertedExposures": 1.0}, members(t, second)); diff != "" {
		t.Errorf("revision counts only the new key (-want +got):\n%s", diff)
	}
}

func TestExpireCode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	_, uuid := f.issue(t, f.north, nil)
	f.world.Advance(time.Minute)
	want := map[string]any{
		"uuid": uuid, "expiresAtTimestamp": float64(f.world.Now().Unix()), "longExpiresAtTimestamp": float64(f.world.Now().Unix()),
	}
	for range 2 { // the second changes nothing
		got := members(t, must(t, f.post(t, f.north.Tenant, "/api/expirecode", f.north.admin, object{"uuid": strings.ToUpper(uuid)})))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("expire (-want +got):\n%s", diff)
		}
		f.world.Advance(time.Minute)
	}
}

func TestIssueWithMessage(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.issue(t, f.north, object{"phone": "+1 206 555 0100"})
	if got := f.sms.Delivered(); len(got) != 1 || got[0].Tenant != f.north.ID || got[0].To != "+12065550100" {
		t.Errorf("%d messages, want one to the number", len(got))
	}
	a := must(t, f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{
		"testType": "confirmed", "phone": "+12065550100", "onlyGenerateSMS": true,
	}))
	if a.text("generatedSMS") == "" || a.text("phone") != "+12065550100" || a.text("expiresAt") == a.text("longExpiresAt") {
		t.Error("the generated message is incomplete")
	}
	if len(f.sms.Delivered()) != 1 {
		t.Error("a message that was only to be generated was sent")
	}
}

func TestPublishSpellings(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	body := f.upload(t, f.north, f.teks(1), nil)
	body = body.with("hmackey", body["hmacKey"]).with("vaccinated", true).with("healthAuthorityID", strings.ToUpper(f.north.HealthAuthorityID))
	delete(body, "hmacKey")
	a := must(t, f.post(t, f.north.Tenant, "/v1/publish", "", body))
	if a.member("insertedExposures") != 1.0 {
		t.Errorf("publish: %v", a)
	}
	wantPadding(t, a)
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	bare := f.ask(t, http.MethodGet, "/t/north/jwks", nil, "")
	set := f.ask(t, http.MethodGet, "/t/north/.well-known/jwks.json", nil, "")
	for _, a := range []answer{bare, set} {
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s: %v, %v", a.Request.URL.Path, a, a.Header)
		}
	}
	if !strings.HasPrefix(string(bare.body), `[{"kty":"EC"`) && !strings.HasPrefix(string(bare.body), `[{"kid":`) {
		t.Errorf("no bare array of keys: %s", bare.body)
	}
	if got, want := string(set.body), `{"keys":`+string(bare.body)+`}`; got != want {
		t.Errorf("set %s, want %s", got, want)
	}
	if south := f.ask(t, http.MethodGet, "/t/south/jwks", nil, ""); string(south.body) == string(bare.body) {
		t.Error("two tenants have the same keys")
	}
}

// Round trips to the database with warm caches; README.md has the numbers.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := f.files.Replace(t.Context(), export.Prefix(f.north.Tenant)+export.IndexName, nil); err != nil {
		t.Fatal(err)
	}
	// Caches live for seconds only, so one of several runs meets them warm.
	least := func(prepare func() func() answer) int {
		fewest := 1 << 30
		for range 4 {
			run := prepare()
			fewest = min(fewest, f.world.Trips(func() { must(t, run()) }))
		}
		return fewest
	}
	got := map[string]int{
		"verify": least(func() func() answer {
			code, _ := f.issue(t, f.north, nil)
			f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "00000000"})
			return func() answer {
				return f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code})
			}
		}),
		"certificate": least(func() func() answer {
			token := f.token(t, f.north, nil)
			mac := base64.StdEncoding.EncodeToString(randomBytes(32))
			return func() answer {
				return f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{"token": token, "ekeyhmac": mac})
			}
		}),
		"publish": least(func() func() answer {
			body := f.upload(t, f.north, f.teks(14), nil)
			return func() answer { return f.post(t, f.north.Tenant, "/v1/publish", "", body) }
		}),
		"issue": least(func() func() answer {
			return func() answer {
				return f.post(t, f.north.Tenant, "/api/issue", f.north.admin, object{"testType": "confirmed"})
			}
		}),
		"user-report": least(func() func() answer {
			fresh := func() object { return own(fmt.Sprintf("+1206%07d", time.Now().UnixNano()%10_000_000)) }
			f.selfReport(t, fresh()) // the other prepares no statements
			return func() answer { return f.selfReport(t, fresh()) }
		}),
		"index": least(func() func() answer {
			f.ask(t, http.MethodGet, "/t/north/exports/index.txt", nil, "")
			return func() answer { return f.ask(t, http.MethodGet, "/t/north/exports/index.txt", nil, "") }
		}),
	}
	want := map[string]int{"verify": 1, "certificate": 1, "publish": 1, "issue": 1, "user-report": 4, "index": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round trips (-want +got):\n%s", diff)
	}
}

func (f *fixture) put(t *testing.T, of *tenant.Tenant, into tenant.State) {
	t.Helper()
	switch into {
	case tenant.Leaving:
		f.world.MarkLeaving(of)
	case tenant.Erased:
		f.world.MarkErased(of)
	default:
		f.sql(t, `delete from tenant_leaving where tenant_id = $1`, of.ID.String())
		f.sql(t, `update tenant_directory set state = $2 where tenant = $1`, of.ID.String(), string(into))
	}
}
