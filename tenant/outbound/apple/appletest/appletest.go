// Package appletest stands for Apple's service for Exposure Notifications. It is not
// Apple's: it answers as sections 3.1 and 3.2 of protocol/enx-config.md say, and, on
// request, as no service should.
package appletest

import (
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"carillon/signing/authorityname"
)

// Region is what Apple has of a region.
type Region struct {
	Country, State string
	// Authority is its registered name, Key the newest public key, Version its number.
	Authority string
	Key       *ecdsa.PublicKey
	Version   int
	Config    map[string]any
}

// Service is the stand-in; its zero value knows no region.
type Service struct {
	mu      sync.Mutex
	regions []*Region // guarded by mu
	changes []Received
	// Known reports whether a key without language is one of Apple's; nil knows all.
	Known func(key string) bool
	fail  []func(http.ResponseWriter) // of the next requests; guarded by mu
	stale int                         // how many readings lag behind; guarded by mu
	old   map[string]any              // what they get; guarded by mu
}

// Received is a change that came in.
type Received struct {
	Header http.Header
	Body   map[string]any
}

// Add sets up a region, which no call can.
func (s *Service) Add(r *Region) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Config == nil {
		r.Config = map[string]any{}
	}
	s.regions = append(s.regions, r)
}

// Fail answers the next request so, whatever it is.
func (s *Service) Fail(answer func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, answer)
}

// Lag has the next n readings see what was before the next change.
func (s *Service) Lag(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = n
}

// Changes are the requests to change something, in their order.
func (s *Service) Changes() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received{}, s.changes...)
}

// ServeHTTP is the service.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/update/app/config")
	if change {
		s.note(r)
	}
	if len(s.fail) > 0 {
		answer := s.fail[0]
		s.fail = s.fail[1:]
		answer(w)
		return
	}
	switch {
	case change:
		w.WriteHeader(s.change(s.changes[len(s.changes)-1]))
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/app/config"):
		s.read(w, r.Header.Get("x-apple-ct-region-identifier"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *Service) note(r *http.Request) {
	const most = 4 << 20
	body, _ := io.ReadAll(io.LimitReader(r.Body, most))
	got := Received{Header: r.Header.Clone()}
	if json.Unmarshal(body, &got.Body) != nil {
		got.Body = nil
	}
	s.changes = append(s.changes, got)
}

var suffix = regexp.MustCompile(`_[A-Z]{2}_[A-Z]{2}$`)

func (s *Service) change(got Received) int {
	country, _ := got.Body["countryCode"].(string)
	state, _ := got.Body["state"].(string)
	version, integer := got.Body["publicKeyVersion"].(float64)
	config, object := got.Body["config"].(map[string]any)
	if country == "" || !integer || !object || got.Header.Get("Content-Type") != "application/json" {
		return http.StatusBadRequest
	}
	for key := range config {
		if s.Known != nil && !s.Known(suffix.ReplaceAllString(key, "")) {
			return http.StatusBadRequest
		}
	}
	for _, r := range s.regions {
		if r.Country != country || r.State != state {
			continue
		}
		pair := authorityname.Pair{Name: got.Header.Get(authorityname.HeaderName), Signature: got.Header.Get(authorityname.HeaderSignature)}
		if name, ok := authorityname.Verify(pair, r.Key); !ok || name != r.Authority || int(version) != r.Version {
			return http.StatusUnauthorized
		}
		s.old = maps.Clone(r.Config)
		maps.Copy(r.Config, config)
		return http.StatusOK
	}
	return http.StatusNotFound
}

func (s *Service) read(w http.ResponseWriter, region string) {
	for _, r := range s.regions {
		full := r.Country
		if r.State != "" {
			full += "-" + r.State
		}
		if full != region {
			continue
		}
		config := r.Config
		if s.stale > 0 {
			s.stale--
			config = s.old
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"subdivisions": []string{},
			"appConfigs": []any{map[string]any{
				"countryCode": r.Country, "state": r.State, "publicKeyVersion": "v1", "signAuthorityName": r.Authority, "config": config,
			}},
		})
		return
	}
	w.WriteHeader(http.StatusNotFound)
}
