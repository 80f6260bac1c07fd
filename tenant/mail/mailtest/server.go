package mailtest

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server speaks as much SMTP as it takes to hand over a letter.
type Server struct {
	// Port is where it listens on this machine.
	Port   int
	refuse map[string]string

	mu      sync.Mutex
	letters []string
}

// NewServer starts a server, which ends with the test. Commands that begin with a text
// of refuse get its answer; an empty answer hangs up.
func NewServer(t testing.TB, refuse map[string]string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: l.Addr().(*net.TCPAddr).Port, refuse: refuse}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { defer c.Close(); s.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	return s
}

func (s *Server) serve(c net.Conn) {
	in := bufio.NewScanner(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 stand-in")
	var envelope string
	for in.Scan() {
		command := in.Text()
		answer, refused := s.answer(command)
		switch {
		case refused && answer == "":
			return
		case refused:
			say(answer)
		case command == "DATA":
			say("354 go on")
			letter := envelope
			for in.Scan() && in.Text() != "." {
				letter += in.Text() + "\n"
			}
			if answer, refused := s.answer("END"); refused {
				if answer == "" {
					return
				}
				say(answer)
				continue
			}
			s.mu.Lock()
			s.letters = append(s.letters, letter)
			s.mu.Unlock()
			say("250 taken")
		case command == "QUIT":
			say("221 bye")
			return
		default:
			if strings.HasPrefix(command, "RCPT") {
				envelope = command + "\n"
			}
			say("250 yes")
		}
	}
}

func (s *Server) answer(command string) (string, bool) {
	for start, answer := range s.refuse {
		if strings.HasPrefix(command, start) {
			return answer, true
		}
	}
	return "", false
}

// Taken returns the letters as they came, each after its RCPT line, oldest first.
func (s *Server) Taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.letters)
}
