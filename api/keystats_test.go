package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/signing"
	"carillon/signing/bearer"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/stats"
)

// bearerOf is a token of a tenant, made at a time.
func (f *fixture) bearerOf(t *testing.T, of account, at time.Time) string {
	t.Helper()
	signer, err := key.NewRing(f.world.Device, f.world.Root).Signer(t.Context(), of.ID, signing.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bearer.Sign(signer.Key, signer.KeyID, of.Settings.Issuer, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (f *fixture) keyStats(t *testing.T, slug, authorization, body string) answer {
	t.Helper()
	h := header{"Content-Type": "application/json"}
	if authorization != "" {
		h["Authorization"] = authorization
	}
	return f.ask(t, http.MethodPost, "/t/"+slug+"/v1/stats", h, body)
}

// uploads counts n uploads as of a time.
func (f *fixture) uploads(t *testing.T, of account, at time.Time, n int) {
	t.Helper()
	c := stats.NewCounter(func() time.Time { return at })
	for range n {
		c.Uploaded(of.ID, stats.Upload{Platform: stats.Android, Certified: at, Inserted: 14, OldestDays: 14, OnsetDays: 3})
	}
	if err := c.Flush(t.Context(), f.world.Publish); err != nil {
		t.Fatal(err)
	}
}

// days are those that the key server tells, with their uploads.
func (f *fixture) told(t *testing.T, of account) map[string]float64 {
	t.Helper()
	a := f.keyStats(t, string(of.Slug), "Bearer "+f.bearerOf(t, of, f.world.Now()), `{"padding":""}`)
	if a.StatusCode != http.StatusOK || a.text("padding") == "" || a.member("error") != nil {
		t.Fatalf("%v", a)
	}
	list, _ := a.member("days").([]any)
	told := map[string]float64{}
	for _, d := range list {
		d, _ := d.(map[string]any)
		requests, _ := d["publish_requests"].(map[string]any)
		n, _ := requests["android"].(float64)
		day, _ := d["day"].(string)
		told[strings.TrimSuffix(day, "T00:00:00Z")] = n
	}
	return told
}

// A day is told if ten uploads hide each other or it is long over, and the current hour
// never counts (key server protocol §9), before and after a roll-up.
func TestKeyServerStatisticsAreSuppressed(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	now := f.world.Now() // 15:04:05
	f.uploads(t, f.north, now.Add(-time.Hour), 9)
	f.uploads(t, f.north, now, 50)                   // this hour
	f.uploads(t, f.north, now.AddDate(0, 0, -1), 9)  // a few, not long over
	f.uploads(t, f.north, now.AddDate(0, 0, -2), 10) // enough
	f.uploads(t, f.north, now.AddDate(0, 0, -3), 1)  // long over
	f.uploads(t, f.south, now.Add(-time.Hour), 20)   // another tenant's
	for range 2 {
		got := f.told(t, f.north)
		if len(got) != 2 || got["2026-11-23"] != 10 || got["2026-11-22"] != 1 {
			t.Errorf("told %v", got)
		}
		f.rollup(t)
	}
	f.uploads(t, f.north, now.Add(-time.Hour), 1)
	if got := f.told(t, f.north); got["2026-11-25"] != 10 {
		t.Errorf("told %v, want today's ten of the hour before", got)
	}
	f.world.Advance(time.Hour)
	if got := f.told(t, f.north); got["2026-11-25"] != 60 {
		t.Errorf("told %v, want all of today's an hour later", got)
	}
	f.world.SetNow(time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC))
	if got := f.told(t, f.north); got["2026-11-24"] != 0 {
		t.Errorf("told %v two days after the end", got)
	}
	f.world.Advance(time.Second)
	if got := f.told(t, f.north); got["2026-11-24"] != 9 {
		t.Errorf("told %v more than two days after the end", got)
	}
}

func TestKeyServerStatisticsAreGuarded(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	good := f.bearerOf(t, f.north, f.world.Now())
	certificate := f.upload(t, f.north, f.teks(1), nil)["verificationPayload"].(string)
	for name, test := range map[string]struct{ slug, authorization, body, code, text string }{
		"no token":          {"north", "", "{}", "unauthorized", "Authorization header is not in `Bearer <token>` format"},
		"lower case":        {"north", "bearer " + good, "{}", "unauthorized", "Authorization header is not in `Bearer <token>` format"},
		"rubbish":           {"north", "Bearer x.y.z", "{}", "unauthorized", "unauthorized: token is malformed"},
		"another tenant's":  {"south", "Bearer " + good, "{}", "unauthorized", `unauthorized: issuer not found: "health.north.example"`},
		"no tenant":         {"nowhere", "Bearer " + good, "{}", "unauthorized", `unauthorized: issuer not found: "health.north.example"`},
		"expired":           {"north", "Bearer " + f.bearerOf(t, f.north, f.world.Now().Add(-time.Hour)), "{}", "unauthorized", "unauthorized: token is expired"},
		"from the future":   {"north", "Bearer " + f.bearerOf(t, f.north, f.world.Now().Add(time.Hour)), "{}", "unauthorized", "unauthorized: not valid yet (NBF or IAT) in the future"},
		"phone certificate": {"north", "Bearer " + certificate, "{}", "unauthorized", "unauthorized: token's claims are malformed: it is a diagnosis certificate"},
		"not JSON":          {"north", "Bearer " + good, "{", "bad_request", "error unmarshalling API call, code: 400: malformed json"},
		"unknown member":    {"north", "Bearer " + good, `{"x":1}`, "bad_request", `error unmarshalling API call, code: 400: unknown field "x"`},
		"too large":         {"north", "Bearer " + good, `{"padding":"` + strings.Repeat("x", 64_000) + `"}`, "bad_request", "error unmarshalling API call, code: 413: http: request body too large"},
	} {
		a := f.keyStats(t, test.slug, test.authorization, test.body)
		if a.text("code") != test.code || a.text("error") != test.text || a.text("padding") == "" || a.member("days") != nil {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := f.ask(t, http.MethodPost, "/t/north/v1/stats", header{"Authorization": "Bearer " + good}, "{}"); a.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("no content type: %v", a)
	}
	if a := f.keyStats(t, "north", "Bearer "+good, "{}"); a.StatusCode != http.StatusOK || a.member("days") != nil {
		t.Errorf("idle: %v, want no days", a)
	}
	f.start(t)
	f.put(t, f.north.Tenant, tenant.Erased)
	f.start(t)
	if a := f.keyStats(t, "north", "Bearer "+good, "{}"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("erased: %v, want 401", a)
	}
}
