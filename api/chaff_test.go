package api_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Cover traffic has the headers and sizes of real successes, whatever its body, and
// touches neither the database nor anybody's limit (verification protocol §10, key
// server protocol §8).
func TestChaffLooksReal(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(1000))
	var verified, certified, published []answer
	for range 5 {
		code, _ := f.issue(t, f.north, nil)
		verified = append(verified, must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code})))
		certified = append(certified, must(t, f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{
			"token": verified[len(verified)-1].text("token"), "ekeyhmac": base64.StdEncoding.EncodeToString(randomBytes(32)),
		})))
		published = append(published, must(t, f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, f.teks(3), nil))))
		// Failures are no model for chaff.
		f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "no such code"})
		f.post(t, f.north.Tenant, "/v1/publish", "", object{})
	}
	for path, real := range map[string][]answer{"/api/verify": verified, "/api/certificate": certified, "/v1/publish": published} {
		sizes := map[int]bool{}
		for _, a := range real {
			sizes[len(a.body)] = true
		}
		for i := range 20 {
			a := f.chaff(t, path, f.north.device, []string{`{}`, ``, `not JSON`}[i%3])
			if a.StatusCode != http.StatusOK || len(a.body) == 0 || a.text("padding") == "" || len(must(t, a).body) == 0 {
				t.Fatalf("chaff at %s: %v", path, a)
			}
			// Verify and publish happen on the way to every upload, too: only some sizes were noted here.
			if path == "/v1/publish" && !sizes[len(a.body)] {
				t.Errorf("chaff at %s of %d bytes, want one of %v", path, len(a.body), slices.Collect(maps.Keys(sizes)))
			}
			if diff := cmp.Diff(headerShape(real[0]), headerShape(a)); diff != "" {
				t.Errorf("chaff at %s has other headers (-real +chaff):\n%s", path, diff)
			}
		}
	}
	if got := f.counted(t, "carillon_chaff_total"); got != 60 {
		t.Errorf("%v chaff requests counted, want 60", got)
	}
}

func (f *fixture) chaff(t *testing.T, path, key, body string) answer {
	t.Helper()
	h := header{"Content-Type": "application/json", "X-API-Key": key, "X-Chaff": "1"}
	return f.ask(t, http.MethodPost, "/t/north"+path, h, body)
}

// headerShape is an answer's headers without what differs between any two.
func headerShape(a answer) http.Header {
	h := a.Header.Clone()
	for _, name := range []string{"X-Request-ID", "Date", "Content-Length", "X-RateLimit-Remaining"} {
		if h.Get(name) != "" {
			h.Set(name, "any")
		}
	}
	return h
}

func TestChaffTouchesNothing(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(3))
	fewest := 1 << 30
	for range 4 { // caches live for seconds only
		f.chaff(t, "/api/verify", f.north.device, "{}")
		fewest = min(fewest, f.world.Trips(func() {
			for _, path := range []string{"/api/verify", "/api/certificate", "/v1/publish"} {
				f.chaff(t, path, f.north.device, `{"code":"12345678"}`)
			}
		}))
	}
	if fewest != 0 {
		t.Errorf("%d round trips for chaff, want none", fewest)
	}
	a := f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "1"})
	if got := a.Header.Get("X-RateLimit-Remaining"); got != "2" {
		t.Errorf("%s requests left after chaff and one request, want 2", got)
	}
	for range 5 {
		f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": "1"})
	}
	if a := f.chaff(t, "/api/verify", f.north.device, "{}"); a.StatusCode != http.StatusOK {
		t.Errorf("chaff of a caller over the limit: %v, want 200", a)
	}
}

func TestChaffNeedsAKey(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for _, path := range []string{"/api/verify", "/api/certificate"} {
		for _, key := range []string{"", "rubbish", f.north.admin, f.south.device} {
			if a := f.chaff(t, path, key, "{}"); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("chaff at %s with a wrong key: %v, want 401", path, a)
			}
		}
	}
	if a := f.chaff(t, "/v1/publish", "", "{}"); a.StatusCode != http.StatusOK {
		t.Errorf("chaff at publish: %v", a)
	}
	// The back ends' endpoints know no cover traffic.
	h := jsonWith(f.north.admin)
	h["X-Chaff"] = "1"
	if a := f.ask(t, http.MethodPost, "/t/north/api/issue", h, `{"testType":"confirmed"}`); a.text("code") == "" {
		t.Errorf("issue with X-Chaff: %v, want a code", a)
	}
}

// At a URL of no tenant chaff is answered as anywhere.
func TestChaffOfNoTenant(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(10))
	real := f.chaff(t, "/v1/publish", "", "{}")
	none := f.ask(t, http.MethodPost, "/t/nowhere/v1/publish", header{"X-Chaff": "1"}, "{}")
	if diff := cmp.Diff(headerShape(real), headerShape(none)); diff != "" || none.StatusCode != http.StatusOK {
		t.Errorf("%v (-tenant +none):\n%s", none, diff)
	}
}

// Before there was a real success, chaff has about the size of one.
func TestBuiltInChaff(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	chaff := map[string]int{}
	for _, path := range []string{"/api/verify", "/api/certificate", "/v1/publish"} {
		a := f.chaff(t, path, f.north.device, "{}")
		chaff[path] = len(a.body)
	}
	code, _ := f.issue(t, f.north, object{"symptomDate": "2026-11-23"})
	verified := must(t, f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{"code": code}))
	certified := must(t, f.post(t, f.north.Tenant, "/api/certificate", f.north.device, object{
		"token": verified.text("token"), "ekeyhmac": base64.StdEncoding.EncodeToString(randomBytes(32)),
	}))
	published := must(t, f.post(t, f.north.Tenant, "/v1/publish", "", f.upload(t, f.north, f.teks(14), nil)))
	for path, real := range map[string]answer{"/api/verify": verified, "/api/certificate": certified, "/v1/publish": published} {
		bare := len(real.body) - len(real.text("padding"))
		const least, most = 1368, 2732 // characters of padding
		if got := chaff[path]; got < bare+least-bare/5 || got > bare+most+bare/5 {
			t.Errorf("%s: built-in chaff of %d bytes, real answers have %d to %d", path, got, bare+least, bare+most)
		}
		t.Logf("%s: a success has %d bytes without padding", path, bare)
	}
}
