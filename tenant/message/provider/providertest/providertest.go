// Package providertest stands in for the services that deliver text messages: one that
// speaks like Twilio, and a tenant's own webhook. It can be slow, refuse, be busy,
// lose what it took and report twice.
package providertest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Mode is how the service behaves.
type Mode int

// The modes.
const (
	// Good takes every message.
	Good Mode = iota
	// Slow never answers: the caller has to give up.
	Slow
	// Refuse answers with the error of [Server.RefuseWith].
	Refuse
	// Busy answers 429.
	Busy
	// Down answers 503.
	Down
	// Broken answers 500, which says nothing about the message.
	Broken
	// Lose takes the message and hangs up without an answer.
	Lose
)

// Account, Token and Secret are the credentials that the service knows: those of the
// Twilio interface, and the key of the webhook.
const (
	Account = "AC00000000000000000000000000000001"
	Token   = "stand-in token"
	Secret  = "stand-in secret"
)

// Taken is a message that the service took.
type Taken struct {
	To, From, Body string
	// StatusCallback is where the sender wants receipts; empty for the webhook.
	StatusCallback string
	// Webhook is the webhook's body.
	Webhook []byte
}

// Server is a service on this machine. It ends with the test.
type Server struct {
	URL string

	mu        sync.Mutex
	mode      Mode
	code      int
	asked     int
	taken     []Taken
	whenAsked func()
	release   chan struct{}
}

// New starts a service.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{release: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", s.twilio)
	mux.HandleFunc("POST /hook", s.webhook)
	server := httptest.NewServer(mux)
	s.URL = server.URL
	t.Cleanup(func() { close(s.release); server.Close() })
	return s
}

// Behave changes the service's mode.
func (s *Server) Behave(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// RefuseWith makes the service refuse with one of Twilio's error numbers.
func (s *Server) RefuseWith(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.code = Refuse, code
}

// WhenAsked calls fn for each request that comes in, before it is dealt with.
func (s *Server) WhenAsked(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whenAsked = fn
}

// Asked is how many requests came in.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Taken returns the messages that were taken, oldest first.
func (s *Server) Taken() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

func (s *Server) ask() (Mode, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.whenAsked != nil {
		s.whenAsked()
	}
	return s.mode, s.code
}

func (s *Server) take(m Taken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, m)
}

func (s *Server) twilio(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != Account || password != Token || r.PathValue("account") != Account {
		answer(w, http.StatusUnauthorized, map[string]any{"code": 20003, "message": "Authenticate"})
		return
	}
	from := r.PostFormValue("From")
	if from == "" {
		from = r.PostFormValue("MessagingServiceSid")
	}
	m := Taken{To: r.PostFormValue("To"), From: from, Body: r.PostFormValue("Body"), StatusCallback: r.PostFormValue("StatusCallback")}
	s.behave(w, r, m, func() {
		answer(w, http.StatusCreated, map[string]any{"sid": "SM1", "status": "queued", "error_code": nil})
	})
}

func (s *Server) webhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h := hmac.New(sha512.New, []byte(Secret))
	h.Write(body)
	if err != nil || r.Header.Get("X-Signature") != hex.EncodeToString(h.Sum(nil)) || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var m struct{ Phone, GeneratedSMS string }
	if err := json.Unmarshal(body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.behave(w, r, Taken{To: m.Phone, Body: m.GeneratedSMS, Webhook: body}, func() { w.WriteHeader(http.StatusOK) })
}

func (s *Server) behave(w http.ResponseWriter, r *http.Request, m Taken, good func()) {
	switch mode, code := s.ask(); mode {
	case Good:
		s.take(m)
		good()
	case Slow:
		select {
		case <-r.Context().Done():
		case <-s.release:
		}
	case Refuse:
		answer(w, http.StatusBadRequest, map[string]any{"code": code, "message": "refused " + m.To})
	case Busy:
		answer(w, http.StatusTooManyRequests, map[string]any{"code": 20429, "message": "Too many requests"})
	case Down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case Broken:
		w.WriteHeader(http.StatusInternalServerError)
	case Lose:
		s.take(m)
		panic(http.ErrAbortHandler) // hangs up
	}
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// Receipt is what the service would send to a message's StatusCallback.
type Receipt struct {
	URL, Signature string
	Form           url.Values
}

// Receipt reports a message's state; errorCode may be zero.
func (m Taken) Receipt(state string, errorCode int) Receipt {
	form := url.Values{"AccountSid": {Account}, "MessageSid": {"SM1"}, "MessageStatus": {state}, "To": {m.To}}
	if errorCode != 0 {
		form.Set("ErrorCode", fmt.Sprint(errorCode))
	}
	return Sign(m.StatusCallback, form)
}

// ErrorReport is what the service sends to a tenant's error webhook (§7.2).
func ErrorReport(target string, errorCode int) Receipt {
	return Sign(target, url.Values{
		"AccountSid": {Account}, "Level": {"ERROR"}, "PayloadType": {"application/json"},
		"Payload": {fmt.Sprintf(`{"resource_sid":"SM1","service_sid":null,"error_code":"%d"}`, errorCode)},
	})
}

// Sign makes a receipt of a form.
func Sign(target string, form url.Values) Receipt {
	text := target
	var names []string
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text += name + strings.Join(form[name], name)
	}
	h := hmac.New(sha1.New, []byte(Token))
	h.Write([]byte(text))
	return Receipt{URL: target, Form: form, Signature: base64.StdEncoding.EncodeToString(h.Sum(nil))}
}
