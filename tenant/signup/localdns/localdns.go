// Package localdns is a DNS server for development and tests: it answers on this machine,
// for TXT records that it was told, and asks nobody else.
package localdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a running one. It is safe for concurrent use.
type Server struct {
	conn *net.UDPConn
	done chan struct{}

	mu      sync.Mutex
	records map[string][]string // guarded by mu; by name, lower case, without a dot at the end
	silent  bool                // guarded by mu
}

// Start serves on a free port of this machine, until Close.
func Start() (*Server, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("local DNS: %w", err)
	}
	s := &Server{conn: conn, done: make(chan struct{}), records: map[string][]string{}}
	go s.serve()
	return s, nil
}

// Close ends the server.
func (s *Server) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// Set makes values the TXT records of a name; none means that the name does not exist.
func (s *Server) Set(name string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[canonical(name)] = slices.Clone(values)
}

// Silence keeps the server from answering, or lets it answer again.
func (s *Server) Silence(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = on
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Resolver asks this server and no other.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

// maxQuery is the largest query, in bytes (RFC 1035 §2.3.4).
const maxQuery = 512

func (s *Server) serve() {
	defer close(s.done)
	buffer := make([]byte, maxQuery)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer := s.answer(buffer[:n]); answer != nil {
			_, _ = s.conn.WriteToUDPAddrPort(answer, from) // whoever asked asks again
		}
	}
}

// answer is nil if there is none.
func (s *Server) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		return nil
	}
	q := m.Questions[0]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true, RecursionDesired: m.RecursionDesired},
		Questions: m.Questions,
	}
	values := s.records[canonical(q.Name.String())]
	if len(values) == 0 {
		reply.RCode = dnsmessage.RCodeNameError
	}
	if q.Type == dnsmessage.TypeTXT {
		for _, v := range values {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.TXTResource{TXT: []string{v}},
			})
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}
