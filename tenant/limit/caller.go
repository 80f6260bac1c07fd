package limit

import (
	"net/netip"
	"strings"
)

// Proxies are the networks of the proxies in front of a process. Only what they say
// of a caller is believed.
type Proxies []netip.Prefix

// Caller is the address that a request came from. peer is the other end of the
// connection, as host and port; forwarded are the values of X-Forwarded-For, to whose
// end each proxy adds the address that it saw.
//
// The list is read from its end for as long as the speaker is one of ours: what stands
// before the first stranger's address is the stranger's own story. Where a proxy of
// ours says nothing readable, it stands for the caller itself. (The verification
// protocol §0.2 takes the second-to-last element unseen, which a caller without a
// second proxy may choose freely.) The zero address means a peer that has none.
func (p Proxies) Caller(peer string, forwarded []string) netip.Addr {
	speaker, ok := parseAddress(peer)
	if !ok {
		return netip.Addr{}
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && p.Contain(speaker); i-- {
		said, ok := parseAddress(strings.TrimSpace(hops[i]))
		if !ok {
			return speaker
		}
		speaker = said
	}
	return speaker
}

// Contain reports whether an address is in one of the networks.
func (p Proxies) Contain(a netip.Addr) bool { return Within(p, a) }

// Within reports whether an address is in one of the networks. The zero address is in
// none.
func Within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Admits is the rule of allow-lists (§0.2): one without networks is open to all.
func Admits(networks []netip.Prefix, a netip.Addr) bool {
	return len(networks) == 0 || Within(networks, a)
}

// parseAddress reads an address with or without a port. IPv4 in IPv6 is IPv4.
func parseAddress(text string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	a, err := netip.ParseAddr(text)
	return a.Unmap().WithZone(""), err == nil
}

// ParseNetworks reads networks in the notation 192.0.2.0/24, or single addresses.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			networks = append(networks, netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, p.Masked())
	}
	return networks, nil
}

// The networks by which callers are told apart. One customer of a provider has all
// addresses of an IPv6 network; many have neighbouring ones.
const (
	callerBits4, callerBits6   = 32, 64
	networkBits4, networkBits6 = 24, 48
)

// CallerOf names whom an address belongs to, to tell callers apart. Callers without an
// address are one.
func CallerOf(a netip.Addr) string { return cut(a, callerBits4, callerBits6) }

// NetworkOf names the neighbourhood of an address.
func NetworkOf(a netip.Addr) string { return cut(a, networkBits4, networkBits6) }

func cut(a netip.Addr, bits4, bits6 int) string {
	bits := bits4
	if a.Is6() {
		bits = bits6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "none"
	}
	return p.String()
}
