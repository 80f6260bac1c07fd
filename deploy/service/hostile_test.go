package service

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"carillon/authz"
)

// hostile is text that breaks what takes it for harmless.
var hostile = map[string]string{
	"nothing":          "",
	"NUL":              "north\x00shore",
	"invalid UTF-8":    "north\xff\xfe\x80shore",
	"half a surrogate": "north\xed\xa0\x80shore",
	"bidi controls":    "north\u202eerohs\u2066\u2069",
	"zero width":       "no\u200brth\ufeff\u2060",
	"homograph":        "n\u043erth-sh\u043ere", // with Cyrillic letters
	"combining":        "n" + strings.Repeat("\u0301", 500),
	"formula":          `=HYPERLINK("http://198.51.100.7","x")`,
	"elsewhere":        "//198.51.100.7/x",
	"markup":           `"><script>alert(1)</script>`,
	"template":         "{{.}}${7*7}%{x}",
	"SQL":              `'; drop table member; --`,
	"lines":            "a\r\nBcc: b@c.example\r\n\r\nd",
	"path":             "../../../../etc/passwd",
	"long number":      strings.Repeat("9", 400),
	"negative":         "-9223372036854775809",
	"long":             strings.Repeat("\u00e4", 20_000),
	"a megabyte":       strings.Repeat("x", 1<<20),
}

// wantCivil fails unless an answer is one that a request deserves: no fault of ours, and
// nothing of it that a browser would run.
func wantCivil(t *testing.T, what string, got reply) {
	t.Helper()
	switch {
	case got.status >= 500:
		t.Errorf("%s: %v", what, got)
	case !utf8.ValidString(got.body):
		t.Errorf("%s: the answer is not UTF-8", what)
	case strings.Contains(got.body, "<script>alert"):
		t.Errorf("%s: the answer has the markup as it was sent", what)
	case strings.ContainsAny(got.header.Get("Location"), "\r\n"):
		t.Errorf("%s: the answer's headers have lines of the request", what)
	case leadsAway(got.header.Get("Location")):
		t.Errorf("%s: the answer leads to where the request says, %s", what, got.header.Get("Location"))
	case got.status == http.StatusUnprocessableEntity && strings.HasPrefix(got.header.Get("Content-Type"), "text/html") && !strings.Contains(got.body, `href="#`):
		t.Errorf("%s: no problem is linked to its field", what)
	}
}

// leadsAway reports whether a browser would go to the address that is in hostile text.
func leadsAway(location string) bool {
	to, err := url.Parse(location)
	return err != nil || to.Hostname() == "198.51.100.7"
}

// attempt is a request that can be repeated. before is SQL that lets it do what it is for,
// draft a table to which it may write also when it is refused.
type attempt struct {
	what, before, draft string
	ask                 func() reply
}

// try sends requests to one route, and those that were refused once more, which must write
// nothing.
func (e *everybody) try(t *testing.T, attempts []attempt) {
	t.Helper()
	var refused []attempt
	for _, a := range attempts {
		if a.before != "" {
			e.sql(t, a.before)
		}
		got := a.ask()
		wantCivil(t, a.what, got)
		if got.status >= 400 {
			refused = append(refused, a)
		}
	}
	if len(refused) == 0 {
		return
	}
	if refused[0].before != "" {
		e.sql(t, refused[0].before)
	}
	if e.changes(t, refused...) == "" {
		return
	}
	for _, a := range refused { // which of them?
		if diff := e.changes(t, a); diff != "" {
			t.Errorf("%s was refused and has written to the database:\n%s", a.what, diff)
		}
	}
}

// changes sends requests and tells what they have changed in the database.
func (e *everybody) changes(t *testing.T, attempts ...attempt) string {
	t.Helper()
	rows := func() map[string]string {
		rows := e.rows(t, nil)
		delete(rows, attempts[0].draft)
		return rows
	}
	before := rows()
	for _, a := range attempts {
		a.ask()
	}
	return cmp.Diff(before, rows())
}

// wantPlain fails if a row of any table has characters that show text otherwise than it is.
func (e *everybody) wantPlain(t *testing.T) {
	t.Helper()
	for name := range e.rows(t, nil) {
		var n int
		query := `select count(*) from ` + name + ` x where x::text ~ '[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]'`
		if err := e.world.Database.Super().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			t.Errorf("%d rows of %s have invisible characters or ones that turn text around", n, name)
		}
	}
}

// thing is a text in a body that names something that a tenant has: a name in objectSQL.
type thing string

// bodies are the requests to the routes that take JSON, by method and path.
var bodies = map[string]map[string]any{
	"POST /t/:tenant/api/verify":                                {"code": "12345678", "accept": []string{"confirmed"}, "padding": "x"},
	"POST /t/:tenant/api/certificate":                           {"token": "a.b.c", "ekeyhmac": "AAAA", "padding": "x"},
	"POST /t/:tenant/api/user-report":                           {"phone": "+12065550100", "testDate": "2026-11-25", "nonce": "AAAA", "testType": "user-report", "tzOffset": 0},
	"POST /t/:tenant/api/issue":                                 {"testType": "confirmed", "testDate": "2026-11-25", "symptomDate": "2026-11-25", "phone": "+12065550100", "externalIssuerID": "x", "uuid": "x", "smsTemplateLabel": "x", "tzOffset": 0},
	"POST /t/:tenant/api/batch-issue":                           {"codes": []any{map[string]any{"testType": "confirmed"}}},
	"POST /t/:tenant/api/codes/batches":                         {"key": "k", "codes": []any{map[string]any{"testType": "confirmed"}}},
	"POST /t/:tenant/api/codes/batches/:batch/pause":            {},
	"POST /t/:tenant/api/codes/batches/:batch/resume":           {},
	"POST /t/:tenant/api/codes/batches/:batch/cancel":           {},
	"POST /t/:tenant/api/checkcodestatus":                       {"uuid": thing("code")},
	"POST /t/:tenant/api/expirecode":                            {"uuid": thing("code")},
	"POST /t/:tenant/api/codes/resend":                          {"uuid": thing("code"), "phone": "+12065550100"},
	"POST /t/:tenant/api/codes/delivery":                        {"uuid": thing("code")},
	"POST /t/:tenant/api/lab-feed":                              {"resourceType": "Bundle", "type": "message", "entry": []any{}},
	"PUT /t/:tenant/api/lab-feed/mapping":                       {"tests": []any{}, "name": "x"},
	"POST /t/:tenant/api/lab-feed/dead-letters/:letter/retry":   {},
	"POST /t/:tenant/api/lab-feed/dead-letters/:letter/discard": {},
	"POST /t/:tenant/api/receipts/errors":                       {"id": "x"},
	"POST /t/:tenant/api/receipts/status":                       {"id": "x"},
	"POST /t/:tenant/v1/publish":                                {"healthAuthorityID": "x", "verificationPayload": "x", "hmacKey": "AAAA", "revisionToken": "x", "symptomOnsetInterval": 1, "temporaryExposureKeys": []any{map[string]any{"key": "AAAA", "rollingStartNumber": 1, "rollingPeriod": 144}}},
	"POST /portal/:tenant/login/back-channel-logout/:provider":  {"logout_token": "a.b.c"},
	"POST /t/:tenant/scim/v2/Users":                             {"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "scim@people.example", "displayName": "x", "name": map[string]any{"formatted": "x"}, "emails": []any{map[string]any{"value": "scim@people.example", "primary": true}}, "externalId": "x", "active": true},
	"PUT /t/:tenant/scim/v2/Users/:id":                          {"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "scim@people.example", "displayName": "x", "externalId": "x", "active": true},
	"PATCH /t/:tenant/scim/v2/Users/:id":                        {"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": []any{map[string]any{"op": "replace", "path": "active", "value": false}}},
	"POST /t/:tenant/scim/v2/Groups":                            {"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "x", "externalId": "x", "members": []any{}},
	"PUT /t/:tenant/scim/v2/Groups/:id":                         {"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "x", "externalId": "x", "members": []any{}},
	"PATCH /t/:tenant/scim/v2/Groups/:id":                       {"schemas": []string{"urn:ietf:params:scim:api:messages:2.0:PatchOp"}, "Operations": []any{map[string]any{"op": "replace", "path": "displayName", "value": "x"}}},
	"POST /t/:tenant/v1/stats":                                  {"padding": "x"},
}

// shapes are bodies that are hostile as a whole.
var shapes = map[string]string{
	"no body": "", "null": "null", "a list": "[]", "a word": `"x"`, "half": `{"`, "two": `{}{}`, "twice the same": `{"uuid":"a","uuid":"b"}`,
	"deep lists": strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000), "deep members": strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	"a large number": `{"tzOffset":1e999999}`, "a wrong type": `{"uuid":{"a":[1]},"code":7,"testType":null}`, "a name with NUL": `{"\u0000":1}`,
	"invalid UTF-8": "{\"uuid\":\"\xff\xfe\"}", "half a surrogate": `{"uuid":"\ud800"}`, "a byte order mark": "\ufeff{}", "compressed": "\x1f\x8b\x08\x00",
}

// Every member of every JSON body takes hostile text, and every endpoint hostile JSON.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	e := newEverybody(t)
	for _, r := range e.service.Routes() {
		if r.TenantFrom != authz.TenantFromURL || r.Credential.OfSession() || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
			continue
		}
		example, found := bodies[r.Method+" "+r.Path]
		if !found {
			t.Errorf("%s %s: add a body to bodies in hostile_test.go, with every member that it takes", r.Method, r.Path)
			continue
		}
		key := e.keys[keyKinds[r.Credential]]
		var attempts []attempt
		try := func(what, body string) {
			attempts = append(attempts, attempt{
				what: fmt.Sprintf("%s %s with %s", r.Method, r.Path, what),
				ask: func() reply {
					return e.ask(t, r.Method, at(r, string(e.own.Slug)), "", "application/json", body,
						"Accept", "application/json", "X-API-Key", key, "Authorization", "Bearer "+key)
				},
			})
		}
		for what, body := range shapes {
			try(what, body)
		}
		for _, kind := range slices.Sorted(maps.Keys(hostile)) {
			text := hostile[kind]
			for member := range example {
				changed := maps.Clone(example)
				changed[member] = text
				body, err := json.Marshal(changed)
				if err != nil {
					t.Fatal(err)
				}
				try(kind+" as "+member, string(body))
			}
		}
		e.try(t, attempts)
	}
	e.wantPlain(t)
}
