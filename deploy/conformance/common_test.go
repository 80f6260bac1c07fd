package conformance_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// programPaths are the endpoints of the verification half that take JSON.
var programPaths = []string{"/api/verify", "/api/certificate", "/api/user-report", "/api/issue", "/api/batch-issue", "/api/checkcodestatus", "/api/expirecode"}

// commonRules are §0: what all JSON endpoints have in common.
func commonRules() []rule {
	raw := func(contentType, body string) func(*testing.T, *world) answer {
		return func(t *testing.T, w *world) answer {
			t.Helper()
			return w.ask(t, http.MethodPost, "/t/open/api/verify", header{"Content-Type": contentType, "X-API-Key": w.open.device}, body)
		}
	}
	unparsed := func(contentType, body, text string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			t.Helper()
			wantRefusal(t, raw(contentType, body)(t, w), refusal{status: bad, code: unparsable, text: text})
		}
	}
	return []rule{
		{"0", "base64 is read with either alphabet, with or without padding", "", tolerantBase64},
		{"0.2", "another method is 405 with an empty body, also for cover traffic", "", otherMethods},
		{"0.2", "an unknown path is 404, as text", "", unknownPath},
		{"0.2", "a Content-Type that does not begin with application/json is 400", "", unparsed("text/plain", `{"code":"1"}`, "content-type is not application/json")},
		{"0.2", "a suffix of the Content-Type does not matter", "", func(t *testing.T, w *world) {
			wantRefusal(t, raw("application/json; charset=utf-8", `{"code":"1"}`)(t, w), refusal{status: bad, code: "code_invalid", text: "verification code invalid"})
		}},
		{"0.2", "no key, an unknown one, one of the wrong kind: 401", "", badKeys},
		{"0.2", "another tenant's key is answered exactly as an unknown one", "", foreignKeys},
		{"0.2", "blanks around the key do not matter", "", func(t *testing.T, w *world) {
			a := w.ask(t, http.MethodPost, "/t/open/api/verify", header{"Content-Type": jsonType, "X-API-Key": "  " + w.open.device + " "}, `{"code":"1"}`)
			wantRefusal(t, a, refusal{status: bad, code: "code_invalid", text: "verification code invalid"})
		}},
		{"0.2", "the form of a 401 is negotiated over Accept and Content-Type", "", negotiated},
		{"0.2", "a body above 64,000 bytes is 400", "", func(t *testing.T, w *world) {
			fits := `{"code":"1","padding":"` + strings.Repeat("x", 64000-25) + `"}`
			if len(fits) != 64000 {
				t.Fatalf("%d bytes", len(fits))
			}
			wantRefusal(t, raw(jsonType, fits)(t, w), refusal{status: bad, code: "code_invalid", text: "verification code invalid"})
			wantRefusal(t, raw(jsonType, fits+" ")(t, w), refusal{status: bad, code: unparsable, text: "http: request body too large"})
		}},
		{"0.2", "an unknown member is 400", "", unparsed(jsonType, `{"code":"1","x":1}`, "unknown field…")},
		{"0.2", "an empty body is 400", "", unparsed(jsonType, "", "body must not be empty")},
		{"0.2", "a truncated body is 400", "", unparsed(jsonType, `{"code":"1"`, "malformed json")},
		{"0.2", "a syntax error is 400, with its position", "", unparsed(jsonType, `{"code":x}`, "malformed json at position…")},
		{"0.2", "a member of the wrong type is 400, with its name", "", unparsed(jsonType, `{"code":1}`, `invalid value "code" at position…`)},
		{"0.2", "a second value is 400", "", unparsed(jsonType, `{"code":"1"} {}`, "body must contain only one JSON object")},
		{"0.2", "an empty string, null and 0 mean that a member is absent", "", emptyMembers},
		{"0.2", "padding may be anything in a request", "", func(t *testing.T, w *world) {
			for _, p := range []string{`"x"`, `1`, `null`, `{"a":[1]}`, `[]`, `true`} {
				wantRefusal(t, raw(jsonType, `{"code":"1","padding":`+p+`}`)(t, w), refusal{status: bad, code: "code_invalid", text: "verification code invalid"})
			}
		}},
		{"0.2", "a success has padding of 1024 to 2047 random bytes in base64, and no error", "", paddedSuccess},
		{"0.2", "every answer has the headers of a secure transport", "", secureHeaders},
	}
}

func tolerantBase64(t *testing.T, w *world) {
	sum := make([]byte, 32)
	for i := range sum {
		sum[i] = 0xfb // needs + or -, and =
	}
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(sum), base64.RawStdEncoding.EncodeToString(sum),
		base64.URLEncoding.EncodeToString(sum), base64.RawURLEncoding.EncodeToString(sum),
	} {
		w.must(t, w.open, "/api/certificate", object{"token": w.token(t, w.open, nil), "ekeyhmac": text})
	}
}

func otherMethods(t *testing.T, w *world) {
	for _, path := range programPaths {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			a := w.ask(t, method, "/t/open"+path, header{"X-API-Key": w.open.key(path), "X-Chaff": "1"}, "")
			if a.StatusCode != http.StatusMethodNotAllowed || len(a.body) != 0 {
				t.Errorf("%s %s: %v", method, path, a)
			}
		}
	}
}

func unknownPath(t *testing.T, w *world) {
	a := w.ask(t, http.MethodPost, "/t/open/api/nothing", nil, "")
	if a.StatusCode != http.StatusNotFound || strings.TrimSpace(string(a.body)) != "404 page not found" {
		t.Errorf("%v", a)
	}
}

func badKeys(t *testing.T, w *world) {
	for _, path := range programPaths {
		wrong := w.open.admin
		if w.open.key(path) == wrong {
			wrong = w.open.device
		}
		for name, key := range map[string]string{"none": "", "unknown": "x.y.z", "wrong kind": wrong, "statistics": w.open.stats} {
			a := w.ask(t, http.MethodPost, "/t/open"+path, header{"Content-Type": jsonType, "X-API-Key": key}, `{}`)
			if a.StatusCode != http.StatusUnauthorized || string(a.body) != unauthorized {
				t.Errorf("%s with key %s: %v", path, name, a)
			}
		}
	}
}

func foreignKeys(t *testing.T, w *world) {
	for _, path := range programPaths {
		ask := func(key string) answer {
			return w.ask(t, http.MethodPost, "/t/open"+path, header{"Content-Type": jsonType, "X-API-Key": key}, `{}`)
		}
		foreign, unknown := ask(w.strict.key(path)), ask("x.y.z")
		if foreign.StatusCode != unknown.StatusCode || string(foreign.body) != string(unknown.body) {
			t.Errorf("%s: %v for another tenant's key, %v for an unknown one", path, foreign, unknown)
		}
	}
}

func negotiated(t *testing.T, w *world) {
	for _, c := range []struct{ accept, contentType, want string }{
		{"text/html,application/json", "", "text/html"},
		{"application/json", "", jsonType},
		{"", jsonType, jsonType},
		{"*/*", "text/plain", "text/plain"},
	} {
		h := header{}
		if c.accept != "" {
			h["Accept"] = c.accept
		}
		if c.contentType != "" {
			h["Content-Type"] = c.contentType
		}
		a := w.ask(t, http.MethodPost, "/t/open/api/verify", h, `{}`)
		if got := a.Header.Get("Content-Type"); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got, c.want) {
			t.Errorf("Accept %q, Content-Type %q: %d %s, want 401 %s", c.accept, c.contentType, a.StatusCode, got, c.want)
		}
	}
}

func emptyMembers(t *testing.T, w *world) {
	issued := w.must(t, w.open, "/api/issue", object{
		"testType": "confirmed", "symptomDate": "", "testDate": "", "tzOffset": 0, "phone": "", "smsTemplateLabel": "",
		"uuid": "", "externalIssuerID": "", "onlyGenerateSMS": false, "padding": "",
	})
	w.must(t, w.open, "/api/verify", object{"code": issued.text("code"), "accept": nil, "nonce": "", "padding": ""})
}

func paddedSuccess(t *testing.T, w *world) {
	sizes := map[int]bool{}
	for range 8 {
		a := w.issue(t, w.open, nil)
		raw, err := base64.StdEncoding.DecodeString(a.text("padding"))
		if err != nil || len(raw) < 1024 || len(raw) > 2047 {
			t.Errorf("padding of %d bytes, %v", len(raw), err)
		}
		if got := a.Header.Get("Content-Type"); got != jsonType {
			t.Errorf("Content-Type %q", got)
		}
		if a.text("error") != "" {
			t.Errorf("a success has an error: %v", a)
		}
		sizes[len(raw)] = true
	}
	if len(sizes) == 1 {
		t.Error("eight answers have padding of one size")
	}
}

func secureHeaders(t *testing.T, w *world) {
	for _, path := range []string{"/t/open/api/verify", "/t/open/exports/index.txt", "/t/open/nothing"} {
		a := w.ask(t, http.MethodPost, path, nil, "")
		for name, want := range map[string]string{
			"Strict-Transport-Security": "max-age=315360000; includeSubDomains; preload",
			"X-Content-Type-Options":    "nosniff",
			"Referrer-Policy":           "strict-origin-when-cross-origin",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}
