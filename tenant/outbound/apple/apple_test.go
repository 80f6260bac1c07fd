package apple_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/authorityname"
	"carillon/tenant/outbound"
	"carillon/tenant/outbound/apple"
	"carillon/tenant/outbound/apple/appletest"
)

const authority = "Washington State Department of Health"

type fixture struct {
	service *appletest.Service
	client  *apple.Client
	pair    authorityname.Pair
	region  *appletest.Region
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		service: &appletest.Service{Known: func(key string) bool { return key != "traveledQuestionText" }},
		region:  &appletest.Region{Country: "US", State: "WA", Authority: authority, Key: &key.PublicKey, Version: 1},
	}
	f.service.Add(f.region)
	server := httptest.NewServer(f.service)
	t.Cleanup(server.Close)
	if f.client, err = apple.New(outbound.New(true), server.URL+"/enservice/v2"); err != nil {
		t.Fatal(err)
	}
	if f.pair, err = authorityname.Sign(authority, key); err != nil {
		t.Fatal(err)
	}
	return f
}

func change(config map[string]any) apple.Change {
	return apple.Change{Country: "US", State: "WA", KeyVersion: 1, Config: config}
}

// The request is exactly what section 3.1 asks for.
func TestSend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := map[string]any{"agencyMessage_EN_US": "Hello", "attenuationNearWeight": 100, "agencyColor": []float64{0.102, 0.267, 0.502}, "exposureMatching": true}
	if err := f.client.Send(t.Context(), f.pair, change(want)); err != nil {
		t.Fatal(err)
	}
	got := f.service.Changes()[0]
	body, err := json.Marshal(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	const exact = `{"config":{"agencyColor":[0.102,0.267,0.502],"agencyMessage_EN_US":"Hello","attenuationNearWeight":100,"exposureMatching":true},"countryCode":"US","publicKeyVersion":1,"state":"WA"}`
	if diff := cmp.Diff(exact, string(body)); diff != "" {
		t.Error(diff)
	}
	if h := got.Header; h.Get("Content-Type") != "application/json" || h.Get("X-Apple-verification-data") != f.pair.Name || h.Get("X-Apple-signature") != f.pair.Signature {
		t.Errorf("headers %v", h)
	}
	d, err := f.client.Read(t.Context(), "US-WA")
	if err != nil {
		t.Fatal(err)
	}
	if keys := d.Differ(want); len(keys) != 0 {
		t.Errorf("%q differ", keys)
	}
	want["attenuationNearWeight"], want["agencyURL"] = 99, "x"
	if keys := d.Differ(want); !slices.Equal(keys, []string{"agencyURL", "attenuationNearWeight"}) {
		t.Errorf("%q differ", keys)
	}
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// What Apple refuses is told apart, and no error has the pair of headers.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*fixture, *apple.Change)
		want  error
	}{
		"an unknown key":   {func(_ *fixture, c *apple.Change) { c.Config["traveledQuestionText_EN_US"] = "x" }, apple.ErrInvalid},
		"no country":       {func(_ *fixture, c *apple.Change) { c.Country = "" }, apple.ErrInvalid},
		"another name":     {func(f *fixture, _ *apple.Change) { f.region.Authority = "Other" }, apple.ErrSignature},
		"another key":      {func(f *fixture, _ *apple.Change) { f.pair.Signature = "AAAA" }, apple.ErrSignature},
		"an older version": {func(f *fixture, _ *apple.Change) { f.region.Version = 2 }, apple.ErrSignature},
		"no such state":    {func(_ *fixture, c *apple.Change) { c.State = "OR" }, apple.ErrNoRegion},
		"state with land":  {func(_ *fixture, c *apple.Change) { c.State = "US-WA" }, apple.ErrNoRegion},
		"a failure":        {func(f *fixture, _ *apple.Change) { f.service.Fail(status(500)) }, apple.ErrBusy},
		"too many":         {func(f *fixture, _ *apple.Change) { f.service.Fail(status(429)) }, apple.ErrBusy},
		"teapot":           {func(f *fixture, _ *apple.Change) { f.service.Fail(status(418)) }, apple.ErrAnswer},
		"a redirect": {func(f *fixture, _ *apple.Change) {
			f.service.Fail(func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) })
		}, apple.ErrAnswer},
		"an answer that never ends": {func(f *fixture, _ *apple.Change) {
			f.service.Fail(func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) })
		}, apple.ErrAnswer},
	} {
		f := newFixture(t)
		c := change(map[string]any{"agencyMessage_EN_US": "Hello"})
		test.spoil(f, &c)
		err := f.client.Send(t.Context(), f.pair, c)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if text := fmt.Sprint(err); strings.Contains(text, f.pair.Name) || strings.Contains(text, f.pair.Signature) {
			t.Errorf("%s: the error shows the pair: %s", name, text)
		}
		if d, err := f.client.Read(t.Context(), "US-WA"); err != nil || len(d.Config) != 0 {
			t.Errorf("%s: something has changed: %v, %v", name, d.Config, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	write := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		want   error
	}{
		"not found":      {status(404), apple.ErrNoRegion},
		"a failure":      {status(503), apple.ErrBusy},
		"another region": {write(`{"appConfigs":[{"countryCode":"US","state":"OR","config":{}}]}`), apple.ErrNoRegion},
		"the country":    {write(`{"appConfigs":[{"countryCode":"US","config":{}}]}`), apple.ErrNoRegion},
		"no JSON":        {write(`<html>`), apple.ErrAnswer},
		"other JSON":     {write(`{"appConfigs":"x"}`), apple.ErrAnswer},
		"oversized":      {write(`{"x":"` + strings.Repeat("x", 8<<20)), apple.ErrAnswer},
		"nothing at all": {write(``), apple.ErrAnswer},
		"a partial answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "500")
			_, _ = io.WriteString(w, `{"appConfigs":[`)
		}, apple.ErrBusy},
	} {
		f := newFixture(t)
		f.service.Fail(test.answer)
		if _, err := f.client.Read(t.Context(), "US-WA"); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	f := newFixture(t)
	f.service.Fail(write(`{"appConfigs":[{"countryCode":"US","state":"US-WA","config":{"enVersion":2}}]}`))
	if d, err := f.client.Read(t.Context(), "us-wa"); err != nil || d.Config["enVersion"] != 2.0 {
		t.Errorf("%v, %v", d, err)
	}
}

// A service that says nothing is given up when the time is over.
func TestASilentServiceIsGivenUp(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(server.Close)
	defer close(release)
	c, err := apple.New(outbound.New(true), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := c.Send(ctx, authorityname.Pair{}, change(nil)); !errors.Is(err, apple.ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Only public hosts are called, and only encrypted.
func TestWhereItMayCall(t *testing.T) {
	t.Parallel()
	if _, err := apple.New(outbound.New(false, 443), "http://gateway.icloud.com/enservice/v2"); !errors.Is(err, outbound.ErrAddress) {
		t.Errorf("without encryption: %v", err)
	}
	c, err := apple.New(outbound.New(false, 443), "https://127.0.0.1/enservice/v2")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), authorityname.Pair{}, change(nil)); !errors.Is(err, apple.ErrBusy) || !strings.Contains(err.Error(), "ssrf") && !strings.Contains(err.Error(), "prohibited") {
		t.Errorf("this machine: %v", err)
	}
}
