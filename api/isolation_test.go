package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
	"carillon/tenant"
)

// seen is an answer without what differs between any two.
func seen(a answer) map[string]any {
	h := a.Header.Clone()
	for _, name := range []string{"X-Request-ID", "Date", "X-RateLimit-Remaining"} {
		if h.Get(name) != "" {
			h.Set(name, "any")
		}
	}
	body := string(a.body)
	if members, ok := a.json(); ok && members["padding"] != nil {
		members["padding"] = "any"
		text, _ := json.Marshal(members)
		body = string(text)
		h.Set("Content-Length", "any")
	}
	return map[string]any{"status": a.StatusCode, "header": h, "body": body}
}

func wantSame(t *testing.T, what string, unknown, foreign answer) {
	t.Helper()
	if diff := cmp.Diff(seen(unknown), seen(foreign)); diff != "" {
		t.Errorf("%s differs from what is unknown (-unknown +foreign):\n%s", what, diff)
	}
}

// fileName is a name that a path with a parameter for one may end in.
func fileName(path string) string {
	if strings.HasPrefix(path, "/api/stats/") {
		return "7.json"
	}
	return "1-2-00001.zip"
}

// Every credential of one tenant at every route of another is answered as one that
// nobody has.
func TestForeignCredentialsAreUnknown(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(10_000))
	code, uuid := f.issue(t, f.north, nil)
	mac := base64.StdEncoding.EncodeToString(randomBytes(32))
	bodies := map[string]object{
		"/api/verify":                     {"code": code},
		"/api/certificate":                {"token": f.token(t, f.north, nil), "ekeyhmac": mac},
		"/api/user-report":                own("+12065550100"),
		"/api/issue":                      {"testType": "confirmed"},
		"/api/batch-issue":                {"codes": []object{{"testType": "confirmed"}}},
		"/api/codes/batches":              {"key": "k", "codes": []object{}},
		"/api/codes/batches/:batch/pause": {}, "/api/codes/batches/:batch/resume": {}, "/api/codes/batches/:batch/cancel": {},
		"/api/checkcodestatus":                       {"uuid": uuid},
		"/api/expirecode":                            {"uuid": uuid},
		"/api/codes/resend":                          {"uuid": uuid, "phone": "+12065550100"},
		"/api/codes/delivery":                        {"uuid": uuid},
		"/api/lab-feed":                              {"resourceType": "Bundle"},
		"/api/lab-feed/dead-letters/:letter/retry":   {"letter": uuid},
		"/api/lab-feed/dead-letters/:letter/discard": {"letter": uuid},
		"/v1/publish":                                f.upload(t, f.north, f.teks(1), nil),
	}
	keys := map[string]string{"device": f.north.device, "admin": f.north.admin, "stats": f.north.stats}
	for _, r := range f.routes {
		path, ofTenant := strings.CutPrefix(r.Path, "/t/:tenant")
		if !ofTenant {
			continue
		}
		url := "/t/south" + strings.NewReplacer(":file", fileName(path), ":batch", uuid).Replace(path)
		body, _ := json.Marshal(bodies[path])
		if r.Method == http.MethodPost && bodies[path] == nil && r.Credential != authz.CredentialSignature && r.Credential != authz.CredentialBearer {
			t.Errorf("%s has no case here", path)
		}
		unknown := f.ask(t, r.Method, url, jsonWith(unknownKey()), string(body))
		for kind, key := range keys {
			wantSame(t, "north's "+kind+" key at "+url, unknown, f.ask(t, r.Method, url, jsonWith(key), string(body)))
			if r.Credential == authz.CredentialDeviceKey || r.Credential == authz.CredentialAdminKey {
				h := jsonWith(key)
				h["X-Chaff"] = "1"
				wantSame(t, "chaff with north's "+kind+" key at "+url, unknown, f.ask(t, r.Method, url, h, string(body)))
			}
		}
		if r.Credential == authz.CredentialNone || r.Credential == authz.CredentialCertificate || r.Credential == authz.CredentialSignature || r.Credential == authz.CredentialBearer {
			wantSame(t, "no key at "+url, unknown, f.ask(t, r.Method, url, jsonWith(""), string(body)))
		} else if unknown.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v, want 401", url, unknown)
		}
	}
	if got := must(t, f.post(t, f.north.Tenant, "/api/checkcodestatus", f.north.admin, object{"uuid": uuid})); got.member("claimed") != false {
		t.Error("the code was claimed from elsewhere")
	}
}

// With a key of its own, a tenant sees nothing of another's codes, tokens,
// certificates and revision tokens.
func TestForeignSecretsAreUnknown(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	code, uuid := f.issue(t, f.north, nil)
	token := f.token(t, f.north, nil)
	mac := base64.StdEncoding.EncodeToString(randomBytes(32))
	at := func(path, key string, body object) answer { return f.post(t, f.south.Tenant, path, key, body) }

	wantSame(t, "north's code", at("/api/verify", f.south.device, object{"code": "no such code"}), at("/api/verify", f.south.device, object{"code": code}))
	wantSame(t, "north's token", at("/api/certificate", f.south.device, object{"token": "no token", "ekeyhmac": mac}), at("/api/certificate", f.south.device, object{"token": token, "ekeyhmac": mac}))
	for _, path := range []string{"/api/checkcodestatus", "/api/expirecode"} {
		wantSame(t, "north's UUID at "+path,
			at(path, f.south.admin, object{"uuid": "5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"}), at(path, f.south.admin, object{"uuid": uuid}))
	}
	if a := at("/api/issue", f.south.admin, object{"testType": "confirmed", "uuid": uuid}); a.StatusCode != http.StatusOK || a.text("uuid") != uuid {
		t.Errorf("north's UUID cannot be used at south: %v", a)
	}
	must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code}))
	must(t, f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{"token": token, "ekeyhmac": mac}))
}

func TestForeignUploadsAreUnknown(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	south := func(body object) answer { return f.post(t, f.south.Tenant, "/v1/publish", "", body) }
	good := f.upload(t, f.north, f.teks(3), nil)
	hers := good.with("healthAuthorityID", f.south.HealthAuthorityID)

	// The answer repeats the ID and the issuer that were sent, and only these.
	swap := func(a answer, from, to string) answer {
		a.body = []byte(strings.ReplaceAll(string(a.body), from, to))
		return a
	}
	nobody := strings.Repeat("x", len(f.north.HealthAuthorityID))
	wantSame(t, "north's health authority ID",
		swap(south(good.with("healthAuthorityID", nobody)), nobody, f.north.HealthAuthorityID), south(good))

	stranger := f.open(t, "stranger") // any tenant's certificate but south's
	theirs := f.upload(t, stranger, f.teks(3), nil).with("healthAuthorityID", f.south.HealthAuthorityID)
	f.put(t, stranger.Tenant, tenant.Suspended)
	wantSame(t, "north's certificate",
		swap(south(theirs), stranger.Settings.Issuer, f.north.Settings.Issuer), south(hers))

	teks := f.teks(2)
	revision := must(t, f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, teks, object{"testType": "likely"}))).text("revisionToken")
	again := f.upload(t, f.south, teks, nil)
	if a := must(t, south(again.with("revisionToken", revision))); a.member("insertedExposures") != 2.0 {
		t.Errorf("south's first upload of keys that north has: %v", a)
	}
	// Now south knows the keys, and north's token is no better than rubbish.
	confirmed := f.upload(t, f.south, teks, object{"testType": "likely"})
	rubbish := base64.StdEncoding.EncodeToString(randomBytes(300))
	wantSame(t, "north's revision token", south(confirmed.with("revisionToken", rubbish)), south(confirmed.with("revisionToken", revision)))
}

// An erased tenant and one that never was are the same, and so is its key.
func TestNoTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	closed := f.open(t, "closed")
	upload := f.upload(t, closed, f.teks(1), nil)
	text, _ := json.Marshal(upload)
	f.put(t, closed.Tenant, tenant.Erased)
	f.start(t)
	for _, r := range f.routes {
		path, ofTenant := strings.CutPrefix(r.Path, "/t/:tenant")
		if !ofTenant {
			continue
		}
		path = strings.NewReplacer(":file", fileName(path), ":batch", "5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a").Replace(path)
		h := jsonWith(map[authz.Credential]string{
			authz.CredentialDeviceKey: closed.device, authz.CredentialAdminKey: closed.admin, authz.CredentialStatsKey: closed.stats,
		}[r.Credential])
		want := http.StatusNotFound
		if r.Credential != authz.CredentialNone {
			want = http.StatusUnauthorized
		}
		if r.Credential == authz.CredentialSignature {
			want = http.StatusBadRequest // §7.2
		}
		nowhere := f.ask(t, r.Method, "/t/nowhere"+path, h, string(text))
		if nowhere.StatusCode != want {
			t.Errorf("%s %s: %v, want %d", r.Method, path, nowhere, want)
		}
		wantSame(t, path+" of an erased tenant", nowhere, f.ask(t, r.Method, "/t/closed"+path, h, string(text)))
		wantSame(t, path+" of no slug", nowhere, f.ask(t, r.Method, "/t/No_Slug"+path, h, string(text)))
	}
	got := f.post(t, closed.Tenant, "/v1/publish", "", upload)
	wantPadding(t, got)
	if got.text("code") != "unknown_health_authority_id" || got.text("errorCode") != got.text("code") || got.text("error") != "unauthorized health authority: "+closed.HealthAuthorityID {
		t.Errorf("upload for an erased tenant: %v", got)
	}
}

func TestCrossingsAreCounted(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const crossings, refused = "carillon_crossing_attempts_total", "carillon_credentials_refused_total"
	f.post(t, f.south.Tenant, "/api/verify", unknownKey(), nil)
	f.post(t, f.north.Tenant, "/api/verify", f.north.device, nil)
	f.post(t, f.north.Tenant, "/api/issue", f.north.device, nil) // her own tenant, the wrong kind
	if got := f.counted(t, crossings); got != 0 {
		t.Errorf("%v crossings before the first", got)
	}
	f.post(t, f.south.Tenant, "/api/verify", f.north.device, nil)
	f.ask(t, http.MethodPost, "/t/nowhere/api/verify", jsonWith(f.north.device), "{}")
	if got := f.counted(t, crossings); got != 2 {
		t.Errorf("%v crossings with keys, want 2", got)
	}
	if got := f.counted(t, refused); got != 4 {
		t.Errorf("%v keys refused, want 4", got)
	}
	upload := f.upload(t, f.north, f.teks(1), nil)
	f.post(t, f.south.Tenant, "/v1/publish", "", upload)
	f.post(t, f.south.Tenant, "/v1/publish", "", upload.with("healthAuthorityID", f.south.HealthAuthorityID))
	if got := f.counted(t, crossings); got != 4 {
		t.Errorf("%v crossings with uploads, want 4", got)
	}
	f.post(t, f.south.Tenant, "/v1/publish", "", object{"healthAuthorityID": f.south.HealthAuthorityID, "verificationPayload": "rubbish"})
	f.post(t, f.north.Tenant, "/v1/publish", "", upload.with("hmacKey", "AAAA"))
	f.post(t, f.south.Tenant, "/v1/publish", "", object{})
	if got := f.counted(t, crossings); got != 4 {
		t.Errorf("%v crossings after ordinary refusals, want 4", got)
	}
}

// A key that was disabled is unknown as soon as caches forget it.
func TestDisabledKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sql(t, `update api_key set disabled_at = now() where tenant_id = $1 and kind = 'device'`, f.north.ID.String())
	wantSame(t, "a disabled key",
		f.post(t, f.north.Tenant, "/api/verify", unknownKey(), nil), f.post(t, f.north.Tenant, "/api/verify", f.north.device, nil))
}

// The body of 401 follows Accept and Content-Type (§0.2).
func TestUnauthorizedIsNegotiated(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const jsonBody, textBody = `{"error":"unauthorized","errorCode":"","error_code":""}`, "Unauthorized"
	for _, test := range []struct {
		name, accept, contentType string
		wantType, wantBody        string
	}{
		{"JSON twice", "application/json", "application/json", "application/json", jsonBody},
		{"body alone", "", "application/json; charset=utf-8", "application/json", jsonBody},
		{"Accept alone", "application/json", "", "application/json", jsonBody},
		{"anything", "*/*", "", "text/plain; charset=utf-8", textBody},
		{"nothing", "", "", "text/plain; charset=utf-8", textBody},
		{"list with blanks", "image/png, application/json;q=0.1", "", "application/json", jsonBody},
		{"HTML first", "application/json, text/html", "application/json", "text/html; charset=utf-8", ""},
		{"other case", "Application/JSON", "", "text/plain; charset=utf-8", textBody},
	} {
		h := header{"X-API-Key": "unknown"}
		for name, value := range map[string]string{"Accept": test.accept, "Content-Type": test.contentType} {
			if value != "" {
				h[name] = value
			}
		}
		a := f.ask(t, http.MethodPost, "/t/north/api/verify", h, "{}")
		if a.StatusCode != http.StatusUnauthorized || a.Header.Get("Content-Type") != test.wantType {
			t.Errorf("%s: %v, type %q, want %q", test.name, a, a.Header.Get("Content-Type"), test.wantType)
		}
		if test.wantBody != "" && string(a.body) != test.wantBody {
			t.Errorf("%s: body %q, want %q", test.name, a.body, test.wantBody)
		}
	}
}
