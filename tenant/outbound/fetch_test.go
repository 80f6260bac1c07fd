package outbound_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"code.dny.dev/ssrf"

	"carillon/tenant/outbound"
)

const limit = 1000

// raw serves bytes as they are, to every request, and closes the connection.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func text(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	f := outbound.NewFetcher(outbound.New(true))
	for name, address := range map[string]string{
		"plain":        serve(t, text(http.StatusOK, "document")),
		"another type": serve(t, text(http.StatusOK, "document", "Content-Type", "video/mp4")),
		"no length":    raw(t, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndocument"),
		"excess":       raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ndocument and more than it said"),
	} {
		if body, err := f.Get(t.Context(), address, limit); err != nil || string(body) != "document" {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
	whole := strings.Repeat("x", limit)
	if body, err := f.Get(t.Context(), serve(t, text(http.StatusOK, whole)), limit); err != nil || string(body) != whole {
		t.Errorf("as large as it may be: %d bytes, %v", len(body), err)
	}
}

// What a hostile or broken server does is a failure that says what it was.
func TestGetRefuses(t *testing.T) {
	t.Parallel()
	var asked int
	metadata := serve(t, func(http.ResponseWriter, *http.Request) { asked++ })
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	for name, test := range map[string]struct {
		address string
		want    error
		text    string
	}{
		"not found":           {serve(t, text(http.StatusNotFound, "document")), outbound.ErrAnswer, "status 404"},
		"no content":          {serve(t, text(http.StatusNoContent, "")), outbound.ErrAnswer, "status 204"},
		"a part":              {serve(t, text(http.StatusPartialContent, "doc")), outbound.ErrAnswer, "status 206"},
		"redirect":            {serve(t, text(http.StatusFound, "", "Location", metadata)), outbound.ErrAnswer, "not followed"},
		"redirect to itself":  {serve(t, text(http.StatusTemporaryRedirect, "", "Location", "/")), outbound.ErrAnswer, "not followed"},
		"one byte too many":   {serve(t, text(http.StatusOK, strings.Repeat("x", limit+1))), outbound.ErrAnswer, "more than 1000 bytes"},
		"endless":             {raw(t, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 1<<20)), outbound.ErrAnswer, "more than 1000 bytes"},
		"announces too much":  {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"), outbound.ErrAnswer, "more than 1000 bytes"},
		"less than announced": {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ndocument"), outbound.ErrUnreachable, "breaks off"},
		"chunks break off":    {raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ndoc"), outbound.ErrUnreachable, "breaks off"},
		"two lengths":         {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Length: 9\r\n\r\ndocument"), outbound.ErrUnreachable, ""},
		"negative length":     {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\ndocument"), outbound.ErrUnreachable, ""},
		"no HTTP":             {raw(t, "220 mail.example ESMTP\r\n"), outbound.ErrUnreachable, ""},
		"nothing":             {raw(t, ""), outbound.ErrUnreachable, ""},
		"huge header":         {raw(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"), outbound.ErrUnreachable, ""},
		"packed":              {serve(t, text(http.StatusOK, packed.String(), "Content-Encoding", "gzip")), outbound.ErrAnswer, "packed"},
		"no address":          {"https://", outbound.ErrAddress, ""},
		"a file":              {"file:///etc/passwd", outbound.ErrAddress, ""},
	} {
		f := outbound.NewFetcher(outbound.New(true))
		body, err := f.Get(t.Context(), test.address, limit)
		if !errors.Is(err, test.want) || body != nil || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s: %d bytes, %v; want %v with %q", name, len(body), err, test.want, test.text)
		}
	}
	if asked != 0 {
		t.Error("a redirect was followed")
	}
}

// A server that sends a byte now and then is given up when the time is over.
func TestGetEndsWithItsTime(t *testing.T) {
	t.Parallel()
	dripping := make(chan struct{})
	release := make(chan struct{})
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "d")
		_ = http.NewResponseController(w).Flush()
		close(dripping)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-dripping
		cancel()
	}()
	if _, err := outbound.NewFetcher(outbound.New(true)).Get(ctx, address, limit); !errors.Is(err, outbound.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the time", err)
	}
	late, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := outbound.NewFetcher(outbound.New(true)).Get(late, address, limit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the time", err)
	}
}

// Outside development this machine and private networks are not asked, and an error
// does not repeat an address, which may hold a password.
func TestGetReachesNoPrivateAddress(t *testing.T) {
	t.Parallel()
	f := outbound.NewFetcher(outbound.New(false, 443))
	if err := f.Check(serve(t, text(http.StatusOK, "document"))); !errors.Is(err, outbound.ErrAddress) {
		t.Errorf("unencrypted: %v", err)
	}
	for _, host := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00::1]"} {
		_, err := f.Get(t.Context(), "https://"+host+"/keys?secret=s3cr3t", limit)
		if !errors.Is(err, outbound.ErrUnreachable) || !errors.Is(err, ssrf.ErrProhibitedIP) || strings.Contains(fmt.Sprint(err), "s3cr3t") {
			t.Errorf("%s: %v, want a refusal", host, err)
		}
	}
	if _, err := f.Get(t.Context(), "https://192.0.2.1:22/", limit); !errors.Is(err, outbound.ErrUnreachable) || !errors.Is(err, ssrf.ErrProhibitedPort) {
		t.Errorf("another port: %v", err)
	}
}
