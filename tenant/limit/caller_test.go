package limit_test

import (
	"net/netip"
	"strings"
	"testing"

	"carillon/tenant/limit"
)

func networks(t testing.TB, texts ...string) limit.Proxies {
	t.Helper()
	p, err := limit.ParseNetworks(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCaller(t *testing.T) {
	t.Parallel()
	ours := networks(t, "10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.1")
	for _, test := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a stranger's story", "192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"one proxy", "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"one proxy, and a story", "10.0.0.1:1", []string{"203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		{"a story of our own proxies", "10.0.0.1:1", []string{"203.0.113.9, 10.0.0.9, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"several headers", "10.0.0.1:1", []string{"203.0.113.9", "192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"nonsense", "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"nonsense before", "10.0.0.1:1", []string{"unknown, 192.0.2.1"}, "192.0.2.1"},
		{"empty element", "10.0.0.1:1", []string{"192.0.2.1, "}, "10.0.0.1"},
		{"with a port", "10.0.0.1:1", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"IPv6", "[2001:db8:ffff::1]:1", []string{"2001:db8:1::1"}, "2001:db8:1::1"},
		{"IPv6 in brackets", "127.0.0.1:1", []string{"[2001:db8:1::1]"}, "2001:db8:1::1"},
		{"IPv6 with a port", "127.0.0.1:1", []string{"[2001:db8:1::1]:99"}, "2001:db8:1::1"},
		{"a zone", "127.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"a peer without address", "@", []string{"192.0.2.1"}, "invalid IP"},
	} {
		if got := ours.Caller(test.peer, test.forwarded).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if got := limit.Proxies(nil).Caller("127.0.0.1:1", []string{"192.0.2.1"}).String(); got != "127.0.0.1" {
		t.Errorf("without proxies: %s", got)
	}
}

func TestAllowLists(t *testing.T) {
	t.Parallel()
	list := networks(t, "192.0.2.0/24", "198.51.100.7", "2001:db8::/32")
	for address, want := range map[string]bool{
		"192.0.2.1": true, "192.0.3.1": false, "198.51.100.7": true, "198.51.100.8": false,
		"2001:db8:1::1": true, "2001:db9::1": false,
	} {
		if got := limit.Admits(list, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: admitted %v, want %v", address, got, want)
		}
	}
	if limit.Admits(list, netip.Addr{}) {
		t.Error("no address is admitted to a list")
	}
	if !limit.Admits(nil, netip.Addr{}) {
		t.Error("an empty list is not open")
	}
}

func TestParseNetworks(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "10.0.0.0/33", "example.org", "10.0.0.1/"} {
		if p, err := limit.ParseNetworks([]string{bad}); err == nil {
			t.Errorf("%q was read as %v", bad, p)
		}
	}
	if p := networks(t, "10.1.2.3/8", "::ffff:192.0.2.1"); p[0].String() != "10.0.0.0/8" || p[1].String() != "192.0.2.1/32" {
		t.Errorf("read %v", p)
	}
}

// Whatever a stranger writes into the header, the proxy's own word for it stands.
func FuzzCaller(f *testing.F) {
	for _, s := range []string{"", "192.0.2.1", "10.0.0.1, ,", "[::1]:80", "a,b,c", "10.0.0.1\x00"} {
		f.Add(s)
	}
	ours, err := limit.ParseNetworks([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, story string) {
		if got := limit.Proxies(ours).Caller("192.0.2.1:1", []string{story}).String(); got != "192.0.2.1" {
			t.Errorf("a stranger became %s", got)
		}
		for _, forwarded := range [][]string{{story, "198.51.100.7"}, {story + ",198.51.100.7"}, {strings.ToUpper(story) + ",198.51.100.7, 10.1.1.1"}} {
			if got := limit.Proxies(ours).Caller("10.0.0.1:1", forwarded).String(); got != "198.51.100.7" {
				t.Errorf("%q: the caller became %s", forwarded, got)
			}
		}
	})
}
