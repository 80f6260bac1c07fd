package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"carillon/api"
	"carillon/tenant/limit"
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

// Callers behind a trusted proxy are told apart by what the proxy says; nobody can
// choose an address, whatever the header claims.
func TestCallersBehindAProxy(t *testing.T) {
	t.Parallel()
	ours, err := limit.ParseNetworks([]string{"127.0.0.0/8", "10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	f := setUp(t, limited(1), func(_ *fixture, c *api.Config) { c.Proxies = ours })
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
		{"192.0.2.1", 400},
		{"203.0.113.1, 192.0.2.1", 429},           // a story before the address
		{"203.0.113.1, 192.0.2.1, 10.0.0.1", 429}, // two proxies
		{"203.0.113.1, 10.0.0.7,192.0.2.2", 400},
		{"2001:db8:1:2::1", 400},
		{"2001:db8:1:2:ffff::2", 429}, // the same network
		{"2001:db8:1:3::1", 400},
		{"192.0.2.5,", 400}, // a proxy without a word: the proxy itself
		{"192.0.2.6,", 429},
		{"", 429},
		{"unknown", 429},
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

// A good key from outside the networks that the tenant has listed for the service is
// an unknown one; each service has its own list, and other tenants theirs. The order
// is §0.2's: a phone's list comes before the limit, a back end's after it.
func TestAllowLists(t *testing.T) {
	t.Parallel()
	ours, err := limit.ParseNetworks([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	f := setUp(t)
	f.set(t, f.north.Tenant, `device_networks = '{192.0.2.0/24}', admin_networks = '{2001:db8:1::/48,198.51.100.7/32}'`)
	f.start(t, limited(2), func(_ *fixture, c *api.Config) { c.Proxies = ours })
	ask := func(at account, key, path, from string, chaff bool) answer {
		h := jsonWith(key)
		h["X-Forwarded-For"] = from
		if chaff {
			h["X-Chaff"] = "1"
		}
		return f.ask(t, http.MethodPost, "/t/"+string(at.Slug)+path, h, "{}")
	}
	for _, test := range []struct {
		name string
		at   account
		key  string
		path string
		from string
		want int
	}{
		{"phone inside", f.north, f.north.device, "/api/verify", "192.0.2.1", 400},
		{"phone outside", f.north, f.north.device, "/api/verify", "192.0.3.1", 401},
		{"phone outside, again and again", f.north, f.north.device, "/api/certificate", "192.0.3.1", 401},
		{"phone outside, not limited", f.north, f.north.device, "/api/verify", "192.0.3.1", 401},
		{"phone in the other list", f.north, f.north.device, "/api/verify", "198.51.100.7", 401},
		{"a story of an address inside", f.north, f.north.device, "/api/verify", "192.0.2.1, 192.0.3.1", 401},
		{"back end inside", f.north, f.north.admin, "/api/issue", "2001:db8:1:9::1", 400},
		{"back end inside", f.north, f.north.admin, "/api/issue", "198.51.100.7", 400},
		{"back end outside", f.north, f.north.admin, "/api/issue", "198.51.100.8", 401},
		{"back end outside", f.north, f.north.admin, "/api/issue", "198.51.100.8", 401},
		{"back end outside, limited first", f.north, f.north.admin, "/api/issue", "198.51.100.8", 429},
		{"another tenant", f.south, f.south.device, "/api/verify", "192.0.3.1", 400},
	} {
		if a := ask(test.at, test.key, test.path, test.from, false); a.StatusCode != test.want {
			t.Errorf("%s: %v, want %d", test.name, a, test.want)
		}
	}
	outside := ask(f.north, f.north.device, "/api/verify", "192.0.3.1", false)
	unknown := ask(f.north, unknownKey(), "/api/verify", "192.0.2.9", false)
	if string(outside.body) != string(unknown.body) {
		t.Errorf("outside: %s, unknown key: %s", outside.body, unknown.body)
	}
	if a := ask(f.north, f.north.device, "/api/verify", "192.0.3.1", true); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("cover traffic from outside: %v, want 401", a)
	}
	if a := ask(f.north, f.north.device, "/api/verify", "192.0.2.77", true); a.StatusCode != http.StatusOK {
		t.Errorf("cover traffic from inside: %v, want 200", a)
	}
}

// Whoever makes up tenants or hosts is stopped before the database is asked, and stops
// nobody whose tenant is known.
func TestMadeUpNames(t *testing.T) {
	t.Parallel()
	const allowed = 5
	f := setUp(t, limited(allowed))
	must(t, f.ask(t, http.MethodGet, "/t/north/jwks", nil, ""))
	for _, test := range []struct {
		name string
		ask  func(i int) answer
	}{
		{"slugs", func(i int) answer {
			return f.ask(t, http.MethodPost, fmt.Sprintf("/t/nobody%d/api/verify", i), jsonWith(f.north.device), "{}")
		}},
		{"hosts", func(i int) answer {
			return f.ask(t, http.MethodPost, "/api/verify", header{"Host": fmt.Sprintf("nobody%d.example", i)}, "{}")
		}},
	} {
		f.world.Advance(limit.Window)
		for i := range 3 * allowed {
			var a answer
			trips := f.world.Trips(func() { a = test.ask(i) })
			stopped := a.StatusCode == http.StatusTooManyRequests
			if stopped != (i >= allowed) || stopped && trips != 0 || stopped && a.Header.Get("Retry-After") == "" {
				t.Errorf("%s, name %d: %v after %d round trips", test.name, i, a, trips)
			}
		}
		if a := test.ask(0); a.StatusCode == http.StatusTooManyRequests {
			t.Errorf("%s: %v for a name that is known to be nobody's", test.name, a)
		}
		must(t, f.ask(t, http.MethodGet, "/t/north/jwks", nil, ""))
	}
}

// Where tenants take turns, a tenant whose line is full is asked to come back, and no
// other is; a request without a turn is not worked on.
func TestTurns(t *testing.T) {
	t.Parallel()
	turns := limit.NewTurns(4, 1)
	f := setUp(t, func(_ *fixture, c *api.Config) { c.Turns = turns })
	for range 3 { // the tenant's part
		done, err := turns.Enter(t.Context(), f.north.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
	}
	answers := make(chan int, 2) // one stands in line, the other finds it full
	for range 2 {
		go func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, err := f.request(ctx, http.MethodPost, "/t/north/api/verify", jsonWith(f.north.device), strings.NewReader("{}"))
			if err != nil {
				answers <- 0
				return
			}
			answers <- a.StatusCode
		}()
	}
	if got := <-answers; got != http.StatusTooManyRequests {
		t.Errorf("with a full line: status %d, want 429", got)
	}
	for path, want := range map[string]int{"/api/verify": 429, "/api/certificate": 429, "/v1/publish": 429} {
		a := f.post(t, f.north.Tenant, path, f.north.device, object{})
		if a.StatusCode != want || a.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: %v, want %d", path, a, want)
		}
	}
	f.issue(t, f.north, nil) // not limited by phones
	f.token(t, f.south, nil)
}
