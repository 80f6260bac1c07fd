package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A run with successes and refusals of every kind leaves nothing in log and metrics
// that belongs to a person or opens anything.
func TestLogAndMetricsTellNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(1000))
	const number, address, query = "+12065550142", "203.0.113.77", "canary-in-query"
	canaries := map[string]string{
		"device key": f.north.device, "admin key": f.north.admin, "stats key": f.north.stats,
		"number": number, "number's digits": number[2:], "address": address, "query": query, "peer": "127.0.0.1",
	}
	ask := func(path, key string, body object) answer {
		text, _ := json.Marshal(body)
		h := jsonWith(key)
		h["X-Forwarded-For"], h["User-Agent"], h["Referer"] = address+", "+address, "canary-agent", "https://canary-referer.example/"
		return f.ask(t, http.MethodPost, path+"?"+query+"=1", h, string(text))
	}
	canaries["user agent"], canaries["referrer"] = "canary-agent", "canary-referer"

	issued := must(t, ask("/t/north/api/issue", f.north.admin, object{"testType": "confirmed", "phone": number, "externalIssuerID": "canary-issuer", "symptomDate": "2026-11-20"}))
	canaries["code"], canaries["UUID"], canaries["issuer"], canaries["date"] = issued.text("code"), issued.text("uuid"), "canary-issuer", "2026-11-20"
	canaries["message"] = f.sms.Delivered()[0].Body
	verified := must(t, ask("/t/north/api/verify", f.north.device, object{"code": issued.text("code"), "nonce": base64.StdEncoding.EncodeToString([]byte("canary nonce"))}))
	canaries["token"], canaries["nonce"] = verified.text("token"), base64.StdEncoding.EncodeToString([]byte("canary nonce"))
	teks := f.teks(3)
	upload := f.upload(t, f.north, teks, nil)
	for i, k := range teks {
		canaries["key "+string(rune('0'+i))] = k.Key
	}
	canaries["certificate"], canaries["secret"] = upload["verificationPayload"].(string), upload["hmacKey"].(string)
	published := must(t, ask("/t/north/v1/publish", "", upload))
	canaries["revision token"] = published.text("revisionToken")

	const reporter = "+12065550177"
	must(t, ask("/t/north/api/user-report", f.north.device, own(reporter)))
	canaries["reporter"], canaries["reporter's nonce"], canaries["reporter's code"] = reporter[2:], own("")["nonce"].(string), f.sentCode(t)
	ask("/t/north/api/user-report", f.north.device, own(reporter))
	ask("/t/north/api/user-report", f.north.device, own("canary number"))

	// Refusals.
	ask("/t/north/api/verify", f.north.device, object{"code": "canary code"})
	ask("/t/north/api/verify", "canary-key", object{})
	ask("/t/south/api/verify", f.north.device, object{"code": issued.text("code")})
	ask("/t/north/api/certificate", f.north.device, object{"token": verified.text("token"), "ekeyhmac": "canary!"})
	ask("/t/north/api/issue", f.north.admin, object{"testType": "canary type", "phone": number})
	ask("/t/north/api/issue", f.north.admin, object{"testType": "confirmed", "externalIssuerID": "canary\x00"})
	ask("/t/north/api/checkcodestatus", f.north.admin, object{"uuid": "canary-uuid"})
	ask("/t/north/v1/publish", "", upload)
	ask("/t/south/v1/publish", "", upload)
	ask("/t/north/v1/publish", "", upload.with("healthAuthorityID", "canary-authority"))
	ask("/t/canary-slug/api/verify", f.north.device, object{})
	ask("/canary-path", "", object{})
	f.ask(t, http.MethodGet, "/t/north/exports/canary-file.zip", nil, "")
	f.ask(t, "CANARY", "/t/north/api/verify", nil, "")
	canaries["anything made up"] = "canary"

	log, metrics := f.log.String(), f.metricsText(t)
	for what, canary := range canaries {
		if canary == "" {
			t.Errorf("%s: nothing to look for", what)
			continue
		}
		for where, text := range map[string]string{"log": log, "metrics": metrics} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(canary)) {
				t.Errorf("%s is in the %s", what, where)
			}
		}
	}
	if strings.Contains(metrics, "north") || strings.Contains(metrics, f.north.ID.String()) {
		t.Error("a tenant is in the metrics")
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.ask(t, http.MethodGet, "/t/north/jwks", nil, "")
	f.ask(t, http.MethodPost, "/t/north/jwks", nil, "")
	f.ask(t, http.MethodGet, "/t/nowhere/jwks", nil, "")
	var lines []map[string]any
	for line := range strings.Lines(f.log.String()) {
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, members)
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines for 3 requests:\n%s", len(lines), f.log)
	}
	for i, want := range []map[string]any{
		{"request": a.Header.Get("X-Request-ID"), "method": "GET", "route": "/t/:tenant/jwks", "tenant": "north", "status": 200.0},
		{"method": "other", "route": "none", "tenant": "", "status": 405.0},
		{"method": "GET", "route": "/t/:tenant/jwks", "tenant": "", "status": 404.0},
	} {
		for name, value := range want {
			if lines[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i+1, name, lines[i][name], value)
			}
		}
	}
}
