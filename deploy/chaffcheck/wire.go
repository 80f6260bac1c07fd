package chaffcheck

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// seen is what an observer sees of an answer.
type seen struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// request is one that is sent for real or as cover traffic.
type request struct {
	url, apiKey string
	body        []byte
	chaff       bool
}

const fillerSize = 1500

func newRequest(url, apiKey string, body map[string]any) (request, error) {
	body["padding"] = base64.StdEncoding.EncodeToString(make([]byte, fillerSize))
	text, err := json.Marshal(body)
	return request{url: url, apiKey: apiKey, body: text}, err
}

// wire is a connection that is kept.
type wire struct{ client *http.Client }

const requestTimeout = 60 * time.Second

func newClient() *http.Client {
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}}
}

func (w *wire) ask(ctx context.Context, r request) (seen, error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return seen{}, err
	}
	ask.Header.Set("Content-Type", "application/json")
	ask.Header.Set("Accept", "application/json")
	if r.apiKey != "" {
		ask.Header.Set("X-Api-Key", r.apiKey)
	}
	if r.chaff {
		ask.Header.Set("X-Chaff", "1")
	}
	began := time.Now()
	answer, err := w.client.Do(ask)
	if err != nil {
		return seen{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return seen{status: answer.StatusCode, header: answer.Header, body: body, took: time.Since(began)}, err
}

// varying are headers whose values differ between any two answers.
var varying = []string{
	"Content-Length", "Date", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Request-Id",
}

// shape is an answer's headers, without the values that always differ.
func shape(h http.Header) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		value := strings.Join(h[name], ", ")
		if slices.Contains(varying, name) {
			value = "…"
		}
		lines = append(lines, name+": "+value)
	}
	return strings.Join(lines, "\n")
}

// headers tells a difference between the headers of real answers and of cover
// traffic; empty if there is none.
func (e *endpoint) headers() string {
	shapes := func(all []seen) []string {
		found := map[string]bool{}
		for _, s := range all {
			found[shape(s.header)] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	real, chaff := shapes(e.real), shapes(e.chaff)
	if slices.Equal(real, chaff) {
		return ""
	}
	return fmt.Sprintf("\n--- real\n%s\n--- chaff\n%s\n", strings.Join(real, "\n\n"), strings.Join(chaff, "\n\n"))
}

// learn takes from an answer what the next step needs.
func (p *patient) learn(endpoint string, body []byte) error {
	var answer struct{ Token, Certificate string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	switch endpoint {
	case "verify":
		p.token = answer.Token
	case "certificate":
		p.cert = answer.Certificate
	}
	return nil
}
