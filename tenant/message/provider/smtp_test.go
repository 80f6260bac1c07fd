package provider_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"carillon/tenant/message/provider"
)

// mailServer speaks as much SMTP as it takes to hand over a letter. Commands that begin
// with a text of refuse get its answer; an empty answer hangs up.
type mailServer struct {
	port   int
	refuse map[string]string

	mu      sync.Mutex
	letters []string
}

func newMailServer(t *testing.T, refuse map[string]string) *mailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{port: l.Addr().(*net.TCPAddr).Port, refuse: refuse}
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

func (s *mailServer) serve(c net.Conn) {
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

func (s *mailServer) answer(command string) (string, bool) {
	for start, answer := range s.refuse {
		if strings.HasPrefix(command, start) {
			return answer, true
		}
	}
	return "", false
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		refuse map[string]string
		want   string
	}{
		{"good", nil, "sent"},
		{"trouble after the letter was taken", map[string]string{"RSET": "421 closing", "QUIT": ""}, "sent"},
		{"unknown recipient", map[string]string{"RCPT": "550 no such user"}, "invalid-number true "},
		{"full mailbox", map[string]string{"RCPT": "452 full"}, "unavailable true "},
		{"sender refused", map[string]string{"MAIL": "550 not you"}, "rejected true "},
		{"letter refused", map[string]string{"END": "554 spam"}, "rejected true "},
		{"no answer to the letter", map[string]string{"END": ""}, "uncertain false "},
		{"no greeting", map[string]string{"EHLO": "", "HELO": ""}, "unavailable true "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			server := newMailServer(t, c.refuse)
			f.set(t, f.north, 1, provider.Settings{Kind: provider.SMTP, Options: json.RawMessage(fmt.Sprintf(
				`{"host":"127.0.0.1","port":%d,"from":"codes@health.example","to":"[digits]@sms.example"}`, server.port))})
			m, err := f.send(t, f.north)
			if class(err) != c.want {
				t.Fatalf("%s, want %s", class(err), c.want)
			}
			if c.want != "sent" {
				return
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if len(server.letters) != 1 || !strings.HasPrefix(server.letters[0], "RCPT TO:<12065550100@sms.example>") || !strings.Contains(server.letters[0], m.Body) {
				t.Errorf("letters %q", server.letters)
			}
		})
	}
}
