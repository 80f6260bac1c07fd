package api_test

import (
	"net/http"
	"testing"
	"time"

	"carillon/api"
	"carillon/tenant/tenanttest"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(2))
	paths := []string{"/t/north/api/verify", "/t/north/api/certificate", "/t/north/v1/publish"}
	ask := func(path string) answer { return f.ask(t, http.MethodPost, path, jsonWith(f.north.device), "{}") }
	reset := tenanttest.Start.Add(time.Minute).Format(http.TimeFormat)
	for i, remaining := range []string{"1", "0"} {
		a := ask(paths[i])
		if a.StatusCode == http.StatusTooManyRequests {
			t.Fatalf("request %d: %v", i+1, a)
		}
		for name, want := range map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset, "Retry-After": ""} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("request %d: %s is %q, want %q", i+1, name, got, want)
			}
		}
	}
	f.world.Advance(20 * time.Second)
	for _, path := range paths {
		a := ask(path)
		if a.StatusCode != http.StatusTooManyRequests || string(a.body) != "Too Many Requests" || a.Header.Get("Retry-After") != "41" || a.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%s over the limit: %v, retry after %q", path, a, a.Header.Get("Retry-After"))
		}
	}
	// The key comes before the limit; other tenants have budgets of their own.
	if a := f.ask(t, http.MethodPost, paths[0], jsonWith(""), "{}"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("no key, over the limit: %v, want 401", a)
	}
	if a := f.post(t, f.south.Tenant, "/api/verify", f.south.device, object{}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("another tenant: %v, want 400", a)
	}
	f.world.Advance(41 * time.Second)
	if a := ask(paths[0]); a.StatusCode != http.StatusBadRequest {
		t.Errorf("in the next window: %v, want 400", a)
	}
}

func TestNoLimits(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	for range 200 {
		a := f.post(t, f.north.Tenant, "/api/verify", f.north.device, object{})
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("X-RateLimit-Limit") != "" {
			t.Fatalf("verify: %v %v", a, a.Header)
		}
	}
}

// Callers behind a trusted proxy are told apart by the second-to-last forwarded
// address; others cannot choose one (§0.2).
func TestCallersBehindAProxy(t *testing.T) {
	t.Parallel()
	f := setUp(t, limited(1), func(_ *fixture, c *api.Config) { c.TrustProxy = true })
	ask := func(forwarded string) int {
		h := jsonWith(f.north.device)
		if forwarded != "" {
			h["X-Forwarded-For"] = forwarded
		}
		return f.ask(t, http.MethodPost, "/t/north/api/verify", h, "{}").StatusCode
	}
	for _, test := range []struct {
		forwarded string
		want      int
	}{
		{"192.0.2.1, 198.51.100.7", 400},
		{"10.0.0.1, 192.0.2.1, 198.51.100.7", 429}, // the same second-to-last
		{"192.0.2.2,198.51.100.7", 400},
		{"2001:db8:1:2::1, 198.51.100.7", 400},
		{"2001:db8:1:2:ffff::2, 198.51.100.7", 429}, // the same network
		{"2001:db8:1:3::1, 198.51.100.7", 400},
		{"192.0.2.3", 400},  // one element: the peer
		{"192.0.2.4", 429},  // the peer again
		{"", 429},           // the peer again
		{" , 192.0", 429},   // nothing: the peer again
		{"192.0.2.5,", 400}, // an address before nothing
	} {
		if got := ask(test.forwarded); got != test.want {
			t.Errorf("%q: status %d, want %d", test.forwarded, got, test.want)
		}
	}
	f.start(t, limited(1))
	if first, second := ask("192.0.2.8, 198.51.100.7"), ask("192.0.2.9, 198.51.100.7"); first != 400 || second != 429 {
		t.Errorf("without a trusted proxy: %d and %d, want 400 and 429", first, second)
	}
}
