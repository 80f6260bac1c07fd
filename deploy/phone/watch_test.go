package phone_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/deploy/phone"
	"carillon/signing/exportfile"
)

// shelf serves an index and files that a test changes.
type shelf struct {
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	s.asked = append(s.asked, name)
	body, ok := s.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(body)
}

func (s *shelf) put(name string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = body
}

// taken returns what was asked for since the last call, without the index.
func (s *shelf) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, name := range s.asked {
		if name != "index.txt" {
			names = append(names, name)
		}
	}
	s.asked = nil
	return names
}

func watching(t *testing.T) (*shelf, *phone.Phone, phone.Trust, func(...byte) []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{files: map[string][]byte{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	p := &phone.Phone{Server: phone.Server{IndexURL: server.URL + "/index.txt", DownloadBase: server.URL + "/"}, Now: time.Now}
	file := func(keys ...byte) []byte {
		f := exportfile.File{Start: time.Unix(1614556800, 0), End: time.Unix(1614571200, 0), Region: "XA"}
		for _, k := range keys {
			f.Keys = append(f.Keys, exportfile.Key{Data: [16]byte{k}, RollingStart: 2690352, RollingPeriod: 144})
		}
		body, err := exportfile.Encode(f, []exportfile.Signer{{KeyID: "310", KeyVersion: "v1", Key: signer}})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	return s, p, phone.Trust{KeyID: "310", KeyVersion: "v1", Key: &signer.PublicKey}, file
}

func nothing(phone.Downloaded) error { return nil }

// A phone downloads each file once, remembers where it was, and reads all again when
// that entry is gone.
func TestFresh(t *testing.T) {
	t.Parallel()
	s, p, trust, file := watching(t)
	s.put("a.zip", file(1))
	s.put("b.zip", file(2, 3))
	memory := filepath.Join(t.TempDir(), "memory.json")
	for _, round := range []struct {
		index string
		want  []string
	}{
		{"", nil},
		{"a.zip", []string{"a.zip"}},
		{"a.zip", nil},
		{"a.zip\nb.zip", []string{"b.zip"}},
		{"b.zip", nil},
		{"a.zip", []string{"a.zip"}}, // b.zip is gone
	} {
		s.put("index.txt", []byte(round.index))
		m, err := phone.LoadMemory(memory) // another process each time
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Fresh(t.Context(), trust, &m, nothing); err != nil {
			t.Fatal(err)
		}
		if err := m.Save(memory); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(round.want, s.taken()); diff != "" {
			t.Errorf("index %q (-want +got):\n%s", round.index, diff)
		}
	}
}

// A missing or false file ends the round; what was handled before it stays handled.
func TestFreshEndsAtAFailure(t *testing.T) {
	t.Parallel()
	s, p, trust, file := watching(t)
	s.put("a.zip", file(1))
	s.put("index.txt", []byte("a.zip\nmissing.zip\nb.zip"))
	var m phone.Memory
	if err := p.Fresh(t.Context(), trust, &m, nothing); err == nil || m.Last != "a.zip" {
		t.Errorf("%v, remembered %q", err, m.Last)
	}
	changed := file(4)
	changed[len(changed)/2] ^= 1
	s.put("missing.zip", changed)
	if err := p.Fresh(t.Context(), trust, &m, nothing); err == nil || m.Last != "a.zip" {
		t.Errorf("%v, remembered %q", err, m.Last)
	}
	s.put("missing.zip", file(4))
	s.put("b.zip", file(5))
	if err := p.Fresh(t.Context(), trust, &m, nothing); err != nil || m.Last != "b.zip" {
		t.Errorf("%v, remembered %q", err, m.Last)
	}
}

func TestMemoryThatIsNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "memory.json")
	if err := os.WriteFile(path, []byte("no memory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := phone.LoadMemory(path); err == nil {
		t.Error("read")
	}
}

// Watching goes on after a failure and reports what is new.
func TestWatch(t *testing.T) {
	t.Parallel()
	s, p, trust, file := watching(t)
	s.put("index.txt", []byte("a.zip"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var m phone.Memory
	failures, keys := 0, 0
	err := p.Watch(ctx, trust, &m, time.Millisecond,
		func(d phone.Downloaded) error {
			keys += len(d.File.Keys)
			stop()
			return nil
		},
		func(err error) {
			if failures++; failures == 1 {
				s.put("a.zip", file(1, 2, 3))
			}
			if errors.Is(err, exportfile.ErrSignature) {
				t.Error(err)
			}
		})
	if err != nil || failures == 0 || keys != 3 {
		t.Errorf("%v, %d failures, %d keys", err, failures, keys)
	}
}
