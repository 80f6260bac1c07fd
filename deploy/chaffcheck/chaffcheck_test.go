package chaffcheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"carillon/deploy/phone"
)

// fake answers every request with what each step needs and between 1000 and 1999
// bytes of padding; spoil may change an answer to cover traffic.
func fake(t *testing.T, spoil func(h http.Header, size *int)) Options {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := 1000 + rand.IntN(1000)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-ID", fmt.Sprint(rand.Int()))
		if r.Header.Get("X-Chaff") != "" {
			spoil(w.Header(), &size)
		}
		body := fmt.Sprintf(`{"token":"t","certificate":"c","code":"12345678","uuid":"u","padding":%q}`, strings.Repeat("p", size))
		w.Header().Set("Content-Length", strconv.Itoa(len(body))) // or long answers would have none
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	const rounds = 100
	return Options{
		Server:  phone.Server{DeviceBase: server.URL + "/", PublishURL: server.URL + "/v1/publish"},
		Issuer:  phone.Issuer{Base: server.URL + "/"},
		Reports: true, Rounds: rounds, Level: 1e-6,
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(h http.Header, size *int)
		told  string // how; empty if it cannot be told
	}{
		{"the same", func(http.Header, *int) {}, ""},
		{"another content type", func(h http.Header, _ *int) { h.Set("Content-Type", "text/plain") }, "headers differ"},
		{"another header", func(h http.Header, _ *int) { h.Set("X-Other", "1") }, "headers differ"},
		{"a header less", func(h http.Header, _ *int) { h.Del("X-Request-ID") }, "headers differ"},
		{"greater", func(_ http.Header, size *int) { *size += 800 }, "distinguishable"},
		{"of one size", func(_ http.Header, size *int) { *size = 1500 }, "distinguishable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := fake(t, test.spoil)
			var out bytes.Buffer
			o.Out = &out
			err := Run(t.Context(), o)
			if told := errors.Is(err, ErrDistinguishable); told != (test.told != "") || !told && err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
			if !strings.Contains(out.String(), test.told) {
				t.Errorf("does not say %q:\n%s", test.told, &out)
			}
		})
	}
}

// What is no success cannot be compared.
func TestRefusal(t *testing.T) {
	t.Parallel()
	o := fake(t, func(http.Header, *int) {})
	o.Server.DeviceBase = "http://127.0.0.1:1/"
	if err := Run(t.Context(), o); err == nil || errors.Is(err, ErrDistinguishable) {
		t.Errorf("a server that is not there: %v", err)
	}
}
