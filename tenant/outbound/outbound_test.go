package outbound_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"code.dny.dev/ssrf"

	"carillon/tenant/outbound"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ public, loopback bool }{
		"https://health.example/hook?a=b":    {true, true},
		"https://health.example:8443/":       {true, true}, // the port is seen when it is called
		"http://health.example/hook":         {false, false},
		"http://127.0.0.1:8080/hook":         {false, true},
		"http://localhost/hook":              {false, true},
		"http://localhost.evil.example/":     {false, false},
		"https://user:secret@health.example": {false, false},
		"https://health.example/#part":       {false, false},
		"ftp://health.example/":              {false, false},
		"file:///etc/passwd":                 {false, false},
		"//health.example/":                  {false, false},
		"https:///hook":                      {false, false},
		"":                                   {false, false},
		"https://%zz":                        {false, false},
	} {
		if _, err := outbound.New(false, 443).ParseURL(text); (err == nil) != want.public || err != nil && !errors.Is(err, outbound.ErrAddress) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := outbound.New(true, 443).ParseURL(text); (err == nil) != want.loopback {
			t.Errorf("%q with loopback: %v", text, err)
		}
	}
}

// Private addresses are refused however they are written, and before anything is sent.
func TestPrivateAddressesAreNotReached(t *testing.T) {
	t.Parallel()
	n := outbound.New(false, 80, 443)
	for _, host := range []string{
		"127.0.0.1", "localhost", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
		"::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "255.255.255.255",
	} {
		c, err := n.DialContext(t.Context(), "tcp", net.JoinHostPort(host, "443"))
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, ssrf.ErrProhibitedIP) {
			t.Errorf("%s: %v, want a refusal", host, err)
		}
	}
}

func TestLoopbackIsReachedWhereItIsAllowed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
	}))
	defer server.Close()
	for _, loopback := range []bool{true, false} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := outbound.New(loopback, 80, 443).Client().Do(request)
		if (err == nil) != loopback {
			t.Errorf("loopback %v: %v", loopback, err)
		}
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusFound {
				t.Errorf("status %d: the redirect was followed", response.StatusCode)
			}
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"https://a.example/", "http://127.0.0.1", "https://[::1]:443/x", "https://u@h", "https://%41"} {
		f.Add(seed)
	}
	n := outbound.New(false, 443)
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := n.ParseURL(text); err == nil && (u.Scheme != "https" || u.Host == "" || u.User != nil) {
			t.Errorf("%q was taken as %v", text, u)
		}
	})
}
