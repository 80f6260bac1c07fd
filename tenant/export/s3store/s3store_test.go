package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/tenant/export"
	"carillon/tenant/export/s3store"
	"carillon/tenant/export/s3store/s3test"
	"carillon/tenant/export/storetest"
)

// Every store must do what the suite asks; this one on a real server.
func TestStore(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var mu sync.Mutex
	places := map[string]string{}
	storetest.Run(t, func(t *testing.T, place string) export.Store {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if places[place] == "" {
			places[place] = "place-" + string(rune('a'+len(places))) + "/"
		}
		c := server
		c.Prefix = places[place]
		return open(t, c)
	})
}

func open(t *testing.T, c s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A bucket or a CDN serves what it is given: type and caching go with the object.
func TestObjectsCarryTheirHeaders(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t)
	var seen atomic.Pointer[http.Header]
	c.Transport = transport(func(r *http.Request) (*http.Response, error) {
		response, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && r.Method == http.MethodGet {
			seen.Store(&response.Header)
		}
		return response, err
	})
	s := open(t, c)
	for name, want := range map[string]export.Serving{
		"north/1-2-00001.zip": {Type: "application/zip", Caching: "public, max-age=86400, immutable"},
		"north/index.txt":     {Type: "text/plain", Caching: "no-cache, max-age=0"},
	} {
		if err := s.PutIfAbsent(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		o, err := s.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		h := *seen.Load()
		if h.Get("Content-Type") != want.Type || h.Get("Cache-Control") != want.Caching {
			t.Errorf("%s: %q, %q", name, h.Get("Content-Type"), h.Get("Cache-Control"))
		}
	}
}

// transport makes requests, or what a test makes of them.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errBroken = errors.New("connection broken")

// A network or a server that fails, is slow or full.
func TestFaults(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var places atomic.Int32
	storetest.RunFaults(t, func(t *testing.T) (storetest.Faulty, export.Store) {
		t.Helper()
		c := server
		c.Prefix = "place-" + string('a'+places.Add(1)) + "/"
		var fault atomic.Value
		fault.Store(storetest.None)
		f := storetest.Faulty{Reached: make(chan struct{}), Release: make(chan struct{})}
		f.Set = func(how storetest.Fault) { fault.Store(how) }
		refusals := []func(*http.Request) *http.Response{
			refusal(http.StatusInsufficientStorage, "507 Insufficient Storage", ""),
			refusal(http.StatusServiceUnavailable, "503 Slow Down", "<Error><Code>SlowDown</Code></Error>"),
		}
		var refused atomic.Int32
		c.Transport = transport(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPut {
				return http.DefaultTransport.RoundTrip(r)
			}
			switch fault.Load() {
			case storetest.Failed:
				return nil, errBroken
			case storetest.Full:
				return refusals[int(refused.Add(1))%len(refusals)](r), nil
			case storetest.Slow:
				fault.Store(storetest.None)
				f.Reached <- struct{}{}
				<-f.Release
			case storetest.SaidFailed:
				response, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					response.Body.Close()
				}
				return nil, errors.Join(err, errBroken)
			}
			return http.DefaultTransport.RoundTrip(r)
		})
		f.Store = open(t, c)
		c.Transport = nil
		return f, open(t, c)
	})
}

// A server that refuses an object need not read it, and whoever still sends it meets a
// broken connection. What is there decides then, too.
func TestRefusedByBreakingOff(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t)
	var broken atomic.Bool
	c.Transport = transport(func(r *http.Request) (*http.Response, error) {
		response, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && response.StatusCode == http.StatusPreconditionFailed && broken.Load() {
			response.Body.Close()
			return nil, errBroken
		}
		return response, err
	})
	s := open(t, c)
	broken.Store(true)
	if err := s.PutIfAbsent(t.Context(), "n/a.zip", []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := s.PutIfAbsent(t.Context(), "n/a.zip", []byte("first")); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := s.PutIfAbsent(t.Context(), "n/a.zip", []byte("other")); !errors.Is(err, export.ErrConflict) {
		t.Errorf("other bytes: %v, want ErrConflict", err)
	}
}

func refusal(status int, text, body string) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		return &http.Response{
			StatusCode: status, Status: text, Request: r, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		}
	}
}

// A server that does not answer holds nobody longer than the caller's context.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t)
	var silent atomic.Bool
	c.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if silent.Load() {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	s := open(t, c)
	silent.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.PutIfAbsent(ctx, "a", []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Open(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
}

// What New refuses: a bucket that is not there, wrong credentials, and a server that
// overwrites.
func TestNewProvesTheServer(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t)
	missing, stranger, careless, odd := c, c, c, c
	missing.Bucket = "nothing-here"
	stranger.SecretKey = "guessed"
	odd.Prefix = "no-slash"
	careless.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("If-None-Match") == "" || r.Method != http.MethodPut {
			return http.DefaultTransport.RoundTrip(r)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{
			StatusCode: http.StatusOK, Status: "200 OK", Request: r,
			Header: http.Header{"Etag": {`"x"`}}, Body: io.NopCloser(bytes.NewReader(nil)),
		}, nil
	})
	for name, broken := range map[string]s3store.Config{"no bucket": missing, "wrong secret": stranger, "prefix": odd} {
		if _, err := s3store.New(t.Context(), broken); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := s3store.New(t.Context(), careless); !errors.Is(err, s3store.ErrUnconditional) {
		t.Errorf("a server that overwrites: %v, want ErrUnconditional", err)
	}
}

// The bucket is nobody's to read but through its key, unless its owner says so.
func TestAnonymousReaderIsRefused(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t)
	if err := open(t, c).PutIfAbsent(t.Context(), "n/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + c.Endpoint + "/" + c.Bucket + "/n/a")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", response.StatusCode)
	}
}
