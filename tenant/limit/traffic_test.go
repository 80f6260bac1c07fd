package limit_test

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant"
	"carillon/tenant/limit"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// passed is how many of n requests are allowed.
func passed(tr *limit.Traffic, a limit.Asker, n int) int {
	allowed := 0
	for range n {
		if tr.Allow(a).Allowed {
			allowed++
		}
	}
	return allowed
}

func TestTrafficOfNeighbours(t *testing.T) {
	t.Parallel()
	var c clock
	tr, id := limit.NewTraffic(limit.Rates{Caller: 3, Network: 5}, c.now), tenant.NewID()
	for _, test := range []struct {
		address string
		want    int
	}{
		{"192.0.2.1", 3},
		{"192.0.2.2", 2},
		{"192.0.2.3", 0},
		{"192.0.3.1", 3},
		{"2001:db8:1:1::1", 3},
		{"2001:db8:1:1:ffff::2", 0},
		{"2001:db8:1:2::1", 2},
		{"2001:db8:2:2::1", 3},
	} {
		if got := passed(tr, limit.Asker{Tenant: id, Address: addr(test.address)}, 4); got != test.want {
			t.Errorf("%s: %d requests allowed, want %d", test.address, got, test.want)
		}
	}
	if got := passed(tr, limit.Asker{Tenant: tenant.NewID(), Address: addr("192.0.2.3")}, 4); got != 3 {
		t.Errorf("at another tenant: %d requests allowed, want 3", got)
	}
}

func TestTrafficOfKeys(t *testing.T) {
	t.Parallel()
	var c clock
	tr, id := limit.NewTraffic(limit.Rates{Key: 4}, c.now), tenant.NewID()
	asker := func(key, address string) limit.Asker {
		return limit.Asker{Tenant: id, Key: key, Address: addr(address)}
	}
	if got := passed(tr, asker("a", "192.0.2.1"), 3) + passed(tr, asker("a", "198.51.100.1"), 3); got != 4 {
		t.Errorf("one key at two addresses: %d, want 4", got)
	}
	if got := passed(tr, asker("b", "192.0.2.1"), 5); got != 4 {
		t.Errorf("another key: %d, want 4", got)
	}
	if got := passed(tr, asker("", "192.0.2.1"), 50); got != 50 {
		t.Errorf("no key: %d, want 50", got)
	}
}

// A flood upon one tenant costs no other tenant, and shuts out nobody who asks little.
func TestTrafficOfATenant(t *testing.T) {
	t.Parallel()
	var c clock
	tr, flooded := limit.NewTraffic(limit.Rates{Caller: 100, Tenant: 150, Free: 6}, c.now), tenant.NewID()
	total := 0
	for i := range 10 {
		total += passed(tr, limit.Asker{Tenant: flooded, Address: addr(fmt.Sprintf("192.0.2.%d", i))}, 200)
	}
	if want := 150 + 10*6; total > want {
		t.Errorf("ten callers: %d requests allowed, want at most %d", total, want)
	}
	if got := passed(tr, limit.Asker{Tenant: flooded, Address: addr("198.51.100.1")}, 10); got != 6 {
		t.Errorf("a phone in the flood: %d requests allowed, want 6", got)
	}
	if got := passed(tr, limit.Asker{Tenant: tenant.NewID(), Address: addr("192.0.2.1")}, 100); got != 100 {
		t.Errorf("at another tenant: %d requests allowed, want 100", got)
	}
	refused := tr.Allow(limit.Asker{Tenant: flooded, Address: addr("192.0.2.1")})
	if refused.Allowed || refused.Remaining != 0 || !refused.Reset.Equal(start.Add(limit.Window)) {
		t.Errorf("a caller of the flood: %+v", refused)
	}
	c.advance(limit.Window)
	if got := passed(tr, limit.Asker{Tenant: flooded, Address: addr("192.0.2.1")}, 100); got != 100 {
		t.Errorf("in the next window: %d requests allowed, want 100", got)
	}
}

// What one limit refuses costs no other.
func TestRefusedRequestsCountNowhere(t *testing.T) {
	t.Parallel()
	var c clock
	tr, id := limit.NewTraffic(limit.Rates{Caller: 1, Network: 10}, c.now), tenant.NewID()
	passed(tr, limit.Asker{Tenant: id, Address: addr("192.0.2.1")}, 100)
	got := 0
	for i := 2; i < 20; i++ {
		got += passed(tr, limit.Asker{Tenant: id, Address: addr(fmt.Sprintf("192.0.2.%d", i))}, 1)
	}
	if got != 9 {
		t.Errorf("the neighbours: %d requests allowed, want 9", got)
	}
}

func TestTrafficAtOnce(t *testing.T) {
	t.Parallel()
	var c clock
	tr, id := limit.NewTraffic(limit.Rates{Caller: 50, Network: 120, Tenant: 200}, c.now), tenant.NewID()
	var allowed atomic.Int64
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 400 {
				a := fmt.Sprintf("192.0.%d.%d", (g+i)%2, i%4)
				if tr.Allow(limit.Asker{Tenant: id, Address: addr(a)}).Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := allowed.Load(); n != 200 {
		t.Errorf("%d requests were allowed, want 200", n)
	}
}

func BenchmarkTraffic(b *testing.B) {
	tr, id := limit.NewTraffic(limit.Rates{Caller: 1 << 30, Network: 1 << 30, Tenant: 1 << 30, Free: 6}, time.Now), tenant.NewID()
	a := limit.Asker{Tenant: id, Address: addr("192.0.2.1")}
	for b.Loop() {
		tr.Allow(a)
	}
}
