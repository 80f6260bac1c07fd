// Package outbound reaches servers that a tenant named, and no others.
//
// Whoever may write an address into a tenant's settings could otherwise make this
// process call what only it can reach: a database, a cloud's metadata, a neighbour.
// So every connection is checked after the name was resolved and before it is made:
// the address must be a public one. Redirects are not followed and proxies not used.
// Only the operator can allow loopback addresses, and unencrypted HTTP to them, for
// development.
package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"code.dny.dev/ssrf"
)

// ErrAddress means that a tenant's address is none that may be called.
var ErrAddress = errors.New("address cannot be used: it must be https:// and a public host")

// Network is what may be reached.
type Network struct {
	loopback bool
	dialer   net.Dialer
}

const (
	dialTimeout = 2 * time.Second
	idleTimeout = 30 * time.Second
	maxIdle     = 4 // connections for each host
)

// New returns the network of public hosts on these ports; loopback adds this machine,
// on any port.
func New(loopback bool, ports ...uint16) *Network {
	options := []ssrf.Option{ssrf.WithPorts(ports...)}
	if loopback {
		options = []ssrf.Option{
			ssrf.WithAnyPort(),
			ssrf.WithAllowedV4Prefixes(netip.MustParsePrefix("127.0.0.0/8")),
			ssrf.WithAllowedV6Prefixes(netip.MustParsePrefix("::1/128")),
		}
	}
	return &Network{loopback: loopback, dialer: net.Dialer{Timeout: dialTimeout, Control: ssrf.New(options...).Safe}}
}

// DialContext connects to a host that may be reached.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dialer.DialContext(ctx, network, address)
}

// DialTLS returns a function that connects as [Network.DialContext] does, encrypted.
func (n *Network) DialTLS(c *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	return (&tls.Dialer{NetDialer: &n.dialer, Config: c}).DialContext
}

// Loopback reports whether a host is this machine and may be reached.
func (n *Network) Loopback(host string) bool { return n.loopback && IsLoopback(host) }

// Client returns an HTTP client that reaches nothing else. Its requests end with
// their contexts.
func (n *Network) Client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: n.DialContext, ForceAttemptHTTP2: true,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: maxIdle,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const maxURL = 2000

// ParseURL reads an address from a tenant's settings: [ErrAddress] if it may not be
// called. That its host is a public one is seen when it is called.
func (n *Network) ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, ErrAddress // the cause may quote a password
	}
	if u.Scheme == "https" || u.Scheme == "http" && n.Loopback(u.Hostname()) {
		return u, nil
	}
	return nil, fmt.Errorf("%w (scheme %.10q)", ErrAddress, u.Scheme)
}

// IsLoopback reports whether a host is this machine.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
