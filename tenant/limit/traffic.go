package limit

import (
	"net/netip"
	"sync"
	"time"

	"carillon/tenant"
)

// Rates are how many requests of each kind a process takes in a [Window]. Zero means
// as many as come.
type Rates struct {
	// Caller is for one address, or for one IPv6 network of 64 bits, at one tenant.
	// It is the protocol's limit (§0.2).
	Caller int
	// Network is for the neighbourhood: 24 bits of IPv4, 48 bits of IPv6.
	Network int
	// Key is for one API key of a back end.
	Key int
	// Tenant is for all callers of a tenant together.
	Tenant int
	// Free is how many requests of each caller neither Key nor Tenant can refuse, so
	// that a flood does not shut out those who ask little.
	Free int
}

// DefaultRates are the protocol's for callers; the others are for whoever has many
// addresses. A phone makes three requests for a diagnosis, so in the worst flood twenty
// phones a minute behind one address are served.
func DefaultRates() Rates {
	return Rates{Caller: 120, Network: 480, Key: 1200, Tenant: 6000, Free: 60}
}

// Asker is who makes a request.
type Asker struct {
	Tenant tenant.ID
	// Key is the ID of an API key that one back end has to itself; empty for none. The
	// key of an app is on all phones and says nothing.
	Key     string
	Address netip.Addr
}

// Traffic bounds the requests of callers, of their neighbourhoods, of API keys and of
// tenants. A request counts against all of these, or, if one of them refuses it,
// against none. It is safe for concurrent use.
type Traffic struct {
	rates Rates

	mu       sync.Mutex // makes one decision of several
	callers  *Limiter
	networks *Limiter
	keys     *Limiter
	tenants  *Limiter
}

// NewTraffic returns an account of requests at these rates.
func NewTraffic(r Rates, now func() time.Time) *Traffic {
	return &Traffic{
		rates: r, callers: optional(r.Caller, now), networks: optional(r.Network, now),
		keys: optional(r.Key, now), tenants: optional(r.Tenant, now),
	}
}

func optional(perWindow int, now func() time.Time) *Limiter {
	if perWindow == 0 {
		return nil
	}
	return New(perWindow, now)
}

// bound is one of the limits that a request meets.
type bound struct {
	limiter *Limiter
	who     caller
}

// bounds are those of a request, the caller's own first. Whoever has asked less than
// Free is bound by no limit that strangers share.
func (t *Traffic) bounds(a Asker) []bound {
	var list []bound
	add := func(l *Limiter, name string) {
		if l != nil {
			list = append(list, bound{l, l.digest(a.Tenant, name)})
		}
	}
	add(t.callers, CallerOf(a.Address))
	add(t.networks, NetworkOf(a.Address))
	if len(list) > 0 && list[0].limiter.asked(list[0].who) < t.rates.Free {
		return list
	}
	if a.Key != "" {
		add(t.keys, a.Key)
	}
	add(t.tenants, "")
	return list
}

// Allow counts a request and tells the caller where it stands: with its own account,
// or with the one that refuses.
func (t *Traffic) Allow(a Asker) Decision {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.bounds(a)
	for _, b := range list {
		if d := b.limiter.peek(b.who); !d.Allowed {
			return d
		}
	}
	first := Decision{Allowed: true}
	for i, b := range list {
		if d := b.limiter.allow(b.who); i == 0 {
			first = d
		}
	}
	return first
}

// Peek tells a caller where it stands without counting a request.
func (t *Traffic) Peek(a Asker) Decision {
	if t.callers == nil {
		return Decision{Allowed: true}
	}
	return t.callers.Peek(a.Tenant, CallerOf(a.Address))
}
